"""Run the official conformance suite (npm, pinned in tests/js) against a server and count what it said."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.patience import WHOLE_HANG_S
from tests.serving import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

JS = REPOSITORY / "tests" / "js"
LONG_POLL_TIMEOUT_MS = 500


class SuiteDidNotRun(Exception):  # noqa: N818 - reads as what happened
    """The suite ended without a report: npm packages missing, or vitest itself failed."""


@dataclass(frozen=True, slots=True)
class Report:
    """How many tests passed, failed and were skipped, and each failure's name and first lines."""

    passed_count: int
    failed_count: int
    skipped_count: int
    failures: tuple[str, ...]


def run_suite(base_url: str, report_file: Path, *, subscriptions: bool = False) -> Report:
    """Run the whole suite once.

    Args:
        base_url: The server's origin.
        report_file: Where vitest writes its JSON report.
        subscriptions: Also run the part on subscriptions, which is skipped otherwise.

    Raises:
        SuiteDidNotRun: There is no report to read; the message holds what vitest printed.
    """
    vitest = JS / "node_modules" / ".bin" / "vitest"
    if not vitest.exists():
        message = "npm packages of the tests are missing: run `make environment`"
        raise SuiteDidNotRun(message)
    ended = subprocess.run(
        [vitest, "run", "conformance.test.mjs", "--reporter=json", f"--outputFile={report_file}"],
        cwd=JS,
        env=os.environ
        | {
            "CI": "1",
            "CONFORMANCE_BASE_URL": base_url,
            "CONFORMANCE_LONG_POLL_TIMEOUT_MS": str(LONG_POLL_TIMEOUT_MS),
            "CONFORMANCE_SUBSCRIPTIONS": "1" if subscriptions else "0",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WHOLE_HANG_S,
        check=False,
    )
    if not report_file.exists():
        raise SuiteDidNotRun(ended.stdout + ended.stderr)
    return _read(json.loads(report_file.read_text(encoding="utf-8")))


def _read(report: dict[str, Any]) -> Report:
    tests = [test for file in report["testResults"] for test in file["assertionResults"]]
    failures = tuple(
        "\n".join([test["fullName"], *(message[:600] for message in test["failureMessages"])])
        for test in tests
        if test["status"] == "failed"
    )
    return Report(
        passed_count=report["numPassedTests"],
        failed_count=report["numFailedTests"],
        skipped_count=report["numPendingTests"] + report["numTodoTests"],
        failures=failures,
    )
