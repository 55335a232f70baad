"""Heads, mutations and reads in the few words that engine tests need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable_streams.engine.base import Chunk, Mutation
from durable_streams.protocol.head import Head, Record, encode_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable_streams.engine.base import Engine, ProducerRow

ALL = 1 << 60
"""More bytes than any test stores."""


def head(path: str, sid: int = 1, version: int = 1, **fields: Any) -> Head:  # noqa: ANN401 - any field, as `_replace` takes it
    """Return the head of a fresh text stream, changed by ``fields``."""
    plain = Head(path, sid, version, 0, 0, 1_000, 0, 0, encode_record(Record("text/plain")))
    return plain._replace(**fields)


def create(new: Head, *chunks: Chunk, producers: Sequence[ProducerRow] = ()) -> Mutation:
    """Return the mutation that puts ``new`` where no head is."""
    return Mutation(new.path, None, new, chunks, producers)


def replace(old: Head, new: Head | None, *chunks: Chunk, producers: Sequence[ProducerRow] = ()) -> Mutation:
    """Return the mutation that puts ``new`` where ``old`` is."""
    return Mutation(old.path, (old.sid, old.version), new, chunks, producers)


def read_bytes(engine: Engine, sid: int, start: int = 0) -> bytes:
    """Return everything stored from ``start`` to the first gap."""
    return b"".join(chunk.payload for chunk in engine.read(sid, start, ALL, ALL))
