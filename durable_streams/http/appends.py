"""What a request asks to append, and what it is answered: one reading of the fields for every way to append.

Owns: from header fields and bytes to an ``Append``; the status and the fields of a verdict.
Must not know: how fields and bytes arrived. A plain POST, a line of a batch and an upload all come by here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from durable_streams.http import answers
from durable_streams.protocol import content_types, json_mode
from durable_streams.protocol import headers as names
from durable_streams.protocol.append import Append, Appended, Duplicate
from durable_streams.protocol.conditions import IF_MATCH, parse_if_match, refuse_conditions
from durable_streams.protocol.errors import EmptyBodyError, InvalidRequestError, MissingContentTypeError
from durable_streams.protocol.request_fields import OF_PROXIES

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from durable_streams.http.messages import Fields
    from durable_streams.protocol.errors import StreamError

SLICED_MIN_BYTES: Final = 1024 * 1024
"""A JSON body from here on is checked in passes, with other work between them."""
_PLAIN: Final = frozenset({"Host", "Content-Type", "Authorization", *OF_PROXIES})
"""An append without any other header asks for nothing special."""


def parse_append(headers: Mapping[str, str], body: bytes) -> Append:
    """Return the append that header fields and a whole body ask for. JSON is checked, but refused in its turn.

    Raises:
        EmptyBodyError: no body and no ``Stream-Closed: true``.
        MissingContentTypeError: a body without a type.
        InvalidHeaderError: a malformed field, or a condition that is not evaluated.
    """
    content_type = headers.get("Content-Type", "")
    if body and content_type.strip() and _PLAIN.issuperset(headers) and not content_types.is_json(content_type):
        return Append(body, content_type)
    asked = parse_fields(headers, payload_of(body, content_type) if body else b"")
    if body:
        require_type(asked)
    elif not asked.close:
        msg = "an append needs a body, unless it carries Stream-Closed: true"
        raise EmptyBodyError(msg)
    return asked


def is_sliced(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a body takes so long to be checked that it is checked in passes (``parse_by_passes``)."""
    return len(body) >= SLICED_MIN_BYTES and content_types.is_json(headers.get("Content-Type", ""))


def parse_by_passes(headers: Mapping[str, str], body: bytes) -> Generator[None, None, Append]:
    """Return what ``parse_append`` does of a JSON body, and stop between the passes over it. Raises as it does."""
    parse_fields(headers)  # what it refuses needs no look at the body
    payload: bytes | StreamError
    try:
        payload = yield from json_mode.flatten_by_passes(body)
    except InvalidRequestError as refusal:
        payload = refusal.bare()
    return parse_fields(headers, payload)


def parse_fields(headers: Mapping[str, str], payload: bytes | StreamError = b"") -> Append:
    """Return what header fields say of an append with this payload, or whose bytes are still to come.

    Raises:
        InvalidHeaderError: a malformed field, or a condition that is not evaluated.
    """
    refuse_conditions(headers, IF_MATCH)
    return Append(
        payload,
        headers.get("Content-Type", ""),
        names.parse_closed(headers),
        names.parse_triple(headers),
        names.parse_stream_seq(headers),
        headers.get(names.STREAM_WRITE_TOKEN),
        parse_if_match(headers),
    )


def require_type(asked: Append) -> None:
    """Raise ``MissingContentTypeError`` for an append that brings bytes and does not say of which type (§5.2)."""
    if not asked.content_type.strip():
        msg = "an append with a body needs a Content-Type"
        raise MissingContentTypeError(msg)


def payload_of(body: bytes, content_type: str) -> bytes | StreamError:
    """Return the bytes to store of a body that is not empty, or the refusal that they deserve."""
    if not content_types.is_json(content_type):
        return body
    try:
        return json_mode.flatten(body)
    except InvalidRequestError as refusal:
        return refusal.bare()


def status_of(verdict: Appended | Duplicate) -> int:
    """Return 200 for a producer's new bytes, 204 for everything else that succeeds (§5.2, §5.2.1)."""
    return 200 if isinstance(verdict, Appended) and verdict.added and verdict.triple is not None else 204


def fields_of(verdict: Appended | Duplicate, *, compared: bool = False) -> Fields:
    """Return the header fields of a success: the tail, whether it is the end, and the producer's place.

    ``compared``: whether the request had an ``If-Match``; then the tag to compare with next is there as well.
    """
    fields = [answers.next_offset(verdict.tail)]
    if verdict.closed:
        fields.append(answers.CLOSED)
    place = verdict.highest if isinstance(verdict, Duplicate) else verdict.triple
    if place is not None:
        fields += ((names.PRODUCER_EPOCH, str(place.epoch)), (names.PRODUCER_SEQ, str(place.seq)))
    if compared:
        fields.append(answers.tag(verdict.tail))
    return tuple(fields)
