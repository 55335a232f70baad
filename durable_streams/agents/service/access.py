"""Who may send requests: pages of which origins, and under which names of this machine.

The adapter has no login, and a browser sends to a local address what any page it shows asks it to. So a page of another
origin changes nothing here and reads nothing, unless it is allowed to; and on a loopback address the adapter answers
to names of the loopback alone, or a page could have its own name resolve to it (DNS rebinding).
Pure. Must not know: routes, bodies.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from durable_streams.agents.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ANY: Final = "*"
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_SAME: Final = frozenset({"same-origin", "none"})
"""What a browser says of a request that the page's own origin, or the person, has made; no page can forge it."""


class InvalidAccessError(AgentError):
    """An origin or a host that is none."""

    public = True


@dataclass(frozen=True, slots=True)
class Access:
    """Which origins and hosts are answered.

    Attributes:
        origins: pages of these may read and write, as ``https://app.example``; ``*`` are all.
        hosts: names that requests may be for, without ports; ``*`` are all.
    """

    origins: frozenset[str] = field(default_factory=frozenset)
    hosts: frozenset[str] = frozenset({ANY})

    @classmethod
    def of(cls, listening: str, *, origins: Iterable[str] = (), hosts: Iterable[str] = ()) -> Access:
        """Return the access of a process that listens on an address.

        Args:
            listening: a name or an address of this machine. On the loopback, its names and ``hosts`` are answered;
                elsewhere all are, unless ``hosts`` names some.
            origins: see the attribute.
            hosts: see the attribute.

        Raises:
            InvalidAccessError: an origin or a host that is none.
        """
        named = {_checked_host(host) for host in hosts}
        own = _plain_host(listening)
        if is_loopback(own) or named:
            named |= LOOPBACK | {own}
        else:
            named = {ANY}
        return cls(frozenset(map(_checked_origin, origins)), frozenset(named))

    def answers_to(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request is for a name of ours. One without a name is from no browser."""
        host = headers.get("Host")
        if host is None or ANY in self.hosts:
            return True
        name = _plain_host(host_of(host))
        return name in self.hosts or (not self.hosts.isdisjoint(LOOPBACK) and is_loopback_address(name))

    def is_foreign(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request comes from a page of an origin that is neither ours nor allowed."""
        origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
        if site in _SAME or (origin is not None and self.allows(origin)):
            return False
        if origin is None:
            return site is not None and ANY not in self.origins
        return urlsplit(origin).netloc.lower() != headers.get("Host", "").lower() or not urlsplit(origin).netloc

    def allows(self, origin: str) -> bool:
        """Return whether pages of an origin may read and write here."""
        return ANY in self.origins or origin.lower() in self.origins


def host_of(field_value: str) -> str:
    """Return the name in a ``Host`` field, without its port."""
    if field_value.startswith("["):
        return field_value[1:].partition("]")[0]
    return field_value.partition(":")[0]


def is_loopback(host: str) -> bool:
    """Return whether a name or an address is the loopback's."""
    return host == "localhost" or is_loopback_address(host)


def is_loopback_address(host: str) -> bool:
    """Return whether it is an address of the loopback, which no name server can give away."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _plain_host(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _checked_host(host: str) -> str:
    name = _plain_host(host)
    if not name or any(mark in name for mark in "/ @?#") or (":" in name and not _is_address(name)):
        raise InvalidAccessError(f"{host!r} is no host: a name or an address, without a port")
    return name


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _checked_origin(origin: str) -> str:
    parts = urlsplit(origin)
    is_plain = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    if origin != ANY and not (parts.scheme in {"http", "https"} and parts.hostname and is_plain):
        raise InvalidAccessError(f"{origin!r} is no origin: write https://app.example or http://localhost:5173, or *")
    return origin.lower()
