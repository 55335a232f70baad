"""What can go wrong for a client, as types that carry the numbers.

Two families: ``DurableStreamError`` is an answer of the server, or a misuse of this package; ``FetchError`` is no
answer.
Owns: the exceptions and their ``code``. Which answer becomes which exception is decided in ``answers.py``; what is
retried first is decided in ``retry.py``. ``docs/client.md`` has the whole table.
"""

from __future__ import annotations


class DurableStreamError(Exception):
    """A refusal by the server, or a misuse of the client.

    Attributes:
        message: one sentence for a person.
        status: HTTP status of the answer; ``None`` if the client itself refused.
        code: stable word to decide on, such as ``NOT_FOUND``.
        details: what the server said: its parsed problem document, or the text of the body, or ``None``.
    """

    def __init__(
        self, message: str, *, status: int | None = None, code: str | None = None, details: object = None
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.code, self.details = message, status, code, details

    def __str__(self) -> str:
        status = "" if self.status is None else f" (status={self.status})"
        code = "" if self.code is None else f" [{self.code}]"
        return f"{self.message}{status}{code}"


class FetchError(Exception):
    """No usable answer: connection refused or cut, timeout, name not found, and retries did not help.

    Attributes:
        message: one sentence for a person.
        status: HTTP status, if headers had arrived.
        url: what was asked for.
    """

    def __init__(self, message: str, *, status: int | None = None, url: str | None = None) -> None:
        super().__init__(message)
        self.message, self.status, self.url = message, status, url

    def __str__(self) -> str:
        status = "" if self.status is None else f" (status={self.status})"
        return self.message + status + ("" if self.url is None else f" at {self.url}")


class StreamNotFoundError(DurableStreamError):
    """404: no stream at this URL, or it has expired."""

    def __init__(self, url: str, *, details: object = None) -> None:
        super().__init__(f"no stream at {url}", status=404, code="NOT_FOUND", details=details)
        self.url = url


class RetentionGoneError(DurableStreamError):
    """410: the offset is no longer retained, or the stream is deleted and kept for its forks only (§4.2, §5.6)."""

    def __init__(self, message: str = "what was asked for is gone", *, details: object = None) -> None:
        super().__init__(message, status=410, code="RETENTION_GONE", details=details)


class StreamExistsError(DurableStreamError):
    """409 to a creation: a stream with another configuration stands there (§5.1)."""

    def __init__(self, url: str, *, details: object = None) -> None:
        message = f"another stream, or one with another configuration, exists at {url}"
        super().__init__(message, status=409, code="CONFLICT_EXISTS", details=details)
        self.url = url


class SeqConflictError(DurableStreamError):
    """409 to an append with ``seq``: it is not above the last one (§5.2)."""

    def __init__(self, message: str = "seq is not above the last one", *, details: object = None) -> None:
        super().__init__(message, status=409, code="CONFLICT_SEQ", details=details)


class StreamClosedError(DurableStreamError):
    """409 with ``Stream-Closed``: the stream takes no further appends (§4.1).

    Attributes:
        final_offset: the closed stream's tail, if the server named it.
    """

    def __init__(self, url: str, *, final_offset: str | None = None, details: object = None) -> None:
        super().__init__(f"the stream at {url} is closed", status=409, code="STREAM_CLOSED", details=details)
        self.url, self.final_offset = url, final_offset


class TailMovedError(DurableStreamError):
    """412 to ``if_match``: the stream's tail is another, so nothing was done (RFC 9110 §13.1.1).

    Attributes:
        current_offset: the tail, to read up to before trying again, if the server named it.
        stream_closed: whether that is the stream's end.
    """

    def __init__(
        self, url: str, *, current_offset: str | None = None, stream_closed: bool = False, details: object = None
    ) -> None:
        super().__init__(
            f"the tail of {url} is not where if_match says", status=412, code="TAIL_MOVED", details=details
        )
        self.url, self.current_offset, self.stream_closed = url, current_offset, stream_closed


class StaleEpochError(DurableStreamError):
    """403 to a producer: another one has begun a higher epoch (§5.2.1)."""

    def __init__(self, current_epoch: int) -> None:
        super().__init__(f"the producer's current epoch is {current_epoch}", status=403, code="STALE_EPOCH")
        self.current_epoch = current_epoch


class SequenceGapError(DurableStreamError):
    """409 to a producer that waiting for earlier batches cannot mend: the server does not know what it acknowledged."""

    def __init__(self, expected_seq: int, received_seq: int) -> None:
        message = f"the server expects batch {expected_seq}, not {received_seq}"
        super().__init__(message, status=409, code="SEQUENCE_GAP")
        self.expected_seq, self.received_seq = expected_seq, received_seq


class ProducerBufferFullError(DurableStreamError):
    """The producer holds ``max_buffer_bytes``; await ``drain()`` between appends."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"{limit_bytes} bytes wait to be acknowledged; await drain()", code="BUFFER_FULL")
        self.limit_bytes = limit_bytes


class StreamConsumedError(DurableStreamError):
    """A response was read twice; it is one pass over the stream."""

    def __init__(self, attempted_method: str, consumed_by: str) -> None:
        message = f"{attempted_method}() after {consumed_by}(): a response can be consumed once"
        super().__init__(message, code="ALREADY_CONSUMED")
        self.attempted_method, self.consumed_by = attempted_method, consumed_by


class SSENotSupportedError(DurableStreamError):
    """The server answered ``live=sse`` with something that is not an event stream."""

    def __init__(self, content_type: str | None = None) -> None:
        super().__init__(f"asked for an event stream, got {content_type}", code="SSE_NOT_SUPPORTED")
        self.content_type = content_type


class SSEBytesIterationError(DurableStreamError):
    """Exact bytes of a text or JSON stream were asked for under ``live="sse"``, which cannot tell CR from LF."""

    def __init__(self) -> None:
        message = 'an event stream cannot carry the exact bytes of text; use live=True or live="long-poll"'
        super().__init__(message, code="SSE_BYTES_NOT_SUPPORTED")


class SSEReadAllError(DurableStreamError):
    """A ``read_*`` method under ``live="sse"``, which has no end."""

    def __init__(self, method: str) -> None:
        super().__init__(f'{method}() has no end under live="sse"; use live=False', code="SSE_READ_ALL_NOT_SUPPORTED")
        self.method = method


class SSEEncodingError(DurableStreamError):
    """An event that cannot be decoded: broken base64, a control event that is not JSON, or one without end."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="SSE_ENCODING_ERROR")
