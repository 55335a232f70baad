"""Check every head against the rows it implies.

Owns: what a head and its record promise about ``sid``, ``due`` and ``chunk`` rows, and about the ancestors of a fork.
Must not know: how the store was opened.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import orjson

from durable_streams.engine.lmdb import keys
from durable_streams.engine.lmdb.rows import decode_head
from durable_streams.engine.lmdb.sums import row_bytes
from durable_streams.protocol.content_types import is_json
from durable_streams.protocol.expiry import deadline_ms
from durable_streams.protocol.head import decode_record

if TYPE_CHECKING:
    from durable_streams.engine.lmdb.snapshot import Snapshot
    from durable_streams.protocol.head import Fork, Head, Record

_COMMA = ord(",")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}|\\u[dD][c-fC-F][0-9a-fA-F]{2}")


def check_heads(snapshot: Snapshot) -> None:
    """Check each head on its own: index rows, state, chunks, and that what it was forked from still stands."""
    for key, sealed in snapshot.rows(snapshot.databases.head):
        where = bytes(key).decode(errors="backslashreplace")
        row = snapshot.opened(where, "its head", key, sealed=sealed)
        head = snapshot.decoded(where, partial(_decode_row, key, row))
        record = None if head is None else snapshot.decoded(where, partial(decode_record, head.record))
        if head is not None:
            _check_sid(snapshot, head)
        if head is not None and record is not None:
            _check_due(snapshot, head, record)
            _check_chunks(snapshot, head, record)
            if record.fork is not None:
                _check_fork(snapshot, head, record.fork)


def _decode_row(key: memoryview, row: memoryview) -> Head:
    return decode_head(keys.decode_path(key), row)


def _check_sid(snapshot: Snapshot, head: Head) -> None:
    path_key = snapshot.txn.get(keys.encode_sid(head.sid), db=snapshot.databases.sid)
    if path_key is None or path_key != keys.encode_path(head.path):
        snapshot.findings.add(head.path, f"incarnation {head.sid} is not in the sid index under this path")
    if head.soft_deleted and head.refs == 0:
        snapshot.findings.add(head.path, "soft-deleted with no fork left that needs it")


def _check_due(snapshot: Snapshot, head: Head, record: Record) -> None:
    deadline = None if head.soft_deleted else deadline_ms(record, head.touched_ms)
    if record.subscription is not None:
        deadline = head.due_ms or None  # a timer of its own, at any time
    if deadline is None:
        if head.due_ms:
            snapshot.findings.add(head.path, "in the due index although it never expires")
        return
    if not 0 < head.due_ms <= deadline:
        snapshot.findings.add(head.path, f"expires at {deadline} but is due at {head.due_ms}")
    if head.due_ms and not snapshot.has(snapshot.databases.due, keys.encode_due(head.due_ms, head.sid)):
        snapshot.findings.add(head.path, f"its due row at {head.due_ms} is missing")


def _check_chunks(snapshot: Snapshot, head: Head, record: Record) -> None:
    """Check that the stream's own chunks lead from its base to its tail without gap or overlap, in whole messages."""
    messages = is_json(record.content_type)
    expected = base_of(record)
    cursor = snapshot.txn.cursor(snapshot.databases.chunk)
    found = cursor.set_range(keys.encode_sid(head.sid))
    while found and cursor.key()[:8] == keys.encode_sid(head.sid):
        position = snapshot.decoded(head.path, partial(keys.decode_chunk, cursor.key()))
        if position is not None:
            _, offset = position
            payload = snapshot.opened(head.path, f"chunk at {offset}", cursor.key(), sealed=cursor.value())
            if offset != expected:
                snapshot.findings.add(head.path, f"chunk at {offset} where {expected} comes next")
            if not payload:
                snapshot.findings.add(head.path, f"empty chunk at {offset}")
            if messages and not is_messages(payload):
                snapshot.findings.add(head.path, f"chunk at {offset} is not whole JSON messages, each with its comma")
            expected = offset + len(payload)
            snapshot.findings.chunk_count += 1
            snapshot.findings.byte_count += len(payload)
        found = cursor.next()
    if expected != head.tail:
        snapshot.findings.add(head.path, f"chunks end at {expected}, the tail is {head.tail}")


def _check_fork(snapshot: Snapshot, head: Head, fork: Fork) -> None:
    """Check that the source stands, and that the ancestors' segments cover everything before the fork's own bytes."""
    source = snapshot.stamp_at(keys.encode_path(fork.source_path))
    if source is None or source.sid != fork.source_sid:
        snapshot.findings.add(head.path, f"its source {fork.source_path!r} is gone (incarnation {fork.source_sid})")
    start = 0
    for sid, end in fork.lineage:
        if end < start:
            snapshot.findings.add(head.path, f"inherited segments run backwards, from {start} to {end}")
        if end > start:
            _check_segment(snapshot, head, (sid, start, end))
        start = end


def _check_segment(snapshot: Snapshot, head: Head, segment: tuple[int, int, int]) -> None:
    """Check that the ancestor owns these bytes; that they are all there is checked with the ancestor itself."""
    sid, start, end = segment
    path_key = snapshot.txn.get(keys.encode_sid(sid), db=snapshot.databases.sid)
    row = None if path_key is None else snapshot.txn.get(path_key, db=snapshot.databases.head)
    if row is None:
        snapshot.findings.add(head.path, f"inherits [{start}, {end}) of incarnation {sid}, which is gone")
        return
    ancestor = snapshot.decoded(f"sid {sid}", partial(decode_head, "", row[: row_bytes(row)]))
    record = None if ancestor is None else snapshot.decoded(f"sid {sid}", partial(decode_record, ancestor.record))
    if ancestor is not None and record is not None and not base_of(record) <= start <= end <= ancestor.tail:
        owned = f"[{base_of(record)}, {ancestor.tail})"
        snapshot.findings.add(head.path, f"inherits [{start}, {end}) of incarnation {sid}, which only has {owned}")


def base_of(record: Record) -> int:
    """Return the first offset of a stream's own bytes."""
    return record.fork.base if record.fork else 0


def is_messages(payload: bytes | memoryview) -> bool:
    """Whether a chunk is JSON messages, each followed by a comma."""
    if len(payload) < 2 or payload[-1] != _COMMA:  # noqa: PLR2004 - one byte of message, one comma
        return False
    text = b"[%b]" % bytes(payload[:-1])
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return _is_json_but_for_surrogates(text)
    return True


def _is_json_but_for_surrogates(text: bytes) -> bool:
    r"""Whether all that the parser minded were escapes like a lone ``\ud800``, which RFC 8259 §8.2 allows."""
    replaced, count = _SURROGATE_ESCAPE.subn(rb"\\u0020", text)
    try:
        orjson.loads(replaced if count else b"")
    except orjson.JSONDecodeError:
        return False
    return True
