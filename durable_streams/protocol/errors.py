"""Every refusal the protocol knows, as a type that carries its numbers.

Owns: the exception tree. Must not know: HTTP statuses; ``http/errors.py`` holds the one table from type to answer.
Invariant: a refusal is raised once, where it is decided, and nothing has changed when it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self


class StreamError(Exception):
    """Base of all refusals.

    ``str(error)`` is one sentence for a person, and can be encoded: what a client sent stands in it by its ``repr``.
    """

    def bare(self) -> Self:
        """Return itself without the frames that it came through: to be kept, they would keep all that was in them."""
        self.__context__ = self.__cause__ = None
        return self.with_traceback(None)


# --- what was asked makes no sense (§5.1, §5.2: 400) ---


class InvalidRequestError(StreamError):
    """A request that no state of the stream could make valid."""


class InvalidPathError(InvalidRequestError):
    """A path with an empty segment, ``.`` or ``..``, NUL, or bytes that are not UTF-8 (§12.2)."""


class PathTooLongError(StreamError):
    """A path over the engine's key length."""

    def __init__(self, length_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"the path has {length_bytes} bytes; at most {limit_bytes} are allowed")
        self.length_bytes, self.limit_bytes = length_bytes, limit_bytes


class ReservedPathError(InvalidRequestError):
    """An application path under the reserved first segment ``__ds`` (§6)."""


class InvalidHeaderError(InvalidRequestError):
    """A request header whose value breaks its grammar, or two headers that exclude each other."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name


class InvalidQueryError(InvalidRequestError):
    """A query parameter that is missing, doubled, or malformed."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"query parameter {name}: {why}")
        self.name = name


class InvalidOffsetError(InvalidRequestError):
    """An offset this server never minted (§8)."""


class OffsetBeyondTailError(InvalidRequestError):
    """An offset past the tail: it was not minted by this incarnation of the stream (§4.2, §8)."""

    def __init__(self, offset: int, tail: int) -> None:
        super().__init__(f"offset {offset} is beyond the tail {tail}")
        self.offset, self.tail = offset, tail


class OffsetInsideMessageError(InvalidRequestError):
    """An offset that would tear a JSON message (§9.1.1)."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"offset {offset} is inside a JSON message")
        self.offset = offset


class SubOffsetBeyondTailError(InvalidRequestError):
    """A ``Stream-Fork-Sub-Offset`` past the source's stored bytes or messages (§4.2)."""

    def __init__(self, sub_offset: int) -> None:
        super().__init__(f"Stream-Fork-Sub-Offset {sub_offset} reaches past the end of the source")
        self.sub_offset = sub_offset


class ForkTooDeepError(InvalidRequestError):
    """A fork of a fork of a fork …, past the bound."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a chain of forks may be at most {limit} deep")
        self.limit = limit


class EmptyBodyError(InvalidRequestError):
    """An append without a body and without ``Stream-Closed: true`` (§5.2)."""


class MissingContentTypeError(InvalidRequestError):
    """An append with a body and without ``Content-Type`` (§5.2)."""


class InvalidJsonError(InvalidRequestError):
    """A body on a JSON stream that is not one JSON text (§9.1.4)."""


class EmptyArrayError(InvalidRequestError):
    """``[]`` appended to a JSON stream: a no-op, surely a client's bug (§9.1.3)."""


class ProducerRequiredError(InvalidRequestError):
    """An append without a producer to a stream that requires one."""


class EpochMustStartAtZeroError(InvalidRequestError):
    """A new producer epoch whose first seq is not 0 (§5.2.1)."""

    def __init__(self, epoch: int, seq: int) -> None:
        super().__init__(f"epoch {epoch} is new and must start at Producer-Seq 0, not {seq}")
        self.epoch, self.seq = epoch, seq


# --- what was asked for is not there ---


class NotFoundError(StreamError):
    """No stream at this path, or it has expired."""

    def __init__(self, path: str) -> None:
        super().__init__(f"no stream at {path!r}")
        self.path = path


class GoneError(StreamError):
    """The stream is soft-deleted: kept for its forks, gone for clients (§4.2)."""

    def __init__(self, path: str) -> None:
        super().__init__(f"the stream at {path!r} is deleted; forks still hold its bytes")
        self.path = path


class ReplacedError(StreamError):
    """The stream that was being read, or gave out this offset, is deleted, and another has been created at its path."""

    def __init__(self, path: str) -> None:
        super().__init__(f"the stream at {path!r} was deleted and created anew; begin again at its start")
        self.path = path


# --- what was asked collides with the stream's state (409, 403) ---


class ConflictError(StreamError):
    """A request that another state of the stream could have accepted."""


class StreamExistsError(ConflictError):
    """A stream with another configuration stands at this path (§5.1)."""

    def __init__(self, path: str, difference: str) -> None:
        super().__init__(f"a stream exists at {path!r} with a different {difference}")
        self.path, self.difference = path, difference


class PathBlockedError(ConflictError):
    """The path holds a soft-deleted stream and cannot be created again yet (§4.2)."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path!r} holds a deleted stream that forks still read; it cannot be created again yet")
        self.path = path


class SourceGoneError(ConflictError):
    """The fork's source is soft-deleted (§4.2)."""

    def __init__(self, path: str) -> None:
        super().__init__(f"the source {path!r} is deleted and cannot be forked")
        self.path = path


