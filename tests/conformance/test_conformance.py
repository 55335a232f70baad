"""The official conformance suite, whole, on every engine. There is no list of expected failures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from tests.conformance.suite import LONG_POLL_TIMEOUT_MS, run_suite

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Serve

SUITE_COUNT = 338  # all of 0.3.6


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["lmdb", "memory"])
def test_the_official_suite_passes(engine: Literal["lmdb", "memory"], serve: Serve, tmp_path: Path) -> None:
    arguments = ["--long-poll-timeout-ms", str(LONG_POLL_TIMEOUT_MS), "--allow-local-webhooks"]
    server = serve(engine=engine, arguments=arguments)

    report = run_suite(server.url, tmp_path / "report.json", subscriptions=True)

    assert not report.failures, "\n\n".join(report.failures)
    assert (report.passed_count, report.failed_count, report.skipped_count) == (SUITE_COUNT, 0, 0)
    assert server.running
