"""What writers write: every payload names its writer and number, so that a stream can be taken apart again.

Text and bytes: ``writer/number:`` and filling. JSON: objects that begin with ``{"w":writer,"n":number,``, one or many
to a request. No JSON here holds white space, so the stored form is known: each message and a comma.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

TEXT, BYTES, JSON = "text/plain", "application/octet-stream", "application/json"
CONTENT_TYPES = (TEXT, BYTES, JSON)

_TAG = re.compile(rb'(?:\{"w":")?([a-z]+[0-9]+)(?:","n":|/)([0-9]+)[,:]')
_WORDS = ("token", "Größe", "流れ", "🦆", " two  blanks ", "data: x", "event: y", "\\n", '"', "")
_ODD_JSON = ("12345678901234567890", "1.0", "1e5", '{"a":1,"a":2}', "[[],[{}]]", '"line\\nline"', "null", '"\\ud83d"')


@dataclass(frozen=True, slots=True)
class Payload:
    """One request's body, as sent and as the stream holds it; ``sizes`` are the bytes of each message of ``stored``."""

    body: bytes
    stored: bytes
    sizes: tuple[int, ...]


def compose(rng: Random, content_type: str, *, tag: tuple[str, int], message_count: int = 1) -> Payload:
    """Return a payload of ``tag`` = (writer, number); only JSON has more than one message."""
    writer, number = tag
    if content_type == JSON:
        return _compose_json(rng, tag, message_count)
    head = f"{writer}/{number}:".encode()
    body = head + (rng.randbytes(_size(rng)) if content_type == BYTES else _text(rng)) + b"\n"
    return Payload(body, body, (len(body),))


def tag_at(content: bytes, position: int) -> tuple[str, int] | None:
    """Return the (writer, number) of the payload that begins at a position of stored bytes, if one does."""
    match = _TAG.match(content, position)
    return (match[1].decode(), int(match[2])) if match else None


def _compose_json(rng: Random, tag: tuple[str, int], message_count: int) -> Payload:
    writer, number = tag
    texts = [
        f'{{"w":"{writer}","n":{number},"k":{k},"odd":{rng.choice(_ODD_JSON)},"x":{json.dumps(_text(rng).decode())}}}'.encode()
        for k in range(message_count)
    ]
    array = message_count > 1 or rng.random() < 0.5
    body = b"[" + b",".join(texts) + b"]" if array else texts[0]
    return Payload(body, b"".join(text + b"," for text in texts), tuple(len(text) + 1 for text in texts))


def _text(rng: Random) -> bytes:
    size = _size(rng)
    return (rng.choice(_WORDS) + "x" * size + rng.choice(_WORDS)).encode()


def _size(rng: Random) -> int:
    """Mostly a token; now and then more than the server joins into one chunk, or than it puts into one."""
    share = rng.random()
    if share < 0.93:
        return rng.randrange(200)
    if share < 0.996:
        return rng.randrange(2_000, 8_000)
    return 300_000 if share < 0.999 else 1_300_000
