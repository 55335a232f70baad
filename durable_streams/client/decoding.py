"""From the bytes of a batch to what the caller asked for: bytes, text, parsed JSON, or JSON messages as they were sent.

Pure. Invariant: a decoder hands out everything it was fed up to a batch's end, or nothing of that batch yet, so that the
position behind a batch always fits what was handed out.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import orjson

from durable_streams.client.errors import DurableStreamError
from durable_streams.protocol.json_mode import boundaries

if TYPE_CHECKING:
    from collections.abc import Callable

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

_LONG_INTEGER: Final = re.compile(rb"[0-9]{19}")
"""orjson turns integers beyond 64 bits into floats; whoever has so many digits in a row is read by the exact parser."""
_WHITESPACE: Final = b" \t\n\r"


class Decoder(Protocol[T_co]):
    """Turns the parts of one batch into one value."""

    def feed(self, parts: tuple[bytes, ...]) -> T_co | None:
        """Return what a batch holds; ``None``: it ends within a character, and is handed out with the next one."""
        ...

    def finish(self) -> T_co | None:
        """Return what is still held back at the end; ``None`` if nothing is."""
        ...


class BytesDecoder:
    """The bytes as they are."""

    def feed(self, parts: tuple[bytes, ...]) -> bytes | None:
        """Return the joined parts."""
        return b"".join(parts)

    def finish(self) -> bytes | None:
        """Return nothing: nothing is held back."""
        return None


class TextDecoder:
    """Text; a batch that ends within a character waits for the next one. Broken bytes become U+FFFD, as over SSE.

    Raises:
        LookupError: unknown encoding.
    """

    def __init__(self, encoding: str) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._held = ""

    @property
    def within_character(self) -> bool:
        """Whether the last batch ended within a character."""
        return bool(self._decoder.getstate()[0])

    def feed(self, parts: tuple[bytes, ...]) -> str | None:
        """Return the text since the last one returned, or ``None`` within a character."""
        self._held += self._decoder.decode(b"".join(parts))
        return None if self.within_character else self._release()

    def finish(self) -> str | None:
        """Return the text held back, its last character broken."""
        self._held += self._decoder.decode(b"", final=True)
        return self._release() or None

    def _release(self) -> str:
        text, self._held = self._held, ""
        return text


class JsonDecoder(Generic[T]):
    """Parsed items of a JSON stream.

    Args:
        decode: applied to every item; ``None`` leaves them as parsed.
    """

    def __init__(self, decode: Callable[[Any], T] | None = None) -> None:
        self._decode = decode

    def feed(self, parts: tuple[bytes, ...]) -> list[T] | None:
        """Return the items.

        Raises:
            DurableStreamError: a part is not a JSON array.
        """
        items = [item for part in parts for item in _items(part)]
        return items if self._decode is None else [self._decode(item) for item in items]

    def finish(self) -> list[T] | None:
        """Return nothing: nothing is held back."""
        return None


class MessageDecoder:
    """Messages of a JSON stream as the bytes that were appended, without the whitespace between them."""

    def feed(self, parts: tuple[bytes, ...]) -> list[bytes] | None:
        """Return the messages.

        Raises:
            DurableStreamError: a part is not a JSON array.
        """
        return [message for part in parts for message in _messages(part)]

    def finish(self) -> list[bytes] | None:
        """Return nothing: nothing is held back."""
        return None


def _items(part: bytes) -> list[Any]:
    try:
        items = json.loads(part) if _LONG_INTEGER.search(part) else orjson.loads(part)
    except orjson.JSONDecodeError:
        items = _leniently(part)
    except (ValueError, RecursionError) as fault:
        raise _not_json(part) from fault
    if not isinstance(items, list):
        raise _not_json(part)
    return items


def _leniently(part: bytes) -> object:
    """Parse what the strict parser refuses and JSON allows: escapes of lone surrogates (RFC 8259 §8.2)."""
    try:
        return json.loads(part)
    except (ValueError, RecursionError) as fault:
        raise _not_json(part) from fault


def _messages(part: bytes) -> list[bytes]:
    text = part.strip(_WHITESPACE)
    if text[:1] != b"[" or text[-1:] != b"]":
        raise _not_json(part)
    stored = text[1:-1] + b","
    messages = []
    start = 0
    for end in boundaries(stored):
        messages.append(stored[start : end - 1].strip(_WHITESPACE))
        start = end
    return messages


def _not_json(part: bytes) -> DurableStreamError:
    return DurableStreamError(f"a JSON stream brought no JSON array: {part[:80]!r}", code="PARSE_ERROR")
