"""The composition root: builds the layers, listens, and shuts down in order.

Invariant: shutdown loses nothing acknowledged and leaves nobody waiting: no new writes, queued commits answered, live
readers told, engine closed.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from durable_streams.commit.committer import Audience, Committer
from durable_streams.commit.heads import HeadCache
from durable_streams.commit.writer import Writer
from durable_streams.delivery.dispatcher import Dispatcher
from durable_streams.delivery.guard import check_url
from durable_streams.delivery.webhooks import WebhookClient
from durable_streams.http.addresses import Addresses
from durable_streams.http.control import Health
from durable_streams.http.fronts.aiohttp_front import AiohttpFront
from durable_streams.http.fronts.lane import LaneFront
from durable_streams.http.live.connection import LiveReaders
from durable_streams.http.outgoing import Outgoing
from durable_streams.http.reads import Reads
from durable_streams.http.router import Router
from durable_streams.http.subscriptions import SubscriptionRoutes
from durable_streams.runtime import Runtime
from durable_streams.runtime.alarm import Alarm
from durable_streams.runtime.clock import SteadyClock
from durable_streams.runtime.listening import bind, local_url
from durable_streams.runtime.stopping import StoppedEarlyError
from durable_streams.runtime.turns import Turns
from durable_streams.runtime.watchdog import Watchdog
from durable_streams.streams.packer import Packer
from durable_streams.streams.pages import Pages
from durable_streams.streams.publisher import Publisher
from durable_streams.streams.service import Streams
from durable_streams.streams.tail import Hub
from durable_streams.subscriptions.index import SubscriptionIndex
from durable_streams.subscriptions.keys import KEY_FILE, Keyring
from durable_streams.subscriptions.matcher import Matcher
from durable_streams.subscriptions.service import Subscriptions
from durable_streams.subscriptions.tokens import Tokens
from durable_streams.subscriptions.wakes import Wakes
from durable_streams.subscriptions.waking import WakingQueue
from durable_streams.upkeep import Deadlines, Rebasing, Upkeep

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.engine.base import Engine
    from durable_streams.runtime.clock import Clock
    from durable_streams.runtime.config import ServerConfig
    from durable_streams.runtime.stopping import StopSignals

SWITCH_INTERVAL_S: Final = 0.00005
"""What the writer waits, after a sync beside a busy loop, until it has the interpreter back; 5 ms by default. (While it
writes rows, and drops the interpreter lock with each, the loop stands still.)"""
GC_YOUNG_COUNT: Final = 20_000
"""Objects made before the youngest are looked through. A batch over 64 streams makes thousands, nearly all gone by
reference count when it is done; at Python's 700 looking for the others is a seventh of an append."""
BACKLOG: Final = 1024
_log = structlog.get_logger(__name__)


def make_engine(config: ServerConfig) -> Engine:
    """Return the engine that the configuration names, not opened."""
    if config.engine == "memory":
        from durable_streams.engine.memory import MemoryEngine  # noqa: PLC0415 only the engine in use is imported

        return MemoryEngine()
    from durable_streams.engine.lmdb.crash_point import crash_hook  # noqa: PLC0415
    from durable_streams.engine.lmdb.engine import LmdbEngine  # noqa: PLC0415

    fault = crash_hook(os.environ, config.data_dir)
    return LmdbEngine(
        config.data_dir, map_size_bytes=config.map_size_bytes, require_store=config.require_store, fault=fault
    )


