"""Header fields that many answers share (§12.7, CORS, extensions)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from durable_streams.protocol import headers as names
from durable_streams.protocol.content_types import is_active
from durable_streams.protocol.offsets import format_offset
from durable_streams.protocol.response_fields import ETAG, EXPOSED

if TYPE_CHECKING:
    from durable_streams.http.messages import Fields

EXTENSIONS: Final = "tail, list, batch, follow, streaming-append, if-match, max-bytes"
"""What this server adds to the protocol (§11.1), by name, in ``Stream-Extensions`` on HEAD and GET."""

COMMON: Final[Fields] = (
    ("Server", "durable-streams"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "cross-origin"),
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Expose-Headers", ", ".join(EXPOSED)),
)
"""On every answer, errors included (§12.7)."""

CLOSED: Final = (names.STREAM_CLOSED, "true")
UP_TO_DATE: Final = (names.STREAM_UP_TO_DATE, "true")
NO_STORE: Final = ("Cache-Control", "no-store")
SUPPORTED: Final = (names.STREAM_EXTENSIONS, EXTENSIONS)


INERT: Final[Fields] = (
    ("Content-Security-Policy", "sandbox; default-src 'none'"),
    ("Content-Disposition", "attachment"),
)
"""On bytes of a stream that a browser might run: they are its writers', and this is not their origin."""


def type_of(content_type: str) -> Fields:
    """Return the ``Content-Type`` of a stream's bytes, and what keeps a browser from running them."""
    typed = (("Content-Type", content_type),)
    return (*typed, *INERT) if is_active(content_type) else typed


def next_offset(position: int) -> tuple[str, str]:
    """Return the ``Stream-Next-Offset`` field."""
    return (names.STREAM_NEXT_OFFSET, format_offset(position))


def tag(position: int) -> tuple[str, str]:
    """Return the ``ETag`` of a stream whose tail this is, as ``If-Match`` on a write takes it."""
    return (ETAG, f'"{format_offset(position)}"')
