"""``agent serve``: run the agent adapter."""

from __future__ import annotations

import asyncio
import gc
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from durable_streams.cli.descriptors import announce
from durable_streams.cli.endings import Failure, Status
from durable_streams.cli.options import Whole, gathered, option, tell_of_ignored_variables
from durable_streams.runtime.stopping import StoppedEarlyError, StopSignals

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.agents.models import Provider
    from durable_streams.agents.sessions.adapter import Adapter
    from durable_streams.agents.sessions.settings import Busy
    from durable_streams.runtime.logs import LogFormat

GC_YOUNG_COUNT: Final = 20_000
"""Objects made before the youngest are looked through. 500 runs hold thousands for the 50 ms between two appends; at
Python's 700 the looking through stopped all runs so often that half of the tokens were read 103 ms late, not 44."""


@click.group("agent")
def agent_command() -> None:
    """Put model output into streams: the agent adapter."""


@dataclass(frozen=True, slots=True)
class AgentServe:
    """The options of ``agent serve``; see ``Settings`` and ``ModelChoice``."""

    host: str
    port: int
    streams_url: str
    public_streams_url: str | None
    on_busy: Busy
    lease_ms: int
    renew_ms: int
    skew_ms: int
    grace_ms: int
    linger_ms: int
    presence_ms: int
    provider: Provider | None
    model: str | None
    base_url: str | None
    api_key: str | None
    system: str | None
    source: str | None
    log_format: LogFormat


@agent_command.command("serve")
@option(
    "--host",
    default="127.0.0.1",
    envvar="DS_AGENT_HOST",
    help="Address to listen on; 0.0.0.0 and :: are all of them.",
)
@option("--port", type=Whole(0, 65_535), default=4438, envvar="DS_AGENT_PORT", help="Port; 0 takes a free one.")
@option("--streams-url", default="http://127.0.0.1:4437/v1/stream", help="Root of the streams server.")
@option("--public-streams-url", default=None, help="The same root as clients reach it, if that differs.")
@option(
    "--on-busy",
    type=click.Choice(["reject", "interrupt", "enqueue"]),
    default="reject",
    help="What becomes of a new prompt while an answer is being written.",
)
@option("--lease-ms", type=Whole(100), default=15_000, help="An owner silent for so long is taken for dead.")
@option("--renew-ms", type=Whole(10), default=5_000, help="How often an owner renews its lease.")
@option("--skew-ms", type=Whole(0), default=1_000, help="How much the machines' clocks may differ.")
@option("--grace-ms", type=Whole(0), default=250, help="Time an owner has for the ending of a stopped run.")
@option("--linger-ms", type=Whole(0), default=50, help="Shortest time between two appends of one answer.")
@option(
    "--presence-ms",
    type=Whole(1_000),
    default=60_000,
    help="Somebody counts as present for so long after the last sign; each sign is a row in the session.",
)
@option(
    "--provider",
    type=click.Choice(["openai-chat", "openai-responses", "anthropic"]),
    default=None,
    help="The model's wire format.",
)
@option("--model", default=None, help="The model's name.")
@option("--base-url", default=None, help="Where the model is, as its vendor's package takes it.")
@option("--api-key", default=None, help="Its key; else OPENAI_API_KEY or ANTHROPIC_API_KEY.")
@option("--system", default=None, help="Instructions for the model.")
@option("--source", default=None, help="module:name of a Source of your own, instead of a model.")
@option("--log-format", type=click.Choice(["logfmt", "json"]), default="logfmt", help="How log lines are written.")
@gathered(AgentServe)
def serve_command(options: AgentServe) -> int:
    """Serve chats until SIGTERM or ctrl-C; running answers then end as stopped.

    Needs a streams server. Prints where it listens once requests are taken.
    """
    from durable_streams.runtime.logs import configure_logs  # noqa: PLC0415 --help need not load the adapter

    signals = StopSignals()
    signals.install()
    configure_logs(options.log_format)
    tell_of_ignored_variables()
    try:
        with signals.interrupting():
            adapter, about = _make_adapter(options)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(options, adapter, about, signals=signals))
    except StoppedEarlyError:
        return Status.DONE
    except OSError as error:
        raise Failure(f"cannot listen on {options.host} port {options.port}: {error}", Status.FAILED) from error


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 absent on some platforms
    except ImportError:
        return None
    return uvloop.new_event_loop


def _make_adapter(options: AgentServe) -> tuple[Adapter, str]:
    """Return the adapter and what it says of its model; vendors' packages take seconds to load.

    Raises:
        Failure: the options contradict each other, or name what is not there.
    """
    from durable_streams.agents.models import (  # noqa: PLC0415
        ModelChoice,
        NoModel,
        SourceNotFoundError,
        choose,
    )
    from durable_streams.agents.runs.writer import Pace  # noqa: PLC0415
    from durable_streams.agents.sessions.adapter import Adapter  # noqa: PLC0415
    from durable_streams.agents.sessions.settings import Settings  # noqa: PLC0415

    if options.renew_ms * 2 > options.lease_ms:
        raise Failure("--renew-ms is at most half of --lease-ms, or one late renewal loses a run")
    choice = ModelChoice(
        options.provider, options.model, options.base_url, options.api_key, options.system, options.source
    )
    try:
        chosen = choose(choice, os.environ)
    except SourceNotFoundError as missing:
        raise Failure(str(missing)) from missing
    why = "no model is configured: set --base-url, OPENAI_API_KEY or ANTHROPIC_API_KEY"
    settings = Settings(
        options.streams_url,
        options.public_streams_url,
        options.on_busy,
        lease_ms=options.lease_ms,
        renew_ms=options.renew_ms,
        skew_ms=options.skew_ms,
        grace_ms=options.grace_ms,
        presence_ms=options.presence_ms,
        pace=Pace(linger_ms=options.linger_ms),
    )
    about = why if chosen is None else chosen.about
    return Adapter(settings, NoModel(why) if chosen is None else chosen.source), about


async def _serve(options: AgentServe, adapter: Adapter, about: str, *, signals: StopSignals) -> int:
    from aiohttp import web  # noqa: PLC0415 as above

    from durable_streams.agents.service.app import make_app  # noqa: PLC0415

    told = asyncio.Event()
    signals.wake(asyncio.get_running_loop(), told)
    # Not cancelled with its connection: whoever goes away has not asked for a stop.
    app = make_app(adapter, {"model": about})
    runner = web.AppRunner(app, handler_cancellation=False, shutdown_timeout=1, access_log=None)
    await runner.setup()
    # As the server: what is loaded stays, and what comes and goes is mostly freed without the collector.
    gc.freeze()
    gc.set_threshold(GC_YOUNG_COUNT, 20, 50)
    try:
        await web.TCPSite(runner, options.host, options.port).start()
        port = runner.addresses[0][1]
        if not told.is_set():
            announce(
                f"Agent adapter at http://{options.host}:{port}\n  streams {options.streams_url}\n  model   {about}"
            )
        await told.wait()
    finally:
        await runner.cleanup()
    return 0
