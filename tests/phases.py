"""What `make test` did before pytest, and how long that and pytest took: told above pytest's closing line."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

STARTED_S = time.monotonic()


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("phases")
    for line in Path(os.environ["PHASES"]).read_text(encoding="utf-8").splitlines():
        terminalreporter.write_line(line)
    terminalreporter.write_line(f"{time.monotonic() - STARTED_S:5.0f} s  pytest")
