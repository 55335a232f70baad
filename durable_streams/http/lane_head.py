"""Heads on the lane: which requests are usual, and how an answer's head is written (``http/lane.py``).

Owns: reading one request head strictly, or leaving it to aiohttp; writing heads as aiohttp writes them.
Must not know: connections. Invariant: what is not understood whole is not usual.
"""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

import httptools

from durable_streams.http import answers

if TYPE_CHECKING:
    from durable_streams.http.messages import Answer

HEAD_MAX_BYTES: Final = 8 * 1024
"""A longer head is not usual: aiohttp's own bounds apply."""
BODY_MAX_BYTES: Final = 1024 * 1024
"""A longer body is not usual: aiohttp reads it in pieces."""
_REMEMBERED_MAX_BYTES: Final = 1024
_REMEMBERED_COUNT: Final = 1024

_UNUSUAL: Final = frozenset(
    {
        b"stream-append-mode",
        b"transfer-encoding",
        b"expect",
        b"upgrade",
        b"connection",
        b"content-encoding",
        b"te",
        b"trailer",
        b"http2-settings",
    }
)
_KNOWN: Final = {
    name.lower().encode(): name
    for name in (
        "Host",
        "Content-Length",
        "Content-Type",
        "If-None-Match",
        "Stream-Closed",
        "Stream-Seq",
        "Stream-TTL",
        "Stream-Expires-At",
        "Stream-Forked-From",
        "Stream-Fork-Offset",
        "Stream-Fork-Sub-Offset",
        "Stream-Producer-Required",
        "Stream-Write-Fence",
        "Stream-Write-Token",
        "Producer-Id",
        "Producer-Epoch",
        "Producer-Seq",
        "Authorization",
    )
}
"""The headers that handlers look at, by lower-case name."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})


class _NotUsualError(Exception):
    """This request is aiohttp's."""


class UsualHead(NamedTuple):
    """What a usual request's head says. ``body_bytes``: its ``Content-Length``, 0 without one."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: dict[str, str]
    origin: str
    body_bytes: int


class _HeadParser:
    """Collects what httptools finds in one request head, and refuses what is not usual."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: dict[str, str] = {}

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        lowered = name.lower()
        if lowered in _UNUSUAL and not (lowered == b"connection" and value.lower() == b"keep-alive"):
            raise _NotUsualError
        known = _KNOWN.get(lowered)
        if known is not None:
            if known in self.headers:  # doubled: whichever counts, aiohttp says
                raise _NotUsualError
            self.headers[known] = value.decode("utf-8")


def parse_head(raw: bytes) -> UsualHead | None:
    """Return a usual request's head, ``None`` for any other.

    ``raw`` is one head, from the request line through the empty line. Short ones are remembered: clients repeat theirs.
    """
    if len(raw) > HEAD_MAX_BYTES:
        return None
    return _parse_remembered(raw) if len(raw) <= _REMEMBERED_MAX_BYTES else _parse(raw)


def _parse(raw: bytes) -> UsualHead | None:
    found = _HeadParser()
    parser = httptools.HttpRequestParser(found)
    try:
        parser.feed_data(raw)
        path, query = _split_url(found.url)
        method = parser.get_method().decode("ascii")
        host, length = found.headers.get("Host", ""), found.headers.pop("Content-Length", "0")
    except (httptools.HttpParserError, UnicodeDecodeError, _NotUsualError):
        return None
    if parser.get_http_version() != "1.1" or method not in _METHODS or not host or not length.isdigit():
        return None
    body_bytes = int(length)
    if body_bytes > BODY_MAX_BYTES or (body_bytes and method not in {"POST", "PUT"}):
        return None
    return UsualHead(method, path, query, found.headers, f"http://{host}", body_bytes)


_parse_remembered = lru_cache(maxsize=_REMEMBERED_COUNT)(_parse)


def _split_url(url: bytes) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return path and query of an origin-form target whose query needs no decoding."""
    path, _, query = url.decode("ascii").partition("?")
    if not path.startswith("/") or "#" in url.decode("ascii") or "%" in query or "+" in query or ";" in query:
        raise _NotUsualError
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    return path, tuple((key, value) for key, _, value in pairs)


_COMMON: Final = "".join(f"{name}: {value}\r\n" for name, value in answers.COMMON)
_STATUS: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_BODILESS: Final = frozenset({204, 304})


def render_head(answer: Answer, method: str) -> bytes:
    """Return an answer's head as aiohttp would write it, up to the value of its last field, ``Date``."""
    fields = "".join([f"{name}: {value}\r\n" for name, value in answer.headers])
    sizeless = answer.status in _BODILESS or (method == "HEAD" and not answer.body)
    length = "" if sizeless else f"Content-Length: {len(answer.body)}\r\n"
    return f"{_STATUS[answer.status]}{fields}{_COMMON}{length}Date: ".encode()
