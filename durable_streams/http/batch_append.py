"""``POST {root}/__ds/batch``: appends to many streams in one request and one commit (an extension, §11.1).

Owns: the form of the request and of its answer. Must not know: how appends are decided.

The body is NDJSON, one append a line:

    {"path": "a/b", "json": [1, {"x": 1.0}]}                                    JSON as it stands, kept byte for byte
    {"path": "log", "content_type": "text/plain", "body": "text"}               text, stored as UTF-8
    {"path": "raw", "content_type": "image/png", "base64": "…"}                 any bytes
    {"path": "a/b", "json": 2, "producer": ["id", 0, 7], "stream_seq": "9", "close": true}

The answer is 200 with NDJSON, one outcome a line and in order: ``{"status": 204, "next_offset": "…"}``, with ``closed``
where it is, or ``{"status": 409, "code": "…", "detail": "…"}``. A malformed line refuses the whole request.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Final

import msgspec
import orjson

from durable_streams.http.errors import TABLE, answer_of
from durable_streams.http.messages import LATER, Answer
from durable_streams.protocol import content_types, json_mode
from durable_streams.protocol import headers as names
from durable_streams.protocol.append import Append, Appended
from durable_streams.protocol.errors import (
    EmptyBodyError,
    InvalidHeaderError,
    InvalidJsonError,
    InvalidRequestError,
    MissingContentTypeError,
    StreamError,
)
from durable_streams.protocol.offsets import format_offset
from durable_streams.protocol.paths import parse_path

if TYPE_CHECKING:
    from durable_streams.http.messages import Pending, Request, Settle
    from durable_streams.many import AppendOutcome
    from durable_streams.protocol.producer import ProducerClaim
    from durable_streams.streams import Streams

NDJSON: Final = "application/x-ndjson"
BATCH_LINES_MAX: Final = 4096
"""Appends in one request: they are decided without a pause."""


class Line(msgspec.Struct, forbid_unknown_fields=True):
    """One append. Exactly one of ``json``, ``body`` and ``base64``, or none with ``close``.

    path: the stream's path as it is, not percent-encoded. producer: id, epoch, seq.
    """

    path: str
    json: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b""))
    body: str | None = None
    base64: str | None = None
    content_type: str = ""
    producer: tuple[str, int, int] | None = None
    stream_seq: str | None = None
    close: bool = False


_decode_line = msgspec.json.Decoder(Line).decode


def post_batch(streams: Streams, request: Request, settle: Settle) -> Pending:
    """Append to many streams at once.

    Raises:
        InvalidJsonError: a line that is not of the form above, or too many lines.
    """
    lines = [line for line in request.body.split(b"\n") if line.strip()]
    if not 0 < len(lines) <= BATCH_LINES_MAX:
        msg = f"a batch has 1 to {BATCH_LINES_MAX} lines, not {len(lines)}"
        raise InvalidJsonError(msg)
    appends = [_parse(number, line) for number, line in enumerate(lines, 1)]
    streams.submit_many(appends, lambda outcomes: settle(_answer(outcomes)), stop_at_refusal=False)
    return LATER


def _parse(number: int, raw: bytes) -> tuple[str, Append]:
    try:
        line = _decode_line(raw)
        path = parse_path(line.path.replace("%", "%25"))
        return path, Append(_payload(line), _content_type(line), line.close, _claim(line), _stream_seq(line))
    except (msgspec.MsgspecError, InvalidRequestError, ValueError) as refusal:
        msg = f"line {number}: {refusal}"
        raise InvalidJsonError(msg) from None


def _content_type(line: Line) -> str:
    return line.content_type or (content_types.JSON if bytes(line.json) else "")


def _payload(line: Line) -> bytes | StreamError:
    raw_json = bytes(line.json)
    given = bool(raw_json) + (line.body is not None) + (line.base64 is not None)
    if given > 1 or (given == 0 and not line.close):
        msg = "exactly one of json, body and base64 is needed, or close alone"
        raise EmptyBodyError(msg)
    payload = raw_json or (line.body or "").encode() or binascii.a2b_base64(line.base64 or "", strict_mode=True)
    content_type = _content_type(line)
    if payload and not content_type:
        msg = "content_type is needed with a body"
        raise MissingContentTypeError(msg)
    if not payload and not line.close:
        msg = "an append needs bytes"
        raise EmptyBodyError(msg)
    if payload and content_types.is_json(content_type):
        try:
            return json_mode.flatten(payload)
        except InvalidRequestError as refusal:
            return refusal
    return payload


def _claim(line: Line) -> ProducerClaim | None:
    if line.producer is None:
        return None
    producer_id, epoch, seq = line.producer
    return names.parse_claim(
        {names.PRODUCER_ID: producer_id, names.PRODUCER_EPOCH: str(epoch), names.PRODUCER_SEQ: str(seq)}
    )


def _stream_seq(line: Line) -> str | None:
    if line.stream_seq is None:
        return None
    if not line.stream_seq:
        raise InvalidHeaderError(names.STREAM_SEQ, "must not be empty")
    return names.parse_stream_seq({names.STREAM_SEQ: line.stream_seq})


def _answer(outcomes: list[AppendOutcome] | StreamError) -> Answer:
    if isinstance(outcomes, StreamError):
        return answer_of(outcomes)
    body = b"\n".join([_outcome(outcome) for outcome in outcomes]) + b"\n"
    return Answer(200, (("Content-Type", NDJSON), ("Cache-Control", "no-store")), body)


def _outcome(outcome: AppendOutcome) -> bytes:
    if isinstance(outcome, StreamError):
        status, code = TABLE[type(outcome)]
        return orjson.dumps({"status": status, "code": code, "detail": str(outcome)})
    status = 200 if isinstance(outcome, Appended) and outcome.claim is not None and outcome.grew else 204
    closed = ',"closed":true' if outcome.closed else ""
    return f'{{"status":{status},"next_offset":"{format_offset(outcome.tail)}"{closed}}}'.encode()
