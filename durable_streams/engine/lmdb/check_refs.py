"""Check that every stream counts exactly the forks that name it as their source.

Owns: counting forks in bounded memory.
Must not know: anything else about a head.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from durable_streams.engine.lmdb import keys
from durable_streams.engine.lmdb.keys import LayoutError
from durable_streams.engine.lmdb.rows import decode_head
from durable_streams.engine.lmdb.sums import row_bytes
from durable_streams.protocol.head import decode_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable_streams.engine.lmdb.snapshot import Snapshot
    from durable_streams.protocol.head import Head

COUNTERS_PER_PASS = 1_000_000
"""Sources counted at a time, about 100 MB; a store with more forks is read several times."""


def check_refs(snapshot: Snapshot, counters_per_pass: int = COUNTERS_PER_PASS) -> None:
    """Compare each head's ``refs`` with the number of forks of its incarnation, a share of the sids in each pass."""
    forks = sum(1 for _ in _sources(snapshot))
    passes = forks // counters_per_pass + 1
    for share in range(passes):
        counts = Counter(sid for sid in _sources(snapshot) if sid % passes == share)
        for head in _heads(snapshot):
            if head.sid % passes == share and head.refs != counts[head.sid]:
                what = f"counts {head.refs} forks, {counts[head.sid]} name it as their source"
                snapshot.findings.add(head.path, what)


def _sources(snapshot: Snapshot) -> Iterator[int]:
    """Yield the source's sid of every fork."""
    for head in _heads(snapshot):
        try:
            record = decode_record(head.record)
        except (ValueError, TypeError):
            continue
        if record.fork is not None:
            yield record.fork.source_sid


def _heads(snapshot: Snapshot) -> Iterator[Head]:
    """Yield the heads that decode; the others are reported elsewhere."""
    for key, row in snapshot.rows(snapshot.databases.head):
        try:
            yield decode_head(keys.decode_path(key), row[: row_bytes(row)])
        except LayoutError:
            continue
