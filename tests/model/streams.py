"""What a stream is, read off the specification: units in order, a state, a lifetime, writers, and forks.

A *unit* is one JSON message on an `application/json` stream and one byte on any other; a position is a number of units.
Offsets are opaque (§8), so the model never makes one: it learns the token of a position when the server first mints it,
and from then on that position has this token and no other.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from enum import Enum

JSON, TEXT, OCTETS = "application/json", "text/plain", "application/octet-stream"
FORBIDDEN_IN_OFFSETS = frozenset(",&=?/")
TOUCH_LOSS_MIN_MS, TOUCH_LOSS_SHARE = 1_000, 32


def media_type(content_type: str) -> str:
    return content_type.split(";", maxsplit=1)[0].strip().lower()


@dataclass(frozen=True)
class Body:
    """Bytes to send, and the messages in them once one array level is flattened (§9.1.2)."""

    raw: bytes = b""
    messages: tuple[bytes, ...] = ()

    def units(self, content_type: str) -> tuple[bytes, ...]:
        if media_type(content_type) == JSON:
            return self.messages
        return tuple(self.raw[at : at + 1] for at in range(len(self.raw)))


@dataclass(frozen=True)
class Lifetime:
    """At most one of the two is set (§5.1)."""

    ttl_s: int | None = None
    expires_at_ms: int | None = None


@dataclass(frozen=True)
class ForkAsk:
    """The fork headers of a PUT (§4.2)."""

    source: str
    offset: str | None = None
    sub_offset: int = 0


@dataclass(frozen=True)
class Creation:
    """One PUT. `content_type` is `None` if the header is left out."""

    content_type: str | None
    body: Body = Body()
    closed: bool = False
    lifetime: Lifetime = Lifetime()
    fork: ForkAsk | None = None


@dataclass(frozen=True)
class Triple:
    """The producer headers (§5.2.1)."""

    producer_id: str
    epoch: int
    seq: int


class Tokens:
    """The offsets of one stream, by position, as the server minted them."""

    def __init__(self, inherited: dict[int, str] | None = None) -> None:
        self.by_position: dict[int, str] = dict(inherited or {})

    def learn(self, position: int, token: str) -> None:
        """Check §8: unique, strictly increasing, persistent, never a sentinel, fit for a query."""
        known = self.by_position.get(position)
        assert known is None or known == token, f"position {position} was {known} and is now {token}"
        assert 0 < len(token) < 256, token
        assert token not in {"-1", "now"}
        assert not FORBIDDEN_IN_OFFSETS & set(token), token
        self.by_position[position] = token
        positions = sorted(self.by_position)
        at = bisect.bisect_left(positions, position)
        around = [self.by_position[one] for one in positions[max(0, at - 1) : at + 2]]
        assert around == sorted(set(around)), f"offsets out of order: {around}"

    def position(self, token: str) -> int | None:
        return next((position for position, known in self.by_position.items() if known == token), None)

    def up_to(self, position: int) -> dict[int, str]:
        return {at: token for at, token in self.by_position.items() if at <= position}


class Life(Enum):
    """Whether a stream's time is over. `UNSURE`: a crash may have cost the last read touch."""

    ALIVE = 1
    UNSURE = 2
    OVER = 3


@dataclass(eq=False)
class Stream:
    """One incarnation.

    written_ms: last write, which is durable. touched_ms: earliest and latest time from which a TTL may be counting.
    fork_of, base: the source, and the position at which the fork leaves it. forks: the living ones of this stream.
    followers: long-polls that wait at its tail. cursor: the last one that a live answer brought.
    """

    path: str
    asked: Creation
    content_type: str
    lifetime: Lifetime
    now_ms: int
    units: tuple[bytes, ...] = ()
    closed: bool = False
    soft_deleted: bool = False
    stream_seq: str | None = None
    producers: dict[str, tuple[int, int]] = field(default_factory=dict)
    closer: Triple | None = None
    fork_of: Stream | None = None
    base: int = 0
    forks: set[Stream] = field(default_factory=set)
    followers: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    cursor: str | None = None

    def __post_init__(self) -> None:
        self.written_ms = self.now_ms
        self.touched_ms = (self.now_ms, self.now_ms)

    @property
    def tail(self) -> int:
        return len(self.units)

    @property
    def is_json(self) -> bool:
        return media_type(self.content_type) == JSON

    def write(self, now_ms: int) -> None:
        self.written_ms = now_ms
        self.touched_ms = (now_ms, now_ms)

    def read(self, now_ms: int) -> None:
        self.touched_ms = (now_ms, now_ms)

    def maybe_touched(self, now_ms: int) -> None:
        """Something that may or may not count as a read or write."""
        self.touched_ms = (self.touched_ms[0], now_ms)

    def crash(self) -> None:
        """A read's touch becomes durable within a 32nd of the TTL, or a second: so much may be lost."""
        loss_ms = max(TOUCH_LOSS_MIN_MS, (self.lifetime.ttl_s or 0) * 1000 // TOUCH_LOSS_SHARE)
        self.touched_ms = (max(self.written_ms, self.touched_ms[0] - loss_ms), self.touched_ms[1])

    def life(self, now_ms: int) -> Life:
        """A live reader keeps a TTL stream alive (§5.1); a deleted one is no longer counted."""
        if self.soft_deleted:
            return Life.ALIVE
        earliest, latest = self.deadlines_ms()
        if earliest is None or latest is None or (self.followers and self.lifetime.ttl_s is not None):
            return Life.ALIVE
        return Life.OVER if now_ms >= latest else Life.UNSURE if now_ms >= earliest else Life.ALIVE

    def deadlines_ms(self) -> tuple[int, int] | tuple[None, None]:
        """The earliest and the latest moment at which the time of this stream may be over."""
        if self.lifetime.expires_at_ms is not None:
            return self.lifetime.expires_at_ms, self.lifetime.expires_at_ms
        if self.lifetime.ttl_s is None:
            return None, None
        window_ms = self.lifetime.ttl_s * 1000
        return self.touched_ms[0] + window_ms, self.touched_ms[1] + window_ms

    def proved_alive(self, now_ms: int) -> None:
        assert self.lifetime.ttl_s is not None
        earliest = now_ms - self.lifetime.ttl_s * 1000 + 1
        self.touched_ms = (max(earliest, self.touched_ms[0]), self.touched_ms[1])
