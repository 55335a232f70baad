"""Server-sent events: how bytes and control fields are framed (§5.8).

Invariant: no byte of the stream can end a line or an event; every line of payload stands behind its own ``data:``.
"""

from __future__ import annotations

import binascii
import codecs
import enum
import re
from typing import Final

from durable_streams.protocol import content_types
from durable_streams.protocol.errors import InvalidHeaderError
from durable_streams.protocol.json_mode import wrap
from durable_streams.protocol.offsets import OFFSET_DIGITS, format_offset

HEARTBEAT: Final = b":\n\n"
"""A comment: keeps idle connections from being cut, and finds peers that have gone."""
LAST_EVENT_ID: Final = "Last-Event-ID"
"""The request header in which an ``EventSource`` says which event it heard last."""
_EVENT_ID = re.compile(rf"([0-9]{{{OFFSET_DIGITS}}}):([0-9a-f]{{1,16}})", re.ASCII)
_UTF8_MAX_BYTES: Final = 4


class Encoding(enum.Enum):
    """How a stream's bytes travel in ``data`` events."""

    JSON = "json"
    TEXT = "text"
    BASE64 = "base64"


def encoding_of(content_type: str) -> Encoding:
    """Return the encoding that §5.8 prescribes for a content type."""
    if content_types.is_json(content_type):
        return Encoding.JSON
    return Encoding.TEXT if content_types.is_sse_text(content_type) else Encoding.BASE64


def data_event(encoding: Encoding, payload: bytes) -> bytes:
    """Return one ``data`` event for stored bytes: messages in an array, text by lines, or base64.

    Text that is not UTF-8 is sent with U+FFFD for each broken byte, as the event stream must be UTF-8.
    """
    if encoding is Encoding.BASE64:
        return b"event: data\ndata:" + binascii.b2a_base64(payload, newline=False) + b"\n\n"
    lines = wrap(payload) if encoding is Encoding.JSON else _as_utf8(payload)
    if b"\r" in lines:
        lines = lines.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if lines.startswith(b" "):  # a parser strips one space after the colon
        lines = b" " + lines
    lines = lines.replace(b"\n ", b"\n  ")
    return b"event: data\ndata:" + lines.replace(b"\n", b"\ndata:") + b"\n\n"


def control_event(
    next_offset: int, cursor: str | None, *, up_to_date: bool, closed: bool, sid: int | None = None
) -> bytes:
    """Return the ``control`` event that follows every ``data`` event (§5.8).

    Args:
        next_offset: where a client that reconnects continues.
        cursor: the cache-collapsing token; left out once ``closed``, as no one reconnects.
        up_to_date: nothing more is stored at this moment.
        closed: nothing more will ever be; implies ``up_to_date``.
        sid: the stream's incarnation, for an id that an ``EventSource`` comes back with; ``None`` for no id. The id is
            here and not on the data event: a client that counts only what a control event confirms never skips.
    """
    fields = f'"streamNextOffset":"{format_offset(next_offset)}"'
    if closed:
        fields += ',"upToDate":true,"streamClosed":true'
    else:
        fields += f',"streamCursor":"{cursor}"'
        if up_to_date:
            fields += ',"upToDate":true'
    identified = "" if sid is None else f"id:{format_event_id(next_offset, sid)}\n"
    return f"{identified}event: control\ndata:{{{fields}}}\n\n".encode("ascii")


def format_event_id(position: int, sid: int) -> str:
    """Return the id of a control event: its next offset, and the incarnation that it is an offset of."""
    return f"{format_offset(position)}:{sid:x}"


def parse_event_id(event_id: str) -> tuple[int, int]:
    """Return (position, incarnation) from a ``Last-Event-ID``.

    Raises:
        InvalidHeaderError: it is not the id of an event of ours.
    """
    found = _EVENT_ID.fullmatch(event_id)
    if found is None:
        raise InvalidHeaderError(LAST_EVENT_ID, "is not the id of a control event of this server")
    return int(found[1]), int(found[2], 16)


def whole_text_bytes(payload: bytes) -> int:
    """Return how many leading bytes of text end with a whole UTF-8 character, so that none is split across two events.

    At most three bytes are left over: the start of what may yet become a character.
    """
    last = payload[1 - _UTF8_MAX_BYTES :]
    _, decided_bytes = codecs.utf_8_decode(last, "replace", False)  # noqa: FBT003 positional only: not the final bytes
    return len(payload) - len(last) + decided_bytes


def _as_utf8(payload: bytes) -> bytes:
    return payload.decode("utf-8", "replace").encode("utf-8")
