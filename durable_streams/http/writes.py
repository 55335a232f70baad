"""PUT, POST and DELETE on a stream (§5.1 to §5.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable_streams.http import answers
from durable_streams.http.appends import fields_of, is_sliced, parse_append, parse_by_passes, status_of
from durable_streams.http.errors import answer_of
from durable_streams.http.messages import LATER, Answer
from durable_streams.http.search import Search
from durable_streams.protocol import content_types, json_mode
from durable_streams.protocol import headers as names
from durable_streams.protocol.conditions import (
    IF_MATCH,
    IF_NONE_MATCH,
    parse_if_match,
    parse_must_not_exist,
    refuse_conditions,
)
from durable_streams.protocol.create import Create, ForkRequest
from durable_streams.protocol.errors import (
    InvalidHeaderError,
    InvalidPathError,
    InvalidRequestError,
    NotFoundError,
    PathTooLongError,
    StreamError,
)
from durable_streams.protocol.offsets import parse_anchor
from durable_streams.protocol.paths import parse_path
from durable_streams.protocol.response_fields import LOCATION

if TYPE_CHECKING:
    from durable_streams.http.addresses import Addresses
    from durable_streams.http.messages import Pending, Request, Settle
    from durable_streams.protocol.append import Append, Appended, Duplicate
    from durable_streams.protocol.create import Created
    from durable_streams.runtime.turns import Turns
    from durable_streams.streams.service import Streams


def put(
    streams: Streams, path: str, request: Request, *, addresses: Addresses, searches: Turns, settle: Settle
) -> Pending:
    """Create or fork (§5.1, §4.2). Where a fork begins behind its offset is looked for first."""
    location = addresses.url(request, request.path)
    create = parse_create(request, addresses)
    base = streams.fork_base() if create.fork is not None and create.fork.sub_offset else None

    def submit(_looked: None) -> Pending:
        streams.submit_create(path, create, lambda result: settle(create_answer(result, location)), fork_base=base)
        return LATER

    if base is None:
        return submit(None)
    return Search(request, base.look(create), submit, turns=searches, settle=settle)


def post(streams: Streams, path: str, request: Request, *, searches: Turns, settle: Settle) -> Pending:
    """Append, close, or both (§5.2, §5.3)."""
    headers, body = request.headers, request.body

    def submit(append: Append) -> Pending:
        compared = append.if_match is not None
        streams.submit_append(path, append, lambda result: settle(append_answer(result, compared=compared)))
        return LATER

    if is_sliced(headers, body):
        return Search(request, parse_by_passes(headers, body), submit, turns=searches, settle=settle)
    return submit(parse_append(headers, body))


def delete(streams: Streams, path: str, request: Request, *, settle: Settle) -> Pending:
    """Delete (§5.4)."""
    refuse_conditions(request.headers, IF_MATCH)
    if_match = parse_if_match(request.headers)
    streams.submit_delete(path, lambda result: settle(delete_answer(result)), if_match)
    return LATER


def create_answer(result: Created | StreamError, location: str) -> Answer:
    """Return the answer to a creation: 201 with its ``Location``, or 200 for what stood there already (§5.1)."""
    if isinstance(result, StreamError):
        return answer_of(result)
    fields = [("Content-Type", result.content_type), answers.next_offset(result.tail)]
    if result.closed:
        fields.append(answers.CLOSED)
    return Answer(201, (*fields, (LOCATION, location))) if result.fresh else Answer(200, tuple(fields))


def delete_answer(result: bool | StreamError) -> Answer:  # noqa: FBT001 what the command settles with
    """Return the answer to a deletion, which is the same whether the stream goes at once or is kept for its forks."""
    return answer_of(result) if isinstance(result, StreamError) else Answer(204)


def append_answer(result: Appended | Duplicate | StreamError, *, compared: bool = False) -> Answer:
    """Return the answer to an append (§5.2, §5.2.1, §5.3). ``compared``: whether it came with an ``If-Match``."""
    if isinstance(result, StreamError):
        return answer_of(result)
    return Answer(status_of(result), fields_of(result, compared=compared))


def parse_create(request: Request, addresses: Addresses) -> Create:
    """Return the creation that a PUT asks for.

    Raises:
        InvalidHeaderError: malformed or contradicting headers.
        InvalidOffsetError: a malformed fork offset.
        NotFoundError: a fork source that no stream of this server can have.
    """
    headers = request.headers
    refuse_conditions(headers, IF_NONE_MATCH)
    must_not_exist = parse_must_not_exist(headers)
    content_type = headers.get("Content-Type", "").strip() or None
    ttl_s, expires_at_ms = names.parse_expiry(headers)
    fork = _parse_fork(request, addresses)
    payload: bytes | StreamError = request.body
    if payload and content_types.is_json(content_type or ""):
        try:
            payload = json_mode.flatten_initial(request.body)
        except InvalidRequestError as refusal:
            payload = refusal.bare()
    elif payload and fork is not None and content_type is None:
        # Whether these bytes are JSON messages depends on a source not looked at yet.
        raise InvalidHeaderError("Content-Type", "is needed when a fork is created with a body")
    producer_required = names.parse_flag(headers, names.STREAM_PRODUCER_REQUIRED)
    write_fenced = names.parse_flag(headers, names.STREAM_WRITE_FENCE)
    closed = names.parse_closed(headers)
    return Create(
        content_type, payload, closed, ttl_s, expires_at_ms, fork, producer_required, write_fenced, must_not_exist
    )


def _parse_fork(request: Request, addresses: Addresses) -> ForkRequest | None:
    headers = request.headers
    source = headers.get(names.STREAM_FORKED_FROM)
    offset, sub_offset = headers.get(names.STREAM_FORK_OFFSET), headers.get(names.STREAM_FORK_SUB_OFFSET)
    if source is None:
        for name, value in ((names.STREAM_FORK_OFFSET, offset), (names.STREAM_FORK_SUB_OFFSET, sub_offset)):
            if value is not None:
                raise InvalidHeaderError(name, f"needs {names.STREAM_FORKED_FROM}")
        return None
    position = None if offset is None else parse_anchor(offset)
    count = 0 if sub_offset is None else names.parse_integer(names.STREAM_FORK_SUB_OFFSET, sub_offset)
    return ForkRequest(_source_path(addresses.stream_at(request, source), source), position, count)


def _source_path(encoded: str | None, source: str) -> str:
    """Return the stream path in a source's URL path (§4.2); what cannot name a stream here is not found."""
    if encoded is None:
        raise NotFoundError(source)
    try:
        return parse_path(encoded)
    except (InvalidPathError, PathTooLongError):
        raise NotFoundError(source) from None
