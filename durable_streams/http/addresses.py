"""Absolute URLs of this server, as the client of a request sees it: one place makes all of them.

Owns: whom to believe about scheme, host and path prefix. Must not know: what the URLs are for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable_streams.protocol.errors import InvalidHeaderError
from durable_streams.protocol.public_urls import Forwarded, parse_forwarded, parse_x_forwarded
from durable_streams.protocol.request_fields import HOST

if TYPE_CHECKING:
    from durable_streams.http.messages import Request
    from durable_streams.runtime.config import ServerConfig

_SAYS_NOTHING = Forwarded()


class Addresses:
    """Knows where clients see this server.

    ``--public-url`` decides. Without it a proxy's word counts, of the one family of fields that is trusted; without
    that, what the request says. Nobody is asked for a word that he does not have: a client can forge any field that no
    proxy overwrites.

    Args:
        config: ``public_url``, ``trust_forwarded`` and ``root``.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._public = None if config.public_url is None else _split(config.public_url.rstrip("/"))
        self._trusted = config.trust_forwarded
        root = config.root.strip("/")
        self._streams_at = f"/{root}/" if root else "/"

    def url(self, request: Request, path: str) -> str:
        """Return the URL of one of our own paths; where nobody named a host, without scheme and authority.

        A client resolves that against the URL that it asked (RFC 9110 §10.2.2).

        Raises:
            InvalidHeaderError: a field of a trusted proxy is malformed.
        """
        return "".join(self._seen_at(request)) + path

    def stream_root(self, request: Request) -> str:
        """Return the absolute URL below which streams are, without a slash at the end.

        Raises:
            InvalidHeaderError: no host is known, or a field of a trusted proxy is malformed.
        """
        origin, prefix = self._seen_at(request)
        if not origin:
            raise InvalidHeaderError(HOST, "is needed: the answer depends on where this server is seen")
        return origin + prefix + self._streams_at.rstrip("/")

    def stream_at(self, request: Request, url_path: str) -> str | None:
        """Return the encoded path of the stream at a URL path, ``None`` if there is none below the root.

        A client knows streams by the paths that it sees, with the prefix that a proxy takes off; we, without.

        Raises:
            InvalidHeaderError: a field of a trusted proxy is malformed.
        """
        _, prefix = self._seen_at(request)
        for below in (prefix + self._streams_at, self._streams_at):
            if url_path.startswith(below):
                return url_path[len(below) :]
        return None

    def _seen_at(self, request: Request) -> tuple[str, str]:
        """Return scheme and authority, empty if no host is known, and the path prefix."""
        if self._public is not None:
            return self._public
        forwarded = self._forwarded(request)
        scheme, authority = request.origin.split("://")
        authority = forwarded.authority or authority
        origin = f"{forwarded.scheme or scheme}://{authority}" if authority else ""
        return origin, forwarded.prefix

    def _forwarded(self, request: Request) -> Forwarded:
        match self._trusted:
            case "none":
                return _SAYS_NOTHING
            case "forwarded":
                return parse_forwarded(request.headers)
            case "x-forwarded":
                return parse_x_forwarded(request.headers)


def _split(url: str) -> tuple[str, str]:
    """Return scheme and authority, and the path."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority}", slash + path
