"""The door: whose pages may use this server, and under which names it is reached, while it listens on loopback.

Owns: what ``Origin`` and ``Host`` say against the configuration. Must not know: what is asked for.
Invariant: a request of a page that may not is refused before anything of it is looked at, whatever its method. Fields
that tell a browser to refuse would not do: they keep a page from reading, but not from appending.

Loopback is no protection by itself: every page that a browser shows may send requests there, and one whose name is made
to lead there (DNS rebinding) is of the same origin. Programs that are no browsers send no ``Origin``.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from durable_streams.protocol.errors import HostNotAllowedError, OriginNotAllowedError
from durable_streams.protocol.request_fields import ORIGIN

if TYPE_CHECKING:
    from durable_streams.http.messages import Request
    from durable_streams.runtime.config import ServerConfig

ANY: Final = "*"
_REMEMBERED: Final = 128


class Door:
    """Lets requests in, or refuses them.

    Args:
        config: ``host``, ``allow_origins``, ``allow_hosts``, ``public_url``, ``trust_forwarded``.
    """

    def __init__(self, config: ServerConfig) -> None:
        is_local = is_loopback(config.host)
        public = () if config.public_url is None else (config.public_url,)
        self._any_origin = ANY in config.allow_origins or not (config.allow_origins or is_local)
        self._local_origins = not config.allow_origins
        self._origins = frozenset(map(_origin_of, (*config.allow_origins, *public)))
        # A trusted proxy sends the names by which it is reached, and is the only way in.
        self._any_host = not is_local or ANY in config.allow_hosts or config.trust_forwarded != "none"
        self._hosts = frozenset(map(_host_of, (*config.allow_hosts, *public)))
        self._knows_host = lru_cache(maxsize=_REMEMBERED)(self._is_known_host)
        self._knows_origin = lru_cache(maxsize=_REMEMBERED)(self._is_known_origin)

    def check(self, request: Request) -> None:
        """Refuse a request that may not come in.

        Raises:
            HostNotAllowedError: it was sent to a name that is not this server's.
            OriginNotAllowedError: a page sent it that may not use this server.
        """
        if not (self._any_host or self._knows_host(request.origin)):
            raise HostNotAllowedError(_host_of(request.origin))
        # A preflight touches nothing, and what it asks for comes by here as well.
        if not self._any_origin and request.method != "OPTIONS":
            origin = request.headers.get(ORIGIN)
            if origin is not None and not self._knows_origin(origin, request.origin):
                raise OriginNotAllowedError(origin)

    def _is_known_host(self, addressed: str) -> bool:
        host = _host_of(addressed)
        # No name without a dot, and no number, can be made to lead here by somebody elsewhere.
        return host in self._hosts or "." not in host or is_loopback(host) or _address(host) is not None

    def _is_known_origin(self, origin: str, addressed: str) -> bool:
        if _origin_of(origin) in self._origins or _authority_of(origin) == _authority_of(addressed):
            return True
        return self._local_origins and "://" in origin and is_loopback(_host_of(origin))


def is_loopback(host: str) -> bool:
    """Whether a host, without a port, can only be this machine."""
    address = _address(host)
    return address.is_loopback if address is not None else host == "localhost" or host.endswith(".localhost")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _authority_of(url: str) -> str:
    return url.partition("://")[2].partition("/")[0].lower()


def _host_of(url: str) -> str:
    """Return the host of a URL, an origin, or an authority, in lower case and without a port."""
    authority = _authority_of(url) if "://" in url else url.lower()
    host, _, port = authority.rpartition(":")
    return host if host and not port.strip("0123456789") else authority


def _origin_of(url: str) -> str:
    """Return scheme and authority of a URL, in lower case."""
    return f"{url.partition('://')[0].lower()}://{_authority_of(url)}"
