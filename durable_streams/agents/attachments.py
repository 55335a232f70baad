"""Files in prompts and answers: the forms in which clients send them, as one, the AI SDK's ``file`` part.

Owns: what counts as a file, and how large one may be. Must not know: any provider.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes, urlsplit

from durable_streams.agents.errors import AgentError

FILE: Final = "file"
ATTACHED_MAX_BYTES: Final = 8 * 2**20
"""All files in one prompt, as base64 unpacks: the message is one row of the session."""
URL_MAX_CHARS: Final = 8192
"""An address that is no ``data:`` URL."""
GONE: Final = "data:,"
"""What the address of a file shows whose bytes are elsewhere."""
_KINDS: Final = frozenset({"image", "audio", "video", "document", "binary", "image_url", FILE})
"""Types of parts that hold a file, in one client's form or another's."""
_DATA: Final = "data:"
_TEXTS: Final = frozenset(
    f"application/{name}" for name in ("json", "xml", "yaml", "x-yaml", "toml", "javascript", "x-sh", "sql", "csv")
)


class InvalidAttachmentError(AgentError):
    """A file that could not be sent to any model, or too much of it."""


@dataclass(frozen=True, slots=True)
class File:
    """A file.

    Attributes:
        media_type: such as ``image/png``; without parameters.
        url: ``data:`` in base64, or ``http:`` or ``https:``.
        filename: as the user's, if known.
        own: what the provider that is asked has said with it, if it has made it.
    """

    media_type: str
    url: str
    filename: str | None = None
    own: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The filename, or the kind of file, for people and models."""
        return self.filename or self.media_type

    @property
    def gone(self) -> bool:
        """Whether its bytes were not brought back, as there were too many."""
        return self.url == GONE

    @property
    def inline(self) -> str | None:
        """The file's bytes in base64, if it is here."""
        return self.url.partition(",")[2] if self.url.startswith(_DATA) else None

    @property
    def text(self) -> str | None:
        """The file's text, if it is here and is text."""
        kind = self.media_type
        is_text = kind.startswith("text/") or kind in _TEXTS or kind.endswith(("+json", "+xml"))
        if self.inline is None or not is_text:
            return None
        try:
            return base64.b64decode(self.inline).decode("utf-8", "replace")
        except binascii.Error:  # stored before anybody checked
            return None


def file_of(part: Mapping[str, Any]) -> File | None:
    """Return the file in a stored part; ``None`` if it holds none."""
    kind, url, name = part.get("mediaType"), part.get("url"), part.get("filename")
    if part.get("type") != FILE or not isinstance(kind, str) or not isinstance(url, str):
        return None
    own = part.get("own")
    named = name if isinstance(name, str) and name else None
    return File(kind.partition(";")[0], url, named, own if isinstance(own, Mapping) else None)


def attached(part: dict[str, Any]) -> dict[str, Any]:
    """Return a posted part as it is stored: one with a file, in whatever form, as a checked ``file`` part.

    Raises:
        InvalidAttachmentError: no address or data, no media type, or data that is not base64.
    """
    if part["type"] not in _KINDS:
        return part
    kind, url, name = _told(part)
    if not isinstance(url, str) or not url:
        raise InvalidAttachmentError(f"a part of type {part['type']!r} has no url and no data")
    kind, url = _checked(kind if isinstance(kind, str) else "", url)
    named = {"filename": name} if isinstance(name, str) and name else {}
    return {"type": FILE, "mediaType": kind, **named, "url": url}


def check_sizes(parts: list[dict[str, Any]]) -> None:
    """Check the files of one message.

    Raises:
        InvalidAttachmentError: together they are too large.
    """
    files = [file for part in parts if (file := file_of(part)) is not None]
    size = sum(len(file.inline or "") * 3 // 4 for file in files)
    if size > ATTACHED_MAX_BYTES:
        raise InvalidAttachmentError(f"the files of a message have at most {ATTACHED_MAX_BYTES} bytes, not {size}")


def _told(part: Mapping[str, Any]) -> tuple[object, object, object]:
    """Return media type, address and name, from whichever fields the client's form has."""
    source, name = part.get("source"), part.get("filename")
    if isinstance(source, Mapping):
        kind, value = source.get("mimeType") or part.get("mimeType"), source.get("value")
        metadata = part.get("metadata")
        named = name or (metadata.get("filename") if isinstance(metadata, Mapping) else None)
        return kind, _as_url(kind, value) if source.get("type") == "data" else value, named
    kind = part.get("mediaType") or part.get("mimeType")
    inner = part.get("image_url")
    url = part.get("url") or (inner.get("url") if isinstance(inner, Mapping) else inner)
    return kind, url or _as_url(kind, part.get("data")), name


def _as_url(kind: object, value: object) -> object:
    return f"{_DATA}{kind};base64,{value}" if isinstance(value, str) and value else None


def _checked(kind: str, url: str) -> tuple[str, str]:
    if url.startswith(_DATA):
        return _checked_data(kind, url)
    if len(url) > URL_MAX_CHARS:
        raise InvalidAttachmentError(f"a file's address has at most {URL_MAX_CHARS} characters")
    try:
        parts = urlsplit(url)
    except ValueError as fault:
        raise InvalidAttachmentError(f"a file's address cannot be read: {fault}") from fault
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise InvalidAttachmentError("a file is a data: URL, or has an address that begins with https:")
    return _checked_kind(kind), url


def _checked_data(kind: str, url: str) -> tuple[str, str]:
    head, comma, payload = url.removeprefix(_DATA).partition(",")
    if not comma:
        raise InvalidAttachmentError("a data: URL has a comma before its data")
    kind = _checked_kind(kind or head.partition(";")[0])
    if not head.endswith(";base64"):
        payload = base64.b64encode(unquote_to_bytes(payload)).decode()
    try:
        base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as fault:
        raise InvalidAttachmentError(f"a file's data is not base64: {fault}") from fault
    return kind, f"{_DATA}{kind};base64,{payload}"


def _checked_kind(kind: str) -> str:
    kind = kind.partition(";")[0].strip().lower()
    if "/" not in kind:
        raise InvalidAttachmentError("a file has a mediaType such as image/png")
    return kind
