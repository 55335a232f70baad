"""Server-sent events, bytes in, events out (WHATWG HTML §9.2.6, restricted to what §5.8 of the protocol uses).

Pure. Owns: lines, comments, fields, events. Must not know: what the events mean, connections.
Invariant: how the bytes are split into ``feed`` calls never shows in the events, and an event without its blank line
does not exist.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

EVENT_MAX_BYTES: Final = 64 * 2**20
"""Largest event accepted: four times the largest append a server takes by default, base64 included."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM: Final = b"\xef\xbb\xbf"


class EventTooLargeError(ValueError):
    """An event over the limit: a server that never ends one must not fill the memory."""


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event: its type and its ``data`` lines, joined by LF."""

    event: str
    data: bytes


class SseParser:
    """Splits an event stream into events; ``id`` and ``retry`` fields and comments are skipped.

    Args:
        max_bytes: largest event.
        own_fields: names of fields that are events of that name by themselves, which the standard does not have.
    """

    def __init__(self, max_bytes: int = EVENT_MAX_BYTES, *, own_fields: frozenset[bytes] = frozenset()) -> None:
        self._max_bytes = max_bytes
        self._own_fields = own_fields
        self._rest = bytearray()
        self._event = ""
        self._lines: list[bytes] = []
        self._size = 0
        self._at_start = True
        self._after_cr = False

    def feed(self, received: bytes) -> list[SseEvent]:
        """Take the next bytes and return the events they complete.

        Raises:
            EventTooLargeError: an event is longer than ``max_bytes``.
        """
        if self._after_cr and received:
            # The CR has ended its line already; an LF right behind it is its second half.
            received = received.removeprefix(b"\n")
            self._after_cr = False
        self._rest += received
        if self._at_start and not self._skip_bom():
            return []
        # Without a line end nothing completes; looking again at a long line with every chunk would be quadratic.
        complete = b"\n" in received or b"\r" in received
        events = self._lines_of_rest() if complete else []
        self._check_size()
        return events

    def _lines_of_rest(self) -> list[SseEvent]:
        self._after_cr = self._rest.endswith(b"\r")
        events = []
        start = 0
        for end in _LINE_END.finditer(self._rest):
            event = self._line(bytes(self._rest[start : end.start()]))
            start = end.end()
            if event is not None:
                events.append(event)
        del self._rest[:start]
        return events

    def _skip_bom(self) -> bool:
        """Drop a byte order mark; false while too little has arrived to tell."""
        if len(self._rest) < len(_BOM) and _BOM.startswith(self._rest):
            return False
        self._at_start = False
        if self._rest.startswith(_BOM):
            del self._rest[: len(_BOM)]
        return True

    def _check_size(self) -> None:
        if self._size + len(self._rest) > self._max_bytes:
            raise EventTooLargeError(f"an event has more than {self._max_bytes} bytes")

    def _line(self, line: bytes) -> SseEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._lines.append(value)
            self._size += len(value) + 1
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name in self._own_fields:
            return SseEvent(name.decode(), value)
        return None

    def _dispatch(self) -> SseEvent | None:
        event = SseEvent(self._event or "message", b"\n".join(self._lines)) if self._lines else None
        self._event, self._lines, self._size = "", [], 0
        return event
