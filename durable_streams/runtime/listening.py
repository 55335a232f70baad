"""Listening sockets: which addresses a host means, bound all or not at all.

Owns: names, families and ports. Must not know: who serves what comes in.
"""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

ALL_IPV4: Final = "0.0.0.0"  # noqa: S104 it is what the operator asks for
ALL: Final = frozenset({"", "::"})
"""Hosts that mean every address of this machine, of both families."""
PORT_TRIES: Final = 16
"""Free ports tried until one is free on every address of a name."""
_ABSENT: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})
"""What it means that a machine has not this family, or not this address."""

Place = tuple[socket.AddressFamily, str]


def bind(host: str, port: int) -> list[socket.socket]:
    """Return sockets bound to every address that a host means, not listening yet.

    Args:
        host: an address or a name; ``::`` and nothing mean all addresses, of IPv6 and IPv4, or of the one there is.
        port: 0 takes a free one, the same on all addresses.

    Raises:
        OSError: the name means nothing, nothing that it means is here, or the port is taken on one of the addresses.
    """
    if host in ALL:
        return [_bind_all(port)]
    places = _places(host, port)
    for _ in range(PORT_TRIES - 1):
        try:
            return _bind_each(places, port)
        except OSError as refusal:
            if port or refusal.errno != errno.EADDRINUSE:
                raise
    return _bind_each(places, port)


def local_url(host: str, bound: socket.socket) -> str:
    """Return scheme, host and port by which a client on this machine reaches a bound socket.

    All addresses are no address: then it is that of the loopback.
    """
    address, port = bound.getsockname()[:2]
    if host == ALL_IPV4 or (host in ALL and (bound.family == socket.AF_INET or _takes_ipv4(bound))):
        host = "127.0.0.1"
    elif host in ALL:
        host = "::1"
    host = (host or address).replace("%", "%25")  # a zone, as a URL has it (RFC 6874)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _bind_all(port: int) -> socket.socket:
    """Bind one socket to both families where the machine has them, to the one there is elsewhere."""
    return first_of([(socket.AF_INET6, "::"), (socket.AF_INET, ALL_IPV4)], port)


def first_of(places: Iterable[Place], port: int) -> socket.socket:
    """Return a socket bound to the first place that this machine has. Raises ``OSError`` if it has none of them."""
    absent = OSError(errno.EADDRNOTAVAIL, "no address to listen on")
    for family, address in places:
        try:
            return _bound(family, (address, port), ipv6_only=False)
        except OSError as refusal:
            if refusal.errno not in _ABSENT:
                raise
            absent = refusal
    raise absent


def _places(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _bind_each(places: list[tuple[socket.AddressFamily, tuple[object, ...]]], port: int) -> list[socket.socket]:
    """Bind every address that is here, all to one port. Raises ``OSError``, and then leaves none bound."""
    with ExitStack() as undo:
        sockets: list[socket.socket] = []
        absent: OSError | None = None
        for family, (address, _, *scope) in places:
            try:
                sockets.append(undo.enter_context(_bound(family, (address, port, *scope), ipv6_only=True)))
            except OSError as refusal:
                if refusal.errno not in _ABSENT:
                    raise
                absent = refusal
                continue
            port = sockets[0].getsockname()[1]
        if not sockets and absent is not None:
            raise absent
        undo.pop_all()
        return sockets


def _bound(family: socket.AddressFamily, address: tuple[object, ...], *, ipv6_only: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(ipv6_only))
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound


def _takes_ipv4(bound: socket.socket) -> bool:
    return bound.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0
