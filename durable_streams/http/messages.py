"""Requests and answers as plain values, which every front can make and send."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from durable_streams.http.outgoing import Parcel
    from durable_streams.protocol.head import Head

Fields = tuple[tuple[str, str], ...]
Settle: TypeAlias = "Callable[[Answer | SseStart], None]"
"""Takes the answer of one request, once."""


class Request(NamedTuple):
    """One request, its body read.

    method: upper case. path: as on the request line, percent-encoded, without the query.
    query: parameters in order, decoded. headers: the fields of ``protocol/request_fields.py``, spelt as there.
    origin: scheme and authority as the client addressed them; the authority is empty where it named no host.
    """

    method: str
    path: str
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes
    origin: str


class BodySource(Protocol):
    """What of a body is not read yet. A front takes a piece a turn of the loop, when the client has room for it."""

    left_bytes: int
    """What is still to come, exactly."""

    def take(self) -> Parcel | None:
        """Return the next piece, not empty; ``None`` when there can be no more: the front cuts the connection."""


class Answer(NamedTuple):
    """One answer. ``headers`` come on top of those every answer has (``http/answers.py``).

    rest: what follows ``body``, for an answer that is not held whole; both together are its length.
    parcel: by which ``body`` is counted while it is on its way, where others may be sent the same; its payload.
    """

    status: int
    headers: Fields = ()
    body: bytes = b""
    rest: BodySource | None = None
    parcel: Parcel | None = None

    @property
    def body_bytes(self) -> int:
        """The length of the whole body."""
        return len(self.body) + (0 if self.rest is None else self.rest.left_bytes)


class FeedStart(NamedTuple):
    """Where a feed begins. ``label``: bytes that go before each of its events, to tell streams apart; mostly none."""

    head: Head
    position: int
    label: bytes = b""


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
