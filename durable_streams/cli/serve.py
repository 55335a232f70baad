"""``serve``: run the server."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from durable_streams.cli.descriptors import announce
from durable_streams.cli.endings import Failure, Status
from durable_streams.cli.options import gathered, tell_of_ignored_variables
from durable_streams.cli.serve_options import serve_options
from durable_streams.runtime.config import Bounds, ServerConfig
from durable_streams.runtime.listening import ALL, ALL_IPV4, bind
from durable_streams.runtime.stopping import StoppedEarlyError, StopSignals

if TYPE_CHECKING:
    from durable_streams.server import Server


def server_config(**values: Any) -> ServerConfig:  # noqa: ANN401 the options as click gives them
    """Return the configuration that the options ask for.

    Raises:
        click.UsageError: options that contradict each other.
    """
    bounds = Bounds(**{field.name: values.pop(field.name) for field in fields(Bounds)})
    if bounds.queue_bytes <= bounds.max_append_bytes:
        raise click.UsageError("--queue-bytes must be above --max-append-bytes, or the largest append never fits")
    if bounds.arriving_bytes < bounds.max_append_bytes:
        raise click.UsageError(
            "--arriving-bytes must not be below --max-append-bytes, or the largest append never fits"
        )
    return ServerConfig(bounds=bounds, **values)


@click.command("serve")
@serve_options
@gathered(server_config)
def serve_command(config: ServerConfig) -> int:
    """Serve streams until SIGTERM or ctrl-C, then drain and exit.

    Prints where it listens once requests are taken. Logs slow requests and faults to stderr.
    """
    signals = StopSignals()
    signals.install()
    try:
        return _serve(config, signals)
    except StoppedEarlyError:
        return Status.DONE


def _serve(config: ServerConfig, signals: StopSignals) -> int:
    announcement = _Announcement()
    with signals.interrupting():
        from durable_streams.engine.base import RefusedToStartError  # noqa: PLC0415 --help need not load the server
        from durable_streams.runtime.logs import configure_logs  # noqa: PLC0415
        from durable_streams.server import run  # noqa: PLC0415

        configure_logs(config.log_format)
        tell_of_ignored_variables()
    try:
        with signals.interrupting():
            check_address(config.host, config.port)
        return run(config, announcement, signals)
    except RefusedToStartError as refusal:
        raise Failure(str(refusal)) from refusal
    except OSError as error:
        if announcement.made:
            raise
        raise _cannot_listen(config, error) from error


def check_address(host: str, port: int) -> None:
    """Raise ``OSError`` if nobody could listen there: to be known before a store is made for it."""
    for bound in bind(host, port):
        bound.close()


class _Announcement:
    """Tells the operator, once, that requests are being taken and how to try it."""

    def __init__(self) -> None:
        self.made = False

    def __call__(self, server: Server) -> None:
        self.made = True
        # One write: whoever waits for the first line has all of them.
        announce(startup_text(server.url, server.config, durable=server.engine.durable))


def startup_text(url: str, config: ServerConfig, *, durable: bool) -> str:
    """Return what ``serve`` prints when it listens: the root's URL first, then store, promise and examples."""
    stream = f"{url.rstrip('/')}/first"
    where = str(config.data_dir.absolute()) if config.engine == "lmdb" else "none"
    promise = "every acknowledged write is fsynced" if durable else "none: everything is forgotten at the end"
    reach = "all addresses" if config.host in ALL else "all IPv4 addresses" if config.host == ALL_IPV4 else ""
    return "\n".join(
        [
            f"Durable Streams at {url}",
            f"  data dir    {where}",
            f"  engine      {config.engine}",
            f"  durability  {promise}",
            *([f"  listens on  {reach}"] if reach else []),
            "  try it",
            f"    curl -X PUT {stream} -H 'Content-Type: text/plain'",
            f"    curl -X POST {stream} -H 'Content-Type: text/plain' -d 'hello, world'",
            f"    curl {stream}",
            f"    curl -N '{stream}?offset=-1&live=sse'",
        ]
    )


def _cannot_listen(config: ServerConfig, error: OSError) -> Failure:
    # uvloop's own text repeats the address; name resolution has no errno of the system's.
    why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
    return Failure(
        f"cannot listen on {config.host} port {config.port} ({why}): pass another --host or --port", Status.FAILED
    )
