"""Uploads over plain sockets, framed and cut as a test likes, to a server process of its own.

Blocking, so that generated examples can use it. A piece counts as taken when a long-poll shows it: nothing sleeps.
"""

from __future__ import annotations

import http.client
import itertools
import socket
from typing import TYPE_CHECKING, NamedTuple

from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.serving import ServerProcess


class Reply(NamedTuple):
    """One answer. ``headers`` by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Framing(NamedTuple):
    """How bytes go out: cut at ``ends``, each cut a chunk of its own, or a write of its own under a Content-Length."""

    chunked: bool
    ends: Sequence[int]

    def frames(self, payload: bytes) -> Iterator[bytes]:
        """Yield what is written, one write after the other, without the end of a chunked body."""
        start = 0
        for end in [*self.ends, len(payload)]:
            piece, start = payload[start:end], end
            if piece:
                yield b"%x\r\n%s\r\n" % (len(piece), piece) if self.chunked else piece

    @property
    def end(self) -> bytes:
        """What ends the body."""
        return b"0\r\n\r\n" if self.chunked else b""


class Uploads:
    """A client of one server."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._made = 0

    def fresh(self, content_type: str = "text/plain") -> str:
        """Create a stream and return its path."""
        self._made += 1
        path = f"u/{self._made}"
        assert self.ask("PUT", path, {"Content-Type": content_type}).status == 201
        return path

    def ask(  # noqa: PLR0917 the parts of a request, in their order
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Reply:
        """Send a request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=HANG_S)
        try:
            connection.request(method, f"/v1/stream/{path}", body or None, dict(headers or {}))
            return _reply(connection.getresponse())
        finally:
            connection.close()

    def body(self, path: str) -> bytes:
        """Return what is stored."""
        return self.ask("GET", f"{path}?offset=-1").body

    def begin(  # noqa: PLR0917 as ``ask``
        self, path: str, payload: bytes, framing: Framing, fields: Mapping[str, str]
    ) -> socket.socket:
        """Send the head of an upload of ``payload`` and return its connection."""
        length = "Transfer-Encoding: chunked" if framing.chunked else f"Content-Length: {len(payload)}"
        given = {"Content-Type": "text/plain", "Stream-Append-Mode": "stream", **fields}
        lines = [f"POST /v1/stream/{path} HTTP/1.1", "Host: test", length, *(f"{k}: {v}" for k, v in given.items())]
        connection = socket.create_connection(("127.0.0.1", self._server.port), timeout=HANG_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return connection

    def send(  # noqa: PLR0917 as ``ask``
        self, path: str, payload: bytes, framing: Framing, fields: Mapping[str, str]
    ) -> Reply:
        """Send a whole upload and return the answer."""
        with self.begin(path, payload, framing, fields) as connection:
            for frame in framing.frames(payload):
                connection.sendall(frame)
            connection.sendall(framing.end)
            response = http.client.HTTPResponse(connection)
            response.begin()
            return _reply(response)

    def send_and_leave(
        self, path: str, payload: bytes, framing: Framing, *, fields: Mapping[str, str], sent_bytes: int
    ) -> None:
        """Send the first bytes of an upload, each frame once the one before is stored, and leave without an end.

        A frame that the cut goes through is sent up to there.
        """
        with self.begin(path, payload, framing, fields) as connection:
            stored = 0
            for frame, size in zip(framing.frames(payload), _sizes(payload, framing), strict=True):
                whole = stored + size <= sent_bytes
                cut = frame if whole else frame[: len(frame) - 2] if framing.chunked else frame[: sent_bytes - stored]
                connection.sendall(cut)
                if not whole:
                    return
                self.await_tail(path, stored, stored + size)
                stored += size

    def await_tail(self, path: str, stored: int, tail: int) -> None:
        """Return once the stream reaches to ``tail``; it does to ``stored``."""
        target, offset = f"{path}?offset={stored:016d}&live=long-poll", ""
        while offset < f"{tail:016d}":
            offset = self.ask("GET", target).headers["stream-next-offset"]


def _sizes(payload: bytes, framing: Framing) -> list[int]:
    bounds = sorted({0, *(min(end, len(payload)) for end in framing.ends), len(payload)})
    return [end - start for start, end in itertools.pairwise(bounds)]


def _reply(response: http.client.HTTPResponse) -> Reply:
    return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
