"""HTTP by hand: bytes out, replies in, so that a test can send what no client library would.

Knows HTTP/1.1 framing and the event stream format from their specifications, and nothing of the server's code. Every
wait has an end: a server that does not answer fails the test instead of hanging it.
"""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

T = TypeVar("T")

EVENT_MAX_BYTES = 4 << 20
"""The longest line of an event that can be parsed."""
BODYLESS = frozenset({204, 304})
_LINE_END = re.compile("\r\n|\n|\r")


@dataclass(frozen=True)
class Reply:
    """One answer. ``headers`` by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def code(self) -> str:
        """The stable ``code`` of a problem+json answer."""
        assert self.headers["content-type"] == "application/problem+json", (self.status, self.headers, self.body)
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        assert problem["title"]
        assert problem["detail"]
        return str(problem["code"])

    @property
    def offset(self) -> str:
        """``Stream-Next-Offset``."""
        return self.headers["stream-next-offset"]

    @property
    def up_to_date(self) -> bool:
        return self.headers.get("stream-up-to-date") == "true"

    @property
    def closed(self) -> bool:
        return self.headers.get("stream-closed") == "true"


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, url: str, *, limit: int = 64 * 1024) -> Self:
        """Connect. ``limit``: how much may be read ahead of the test, in bytes."""
        split = urlsplit(url)
        return cls(*await asyncio.open_connection(split.hostname, split.port, limit=limit))

    async def send(self, raw: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(raw)
        async with asyncio.timeout(HANG_S):
            await self.writer.drain()

    async def reply(self, method: str = "GET") -> Reply:
        """Read one whole answer."""
        reply = await self.reply_head()
        if method == "HEAD" or reply.status in BODYLESS:
            return reply
        async with asyncio.timeout(HANG_S):
            if "content-length" in reply.headers:
                body = await self.reader.readexactly(int(reply.headers["content-length"]))
            elif reply.headers.get("transfer-encoding") == "chunked":
                body = await self._chunks()
            else:
                body = await self.reader.read()
        return Reply(reply.status, reply.headers, body)

    async def reply_head(self) -> Reply:
        """Read the status line and the header fields; ``ConnectionResetError`` if the server closed instead."""
        async with asyncio.timeout(HANG_S):
            try:
                raw = await self.reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError as ended:
                msg = f"closed after {ended.partial!r}"
                raise ConnectionResetError(msg) from None
        status_line, *lines = raw.decode("utf-8").split("\r\n")[:-2]
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name.lower() not in headers, f"{name} came twice"
            headers[name.lower()] = value
        return Reply(int(status_line.split(" ")[1]), headers)

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self.reader.readline(), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return body

    async def exactly(self, size_bytes: int) -> bytes:
        """Return the next so many bytes; ``IncompleteReadError`` or ``ConnectionError`` if the server ends before."""
        async with asyncio.timeout(HANG_S):
            return await self.reader.readexactly(size_bytes)

    async def rest(self) -> bytes:
        """Return what comes until the server closes."""
        async with asyncio.timeout(HANG_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    def close(self) -> None:
        """Leave at once, whatever was sent or is still to come."""
        self.writer.transport.abort()


def request_bytes(  # noqa: PLR0917 the parts of a request, in their order
    method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> bytes:
    """Return one HTTP/1.1 request. ``Host`` and ``Content-Length`` are added unless they are given."""
    fields = {"Host": "test", **(headers or {})}
    if body or method in {"POST", "PUT"}:
        fields.setdefault("Content-Length", str(len(body)))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("utf-8", "surrogateescape") + body


class Client:
    """Requests on connections of their own, and streams named by their path below the root."""

    def __init__(self, origin: str, root: str = "/v1/stream") -> None:
        self.origin, self.root = origin, root.rstrip("/")

    @asynccontextmanager
    async def wire(self, *, limit: int = 64 * 1024) -> AsyncIterator[Wire]:
        wire = await Wire.open(self.origin, limit=limit)
        try:
            yield wire
        finally:
            wire.close()

    def target(self, path: str, **query: str | int) -> str:
        """Return the request target of a stream; path and query go as they are, names with dashes for underscores."""
        pairs = "&".join(f"{name}={value}" for name, value in _named(query).items())
        return f"{self.root}/{path}" + (f"?{pairs}" if pairs else "")

    async def send(  # noqa: PLR0917 as ``request_bytes``
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Reply:
        """Send one request on a connection of its own."""
        async with self.wire() as wire:
            await wire.send(request_bytes(method, target, headers, body))
            return await wire.reply(method)

    async def put(self, path: str, content_type: str = "text/plain", body: bytes = b"", **fields: str) -> Reply:
        return await self.send("PUT", self.target(path), {"Content-Type": content_type, **_named(fields)}, body)

    async def post(self, path: str, body: bytes, content_type: str = "text/plain", **fields: str) -> Reply:
        return await self.send("POST", self.target(path), {"Content-Type": content_type, **_named(fields)}, body)

    async def finish(self, path: str) -> Reply:
        """Close a stream without a body (§5.3)."""
        return await self.send("POST", self.target(path), {"Stream-Closed": "true"})

    async def fork(self, path: str, source: str, **fields: str) -> Reply:
        return await self.send(
            "PUT", self.target(path), {"Stream-Forked-From": f"{self.root}/{source}", **_named(fields)}
        )

    async def delete(self, path: str) -> Reply:
        return await self.send("DELETE", self.target(path))

    async def head(self, path: str) -> Reply:
        return await self.send("HEAD", self.target(path))

    async def get(self, path: str, headers: Mapping[str, str] | None = None, **query: str | int) -> Reply:
        return await self.send("GET", self.target(path, **query), headers)

    async def read_all(
        self, path: str, offset: str = "-1", *, max_bytes: int | None = None
    ) -> tuple[bytes, list[Reply]]:
        """Follow the answers from ``offset`` to the tail; return their bodies joined (JSON unwrapped), and the answers.

        ``max_bytes`` asks for pages of at most so many bytes.
        """
        pages: list[Reply] = []
        while True:
            asked = {"offset": offset} if max_bytes is None else {"offset": offset, "max_bytes": str(max_bytes)}
            page = await self.get(path, None, **asked)
            assert page.status == 200, page
            pages.append(page)
            offset = page.offset
            if page.up_to_date:
                break
        bodies = [page.body for page in pages]
        if pages[0].headers["content-type"].startswith("application/json"):
            return b",".join(body[1:-1] for body in bodies if body != b"[]"), pages
        return b"".join(bodies), pages

    @asynccontextmanager
    async def events(self, path: str, *, last_event_id: str | None = None, **query: str | int) -> AsyncIterator[Events]:
        """Follow a stream by server-sent events."""
        async with self.wire(limit=EVENT_MAX_BYTES) as wire:
            headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
            await wire.send(request_bytes("GET", self.target(path, **query, live="sse"), headers))
            yield Events(wire, await wire.reply_head())


def _named(fields: Mapping[str, T]) -> dict[str, T]:
    """``stream_ttl`` → ``stream-ttl``: header names are case-insensitive, and no parameter has an underscore."""
    return {name.replace("_", "-"): value for name, value in fields.items()}


@dataclass(frozen=True)
class Event:
    """One server-sent event. ``event_id``: the last id that came, with this event or before it."""

    kind: str
    text: str
    event_id: str = field(default="", compare=False)

    @property
    def control(self) -> dict[str, Any]:
        """The fields of a control event."""
        assert self.kind == "control", self
        fields = json.loads(self.text)
        assert isinstance(fields, dict)
        return fields


class CutError(Exception):
    """A chunked body ended without its last chunk."""


class LiveBody:
    """A body that comes as it is made: by chunks, or until the connection ends.

    chunks: how many have come whole.
    """

    def __init__(self, wire: Wire, head: Reply) -> None:
        self._wire, self._chunked = wire, head.headers.get("transfer-encoding") == "chunked"
        self._arrived = b""
        self._ended = False
        self.chunks = 0

    async def readline(self) -> bytes:
        """Return the next line, ``b""`` at the end of the body. Raises ``CutError``."""
        if not self._chunked:
            async with asyncio.timeout(HANG_S):
                return await self._wire.reader.readline()
        while b"\n" not in self._arrived and not self._ended:
            self._arrived += await self.chunk()
        line, end, self._arrived = self._arrived.partition(b"\n")
        return line + end

    async def chunk(self) -> bytes:
        """Return the next chunk's bytes, none for the last chunk. Raises ``CutError``."""
        try:
            async with asyncio.timeout(HANG_S):
                size = int(await self._wire.reader.readuntil(b"\r\n"), 16)
                arrived = await self._wire.reader.readexactly(size + 2)
        except asyncio.IncompleteReadError as cut:
            raise CutError(cut.partial) from None
        assert arrived.endswith(b"\r\n"), arrived
        self._ended = size == 0
        self.chunks += 1
        return arrived[:-2]

    async def rest(self) -> bytes:
        """Return what comes until the end, which must be the last chunk, and the end of the connection behind it."""
        whole = b""
        while line := await self.readline():
            whole += line
        assert await self._wire.rest() == b""
        return whole


