"""Create, fork and delete: what may stand at a path (§5.1, §4.2, §5.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from durable_streams.protocol import content_types
from durable_streams.protocol.errors import (
    AlreadyExistsError,
    ContentTypeMismatchError,
    ForkTooDeepError,
    GoneError,
    OffsetBeyondTailError,
    PathBlockedError,
    SourceGoneError,
    StreamExistsError,
)
from durable_streams.protocol.head import CLOSED, SOFT_DELETED, Fork, Record, Segment

if TYPE_CHECKING:
    from durable_streams.protocol.draft import Draft
    from durable_streams.protocol.errors import StreamError

FORK_DEPTH_MAX: Final = 64
"""Longest chain of forks: a read visits, and the last deletion takes along, at most this many ancestors."""


class ForkRequest(NamedTuple):
    """The fork headers of a creation (§4.2). ``offset`` is ``None`` for the source's tail."""

    source_path: str
    offset: int | None
    sub_offset: int


class Create(NamedTuple):
    """One request to create. At most one of ``ttl_s`` and ``expires_at_ms`` is set.

    content_type: as given; ``None`` if the header was absent.
    payload: initial bytes as stored, or the refusal its body deserves.
    producer_required, write_fenced: who may append; a fork inherits either from its source.
    must_not_exist: no stream may stand there, not even one of this configuration (``If-None-Match: *``).
    """

    content_type: str | None
    payload: bytes | StreamError
    closed: bool = False
    ttl_s: int | None = None
    expires_at_ms: int | None = None
    fork: ForkRequest | None = None
    producer_required: bool = False
    write_fenced: bool = False
    must_not_exist: bool = False


class Created(NamedTuple):
    """What a creation answers; ``fresh`` is False for an existing stream of the same configuration (200)."""

    fresh: bool
    content_type: str
    tail: int
    closed: bool


def match_existing(existing: Draft, request: Create) -> Created:
    """Answer a creation at a path where a live stream stands: the same configuration is success (§5.1).

    Compares content type, TTL or expiry, closure status, and what the fork headers asked for. A fork request that left
    something to be inherited matches a fork that inherited it.

    Raises:
        PathBlockedError: the path holds a soft-deleted stream.
        AlreadyExistsError: the creation is for a path that holds none, whatever the configuration.
        StreamExistsError: some part differs; it names which.
    """
    # §5.4: a soft-deleted stream "blocks path re-creation via PUT (409 Conflict)".
    if existing.soft_deleted:
        raise PathBlockedError(existing.path)
    if request.must_not_exist:
        raise AlreadyExistsError(existing.path, existing.tail)
    # §5.1: the server MUST "return 200 OK if the existing stream's configuration (content type, TTL/expiry, and closure
    # status) matches the request, or return 409 Conflict if it does not".
    difference = _difference(existing, request)
    if difference is not None:
        raise StreamExistsError(existing.path, difference)
    return Created(fresh=False, content_type=existing.record.content_type, tail=existing.tail, closed=existing.closed)


def _difference(existing: Draft, request: Create) -> str | None:
    record, fork = existing.record, existing.record.fork
    asked_type = request.content_type
    if asked_type is None:
        asked_type = record.content_type if request.fork else content_types.DEFAULT
    asked_expiry, stored_expiry = (request.ttl_s, request.expires_at_ms), (record.ttl_s, record.expires_at_ms)
    inherits_again = fork is not None and fork.inherited_expiry and asked_expiry == (None, None)
    differences = {
        "content type": content_types.media_type(asked_type) != content_types.media_type(record.content_type),
        "TTL or expiry": not inherits_again and asked_expiry != stored_expiry,
        # §5.1: "servers MUST compare the Stream-Closed header in the request against the stream's … closure status".
        "closure status": request.closed != existing.closed,
        # §4.2: "matching configuration — including Stream-Forked-From and Stream-Fork-Offset".
        "fork source": not _same_fork(fork, request.fork),
        "producer requirement": _differs(request.producer_required, record.producer_required, fork),
        "write fence": _differs(request.write_fenced, record.write_fenced, fork),
    }
    return next((what for what, differs in differences.items() if differs), None)


def _differs(asked: bool, stored: bool, fork: Fork | None) -> bool:  # noqa: FBT001 the two flags to compare
    """Whether a restriction differs; a fork may have inherited what was not asked for."""
    return asked != stored and (asked or fork is None)


def _same_fork(fork: Fork | None, asked: ForkRequest | None) -> bool:
    if fork is None or asked is None:
        return fork is None and asked is None
    same_offset = not fork.asked_offset if asked.offset is None else asked.offset == fork.anchor
    return fork.source_path == asked.source_path and fork.sub_offset == asked.sub_offset and same_offset


