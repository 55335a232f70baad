"""What an operator may set: bounds and options of the server, with units and defaults.

Owns: the bounds that depend on a machine, its memory and its clients. A bound that no operator has reason to change
stands in the module that keeps it; ``docs/limits.md`` lists those. A queue, batch, body, buffer or wait with a bound in
neither place is a bug.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of work in hand. Sizes in bytes, times in milliseconds.

    max_append_bytes: largest request body (413 beyond).
    arriving_bytes: what may be held of large bodies that are not whole yet, over all connections (503 + Retry-After
        beyond).
    max_chunk_bytes: largest answer to a catch-up read, one page; a single larger JSON message goes whole. ``None``: an
        answer goes on to the tail, unless the request asks for a page.
    page_bytes: what is read of a stream, and held, at once: a page, a piece of an answer that goes on to the tail, an
        event of a reader that catches up. ``max_chunk_bytes`` wins over it.
    batch_commands, batch_bytes: what one commit takes from the queue at most.
    queue_commands, queue_bytes: what may wait for a commit (503 + Retry-After beyond).
    long_poll_timeout_ms: how long a long-poll waits for data (§5.7).
    sse_lifetime_ms: after this an SSE connection is closed so that caches can collapse readers (§10.2).
    sse_heartbeat_ms: silence after which a comment is sent.
    sse_buffer_bytes: unsent bytes of one live reader beyond which it is no longer pushed to, but reads by offset.
    sending_bytes: what may be held of answers that their clients have not taken, over all connections; then no more is
        made: 503 + Retry-After, and who reads already waits.
    connections_count: connections at once; one more is closed as it comes.
    write_timeout_ms, least_rate_bytes: a peer that takes less than so many bytes a second over this time is cut, while
        any wait for it in this process.
    request_timeout_ms: a request must have arrived whole within this.
    upload_idle_ms: a streaming append from which nothing comes for this long is ended.
    keepalive_timeout_ms: an idle connection is closed after this.
    half_closed_probe_ms: pause between looks for a client that has shut its side and waits for its answer; one that has
        gone altogether is dropped.
    drain_timeout_ms: shutdown takes at most this.
    head_cache_count: heads kept decoded in memory.
    sweep_interval_ms: pause between looks for expired streams and rows to collect.
    sweep_count: streams or rows handled per slice of that work.
    slow_request_ms: requests slower than this are logged.
    """

    max_append_bytes: int = 16 * MIB
    arriving_bytes: int = 96 * MIB
    sending_bytes: int = 160 * MIB
    connections_count: int = 4096
    max_chunk_bytes: int | None = None
    page_bytes: int = MIB
    batch_commands: int = 2048
    batch_bytes: int = 32 * MIB
    queue_commands: int = 32_768
    queue_bytes: int = 96 * MIB
    long_poll_timeout_ms: int = 30_000
    sse_lifetime_ms: int = 60_000
    sse_heartbeat_ms: int = 15_000
    sse_buffer_bytes: int = 256 * KIB
    write_timeout_ms: int = 30_000
    least_rate_bytes: int = KIB
    request_timeout_ms: int = 30_000
    upload_idle_ms: int = 600_000
    keepalive_timeout_ms: int = 75_000
    half_closed_probe_ms: int = 1_000
    drain_timeout_ms: int = 4_000
    head_cache_count: int = 16_384
    sweep_interval_ms: int = 1_000
    sweep_count: int = 1_000
    slow_request_ms: int = 1_000

    @property
    def least_bytes(self) -> int:
        """What a peer takes at least within ``write_timeout_ms`` while something waits for it."""
        return max(1, self.least_rate_bytes * self.write_timeout_ms // 1000)

    @property
    def page_limit_bytes(self) -> int:
        """The largest page of any read, in bytes."""
        return self.max_chunk_bytes or self.page_bytes


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """What ``serve`` is told.

    host, port: where to listen; ``::`` is every address of both families; port 0 takes a free one.
    root: URL path under which streams live; ``/`` is allowed.
    engine: ``lmdb`` (durable) or ``memory``.
    data_dir: the store's directory.
    require_store: refuse to start where no complete store is, instead of beginning one.
    map_size_bytes: size of LMDB's sparse map, the store's upper bound.
    lane: serve usual requests without aiohttp (``http/fronts/lane.py``).
    ui: serve the inspector at ``/_ui``; without it, nothing is there.
    cache_scope: ``public`` lets shared caches keep pages, ``private`` only the reader's own (§10.1).
    log_format: ``logfmt`` or ``json``.
    public_url: scheme, authority and path prefix by which clients and webhook receivers reach this server, without a
        slash at the end; ``None`` takes those of the request.
    trust_forwarded: the one family of fields in which a proxy is believed about scheme, host and prefix of a request;
        ``none`` for no proxy.
    allow_local_webhooks: let webhooks go to loopback addresses, by http too; for development.
    allow_origins: whose pages may use this server; ``*`` is everybody's. Empty: those of this machine while it listens
        on loopback, else everybody's.
    allow_hosts: names by which it is reached, beside its own, while it listens on loopback; ``*`` is any.
    """

    host: str = "127.0.0.1"
    port: int = 4437
    root: str = "/v1/stream"
    engine: Literal["lmdb", "memory"] = "lmdb"
    data_dir: Path = Path("data")
    require_store: bool = False
    map_size_bytes: int = 1 << 40
    lane: bool = True
    ui: bool = True
    cache_scope: Literal["public", "private"] = "private"
    log_format: Literal["logfmt", "json"] = "logfmt"
    public_url: str | None = None
    trust_forwarded: Literal["none", "forwarded", "x-forwarded"] = "none"
    allow_local_webhooks: bool = False
    allow_origins: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    bounds: Bounds = Bounds()
