"""Content types: which ones match, and how a stream's bytes travel over SSE (§5.2, §5.8, §9)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from durable_streams.protocol.errors import InvalidHeaderError

DEFAULT: Final = "application/octet-stream"
"""What a stream created without ``Content-Type`` holds (§5.1)."""
JSON: Final = "application/json"

_INERT: Final = frozenset(
    {JSON, DEFAULT, "text/plain", "text/event-stream", "text/csv", "text/markdown", "application/x-ndjson"}
)
_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_CONTENT_TYPE = re.compile(rf"{_NAME}/{_NAME}[ \t]*(?:;[\t\x20-\x7e]*)?")


@lru_cache(maxsize=1024)
def media_type(content_type: str) -> str:
    """Return the lower-case type and subtype; parameters such as ``charset`` do not take part in matching."""
    return content_type.partition(";")[0].strip().lower()


def check(content_type: str) -> str:
    """Return the content type of a new stream, if it has the form of one: it is stored, and sent to every reader.

    Raises:
        InvalidHeaderError: not ``type/subtype`` with or without parameters, in ASCII (RFC 9110 §8.3).
    """
    if _CONTENT_TYPE.fullmatch(content_type) is None:
        raise InvalidHeaderError("Content-Type", "must be a type and subtype, such as text/plain; charset=utf-8")
    return content_type


def is_active(content_type: str) -> bool:
    """Whether a browser that is led to a stream might run what is in it, or take it for a page of ours.

    Pages, SVG, XML and scripts do. So may what nobody has heard of: only what is known to be inert is not.
    """
    media = media_type(content_type)
    if media in _INERT:
        return False
    kind, _, name = media.partition("/")
    return kind not in {"image", "audio", "video", "font"} or name.endswith("+xml")


def is_json(content_type: str) -> bool:
    """Whether the stream is in JSON mode (§9.1)."""
    return media_type(content_type) == JSON


def is_sse_text(content_type: str) -> bool:
    """Whether SSE data events carry the bytes as UTF-8 text; all others are base64 (§5.8)."""
    media = media_type(content_type)
    return media == JSON or media.startswith("text/")
