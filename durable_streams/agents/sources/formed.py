"""Results of frameworks' tools, which may be any object, in the form in which they are stored.

A file of a framework is ``{"type": "file", "mediaType", "url"}``, its bytes in a ``data:`` URL. Everything else has the
form that ``plain`` gives it; what has none is its text, as frameworks show it to their models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from durable_streams.agents.plain import NoFormError, Plain, plain

_FILES_DEPTH_MAX: Final = 8
"""Files are looked for so deep in a result."""


def formed(output: object) -> Plain:
    """Return a tool's result as it is stored: a tool that has run is not shown as failed for what it returns."""
    try:
        return plain(_with_files(output, 0))
    except NoFormError:
        return plain(str(output))


def _with_files(value: object, depth: int) -> object:
    if isinstance(value, str | bytes) or depth > _FILES_DEPTH_MAX:
        return value
    if isinstance(value, Mapping):
        return {key: _with_files(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_with_files(one, depth + 1) for one in value]
    return file_of(value) or value


def file_of(value: Any) -> dict[str, str] | None:  # noqa: ANN401 a package that may be absent
    """Return the file that a framework's object is, as a part of a message; ``None`` if it is none."""
    try:
        media_type, url = value.media_type, getattr(value, "data_uri", None) or value.url
    except (AttributeError, ValueError):  # the media type of some addresses cannot be told
        return None
    if not isinstance(media_type, str) or not isinstance(url, str):
        return None
    return {"type": "file", "mediaType": media_type, "url": url}