class Server:
    """One process's server. ``start`` in a running loop; ``url`` is known after it."""

    def __init__(self, config: ServerConfig, engine: Engine, clock: Clock | None = None) -> None:
        self.config, self.engine = config, engine
        self._runtime = Runtime(config.bounds, clock or SteadyClock())
        self.url = ""

    async def start(self) -> None:
        """Open the store and listen. Raises ``RefusedToStartError``, or ``OSError`` when the address is taken."""
        self.open()
        await self.listen()

    def open(self) -> None:
        """Open the store and build what stands on it, in one go; ``listen`` or ``engine.close`` is to follow.

        Raises:
            RefusedToStartError: the store cannot be opened.
        """
        try:
            self.engine.open()
            self._compose(asyncio.get_running_loop())
        except BaseException:
            self.engine.close()
            raise

    async def listen(self) -> None:
        """Take requests.

        Raises:
            OSError: the address is taken.

        Cancellation: the store is closed.
        """
        loop = asyncio.get_running_loop()
        try:
            self._listeners = await self._listen(loop)
        except BaseException:
            await self._dispatcher.close()
            await self._close_store()
            raise
        self._upkeep_task = asyncio.create_task(self._upkeep.run())
        self._upkeep_task.add_done_callback(self._upkeep_ended)

    async def _listen(self, loop: asyncio.AbstractEventLoop) -> list[asyncio.Server]:
        """Take connections on every address that the host means. Raises ``OSError``."""
        connect = self._lane.connect if self._lane else self._front.connect_first
        sockets = bind(self.config.host, self.config.port)
        self.url = f"{local_url(self.config.host, sockets[0])}/{self.config.root.strip('/')}"
        listeners: list[asyncio.Server] = []
        try:
            for bound in sockets:
                listeners.append(await loop.create_server(connect, sock=bound, backlog=BACKLOG))  # noqa: PERF401 closed one by one below
        except BaseException:
            for listener in listeners:
                listener.close()
            for bound in sockets:
                bound.close()
            raise
        return listeners

    def _compose(self, loop: asyncio.AbstractEventLoop) -> None:
        config, runtime = self.config, self._runtime
        self._writer = Writer(loop)
        self._compose_keys(config)
        cache, packer = HeadCache(self.engine, config.bounds.head_cache_count), Packer()
        self._hub = hub = Hub()
        alarm, waking = Alarm(runtime.clock, config.bounds.sweep_interval_ms), WakingQueue()
        wakes = Wakes(self.engine, Matcher(), runtime.chance, tokens=self._tokens)
        index = SubscriptionIndex(self.engine, wakes.matcher, waking=waking, alarm=alarm)
        audience = Audience((Publisher(hub, packer), index), watch=wakes, followed=hub.is_followed)
        self.committer = Committer(self.engine, cache, self._writer, runtime=runtime, audience=audience)
        pages = Pages(self.engine, config.bounds.page_limit_bytes, packer)
        self.streams = Streams(self.engine, self.committer, cache, pages=pages, hub=hub, runtime=runtime)
        self.subscriptions = Subscriptions(
            self.committer,
            runtime,
            wakes=wakes,
            index=index,
            tokens=self._tokens,
            check_webhook=partial(check_url, allow_local=config.allow_local_webhooks),
        )
        rebasing = Rebasing(self.engine, cache, self.streams, subscriptions=self.subscriptions, runtime=runtime)
        deadlines = Deadlines(
            self.engine, self.streams, self.subscriptions, rebasing=rebasing, alarm=alarm, runtime=runtime
        )
        self._upkeep = Upkeep(self.engine, cache, self._writer, deadlines=deadlines, packer=packer, runtime=runtime)
        client = WebhookClient(self._keyring, allow_local=config.allow_local_webhooks)
        self._dispatcher = Dispatcher(waking, self.subscriptions, client)
        self._compose_fronts(config)
        self.subscriptions.load()
        self._dispatcher.start()

    def _compose_fronts(self, config: ServerConfig) -> None:
        outgoing, searches = Outgoing(config.bounds.sending_bytes), Turns()
        self._reads = Reads(self.streams, self._runtime, outgoing, searches=searches, cache_scope=config.cache_scope)
        self._readers = LiveReaders(self.streams, self._runtime, outgoing, turns=Turns())
        health = Health(self.engine, self.committer)
        routes = SubscriptionRoutes(self.subscriptions, self._keyring, addresses=Addresses(config))
        router = Router(self.streams, self._reads, health, subscriptions=routes, searches=searches, config=config)
        self._front = AiohttpFront(router, self._readers, config.bounds)
        self._lane: LaneFront | None = None
        if config.lane:
            front = self._front
            self._lane = LaneFront(
                router,
                self._readers,
                config.bounds,
                hand_over=front.connect,
                arriving=front.arriving,
                beside=front.count,
            )

    def _compose_keys(self, config: ServerConfig) -> None:
        self._keyring = Keyring(config.data_dir / KEY_FILE if self.engine.durable else None, self._runtime.clock)
        self._keyring.open()
        self._tokens = Tokens(self._keyring.token_secret)

    def _upkeep_ended(self, task: asyncio.Task[None]) -> None:
        """Upkeep ends only when the store has failed, or by a fault of ours: either way, stop serving."""
        if task.cancelled():
            return
        if (fault := task.exception()) is not None:
            _log.critical("upkeep failed", exc_info=fault)
        self.committer.failed.set()

    async def stop(self) -> None:
        """Drain and close; takes at most ``drain_timeout_ms`` beyond the commits under way."""
        self._upkeep_task.cancel()
        await self._dispatcher.close()
        for listener in self._listeners:
            listener.close()
        await self.committer.drain()
        drain_s = self.config.bounds.drain_timeout_ms / 1000
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                while not self._hub.is_idle:  # noqa: ASYNC110 it is told of in turns of the loop
                    await asyncio.sleep(0)
        self._reads.release_waiting()
        self._readers.end_all(up_to_date=self._hub.is_idle)
        if not self.committer.failed.is_set():
            await self._upkeep.flush()
        if self._lane is not None:
            self._lane.shutdown()
        drains = [self._lane.drain(drain_s)] if self._lane is not None else []
        await asyncio.gather(*drains, self._front.shutdown(drain_s))
        for connection in tuple(self._readers.connected):
            connection.cut()
        await self._close_store()

    async def _close_store(self) -> None:
        await asyncio.to_thread(self._writer.stop)
        self.engine.close()


