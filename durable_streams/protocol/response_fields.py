"""Which response header fields are sent, and which of them a browser shows to a page of another origin.

Owns: the list of fields that an answer may have, those of extensions included; what ``Access-Control-Expose-Headers``
says is derived from it. Must not know: which answer has which. The inspector's own page is of its own origin, and is
not in it.
Invariant: a field that concerns a client is exposed, so none can be sent that a script may not read.
"""

from __future__ import annotations

from typing import Final

from durable_streams.protocol import headers as names

ALLOW: Final = "Allow"
ETAG: Final = "ETag"
LOCATION: Final = "Location"
RETRY_AFTER: Final = "Retry-After"
STREAM_APPEND_COUNT: Final = "Stream-Append-Count"

SAFELISTED: Final = ("Cache-Control", "Content-Length", "Content-Type")
"""What a script may read of every answer anyway (Fetch §2.2.6)."""

OF_THE_CONNECTION: Final = ("Connection", "Date", "Server", "Transfer-Encoding", "X-Accel-Buffering")
"""What concerns the hops between us and a client, and no script."""

OF_THE_BROWSER: Final = (
    "Access-Control-Allow-Headers",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Origin",
    "Access-Control-Expose-Headers",
    "Access-Control-Max-Age",
    "Content-Disposition",
    "Content-Security-Policy",
    "Cross-Origin-Resource-Policy",
    "Vary",
    "X-Content-Type-Options",
)
"""What a browser or cache obeys by itself."""

SENT: Final = (
    names.STREAM_NEXT_OFFSET,
    names.STREAM_UP_TO_DATE,
    names.STREAM_CLOSED,
    names.STREAM_CURSOR,
    names.STREAM_TTL,
    names.STREAM_EXPIRES_AT,
    names.STREAM_SSE_DATA_ENCODING,
    names.STREAM_EXTENSIONS,
    names.STREAM_PRODUCER_REQUIRED,
    names.STREAM_WRITE_FENCE,
    names.PRODUCER_EPOCH,
    names.PRODUCER_SEQ,
    names.PRODUCER_EXPECTED_SEQ,
    names.PRODUCER_RECEIVED_SEQ,
    STREAM_APPEND_COUNT,
    ETAG,
    LOCATION,
    RETRY_AFTER,
    ALLOW,
    *SAFELISTED,
    *OF_THE_CONNECTION,
    *OF_THE_BROWSER,
)
"""Every field that an answer may have."""

EXPOSED: Final = tuple(name for name in SENT if name not in {*SAFELISTED, *OF_THE_CONNECTION, *OF_THE_BROWSER})
"""Every field that a script may want and a browser would keep from it."""
