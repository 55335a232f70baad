"""Preflights: a browser asks whether a page of another origin may send what it is about to send (Fetch §4.8, §12.7).

Owns: the answer to OPTIONS. Must not know: streams; who may do what is decided by what follows, not by its origin.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from durable_streams.http.messages import Answer
from durable_streams.protocol.errors import InvalidHeaderError
from durable_streams.protocol.request_fields import ACCESS_CONTROL_REQUEST_HEADERS, HOST, OF_PROXIES, ORIGIN, READ

if TYPE_CHECKING:
    from durable_streams.http.messages import Request

METHODS: Final = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
MAX_AGE_S: Final = 86_400
"""How long a browser may keep the answer; it takes its own bound, two hours or a day, where that is less."""
ASKED_MAX_BYTES: Final = 4 * 1024
"""Longest list of names that is taken, and so sent back."""
_USUAL: Final = ", ".join(
    name for name in READ if name not in {ACCESS_CONTROL_REQUEST_HEADERS, HOST, ORIGIN, *OF_PROXIES}
)
_NAMES: Final = re.compile(r"[ \t]*,[ \t]*")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)


def preflight(request: Request) -> Answer:
    """Allow every method that there is, and the fields that are asked for, whatever they are.

    Pages carry fields that no server lists: of tracing, of tenants. They do nothing here; refusing them would refuse
    the page. They are allowed by name rather than by ``*``, which would not cover ``Authorization``.

    Raises:
        InvalidHeaderError: names that are none, or too many of them.
    """
    fields = (
        ("Access-Control-Allow-Methods", METHODS),
        ("Access-Control-Allow-Headers", _asked(request.headers.get(ACCESS_CONTROL_REQUEST_HEADERS, "")) or _USUAL),
        ("Access-Control-Max-Age", str(MAX_AGE_S)),
        ("Vary", ACCESS_CONTROL_REQUEST_HEADERS),
    )
    return Answer(204, fields)


def _asked(value: str) -> str:
    """Return the names of a list, one after another; empty elements are nothing (RFC 9110 §5.6.1)."""
    if len(value) > ASKED_MAX_BYTES:
        raise InvalidHeaderError(ACCESS_CONTROL_REQUEST_HEADERS, f"must not be longer than {ASKED_MAX_BYTES} bytes")
    names = [name for name in _NAMES.split(value.strip(" \t")) if name]
    if not all(map(_NAME.fullmatch, names)):
        raise InvalidHeaderError(ACCESS_CONTROL_REQUEST_HEADERS, "must be a list of field names")
    return ", ".join(names)
