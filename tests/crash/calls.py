"""One request at a time, over a connection of its own."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, NamedTuple

from tests.patience import HANG_S
from tests.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message

    from tests.serving import ServerProcess

ROOT = "/v1/stream/"
TEXT = {"Content-Type": "text/plain"}
JSON = {"Content-Type": "application/json"}
CLOSED = {"Stream-Closed": "true"}


class Reply(NamedTuple):
    """One whole answer."""

    status: int
    headers: Message
    body: bytes


class Caller:
    """Sends requests to one server."""

    def __init__(self, server: ServerProcess) -> None:
        """The server may be restarted between requests."""
        self.server = server

    def ask(self, method: str, path: str, headers: Mapping[str, str] | None = None, *, body: bytes = b"") -> Reply:
        """Return the answer; raise ``OSError`` or ``HTTPException`` if there is none."""
        connection = self.connect()
        try:
            connection.request(method, ROOT + path, body or None, dict(headers or {}))
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    def status(self, method: str, path: str, headers: Mapping[str, str] | None = None, *, body: bytes = b"") -> int:
        """Return the answer's status alone."""
        return self.ask(method, path, headers, body=body).status

    def read(self, path: str) -> bytes:
        """Return a short stream's content."""
        reply = self.ask("GET", path)
        assert (reply.status, reply.headers["Stream-Up-To-Date"]) == (200, "true"), reply
        return reply.body

    def is_unanswered(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, *, body: bytes = b""
    ) -> bool:
        """Whether the server dies over a request; returns once it is gone."""
        try:
            self.ask(method, path, headers, body=body)
        except (OSError, http.client.HTTPException):
            self.server.wait(timeout_s=HANG_S)
            return True
        return False

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection on which nothing was sent."""
        return http.client.HTTPConnection(HOST, self.server.port, timeout=HANG_S)


def claim(seq: int, *, epoch: int = 0, producer_id: str = "p") -> dict[str, str]:
    """Return the headers of a producer's request."""
    return {"Producer-Id": producer_id, "Producer-Epoch": str(epoch), "Producer-Seq": str(seq)}
