"""A browser, and where its pictures are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.agents.serving import AdapterProcess
from tests.agents.upstream import ScriptedUpstream
from tests.browser.cdp import CHROMIUM, Browser
from tests.serving import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.serving import ServerProcess


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/browser" in str(item.path) and CHROMIUM is None:
            item.add_marker(pytest.mark.skip(reason="Chromium is missing: run `make environment`"))


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with Browser(tmp_path / "chromium") as running:
        yield running


@pytest.fixture
def pictures() -> Path:
    """Not tracked; kept as artifacts of the run."""
    return REPOSITORY / "artifacts" / "browser"


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    """A model that says what it is told to."""
    async with ScriptedUpstream() as running:
        yield running


@pytest.fixture
def adapter_arguments() -> list[str]:
    """More arguments of the adapter; for parametrization."""
    return []


@pytest.fixture
def adapter(
    server: ServerProcess, upstream: ScriptedUpstream, adapter_arguments: list[str]
) -> Iterator[AdapterProcess]:
    arguments = ["--base-url", f"{upstream.base_url}/v1", "--model", "scripted", *adapter_arguments]
    with AdapterProcess(server.stream_url("").rstrip("/"), arguments) as running:
        yield running
    print(running.log)  # noqa: T201 - shown when the test fails
