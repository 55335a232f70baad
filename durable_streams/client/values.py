"""The plain values that go in and out of the client's calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

T = TypeVar("T")

Offset: TypeAlias = str
"""An opaque, sortable position (§8). ``-1`` is the beginning, ``now`` the tail."""

LiveMode: TypeAlias = Literal["auto", "long-poll", "sse"] | bool
"""How to go on after catching up.

``False``: not at all. ``True`` or ``"auto"``: by SSE for JSON items, by long-poll for everything else, where it is the
mode that keeps every byte. ``"long-poll"``, ``"sse"``: as named.
"""

HeadersLike: TypeAlias = Mapping[str, str | Callable[[], str | Awaitable[str]]]
"""Request headers; a callable is asked anew for every attempt, so that tokens can be refreshed."""

ParamsLike: TypeAlias = Mapping[str, str | Callable[[], str | Awaitable[str]] | None]
"""Query parameters, as ``HeadersLike``; ``None`` leaves one out."""

Amendment: TypeAlias = Mapping[str, Mapping[str, str]]
"""What an error handler may return to have the request repeated: ``{"headers": {...}, "params": {...}}``."""

ErrorHandler: TypeAlias = Callable[[Exception], Amendment | Awaitable[Amendment | None] | None]
"""Asked about an error before it is raised; ``None`` lets it go, an amendment repeats the request with it."""


@dataclass(frozen=True, slots=True)
class StreamEvent(Generic[T]):
    """One delivery, with where it ends.

    Attributes:
        data: the payload in the asked-for form; ``None`` if only the state has changed.
        next_offset: where to resume after this event.
        up_to_date: nothing more was stored when the server answered.
        cursor: the cache-collapsing token to echo, if any.
        stream_closed: nothing more will ever come.
    """

    data: T | None
    next_offset: Offset
    up_to_date: bool
    cursor: str | None = None
    stream_closed: bool = False


@dataclass(frozen=True, slots=True)
class HeadResult:
    """A stream's metadata (§5.5).

    Attributes:
        exists: always true; a missing stream raises.
        offset: the tail.
        ttl_seconds: the sliding time to live.
        expires_at: the absolute expiry, RFC 3339.
        extensions: what the server offers beyond the protocol, such as ``tail`` and ``list``.
    """

    exists: Literal[True]
    content_type: str | None = None
    offset: Offset | None = None
    etag: str | None = None
    cache_control: str | None = None
    stream_closed: bool = False
    ttl_seconds: int | None = None
    expires_at: str | None = None
    extensions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AppendResult:
    """An acknowledged append; ``next_offset`` is the tail after it."""

    next_offset: Offset


@dataclass(frozen=True, slots=True)
class CloseResult:
    """A closed stream; ``final_offset`` is its tail for ever."""

    final_offset: Offset


@dataclass(frozen=True, slots=True)
class IdempotentAppendResult:
    """An acknowledged batch of a producer.

    Attributes:
        offset: the tail after it; empty if the server did not say, as it may for a duplicate.
        duplicate: the server had it already from an attempt whose answer was lost.
        in_doubt: an attempt's answer was lost, so a duplicate may be this call's own.
    """

    offset: Offset
    duplicate: bool
    in_doubt: bool = False


@dataclass(frozen=True, slots=True)
class StreamListing:
    """One entry of ``list_streams``; ``path`` is relative to the root."""

    path: str
    content_type: str
    next_offset: Offset
    closed: bool
    ttl_s: int | None = None
    expires_at: str | None = None
    forked_from: str | None = None
