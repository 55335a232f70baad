"""``POST {root}/__ds/batch``: appends to many streams in one request and one commit (an extension, §11.1).

Owns: the form of the request and of its answer. Must not know: how appends are decided.
Invariant: each line means what a POST of its own would mean; its fields become the header fields of one.

The body is NDJSON. A line is one append:

    {"path": "a/b", "json": [1, {"x": 1.0}]}                                    JSON as it stands, kept byte for byte
    {"path": "log", "content_type": "text/plain", "body": "text"}               text, stored as UTF-8
    {"path": "raw", "content_type": "image/png", "base64": "…"}                 any bytes
    {"path": "a/b", "json": 2, "producer": ["id", 0, 7], "stream_seq": "9", "close": true}
    {"path": "jobs/a", "json": 3, "write_token": "…"}                           as ``Stream-Write-Token``

The answer is 200 with NDJSON. A line is the verdict on one append, in the order of the request:
``{"status": 204, "next_offset": "…"}``, with ``"closed": true`` if the stream is closed now, or
``{"status": 409, "code": "…", "detail": "…"}``. One malformed line refuses the whole request, and nothing is appended.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING, Final

import msgspec
import orjson

from durable_streams.http.appends import parse_append, status_of
from durable_streams.http.errors import TABLE, answer_of
from durable_streams.http.messages import LATER, Answer
from durable_streams.http.search import Search
from durable_streams.protocol import content_types
from durable_streams.protocol import headers as names
from durable_streams.protocol.conditions import IF_MATCH
from durable_streams.protocol.errors import (
    EmptyBodyError,
    InvalidHeaderError,
    InvalidJsonError,
    InvalidRequestError,
    StreamError,
    TailMovedError,
)
from durable_streams.protocol.json_check import decoded
from durable_streams.protocol.offsets import format_offset
from durable_streams.protocol.paths import parse_path

if TYPE_CHECKING:
    from collections.abc import Generator

    from durable_streams.http.messages import Pending, Request, Settle
    from durable_streams.protocol.append import Append
    from durable_streams.runtime.turns import Turns
    from durable_streams.streams.many import Verdict
    from durable_streams.streams.service import Streams

NDJSON: Final = "application/x-ndjson"
BATCH_LINES_MAX: Final = 4096
"""Appends in one request. All of them are decided in one turn of the loop, so their number has a bound."""
LINES_MAX: Final = 2 * BATCH_LINES_MAX
"""Lines in one request, blank ones too."""
SLICE_BYTES: Final = 256 * 1024
"""What of a batch is read in one turn of the loop."""
TOLD_COUNT: Final = 1_024
"""Verdicts of it that are written in one turn."""
LINE_BYTES: Final = 2 * 1024
"""What a line costs of that beside its bytes."""


class Line(msgspec.Struct, forbid_unknown_fields=True):
    """One append. It has one of ``json``, ``body`` and ``base64``, or none of them together with ``close``.

    path: the stream's path as it is, not percent-encoded.
    json: any JSON value; its bytes are kept as they are.
    content_type: empty for the default, which is JSON's with ``json`` and none otherwise.
    producer: id, epoch, seq (§5.2.1).
    if_match: an offset alone, or a value of the ``If-Match`` field.
    """

    path: str
    json: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b""))
    body: str | None = None
    base64: str | None = None
    content_type: str = ""
    producer: tuple[str, int, int] | None = None
    stream_seq: str | None = None
    write_token: str | None = None
    if_match: str | None = None
    close: bool = False


_FIELD: Final = re.compile(r'\*|"|W/|[ \t,]')
"""How an ``if_match`` begins that has the form of the header field. Any other is an offset alone."""
_LINE_S_OWN: Final = (
    names.STREAM_CLOSED,
    names.STREAM_SEQ,
    names.STREAM_WRITE_TOKEN,
    names.PRODUCER_ID,
    names.PRODUCER_EPOCH,
    names.PRODUCER_SEQ,
)
"""Header fields that are about one append. In a batch each line says them for itself, so the request must not."""

_decode_line = msgspec.json.Decoder(Line).decode


def post_batch(streams: Streams, request: Request, *, searches: Turns, settle: Settle) -> Pending:
    """Append to many streams at once.

    Args:
        streams: the use cases.
        request: its body is NDJSON as above; blank lines are left out.
        searches: turns of the loop, for batches that are read a slice at a time.
        settle: called once with the answer, after the commit.

    Raises:
        InvalidHeaderError: the request has a field that is about one append.
        InvalidJsonError: no line, more than ``BATCH_LINES_MAX``, or one that is not of the form above.
    """
    for name in _LINE_S_OWN:
        if name in request.headers:
            raise InvalidHeaderError(name, "belongs in the lines of a batch, not in its head")
    lines = _lines_of(request.body)

    def answer(verdicts: list[Verdict] | StreamError) -> None:
        if isinstance(verdicts, StreamError):
            settle(answer_of(verdicts))
        elif len(verdicts) <= TOLD_COUNT:
            settle(_answer([_line_of(verdict) for verdict in verdicts]))
        else:
            Search(request, _told(verdicts), _answer, turns=searches, settle=settle)

    def submit(appends: list[tuple[str, Append]]) -> Pending:
        streams.submit_many(appends, answer, stop_at_refusal=False)
        return LATER

    if len(request.body) + LINE_BYTES * len(lines) <= SLICE_BYTES:
        return submit([_parse(number, line) for number, line in enumerate(lines, 1)])
    return Search(request, _parsed(lines), submit, turns=searches, settle=settle)


def _lines_of(body: bytes) -> list[bytes]:
    count = body.count(b"\n") + 1
    if count > LINES_MAX:
        raise InvalidJsonError(f"a batch has at most {LINES_MAX} lines, blank ones among them, not {count}")
    lines = [line for line in body.split(b"\n") if line.strip()]
    if not 0 < len(lines) <= BATCH_LINES_MAX:
        msg = f"a batch has 1 to {BATCH_LINES_MAX} lines, not {len(lines)}"
        raise InvalidJsonError(msg)
    return lines


def _parsed(lines: list[bytes]) -> Generator[None, None, list[tuple[str, Append]]]:
    """Return the appends of the lines; stops whenever a slice of them has been read."""
    appends: list[tuple[str, Append]] = []
    read_bytes = 0
    for number, line in enumerate(lines, 1):
        if read_bytes >= SLICE_BYTES:
            read_bytes = 0
            yield
        appends.append(_parse(number, line))
        read_bytes += len(line) + LINE_BYTES
    return appends


def _parse(number: int, raw: bytes) -> tuple[str, Append]:
    try:
        line = decoded(_decode_line, raw)
        path = parse_path(line.path.replace("%", "%25"))
        return path, parse_append(_fields(line), _body(line))
    except (InvalidRequestError, ValueError) as refusal:
        msg = f"line {number}: {refusal}"
        raise InvalidJsonError(msg) from None


def _body(line: Line) -> bytes:
    raw_json = bytes(line.json)
    given = bool(raw_json) + (line.body is not None) + (line.base64 is not None)
    if given > 1 or (given == 0 and not line.close):
        msg = "exactly one of json, body and base64 is needed, or close alone"
        raise EmptyBodyError(msg)
    return raw_json or (line.body or "").encode() or binascii.a2b_base64(line.base64 or "", strict_mode=True)


def _fields(line: Line) -> dict[str, str]:
    """Return the header fields with which the line would be a request of its own."""
    fields: dict[str, str] = {}
    content_type = line.content_type or (content_types.JSON if bytes(line.json) else "")
    if content_type:
        fields["Content-Type"] = content_type
    if line.close:
        fields[names.STREAM_CLOSED] = "true"
    if line.producer is not None:
        producer_id, epoch, seq = line.producer
        fields |= {names.PRODUCER_ID: producer_id, names.PRODUCER_EPOCH: str(epoch), names.PRODUCER_SEQ: str(seq)}
    if line.stream_seq is not None:
        fields[names.STREAM_SEQ] = line.stream_seq
    if line.write_token is not None:
        fields[names.STREAM_WRITE_TOKEN] = line.write_token
    if line.if_match is not None:
        fields[IF_MATCH] = line.if_match if _FIELD.match(line.if_match) else f'"{line.if_match}"'
    return fields


def _told(verdicts: list[Verdict]) -> Generator[None, None, list[bytes]]:
    """Return the lines of the answer; stops after every ``TOLD_COUNT`` of them."""
    lines: list[bytes] = []
    for start in range(0, len(verdicts), TOLD_COUNT):
        if start:
            yield
        lines += [_line_of(verdict) for verdict in verdicts[start : start + TOLD_COUNT]]
    return lines


def _answer(lines: list[bytes]) -> Answer:
    return Answer(200, (("Content-Type", NDJSON), ("Cache-Control", "no-store")), b"\n".join(lines) + b"\n")


def _line_of(verdict: Verdict) -> bytes:
    if isinstance(verdict, StreamError):
        status, code = TABLE[type(verdict)]
        told = {"status": status, "code": code, "detail": str(verdict)}
        if isinstance(verdict, TailMovedError):
            told["next_offset"] = format_offset(verdict.tail)
        return orjson.dumps(told)
    closed = ',"closed":true' if verdict.closed else ""
    return f'{{"status":{status_of(verdict)},"next_offset":"{format_offset(verdict.tail)}"{closed}}}'.encode()
