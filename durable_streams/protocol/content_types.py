"""Content types: which ones match, and how a stream's bytes travel over SSE (§5.2, §5.8, §9)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

DEFAULT: Final = "application/octet-stream"
"""What a stream created without ``Content-Type`` holds (§5.1)."""
JSON: Final = "application/json"


@lru_cache(maxsize=1024)
def media_type(content_type: str) -> str:
    """Return the lower-case type and subtype; parameters such as ``charset`` do not take part in matching."""
    return content_type.partition(";")[0].strip().lower()


def is_json(content_type: str) -> bool:
    """Whether the stream is in JSON mode (§9.1)."""
    return media_type(content_type) == JSON


def is_sse_text(content_type: str) -> bool:
    """Whether SSE data events carry the bytes as UTF-8 text; all others are base64 (§5.8)."""
    media = media_type(content_type)
    return media == JSON or media.startswith("text/")
