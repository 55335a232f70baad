"""From the bytes of a portion to what the caller asked for: bytes, text, parsed JSON, or JSON messages as they came.

Pure. Invariant: a decoder hands out everything it was fed up to the end of a portion, or nothing of that portion yet,
so the position behind a portion always fits what was handed out.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import orjson

from durable_streams.client.errors import DurableStreamError
from durable_streams.protocol.json_scan import boundaries

if TYPE_CHECKING:
    from collections.abc import Callable

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

_LONG_INTEGER: Final = re.compile(rb"[0-9]{19}")
"""orjson turns integers beyond 64 bits into floats; whoever has so many digits in a row is read by the exact parser."""
_WHITESPACE: Final = b" \t\n\r"


class Decoder(Protocol[T_co]):
    """Turns the parts of one portion into one value."""

    @property
    def holding(self) -> bool:
        """Whether the last portion ended within a character, so that its value comes with a later one."""
        ...

    def feed(self, parts: tuple[bytes, ...]) -> T_co:
        """Take a portion and return what it holds; meaningless while ``holding``."""
        ...

    def finish(self) -> T_co:
        """Return what is held back although nothing more will come."""
        ...


class BytesDecoder:
    """The bytes as they are."""

    holding = False

    def feed(self, parts: tuple[bytes, ...]) -> bytes:
        """Return the joined parts."""
        return b"".join(parts)

    def finish(self) -> bytes:
        """Return nothing: nothing is held back."""
        return b""


class TextDecoder:
    """Text; a portion that ends within a character waits for the next one. Broken bytes become U+FFFD, as over SSE.

    Raises:
        LookupError: unknown encoding.
    """

    def __init__(self, encoding: str) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._held = ""

    @property
    def holding(self) -> bool:
        """Whether the last portion ended within a character."""
        return bool(self._decoder.getstate()[0])

    def feed(self, parts: tuple[bytes, ...]) -> str:
        """Return the text since the last one returned; empty while ``holding``."""
        self._held += self._decoder.decode(b"".join(parts))
        return "" if self.holding else self._release()

    def finish(self) -> str:
        """Return the text held back, its last character broken."""
        self._held += self._decoder.decode(b"", final=True)
        return self._release()

    def _release(self) -> str:
        text, self._held = self._held, ""
        return text


class JsonDecoder(Generic[T]):
    """Parsed items of a JSON stream.

    Args:
        decode: applied to every item; ``None`` leaves them as parsed.
    """

    holding = False

    def __init__(self, decode: Callable[[Any], T] | None = None) -> None:
        self._decode = decode

    def feed(self, parts: tuple[bytes, ...]) -> list[T]:
        """Return the items.

        Raises:
            DurableStreamError: a part is not a JSON array.
        """
        items = [item for part in parts for item in _items(part)]
        return items if self._decode is None else [self._decode(item) for item in items]

    def finish(self) -> list[T]:
        """Return nothing: nothing is held back."""
        return []


class MessageDecoder:
    """Messages of a JSON stream as the bytes that were appended, without the whitespace between them."""

    holding = False

    def feed(self, parts: tuple[bytes, ...]) -> list[bytes]:
        """Return the messages.

        Raises:
            DurableStreamError: a part is not a JSON array.
        """
        return [message for part in parts for message in _messages(part)]

    def finish(self) -> list[bytes]:
        """Return nothing: nothing is held back."""
        return []


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