class Events:
    """Parses an event stream as the WHATWG specification says, with strict UTF-8."""

    def __init__(self, wire: Wire, head: Reply) -> None:
        self.wire, self.head, self.body = wire, head, LiveBody(wire, head)
        self.comments = 0
        self.event_id = ""

    async def next(self) -> Event | None:
        """Return the next event, ``None`` when the answer has ended between two events. Raises ``CutError``."""
        kind = "message"
        lines: list[str] = []
        while True:
            raw = await self.body.readline()
            if not raw:
                assert not lines, f"cut inside an event: {lines}"
                return None
            # A lone CR ends a line as well; an event that is whole on the wire never holds one.
            for line in _LINE_END.split(raw.decode("utf-8"))[:-1]:
                if line == "":
                    if lines:
                        return Event(kind, "\n".join(lines), self.event_id)
                    kind = "message"
                    continue
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if name == "":
                    self.comments += 1
                elif name == "event":
                    kind = value
                elif name == "data":
                    lines.append(value)
                elif name == "id":
                    self.event_id = value
                else:
                    msg = f"unexpected field {line!r}"
                    raise AssertionError(msg)

    async def take(self) -> Event:
        """Return the next event, which must come."""
        event = await self.next()
        assert event is not None, "the event stream ended"
        return event

    async def pair(self) -> tuple[str, dict[str, Any]]:
        """Return a data event's text and the fields of the control event that must follow it (§5.8)."""
        event = await self.take()
        assert event.kind == "data", event
        return event.text, (await self.take()).control

    async def control(self) -> dict[str, Any]:
        """Return the fields of a control event that stands alone."""
        return (await self.take()).control

    async def rest(self) -> list[Event]:
        """Return all events until the server closes."""
        events = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events
