"""Which request header fields are read, and how: what may stand around a value, what a repeated field means (RFC 9110).

Owns: the list of fields that a handler may read, those of extensions included. Must not know: how a front parses.
Invariant: both fronts show a handler the fields of this list and no others, so a field that is missing here is read on
neither, instead of on one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from durable_streams.protocol import headers as names
from durable_streams.protocol.errors import InvalidHeaderError

if TYPE_CHECKING:
    from collections.abc import Iterable

ACCESS_CONTROL_REQUEST_HEADERS: Final = "Access-Control-Request-Headers"
AUTHORIZATION: Final = "Authorization"
CONTENT_ENCODING: Final = "Content-Encoding"
CONTENT_TYPE: Final = "Content-Type"
FORWARDED: Final = "Forwarded"
HOST: Final = "Host"
IF_MATCH: Final = "If-Match"
IF_NONE_MATCH: Final = "If-None-Match"
LAST_EVENT_ID: Final = "Last-Event-ID"
ORIGIN: Final = "Origin"
STREAM_APPEND_MODE: Final = "Stream-Append-Mode"
X_FORWARDED_HOST: Final = "X-Forwarded-Host"
X_FORWARDED_PREFIX: Final = "X-Forwarded-Prefix"
X_FORWARDED_PROTO: Final = "X-Forwarded-Proto"

OF_PROXIES: Final = (FORWARDED, X_FORWARDED_HOST, X_FORWARDED_PREFIX, X_FORWARDED_PROTO)
"""What a proxy adds to a request, and a client may forge: read where an option says so."""

READ: Final = (
    *OF_PROXIES,
    ACCESS_CONTROL_REQUEST_HEADERS,
    AUTHORIZATION,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    HOST,
    IF_MATCH,
    IF_NONE_MATCH,
    "If-Modified-Since",
    "If-Unmodified-Since",
    "If-Range",
    LAST_EVENT_ID,
    ORIGIN,
    STREAM_APPEND_MODE,
    names.STREAM_CLOSED,
    names.STREAM_FORKED_FROM,
    names.STREAM_FORK_OFFSET,
    names.STREAM_FORK_SUB_OFFSET,
    names.STREAM_PRODUCER_REQUIRED,
    names.STREAM_SEQ,
    names.STREAM_TTL,
    names.STREAM_EXPIRES_AT,
    names.STREAM_WRITE_FENCE,
    names.STREAM_WRITE_TOKEN,
    names.PRODUCER_ID,
    names.PRODUCER_EPOCH,
    names.PRODUCER_SEQ,
)
"""Every request field that a handler reads, spelt as handlers look it up."""

LISTS: Final = frozenset({*OF_PROXIES, ACCESS_CONTROL_REQUEST_HEADERS, CONTENT_ENCODING, IF_MATCH, IF_NONE_MATCH})
"""Fields whose value is a list, so that several lines are one list (RFC 9110 §5.3)."""

BLANK: Final = " \t"
"""What may surround a value and is no part of it (RFC 9110 §5.5, RFC 9112 §5)."""

_SPELT: Final = {name.lower(): name for name in READ}


def spelt(name: str) -> str | None:
    """Return a field's name as handlers look it up, ``None`` if no handler reads it."""
    return _SPELT.get(name.lower())


def gather(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the fields that handlers read, from all field lines in their order.

    Raises:
        InvalidHeaderError: a field that is no list has more than one line: whichever counted, somebody between us and
            the client may count the other.
    """
    found: dict[str, str] = {}
    for line_name, value in pairs:
        name = spelt(line_name)
        if name is None:
            continue
        before = found.get(name)
        if before is not None and name not in LISTS:
            raise InvalidHeaderError(name, "must appear once")
        found[name] = value if before is None else f"{before}, {value}"
    return found
