"""What one page, or one control event with its data events, brings: bytes and where they end.

Owns: reading an answer's headers and a control event's fields. Must not know: connections, retries.
Invariant: an offset moves only together with the bytes before it; an answer without bytes never moves it (a 204 that
names a newer tail would make the reader skip what lies between).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import orjson

from durable_streams.client.errors import DurableStreamError, SSEEncodingError
from durable_streams.protocol import content_types
from durable_streams.protocol import headers as names

if TYPE_CHECKING:
    from durable_streams.client.answers import Answer
    from durable_streams.client.values import Offset

EMPTY_ARRAY: Final = b"[]"


@dataclass(frozen=True, slots=True)
class Position:
    """Where a reader stands. ``offset`` is ``None`` at the beginning, before the first answer."""

    offset: Offset | None
    cursor: str | None = None
    up_to_date: bool = False
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Portion:
    """Bytes of the stream and the position behind them.

    Attributes:
        parts: the bytes in order; in JSON mode each is the text of one array. None of them is empty.
        after: the position once they are delivered.
    """

    parts: tuple[bytes, ...]
    after: Position


def portion_of_page(answer: Answer, before: Position, *, json_mode: bool) -> Portion:
    """Return what a catch-up or long-poll answer brings (§5.6, §5.7).

    Raises:
        DurableStreamError: the answer lacks ``Stream-Next-Offset``, so that nobody could go on behind it.
    """
    cursor = answer.headers.get(names.STREAM_CURSOR, before.cursor)
    up_to_date = answer.closed or answer.headers.get(names.STREAM_UP_TO_DATE, "").lower() == "true"
    if answer.status == HTTPStatus.NO_CONTENT:
        return Portion((), Position(before.offset, cursor, up_to_date=True, closed=answer.closed))
    offset = answer.headers.get(names.STREAM_NEXT_OFFSET)
    if offset is None:
        raise DurableStreamError(
            "the answer names no next offset; is this a stream?", status=answer.status, code="MISSING_OFFSET"
        )
    empty = not answer.body or (json_mode and answer.body.strip() == EMPTY_ARRAY)
    # A page that brings nothing and leads nowhere is the end, even if a server forgets to say so.
    up_to_date = up_to_date or (empty and offset == before.offset)
    return Portion(
        () if empty else (answer.body,), Position(offset, cursor, up_to_date=up_to_date, closed=answer.closed)
    )


def portion_of_control(control: bytes, parts: tuple[bytes, ...], before: Position) -> Portion:
    """Return what a control event and the data events before it bring (§5.8).

    Raises:
        SSEEncodingError: the event is not a JSON object with ``streamNextOffset``.
    """
    try:
        fields = orjson.loads(control)
        offset = fields["streamNextOffset"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as fault:
        raise SSEEncodingError(f"a control event without a next offset: {control[:200]!r}") from fault
    closed = fields.get("streamClosed") is True
    up_to_date = closed or fields.get("upToDate") is True
    cursor = fields.get("streamCursor") or before.cursor
    return Portion(parts, Position(offset if parts else before.offset, cursor, up_to_date=up_to_date, closed=closed))


def is_empty_part(part: bytes, content_type: str) -> bool:
    """Whether a data event brings nothing."""
    return not part or (content_types.is_json(content_type) and part.strip() == EMPTY_ARRAY)


def from_base64(text: bytes) -> bytes:
    """Return the bytes of a base64 data event, whose lines the server may have broken anywhere (§5.8).

    Raises:
        SSEEncodingError: not base64 with a length that is a multiple of four.
    """
    try:
        return base64.b64decode(text.replace(b"\n", b"").replace(b"\r", b""), validate=True)
    except binascii.Error as fault:
        raise SSEEncodingError(f"a data event is not base64: {fault}") from fault
