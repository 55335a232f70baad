"""One line of a request to the server's ``batch`` extension, and of its answer.

Pure. Owns: what an append looks like as a line, and what its verdict says. ``docs/extensions.md`` has the format.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

import orjson

from durable_streams.protocol import content_types

if TYPE_CHECKING:
    from durable_streams.client.appending import IdempotentAppend

NDJSON: Final = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an append; ``status`` is the one that it would have got alone."""

    status: int
    next_offset: str = ""

    @property
    def accepted(self) -> bool:
        """Whether it is stored, by this request or an earlier one."""
        return self.status in {HTTPStatus.OK, HTTPStatus.NO_CONTENT}


def line_of(path: str, append: IdempotentAppend) -> bytes | None:
    """Return the append as a line, without the line's end, or ``None`` if it cannot be one.

    Args:
        path: the stream's path as it is in a URL, percent-encoded.
        append: what to write there.
    """
    try:
        plain = orjson.dumps(unquote_to_bytes(path).decode())
    except UnicodeDecodeError:
        return None
    triple = append.triple
    parts = [b'{"path":', plain, b',"producer":', orjson.dumps((triple.producer_id, triple.epoch, triple.seq))]
    if append.close:
        parts.append(b',"close":true')
    if append.body and content_types.is_json(append.content_type):
        if b"\n" in append.body:
            return None  # white space between tokens; the bytes are the caller's and stay as they are
        if append.content_type != content_types.JSON:
            parts += [b',"content_type":', orjson.dumps(append.content_type)]
        parts += [b',"json":', append.body]
    elif append.body:
        parts += [b',"content_type":', orjson.dumps(append.content_type)]
        parts += [b',"base64":"', b64encode(append.body), b'"']
    parts.append(b"}")
    return b"".join(parts)


def verdicts_of(body: bytes, count: int) -> list[Verdict]:
    """Return what an answer says of each of the request's lines, in their order.

    Raises:
        ValueError: it is not the answer to such a request.
    """
    said = [orjson.loads(line) for line in body.splitlines()]
    if len(said) != count:
        raise ValueError(f"{len(said)} verdicts for {count} appends")
    try:
        return [Verdict(one["status"], one.get("next_offset", "")) for one in said]
    except (TypeError, KeyError) as fault:
        raise ValueError(f"not a verdict: {fault}") from fault
