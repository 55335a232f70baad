"""Requests and answers as plain values, which every front can make and send."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from durable_streams.http.sse_feed import FeedStart

Fields = tuple[tuple[str, str], ...]
Settle: TypeAlias = "Callable[[Answer | SseStart], None]"
"""Takes the answer of one request, once."""


class Request(NamedTuple):
    """One request, its body read.

    method: upper case. path: as on the request line, percent-encoded, without the query.
    query: parameters in order, decoded. headers: looked up without regard to case.
    origin: scheme and authority as the client addressed them, for absolute URLs.
    """

    method: str
    path: str
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes
    origin: str


class Answer(NamedTuple):
    """One answer. ``headers`` come on top of those every answer has (``http/answers.py``)."""

    status: int
    headers: Fields = ()
    body: bytes = b""


class SseStart(NamedTuple):
    """An answer that stays open: the events of its feeds (§5.8).

    cursor: what the client echoed. opening: events to send before any feed's.
    """

    feeds: tuple[FeedStart, ...]
    cursor: str | None
    headers: Fields
    opening: bytes = b""


class Pending:
    """A request whose answer will be settled later, by a commit or a follower."""

    __slots__ = ()

    def abandon(self) -> None:
        """The client has gone: stop waiting on its behalf. What it asked to be written is written all the same."""


LATER = Pending()
