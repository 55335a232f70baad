"""The options of ``serve``: one for each field of ``ServerConfig`` and ``Bounds``, whose defaults they take."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from durable_streams.cli.options import Size, Whole, option
from durable_streams.protocol.public_urls import parse_public_url
from durable_streams.runtime.config import Bounds, ServerConfig

if TYPE_CHECKING:
    from collections.abc import Callable

FC = TypeVar("FC", bound="Callable[..., Any] | click.Command")

_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", re.ASCII)
_ORIGIN = re.compile(rf"[a-z][a-z0-9+.-]*://({_HOST.pattern})(:[0-9]{{1,5}})?", re.ASCII)
_ROOT = re.compile(r"/|(/[A-Za-z0-9_~.-]+)+/?", re.ASCII)

BOUNDS_HELP: Final = {
    "max_append_bytes": "Largest request body; 413 beyond.",
    "arriving_bytes": "Bytes held of large request bodies that are not whole yet, over all connections; 503 beyond.",
    "sending_bytes": "Bytes held of answers that their clients have not taken, over all connections; 503 beyond, and "
    "who reads already waits.",
    "connections_count": "Connections at once; one more is closed as it comes.",
    "max_chunk_bytes": "Largest answer to a catch-up read, one page; a single larger JSON message goes whole. Without "
    "it an answer goes on to the tail, unless the request says max-bytes.",
    "page_bytes": "What is read of a stream, and held in memory, at once; --max-chunk-bytes wins over it.",
    "batch_commands": "Commands that one commit takes at most.",
    "batch_bytes": "Bytes that one commit takes at most.",
    "queue_commands": "Commands that may wait for a commit; 503 beyond.",
    "queue_bytes": "Bytes that may wait for a commit; 503 beyond.",
    "long_poll_timeout_ms": "How long a long-poll waits for news.",
    "sse_lifetime_ms": "An SSE connection is ended after this; its client reconnects.",
    "sse_heartbeat_ms": "Silence on an SSE connection after which a comment is sent.",
    "sse_buffer_bytes": "Unsent bytes of one live reader beyond which it is read to by offset instead of pushed to.",
    "write_timeout_ms": "A client that takes nothing of its answer for this long is cut.",
    "least_rate_bytes": "Bytes a second below which a client that takes its answer is cut, as a mean over "
    "--write-timeout-ms.",
    "request_timeout_ms": "A request must have arrived whole within this.",
    "upload_idle_ms": "A streaming append from which nothing comes for this long is ended.",
    "keepalive_timeout_ms": "An idle connection is closed after this.",
    "half_closed_probe_ms": "Pause between looks whether a client that waits, its side shut, has gone.",
    "drain_timeout_ms": "Shutting down waits this long for requests under way.",
    "head_cache_count": "Streams whose state is kept decoded in memory.",
    "sweep_interval_ms": "Pause between looks for expired and deleted streams to remove from disk.",
    "sweep_count": "Streams or rows that one slice of that work handles.",
    "slow_request_ms": "Requests slower than this are logged.",
}
"""Field of ``Bounds`` → what its option says."""

_ALIASES: Final = {"request_timeout_ms": ("--request-timeout",)}
_LARGEST: Final = {
    "max_append_bytes": 1 << 30,
    "max_chunk_bytes": 1 << 30,
    "page_bytes": 1 << 30,
    "batch_bytes": 1 << 32,
}
"""Upper ends, in bytes, of what is held in memory whole."""


def check_root(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Refuse a root that no URL path would match."""
    if _ROOT.fullmatch(value) is None or "/./" in f"{value}/" or "/../" in f"{value}/":
        raise click.BadParameter(f"{value!r} is not a URL path such as /v1/stream or /")
    return value


