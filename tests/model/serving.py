"""The real server in this process, on one event loop with its test: started, drained, and left as a crash leaves it."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from durable_streams.engine.lmdb.check import check_data_dir
from durable_streams.runtime.config import Bounds, ServerConfig
from durable_streams.server import Server, make_engine
from tests.model.expected import PAGE_MAX_BYTES
from tests.model.wire import Wire

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

    from durable_streams.runtime.clock import Clock

NEVER_MS = 3_600_000


class Served:
    """One server on one store through any number of starts, and one connection to it.

    Args:
        engine: a memory engine loses everything at a restart, so it is never restarted here.
        data_dir: created by the first start.
        clock: the server's; it stands still until the test moves it.
        lane: which front takes usual requests.
        long_poll_timeout_ms: short to see a poll time out, `NEVER_MS` to see only what else ends it.
    """

    def __init__(
        self,
        engine: Literal["lmdb", "memory"],
        data_dir: Path,
        clock: Clock,
        *,
        lane: bool,
        long_poll_timeout_ms: int,
    ) -> None:
        # Upkeep runs when the test says so: a round at every start, and then none by itself.
        bounds = Bounds(
            page_bytes=PAGE_MAX_BYTES, long_poll_timeout_ms=long_poll_timeout_ms, sweep_interval_ms=NEVER_MS
        )
        self._config = ServerConfig(port=0, engine=engine, data_dir=data_dir, lane=lane, bounds=bounds)
        self._clock = clock
        self._crashes = 0
        self.running = False

    async def start(self) -> None:
        self._server = Server(self._config, make_engine(self._config), self._clock)
        await self._server.start()
        self.running = True
        self.port = int(self._server.url.split(":")[2].split("/")[0])
        self.wire = await Wire.open(self.port)

    async def stop(self) -> None:
        """As SIGTERM does."""
        self.running = False
        await self.wire.close()
        await self._server.stop()

    async def crash(self) -> None:
        """Go on with the files as they are now: whatever the process has in memory, or writes from here on, is lost.

        Taken while a commit is under way the files hold it or not, as after a kill: LMDB never writes over a page that
        the last commit refers to.
        """
        self._crashes += 1
        left = self._config.data_dir.with_name(f"data-{self._crashes}")
        shutil.copytree(self._config.data_dir, left)
        await self.stop()
        self._config = replace(self._config, data_dir=left)

    async def upkeep(self) -> None:
        """Until there is nothing left to do."""
        while await self._server._upkeep.round():
            pass

    async def waiting(self, count: int) -> None:
        """Return once this many long-polls wait."""
        while len(self._server.streams._hub.followers()) < count:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0)

    def check(self) -> None:
        """Every invariant of the stopped store's layout."""
        if self._config.engine == "lmdb":
            report = check_data_dir(self._config.data_dir)
            assert report.sound, report.problems
