"""Which subscriptions a stream belongs to, and which of their streams may be ahead of their cursors.

Owns: indexes in memory over patterns and explicit links; per subscription a list of streams to look at. Must not know:
cursors and tails. Not a source of truth: everything here is rebuilt from heads and links at start, and a stream listed
as perhaps pending is looked at before it counts.
Invariant: a stream that is pending is listed, or its subscription is ``unknown``.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, Final

from durable_streams.protocol.glob import GlobIndex
from durable_streams.protocol.paths import RESERVED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

CACHE_MAX_BYTES: Final = 16 * 1024 * 1024
"""What remembering the subscriptions of paths costs."""
_ENTRY_BYTES: Final = 400
_MATCH_BYTES: Final = 72
"""What a path that is remembered costs beside its text, and each of its subscriptions."""
GLOB, EXPLICIT = 1, 2
"""Bits of a link: by pattern, by name (§6.1)."""

Matches = tuple[tuple[str, int], ...]
"""(head path of the subscription, link bits) of each subscription that a stream belongs to."""


class Matcher:
    """The loop's thread only."""

    def __init__(self) -> None:
        self._globs: GlobIndex[str] = GlobIndex()
        self._patterns: dict[str, str] = {}
        self._explicit: dict[str, set[str]] = {}
        self._linked: dict[str, set[str]] = {}
        self._wake_streams: dict[str, int] = {}
        self._cache: OrderedDict[str, Matches] = OrderedDict()
        self._cached_bytes = 0
        self._candidates: dict[str, dict[str, None]] = {}
        self._unknown: set[str] = set()
        self._busy: set[str] = set()
        self.paths: set[str] = set()

    def add(self, path: str, pattern: str | None, wake_stream: str | None) -> None:
        """Note a subscription."""
        if path in self.paths:
            return
        self.paths.add(path)
        if pattern is not None:
            self._patterns[path] = pattern
            self._globs.add(pattern, path)
        if wake_stream is not None:
            self._wake_streams[wake_stream] = self._wake_streams.get(wake_stream, 0) + 1
        self._forget_all_matches()

    def remove(self, path: str, wake_stream: str | None) -> None:
        """Forget a subscription; its explicit links too."""
        if path not in self.paths:
            return
        self.paths.discard(path)
        pattern = self._patterns.pop(path, None)
        if pattern is not None:
            self._globs.discard(pattern, path)
        if wake_stream is not None:
            self._wake_streams[wake_stream] -= 1
            if not self._wake_streams[wake_stream]:
                del self._wake_streams[wake_stream]
        for stream in tuple(self._linked.get(path, ())):
            self._unlink(path, stream)
        self._candidates.pop(path, None)
        self._unknown.discard(path)
        self._busy.discard(path)
        self._forget_all_matches()

    def link(self, path: str, streams: Iterable[str]) -> None:
        """Note streams linked by name."""
        for stream in streams:
            self._explicit.setdefault(stream, set()).add(path)
            self._linked.setdefault(path, set()).add(stream)
            self._forget_matches(stream)

    def unlink(self, path: str, stream: str) -> None:
        """A stream is no longer linked by name."""
        if path in self._explicit.get(stream, ()):
            self._unlink(path, stream)
        self._forget_matches(stream)

    def _unlink(self, path: str, stream: str) -> None:
        holders = self._explicit[stream]
        holders.discard(path)
        if not holders:
            del self._explicit[stream]
        linked = self._linked[path]
        linked.discard(stream)
        if not linked:
            del self._linked[path]

    def match(self, stream: str) -> Matches:
        """Return the subscriptions that a stream belongs to.

        Wake streams belong to no pattern: an event of a wake would be pending work, and cause the next.
        """
        found = self._cache.get(stream)
        if found is not None:
            self._cache.move_to_end(stream)
            return found
        bits: dict[str, int] = {}
        if stream not in self._wake_streams and not stream.startswith(f"{RESERVED}/"):
            bits = dict.fromkeys(self._globs.match(stream), GLOB)
        for path in self._explicit.get(stream, ()):
            bits[path] = bits.get(path, 0) | EXPLICIT
        found = self._cache[stream] = tuple(sorted(bits.items()))
        self._cached_bytes += _cost_bytes(stream, found)
        while self._cached_bytes > CACHE_MAX_BYTES and len(self._cache) > 1:
            self._cached_bytes -= _cost_bytes(*self._cache.popitem(last=False))
        return found

    def _forget_matches(self, stream: str) -> None:
        found = self._cache.pop(stream, None)
        if found is not None:
            self._cached_bytes -= _cost_bytes(stream, found)

    def _forget_all_matches(self) -> None:
        self._cache.clear()
        self._cached_bytes = 0

    def bits(self, path: str, stream: str) -> int:
        """Return how a stream belongs to one subscription, 0 if it does not."""
        return next((bits for holder, bits in self.match(stream) if holder == path), 0)

    def mark(self, path: str, *, busy: bool) -> None:
        """Note whether a subscription, as committed, waits for somebody to finish: then no news wake it."""
        if busy:
            self._busy.add(path)
        else:
            self._busy.discard(path)

    def moved_by(self, stream: str, is_changing: Callable[[str], bool]) -> list[tuple[str, int]]:
        """Return those matches of a stream that its growth may change; the others have it listed, and are busy.

        ``is_changing``: whether a subscription is about to be another than is committed.
        """
        candidates, busy, unknown = self._candidates, self._busy, self._unknown
        return [
            match
            for match in self.match(stream)
            if match[0] not in busy
            or match[0] in unknown
            or stream not in candidates.get(match[0], ())
            or is_changing(match[0])
        ]

    def note(self, path: str, stream: str) -> None:
        """A stream may be ahead of its cursor."""
        self._candidates.setdefault(path, {})[stream] = None

    def dismiss(self, path: str, stream: str) -> None:
        """A stream has been looked at, and is not ahead."""
        self._candidates.get(path, {}).pop(stream, None)

    def knows(self, path: str) -> bool:
        """Whether every pending stream of a subscription is listed."""
        return path not in self._unknown

    def candidates(self, path: str) -> Iterator[str]:
        """Yield the streams listed, the one noted first first; ``dismiss`` before going on is allowed."""
        listed = self._candidates.get(path, {})
        kept = 0
        while len(listed) > kept:
            stream = next(islice(listed, kept, None))
            yield stream
            kept += stream in listed

    def forget(self, path: str) -> None:
        """Whatever is listed for a subscription may be incomplete."""
        if path in self.paths:
            self._unknown.add(path)

    def forget_all(self) -> None:
        """Whatever is listed for any subscription may be incomplete."""
        self._unknown |= self.paths

    def settle(self, path: str) -> None:
        """All links have been looked at, and no stream is ahead."""
        self._unknown.discard(path)
        self._candidates.pop(path, None)


def _cost_bytes(stream: str, found: Matches) -> int:
    return _ENTRY_BYTES + len(stream) + _MATCH_BYTES * len(found)
