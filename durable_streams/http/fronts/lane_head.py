"""Heads on the lane: which requests are usual, and how an answer's head is written (``http/fronts/lane.py``).

Owns: reading one request head strictly, or leaving it to aiohttp; writing heads as aiohttp writes them.
Must not know: connections. Invariant: what is not understood whole is not usual.
"""

from __future__ import annotations

import re
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

import httptools

from durable_streams.http import answers
from durable_streams.protocol.errors import InvalidHeaderError
from durable_streams.protocol.public_urls import check_authority
from durable_streams.protocol.request_fields import BLANK, CONTENT_ENCODING, HOST, READ, STREAM_APPEND_MODE

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
        CONTENT_ENCODING.lower().encode("ascii"),
        STREAM_APPEND_MODE.lower().encode("ascii"),
        b"transfer-encoding",
        b"expect",
        b"upgrade",
        b"connection",
        b"te",
        b"trailer",
        b"http2-settings",
    }
)
_CONTENT_LENGTH: Final = "Content-Length"
_BLANK: Final = BLANK.encode("ascii")
_KNOWN: Final = {name.lower().encode("ascii"): name for name in (*READ, _CONTENT_LENGTH)}
"""What handlers look at, and a body's length, by lower-case name."""
_LENGTH: Final = re.compile("[0-9]{1,16}", re.ASCII)
_NUMBERS: Final = re.compile(rb"(\r\n(?:[Cc]ontent-[Ll]ength|[Pp]roducer-[Ss]eq): )([0-9]{1,9})(?=\r\n)")
"""A field's beginning and its number, of those that differ from one append of a producer to the next."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})


class _NotUsualError(Exception):
    """This request is aiohttp's."""


_UNUSUAL_FAULTS: Final = (
    httptools.HttpParserError,
    httptools.HttpParserUpgrade,
    InvalidHeaderError,
    UnicodeDecodeError,
    _NotUsualError,
)


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
        value = value.strip(_BLANK)  # the parser leaves what stands behind a value
        if lowered in _UNUSUAL and not (lowered == b"connection" and value.lower() == b"keep-alive"):
            raise _NotUsualError
        known = _KNOWN.get(lowered)
        if known is not None:
            if known in self.headers:  # one list on several lines, or a contradiction: aiohttp's front says
                raise _NotUsualError
            self.headers[known] = value.decode("utf-8")


def parse_head(raw: bytes) -> UsualHead | None:
    """Return a usual request's head, ``None`` for any other.

    ``raw`` is one head, from the request line through the empty line. Short ones are remembered: clients repeat theirs.
    """
    if len(raw) > _REMEMBERED_MAX_BYTES:
        return _parse(raw) if len(raw) <= HEAD_MAX_BYTES else None
    return _parse_numbered(raw) if b"roducer-" in raw else _parse_remembered(raw)


def _parse(raw: bytes) -> UsualHead | None:
    found = _HeadParser()
    parser = httptools.HttpRequestParser(found)
    try:
        parser.feed_data(raw)
        path, query = _split_url(found.url)
        method = parser.get_method().decode("ascii")
        host, length = check_authority(found.headers.get(HOST, "")), found.headers.pop(_CONTENT_LENGTH, "0")
    except _UNUSUAL_FAULTS:
        return None
    if parser.get_http_version() != "1.1" or method not in _METHODS or not host or not _LENGTH.fullmatch(length):
        return None
    return _bounded(UsualHead(method, path, query, found.headers, f"http://{host}", int(length)))


_parse_remembered = lru_cache(maxsize=_REMEMBERED_COUNT)(_parse)


def _bounded(head: UsualHead) -> UsualHead | None:
    if head.body_bytes > BODY_MAX_BYTES or (head.body_bytes and head.method not in {"POST", "PUT"}):
        return None
    return head


def _parse_numbered(raw: bytes) -> UsualHead | None:
    """Parse a producer's head: two numbers differ from one to the next; the rest is remembered without them."""
    pieces = _NUMBERS.split(raw)
    fields, numbers = pieces[1::3], pieces[2::3]
    pieces[2::3] = [b"0"] * len(numbers)
    head = _parse_remembered(b"".join(pieces))
    if head is None:
        return None
    headers, body_bytes = head.headers, head.body_bytes
    for field, number in zip(fields, numbers, strict=True):
        if field[2] in b"Cc":
            body_bytes = int(number)
        else:
            headers = {**headers, "Producer-Seq": number.decode("ascii")}
    return _bounded(UsualHead(head.method, head.path, head.query, headers, head.origin, body_bytes))


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
    length = "" if sizeless else f"Content-Length: {answer.body_bytes}\r\n"
    return f"{_STATUS[answer.status]}{fields}{_COMMON}{length}Date: ".encode()
