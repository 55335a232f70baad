"""The official conformance suite, whole, on every engine. There is no list of expected failures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from tests.conformance.suite import LONG_POLL_TIMEOUT_MS, run_suite

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Serve

SUITE_COUNT = 332  # all of 0.3.6 but subscriptions
SUBSCRIPTION_COUNT = 6


@pytest.mark.slow
@pytest.mark.timeout(480)
@pytest.mark.parametrize("engine", ["lmdb", "memory"])
def test_the_official_suite_passes(engine: Literal["lmdb", "memory"], serve: Serve, tmp_path: Path) -> None:
    server = serve(engine=engine, arguments=["--long-poll-timeout-ms", str(LONG_POLL_TIMEOUT_MS)])

    report = run_suite(server.url, tmp_path / "report.json")

    assert not report.failures, "\n\n".join(report.failures)
    assert (report.passed_count, report.failed_count, report.skipped_count) == (SUITE_COUNT, 0, SUBSCRIPTION_COUNT)
    assert server.running
