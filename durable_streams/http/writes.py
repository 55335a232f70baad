"""PUT, POST and DELETE on a stream (§5.1 to §5.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from durable_streams.http import answers
from durable_streams.http.errors import answer_of
from durable_streams.http.messages import LATER, Answer
from durable_streams.protocol import content_types, json_mode
from durable_streams.protocol import headers as names
from durable_streams.protocol.append import Append, Appended, Duplicate
from durable_streams.protocol.create import Create, ForkRequest
from durable_streams.protocol.errors import (
    EmptyBodyError,
    InvalidHeaderError,
    InvalidPathError,
    InvalidRequestError,
    MissingContentTypeError,
    NotFoundError,
    PathTooLongError,
    StreamError,
)
from durable_streams.protocol.offsets import ZEROS, parse_offset
from durable_streams.protocol.paths import parse_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from durable_streams.http.messages import Pending, Request, Settle
    from durable_streams.protocol.create import Created
    from durable_streams.streams import Streams


_PLAIN: Final = frozenset({"Host", "Content-Type", "Authorization"})
"""An append without any other header asks for nothing special. From aiohttp, names that are not spelt so take the long
way to the same result."""


def put(streams: Streams, path: str, request: Request, *, root: str, settle: Settle) -> Pending:
    """Create or fork (§5.1, §4.2)."""
    location = request.origin + request.path
    streams.submit_create(path, parse_create(request, root), lambda result: settle(create_answer(result, location)))
    return LATER


def post(streams: Streams, path: str, request: Request, *, settle: Settle) -> Pending:
    """Append, close, or both (§5.2, §5.3)."""
    streams.submit_append(path, parse_append(request), lambda result: settle(append_answer(result)))
    return LATER


def delete(streams: Streams, path: str, settle: Settle) -> Pending:
    """Delete (§5.4)."""
    streams.submit_delete(path, lambda result: settle(delete_answer(result)))
    return LATER


def create_answer(result: Created | StreamError, location: str) -> Answer:
    """Return the answer to a creation: 201 with its ``Location``, or 200 for what stood there already (§5.1)."""
    if isinstance(result, StreamError):
        return answer_of(result)
    fields = [("Content-Type", result.content_type), answers.next_offset(result.tail)]
    if result.closed:
        fields.append(answers.CLOSED)
    return Answer(201, (*fields, ("Location", location))) if result.fresh else Answer(200, tuple(fields))


def delete_answer(result: bool | StreamError) -> Answer:  # noqa: FBT001 what the command settles with
    """Return the answer to a deletion, which is the same whether the stream goes at once or is kept for its forks."""
    return answer_of(result) if isinstance(result, StreamError) else Answer(204)


def append_answer(result: Appended | Duplicate | StreamError) -> Answer:
    """Return the answer to an append: 200 for a producer's new bytes, else 204 (§5.2, §5.2.1)."""
    if isinstance(result, StreamError):
        return answer_of(result)
    fields = [answers.next_offset(result.tail)]
    if result.closed:
        fields.append(answers.CLOSED)
    if isinstance(result, Duplicate):
        if result.highest is not None:
            fields += _producer_fields(result.highest.epoch, result.highest.seq)
        return Answer(204, tuple(fields))
    if result.claim is not None:
        fields += _producer_fields(result.claim.epoch, result.claim.seq)
    return Answer(200 if result.grew and result.claim is not None else 204, tuple(fields))


def _producer_fields(epoch: int, seq: int) -> list[tuple[str, str]]:
    return [(names.PRODUCER_EPOCH, str(epoch)), (names.PRODUCER_SEQ, str(seq))]


def parse_append(request: Request) -> Append:
    """Return the append that a POST asks for. JSON is checked here, but refused in its turn (``protocol/append.py``).

    Raises:
        EmptyBodyError: no body and no ``Stream-Closed: true``.
        MissingContentTypeError: a body without a type.
        InvalidHeaderError: a malformed producer or ``Stream-Seq`` header.
    """
    headers = request.headers
    content_type = headers.get("Content-Type", "")
    if request.body and content_type.strip() and _PLAIN.issuperset(headers) and not content_types.is_json(content_type):
        return Append(request.body, content_type)
    close = names.parse_closed(headers)
    claim = names.parse_claim(headers)
    stream_seq = names.parse_stream_seq(headers)
    payload: bytes | StreamError = request.body
    if not payload:
        if not close:
            msg = "an append needs a body, unless it carries Stream-Closed: true"
            raise EmptyBodyError(msg)
    elif not content_type.strip():
        msg = "an append with a body needs a Content-Type"
        raise MissingContentTypeError(msg)
    elif content_types.is_json(content_type):
        try:
            payload = json_mode.flatten(request.body)
        except InvalidRequestError as refusal:
            payload = refusal
    return Append(payload, content_type, close, claim, stream_seq, headers.get(names.STREAM_WRITE_TOKEN))


def parse_create(request: Request, root: str) -> Create:
    """Return the creation that a PUT asks for.

    Raises:
        InvalidHeaderError: malformed or contradicting headers.
        InvalidOffsetError: a malformed fork offset.
        NotFoundError: a fork source that no stream of this server can have.
    """
    headers = request.headers
    content_type = headers.get("Content-Type", "").strip() or None
    ttl_s, expires_at_ms = names.parse_expiry(headers)
    fork = _parse_fork(headers, root)
    payload: bytes | StreamError = request.body
    if payload and content_types.is_json(content_type or ""):
        try:
            payload = json_mode.flatten_initial(request.body)
        except InvalidRequestError as refusal:
            payload = refusal
    elif payload and fork is not None and content_type is None:
        # Whether these bytes are JSON messages depends on a source not looked at yet.
        raise InvalidHeaderError("Content-Type", "is needed when a fork is created with a body")
    producer_required = names.parse_flag(headers, names.STREAM_PRODUCER_REQUIRED)
    write_fenced = names.parse_flag(headers, names.STREAM_WRITE_FENCE)
    closed = names.parse_closed(headers)
    return Create(content_type, payload, closed, ttl_s, expires_at_ms, fork, producer_required, write_fenced)


def _parse_fork(headers: Mapping[str, str], root: str) -> ForkRequest | None:
    source = headers.get(names.STREAM_FORKED_FROM)
    offset, sub_offset = headers.get(names.STREAM_FORK_OFFSET), headers.get(names.STREAM_FORK_SUB_OFFSET)
    if source is None:
        for name, value in ((names.STREAM_FORK_OFFSET, offset), (names.STREAM_FORK_SUB_OFFSET, sub_offset)):
            if value is not None:
                raise InvalidHeaderError(name, f"needs {names.STREAM_FORKED_FROM}")
        return None
    position = None if offset is None else 0 if offset in ZEROS else parse_offset(offset)
    count = 0 if sub_offset is None else names.parse_integer(names.STREAM_FORK_SUB_OFFSET, sub_offset)
    return ForkRequest(_source_path(source, root), position, count)


def _source_path(source: str, root: str) -> str:
    """Return the stream path in a source's URL path (§4.2); what cannot name a stream here is not found."""
    prefix = root.rstrip("/") + "/"
    if not source.startswith(prefix):
        raise NotFoundError(source)
    try:
        return parse_path(source.removeprefix(prefix))
    except (InvalidPathError, PathTooLongError):
        raise NotFoundError(source) from None