class ContentTypeMismatchError(ConflictError):
    """The request's content type is not the stream's (§5.2, §12.4)."""

    def __init__(self, expected: str, received: str) -> None:
        super().__init__(f"the stream holds {expected!r}, not {received!r}")
        self.expected, self.received = expected, received


class StreamClosedError(ConflictError):
    """The stream takes no further appends (§4.1). ``tail`` is its final offset."""

    def __init__(self, tail: int) -> None:
        super().__init__("the stream is closed")
        self.tail = tail


class StreamSeqConflictError(ConflictError):
    """A ``Stream-Seq`` not above the last one, compared byte by byte (§5.2)."""

    def __init__(self, last: str, received: str) -> None:
        super().__init__(f"Sequence conflict: Stream-Seq {received!r} does not come after {last!r}")
        self.last, self.received = last, received


class ProducerGapError(ConflictError):
    """A producer seq that skips one (§5.2.1)."""

    def __init__(self, expected_seq: int, received_seq: int) -> None:
        super().__init__(f"Producer sequence gap: expected Producer-Seq {expected_seq}, received {received_seq}")
        self.expected_seq, self.received_seq = expected_seq, received_seq


class UploadUnfinishedError(ConflictError):
    """An append that comes whole, under the seq of an upload that is stored in part: only the upload can go on."""

    def __init__(self, seq: int) -> None:
        super().__init__(f"Producer-Seq {seq} is that of an upload that has not ended: send the upload again")
        self.seq = seq


class UploadDiffersError(ConflictError):
    """Bytes under the triple of an upload that are not as many as those stored under it: it is another upload."""

    def __init__(self, stored_bytes: int, sent_bytes: int) -> None:
        super().__init__(f"{stored_bytes} bytes of this upload are stored, which {sent_bytes} cannot be")
        self.stored_bytes, self.sent_bytes = stored_bytes, sent_bytes


class WriteFencedError(StreamError):
    """An append to a write-fenced stream by somebody who holds no current claim on it."""


class StaleEpochError(StreamError):
    """A producer epoch below the current one: the writer has been fenced (§5.2.1)."""

    def __init__(self, current_epoch: int) -> None:
        super().__init__(f"the producer's current epoch is {current_epoch}")
        self.current_epoch = current_epoch


# --- what was asked was asked on a condition (RFC 9110 §13: 412) ---


class TailMovedError(StreamError):
    """An ``If-Match`` that names another tail than the stream's. ``closed``: whether that is its end."""

    def __init__(self, tail: int, closed: bool) -> None:  # noqa: FBT001 a field, as the others
        super().__init__(f"the stream's tail is at {tail}, which If-Match does not name")
        self.tail, self.closed = tail, closed


class AlreadyExistsError(StreamError):
    """An ``If-None-Match: *`` on a creation where a stream stands."""

    def __init__(self, path: str, tail: int) -> None:
        super().__init__(f"a stream exists at {path!r}, where If-None-Match asks for none")
        self.path, self.tail = path, tail


# --- what was asked cannot be done now, or at all, by this server ---


class HostNotAllowedError(StreamError):
    """A request to a name that is not this server's: one that somebody has made to lead here."""

    def __init__(self, host: str) -> None:
        super().__init__(f"this server is not reached as {host!r}; serve --allow-host, or --public-url, says otherwise")
        self.host = host


class OriginNotAllowedError(StreamError):
    """A request of a page of another origin, which may not use this server (§12.7)."""

    def __init__(self, origin: str) -> None:
        super().__init__(f"pages of {origin!r} may not use this server; serve --allow-origin says otherwise")
        self.origin = origin


class TransferCodingError(StreamError):
    """A body that comes by a transfer coding other than ``chunked`` (RFC 9112 §6.1: 501)."""


class BodyTooLargeError(StreamError):
    """A body over ``--max-append-bytes`` (§5.2: 413)."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"a body may have at most {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


class RequestTimeoutError(StreamError):
    """The request did not arrive whole within ``--request-timeout-ms``."""


class UnavailableError(StreamError):
    """Try again later: nothing was written."""


class OverloadedError(UnavailableError):
    """Too many appends are queued, or too many large bodies on their way."""


class ShuttingDownError(UnavailableError):
    """The server is draining and takes no new writes."""


class StoreFailedError(UnavailableError):
    """The store failed; the server has stopped accepting writes."""


class StoreFullError(StreamError):
    """No space left in the store: nothing was written (507)."""


class DamagedError(StreamError):
    """Stored bytes of this stream are not what was stored, and are not shown. ``path``: empty if nobody can tell."""

    def __init__(self, path: str, what: str) -> None:
        which = f"the stream at {path!a}" if path else "a stream"
        super().__init__(
            f"{which} is damaged on disk ({what}): stop the server, see what `durable-streams check` says, and restore "
            "it from a backup"
        )
        self.path, self.what = path, what


class OutcomeUnknownError(StreamError):
    """Whether this was written cannot be told: another writer had moved the stream before it could be found out."""
