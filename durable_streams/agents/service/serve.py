"""The adapter as a process: made from its settings, listening, until it is told to stop.

Owns: what is put together from what. Must not know: how options are written, and what a signal is.
"""

from __future__ import annotations

import asyncio
import gc
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiohttp import web

from durable_streams.agents.models import ModelChoice, NoModel, choose, imported
from durable_streams.agents.service.access import Access
from durable_streams.agents.service.app import make_app
from durable_streams.agents.sessions.adapter import Adapter
from durable_streams.agents.sessions.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.agents.sources.base import Source

    ListenForStop = Callable[[asyncio.AbstractEventLoop, asyncio.Event], None]
    Tell = Callable[[str], None]

NO_MODEL: Final = "no model is configured: set --base-url, OPENAI_API_KEY or ANTHROPIC_API_KEY"
GC_YOUNG_COUNT: Final = 20_000
"""Objects made before the youngest are looked through. 500 runs hold thousands for the 50 ms between two appends; at
Python's 700 the looking through stopped all runs so often that half of the tokens were read 103 ms late, not 44."""


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """What one process serves, and where.

    Attributes:
        settings: of the adapter.
        choice: of the model.
        host: address to listen on; ``0.0.0.0`` and ``::`` are all of them.
        port: 0 takes a free one.
        cors_origins: pages of these origins may read and write; ``*`` are all.
        on_finish: ``module:name`` of a function that is told of each ending.
        allowed_hosts: names besides its own that it is reached under; needed on a loopback address behind a proxy.
    """

    settings: Settings = field(default_factory=Settings)
    choice: ModelChoice = field(default_factory=ModelChoice)
    host: str = "127.0.0.1"
    port: int = 4438
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    on_finish: str | None = None


class Service:
    """One adapter process. Making it loads the model's package, which may take seconds.

    Args:
        config: see there.

    Raises:
        SourceNotFoundError: the choice, or ``on_finish``, names what is not there.
        InvalidAccessError: an origin or a host that is none.
    """

    def __init__(self, config: ServiceConfig) -> None:
        self._config = config
        self._access = Access.of(config.host, origins=config.cors_origins, hosts=config.allowed_hosts)
        self._on_finish = [] if config.on_finish is None else [imported(config.on_finish)]
        chosen = choose(config.choice, os.environ)
        self._source: Source = NoModel(NO_MODEL) if chosen is None else chosen.source
        self._about = NO_MODEL if chosen is None else chosen.about

    @property
    def where(self) -> str:
        """The address that was asked for, for people."""
        return f"{self._config.host} port {self._config.port}"

    def run(self, listen: ListenForStop, tell: Tell) -> None:
        """Serve until told to stop, and until running answers have ended, or for ``drain_ms``; then they are stopped.

        Args:
            listen: is handed the loop, and the event to set from then on when the process is to stop.
            tell: is handed, once requests are taken, what to show people.

        Raises:
            OSError: the address cannot be listened on.
        """
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self._serve(listen, tell))

    async def _serve(self, listen: ListenForStop, tell: Tell) -> None:
        told = asyncio.Event()
        listen(asyncio.get_running_loop(), told)
        adapter = Adapter(self._config.settings, self._source, on_finish=self._on_finish)
        app = make_app(adapter, {"model": self._about}, access=self._access)
        # Not cancelled with its connection: whoever goes away has not asked for a stop.
        runner = web.AppRunner(app, handler_cancellation=False, shutdown_timeout=1, access_log=None)
        await runner.setup()
        # As the server: what is loaded stays, and what comes and goes is mostly freed without the collector.
        gc.freeze()
        gc.set_threshold(GC_YOUNG_COUNT, 20, 50)
        try:
            await web.TCPSite(runner, self._config.host, self._config.port).start()
            if not told.is_set():
                tell(self._sign(runner.addresses[0][1]))
            await told.wait()
            await adapter.drain(self._config.settings.drain_ms / 1000)
        finally:
            await runner.cleanup()

    def _sign(self, port: int) -> str:
        where = f"Agent adapter at http://{self._config.host}:{port}"
        return f"{where}\n  streams {self._config.settings.streams_url}\n  model   {self._about}"


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 absent on some platforms
    except ImportError:
        return None
    return uvloop.new_event_loop