def check_public_url(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse what is no scheme and authority, with or without a path prefix."""
    try:
        return None if value is None else parse_public_url(value)
    except ValueError as refusal:
        raise click.BadParameter(str(refusal)) from None


def check_origins(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Split a list of origins; refuse what is none."""
    origins = _split(value)
    for origin in origins:
        if origin != "*" and _ORIGIN.fullmatch(origin) is None:
            raise click.BadParameter(
                f"{origin!r} is not an origin such as https://app.example or http://localhost:5173"
            )
    return origins


def check_hosts(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Split a list of hosts; refuse what is none."""
    hosts = _split(value)
    for host in hosts:
        if host != "*" and _HOST.fullmatch(host) is None:
            raise click.BadParameter(f"{host!r} is not a host such as streams.example")
    return hosts


def _split(value: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (value or "").split(",") if part.strip())


def _bound_option(name: str, default: int | None) -> Callable[[FC], FC]:
    kind = Size(maximum=_LARGEST.get(name, 1 << 40)) if name.endswith("_bytes") else Whole(min=1)
    names = (f"--{name.replace('_', '-')}", *_ALIASES.get(name, ()))
    return option(*names, name, type=kind, default=default, help=BOUNDS_HELP.get(name, ""))


def _config_options() -> list[Callable[[Any], Any]]:
    default = ServerConfig()
    return [
        option("--host", default=default.host, help="Address to listen on; :: is all of them, 0.0.0.0 all of IPv4."),
        option("--port", type=Whole(0, 65_535), default=default.port, help="Port; 0 takes a free one."),
        option(
            "--data-dir",
            type=click.Path(path_type=Path),
            default=default.data_dir,
            help="The store's directory; a new store begins where it is missing or empty.",
        ),
        option("--root", default=default.root, callback=check_root, help="URL path below which streams live."),
        option(
            "--engine",
            type=click.Choice(["lmdb", "memory"]),
            default=default.engine,
            help="lmdb is durable, memory forgets at the end.",
        ),
        option(
            "--require-store",
            is_flag=True,
            help="Refuse to start where there is no store, as where a disk is not mounted, instead of beginning one.",
        ),
        option(
            "--map-size-bytes",
            type=Size(1 << 20),
            default=default.map_size_bytes,
            help="Upper bound of the store, as address space: the file grows only as it is written. 507 when full.",
        ),
        option(
            "--lane/--no-lane",
            default=default.lane,
            help="Serve the usual requests by the fast path, or all by the general one.",
        ),
        option("--ui/--no-ui", default=default.ui, help="Serve the inspector at /_ui, or nothing there."),
        option(
            "--cache-scope",
            type=click.Choice(["public", "private"]),
            default=default.cache_scope,
            help="public lets shared caches keep pages.",
        ),
        option(
            "--log-format",
            type=click.Choice(["logfmt", "json"]),
            default=default.log_format,
            help="How log lines on stderr are written.",
        ),
        option(
            "--public-url",
            callback=check_public_url,
            metavar="URL",
            help="URL by which clients and webhook receivers reach this server, for Location and callbacks; with the "
            "path prefix that a proxy takes off. Without it: as the request says.",
        ),
        option(
            "--trust-forwarded",
            type=click.Choice(["none", "forwarded", "x-forwarded"]),
            default=default.trust_forwarded,
            help="Believe a proxy about scheme, host and prefix: Forwarded, or X-Forwarded-Proto, -Host, -Prefix. It "
            "must set or remove all of these. --public-url goes before.",
        ),
        option(
            "--allow-local-webhooks",
            is_flag=True,
            help="Let webhooks go to this machine, by http too. For development.",
        ),
        option(
            "--allow-origin",
            "allow_origins",
            callback=check_origins,
            metavar="ORIGINS",
            help="Whose pages may use this server, as https://app.example, by commas; * is everybody's. Without it: "
            "those of this machine while --host is loopback, else everybody's.",
        ),
        option(
            "--allow-host",
            "allow_hosts",
            callback=check_hosts,
            metavar="HOSTS",
            help="Names by which a proxy reaches this server while --host is loopback, by commas; * is any. "
            "--public-url's is one.",
        ),
    ]


def serve_options(command: FC) -> FC:
    """Declare all options of ``serve``."""
    default = Bounds()
    bounds = [_bound_option(field.name, getattr(default, field.name)) for field in fields(Bounds)]
    for declare in reversed([*_config_options(), *bounds]):
        command = declare(command)
    return command