async def serve(config: ServerConfig, announce: Callable[[Server], None], signals: StopSignals) -> int:
    """Serve until a signal to stop (exit status 0), also one that comes before, or until the store fails (1).

    ``announce`` is called once, when requests are being taken.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    server = Server(config, make_engine(config))
    stopped = asyncio.Event()
    signals.wake(asyncio.get_running_loop(), stopped)
    if not await _start(server, signals, stopped):
        _log.info("stopped before it served")
        return 0
    # What was built so far stays for good: looking through it at every collection doubles the cost of an append with
    # 100k subscriptions loaded (21 µs against 9.8 µs).
    gc.freeze()
    gc.set_threshold(GC_YOUNG_COUNT, 20, 50)
    announce(server)
    watchdog = Watchdog(asyncio.get_running_loop())
    watchdog.start()
    waits = [asyncio.create_task(stopped.wait()), asyncio.create_task(server.committer.failed.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    _log.info("shutting down")
    await server.stop()
    watchdog.stop()
    return 1 if server.committer.failed.is_set() else 0


async def _start(server: Server, signals: StopSignals, stopped: asyncio.Event) -> bool:
    """Start the server; return whether it came to that before a signal to stop, which leaves the store closed."""
    try:
        with signals.interrupting():
            server.open()
    except StoppedEarlyError:
        server.engine.close()
        return False
    listening, told = asyncio.create_task(server.listen()), asyncio.create_task(stopped.wait())
    await asyncio.wait([listening, told], return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    listening.cancel()
    try:
        await listening
    except asyncio.CancelledError:
        return False
    return True


def run(config: ServerConfig, announce: Callable[[Server], None], signals: StopSignals) -> int:
    """Run ``serve`` on uvloop where it exists, on asyncio's own loop elsewhere; return the exit status."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return asyncio.run(serve(config, announce, signals))
    return uvloop.run(serve(config, announce, signals))
