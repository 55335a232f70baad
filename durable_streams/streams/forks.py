"""Where a fork's own bytes begin, found before the batch that makes it: counting takes longer than a batch may.

Owns: the look ahead, and whether what it found still holds when the batch decides. Must not know: how they are counted.
Invariant: stored bytes never change, so a place found stays right for its incarnation; that it was not found holds only
for the tail up to which was looked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable_streams.protocol import content_types
from durable_streams.protocol.create import check_source
from durable_streams.protocol.draft import Draft
from durable_streams.protocol.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Generator

    from durable_streams.commit.batch import Batch
    from durable_streams.commit.heads import HeadCache
    from durable_streams.protocol.create import Create
    from durable_streams.streams.pages import Pages


class ForkBase:
    """Finds the byte position of ``sub_offset`` bytes or messages past ``anchor`` in a source (§4.2).

    ``look`` ahead is for the position alone; whatever else speaks against the fork is found by the batch.
    """

    def __init__(self, pages: Pages, cache: HeadCache) -> None:
        self._pages, self._cache = pages, cache
        self._seen: tuple[int, int, int] | None = None
        self._found: int | StreamError | None = None

    def look(self, request: Create) -> Generator[None, None, None]:
        """Look for the position as things stand, a slice at a time."""
        fork = request.fork
        entry = self._cache.entry(fork.source_path) if fork is not None else None
        if fork is None or entry is None or fork.sub_offset == 0:
            return
        source = Draft.of(entry.head, entry.touched_ms)
        if not content_types.is_json(source.record.content_type):
            return
        try:
            anchor = check_source(source, request)
            self._seen = (source.sid, anchor, source.tail)
            self._found = yield from self._pages.fork_base(source, anchor, fork.sub_offset)
        except StreamError as refusal:
            self._found = refusal.bare()

    def decide(self, batch: Batch, source: Draft, anchor: int, sub_offset: int) -> int:  # noqa: PLR0917 where and how far
        """Return the position in the source as the batch has it: what was found, or what is found now.

        Raises:
            StreamError: as ``Pages.fork_base``.
        """
        if self._seen is not None and self._seen[:2] == (source.sid, anchor):
            if isinstance(self._found, int):
                return self._found
            if self._found is not None and self._seen[2] == source.tail:
                raise self._found
        steps = self._pages.fork_base(source, anchor, sub_offset)
        while True:
            try:
                next(steps)
            except StopIteration as found:
                return int(found.value)
            batch.look()