def new_record(request: Create) -> Record:
    """Return the record of a stream that is no fork.

    Raises:
        InvalidHeaderError: a content type that is none.
    """
    content_type = content_types.check(request.content_type or content_types.DEFAULT)
    return Record(
        content_type,
        request.ttl_s,
        request.expires_at_ms,
        producer_required=request.producer_required,
        write_fenced=request.write_fenced,
    )


def check_source(source: Draft, request: Create) -> int:
    """Return the anchor of a fork: the requested offset, or the source's tail (§4.2).

    Raises:
        SourceGoneError: the source is soft-deleted.
        ContentTypeMismatchError: a content type was given and is not the source's.
        OffsetBeyondTailError: the offset is past the source's tail.
        ForkTooDeepError: the chain would exceed ``FORK_DEPTH_MAX``.
    """
    asked = _asked_fork(request)
    if source.soft_deleted:
        raise SourceGoneError(source.path)
    stored, received = source.record.content_type, request.content_type
    # §4.2: it "MUST match the source stream's content type; servers MUST return 409 Conflict if it differs".
    if received is not None and content_types.media_type(received) != content_types.media_type(stored):
        raise ContentTypeMismatchError(stored, received)
    anchor = source.tail if asked.offset is None else asked.offset
    # §5.1: "Servers MUST return 400 Bad Request if the offset exceeds the source stream's tail."
    if anchor > source.tail:
        raise OffsetBeyondTailError(anchor, source.tail)
    if _depth(source) >= FORK_DEPTH_MAX:
        raise ForkTooDeepError(FORK_DEPTH_MAX)
    return anchor


def _asked_fork(request: Create) -> ForkRequest:
    if request.fork is None:
        raise AssertionError("a fork's rules were asked about a creation that is none")
    return request.fork


def _depth(stream: Draft) -> int:
    return stream.record.fork.depth if stream.record.fork else 0


def lineage_up_to(source: Draft, base: int) -> tuple[Segment, ...]:
    """Return the segments that hold the source's bytes ``[0, base)``, in offset order."""
    inherited = source.record.fork.lineage if source.record.fork else ()
    segments = (*inherited, Segment(source.sid, source.tail))
    whole = tuple(segment for segment in segments if segment.end < base)
    return (*whole, Segment(segments[len(whole)].sid, base))


def fork_record(source: Draft, request: Create, *, anchor: int, base: int) -> Record:
    """Return the record of a fork whose own bytes start at ``base``; expiry by the table of §4.2.

    Without any writer's state: "Forks MUST NOT inherit idempotent producer state … or per-writer Stream-Seq state".
    """
    asked = _asked_fork(request)
    inherits = request.ttl_s is None and request.expires_at_ms is None
    expiry = (source.record.ttl_s, source.record.expires_at_ms) if inherits else (request.ttl_s, request.expires_at_ms)
    fork = Fork(
        asked.source_path,
        source.sid,
        anchor,
        asked.sub_offset,
        asked.offset is not None,
        inherits,
        lineage_up_to(source, base),
        _depth(source) + 1,
    )
    return Record(
        source.record.content_type,
        *expiry,
        fork=fork,
        producer_required=request.producer_required or source.record.producer_required,
        write_fenced=request.write_fenced or source.record.write_fenced,
    )


def start(draft: Draft, base: int, payload: bytes, *, closed: bool) -> Created:
    """Give a fresh draft its first bytes, from ``base`` on."""
    draft.tail = base + len(payload)
    draft.state = CLOSED if closed else 0
    return Created(fresh=True, content_type=draft.record.content_type, tail=draft.tail, closed=closed)


def decide_delete(draft: Draft) -> bool:
    """Delete a stream: True if it goes at once, False if it is kept soft-deleted for its forks (§5.4).

    Raises:
        GoneError: already soft-deleted.
    """
    # §5.4: "Deleting an already soft-deleted stream MUST return 410 Gone".
    if draft.soft_deleted:
        raise GoneError(draft.path)
    # §5.4: with forks "the server MUST transition the stream to a soft-deleted state rather than fully removing it".
    if draft.refs == 0:
        return True
    draft.state |= SOFT_DELETED
    draft.due_ms = 0
    return False


def release(source: Draft) -> bool:
    """Take one fork's reference off its source; True if the source, soft-deleted, now goes too (§4.2 cascade)."""
    if source.refs <= 0:
        msg = f"{source.path!r} has no reference to release"
        raise AssertionError(msg)
    # §4.2: when the count reaches zero "and the source is also soft-deleted, the source is cleaned up too".
    source.refs -= 1
    return source.refs == 0 and source.soft_deleted
