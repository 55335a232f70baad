"""Which URLs and addresses a webhook may reach (§12.8).

Owns: the rules against server-side request forgery. Must not know: what is sent.
Two checks, because a name can mean another address tomorrow: ``check_url`` when a subscription is created, and
``guarded_socket`` for the very address of every connection, after all resolving.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable  # noqa: TC003 in the type of a NamedTuple
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from urllib.parse import SplitResult, urlsplit

from durable_streams.protocol.subscription_errors import WebhookUrlRejectedError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

if TYPE_CHECKING:
    AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]]

_LOCAL_NAMES: Final = frozenset({"localhost", "local", "internal", "intranet", "lan", "home", "corp", "localdomain"})
"""Last labels that no public name has."""
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_IPV4_COMPATIBLE: Final = ipaddress.ip_network("::/96")
_NOT_GLOBAL_UNICAST: Final = (
    ipaddress.ip_network("64:ff9b:1::/48"),  # translation to IPv4 of a network's own (RFC 8215)
    ipaddress.ip_network("::ffff:0:0:0/96"),  # translated IPv4 (RFC 2765)
    ipaddress.ip_network("fec0::/10"),  # site-local, of old (RFC 3879)
    ipaddress.ip_network("5f00::/16"),  # segment routing (RFC 9602)
    ipaddress.ip_network("3fff::/20"),  # documentation (RFC 9637)
    ipaddress.ip_network("192.0.0.0/24"),  # protocol assignments (RFC 6890)
    ipaddress.ip_network("192.88.99.0/24"),  # relays to IPv6 (RFC 7526)
)
"""What ``is_global`` takes for public in some versions of Python."""


class ForbiddenAddressError(OSError):
    """A connection to an address that webhooks must not reach."""


class _Target(NamedTuple):
    """What the rules look at.

    host: without the dot at its end. address: the host, if it is one. home: loopback, where that is allowed.
    """

    parts: SplitResult
    host: str
    address: Address | None
    home: bool


def check_url(url: str, *, allow_local: bool) -> None:
    """Check the URL of a subscription to be created, without resolving its host.

    Args:
        url: as the client gave it.
        allow_local: whether loopback is allowed, by http too.

    Raises:
        WebhookUrlRejectedError: not https (or http to loopback, where allowed), with credentials or a fragment, or an
            address or name that is surely not public.
    """
    if not url.isascii() or any(character <= " " or character in "\\\x7f" for character in url):
        raise WebhookUrlRejectedError("a webhook URL is plain ASCII without blanks")
    target = _target(url, allow_local=allow_local)
    for is_broken, rule in _RULES:
        if is_broken(target):
            raise WebhookUrlRejectedError(rule)


def _target(url: str, *, allow_local: bool) -> _Target:
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise WebhookUrlRejectedError("the webhook URL is malformed") from None
    address = _literal(host)
    is_loopback = host == "localhost" or (address is not None and address.is_loopback)
    return _Target(parts, host, address, home=allow_local and is_loopback)


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _says_too_much_or_little(target: _Target) -> bool:
    parts = target.parts
    return not target.host or parts.username is not None or parts.password is not None or bool(parts.fragment)


def _is_readable_by_others(target: _Target) -> bool:
    return target.parts.scheme != "https" and not (target.home and target.parts.scheme == "http")


def _is_private_address(target: _Target) -> bool:
    return not target.home and target.address is not None and not is_public(target.address)


def _is_private_name(target: _Target) -> bool:
    if target.home or target.address is not None:
        return False
    last = target.host.rpartition(".")[2]
    return last in _LOCAL_NAMES or "." not in target.host or _is_number(last)


def _is_number(label: str) -> bool:
    """Whether a host that ends so is an address in a form that resolvers still take: 127.1, 0x7f000001, 0177.1."""
    return label.isdigit() or label.lower().startswith("0x")


_RULES: Final[tuple[tuple[Callable[[_Target], bool], str], ...]] = (
    (_says_too_much_or_little, "a webhook URL has a host, and neither credentials nor a fragment"),
    (_is_readable_by_others, "a webhook URL must be https"),
    (_is_private_address, "the webhook URL's address is not a public one"),
    (_is_private_name, "the webhook URL's host is not a public name"),
)
"""Who breaks a rule, and what it says. In this order: a client is told of the first."""


def is_public(address: Address) -> bool:
    """Whether an address is reachable by everybody, and so is every IPv4 address that it carries inside."""
    if any(address in network for network in _NOT_GLOBAL_UNICAST):
        return False
    if isinstance(address, ipaddress.IPv6Address):
        return address.is_global and not address.is_multicast and all(map(is_public, _carried(address)))
    return address.is_global and not address.is_multicast


def _carried(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    carried = [found for found in (address.ipv4_mapped, address.sixtofour) if found is not None]
    if address.teredo is not None:
        carried += address.teredo
    if address in _NAT64 or address in _IPV4_COMPATIBLE:
        carried.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return carried


def guarded_socket(*, allow_local: bool) -> Callable[[AddressInfo], socket.socket]:
    """Return what makes the socket of every webhook connection, and refuses by the address it is about to be for."""

    def make(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, target = info
        address = ipaddress.ip_address(str(target[0]).partition("%")[0])
        if not (is_public(address) or (allow_local and address.is_loopback)):
            raise ForbiddenAddressError(f"webhooks must not reach {address}")
        return socket.socket(family=family, type=kind, proto=protocol)

    return make
