"""Servers in this process, on both engines, with a clock that the test moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.http.site import QUIET, EngineName, Site, running
from tests.subscriptions.api import Api
from tests.subscriptions.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path


class Run(Protocol):
    """Start a server; see ``running``. Each call in one test has the same data dir."""

    def __call__(self, **arguments: Any) -> AbstractAsyncContextManager[Site]: ...  # noqa: ANN401 see ``running``


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def start(**arguments: Any) -> AbstractAsyncContextManager[Site]:  # noqa: ANN401 see ``Run``
        return running(tmp_path / "data", **{"bounds": QUIET, "allow_local_webhooks": True, **arguments})

    return start


@pytest.fixture(params=["memory", "lmdb"])
async def site(request: pytest.FixtureRequest, run: Run) -> AsyncIterator[Site]:
    engine: EngineName = request.param
    async with run(engine=engine) as site:
        yield site


@pytest.fixture
def api(site: Site) -> Api:
    return Api(site.client)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver
