"""Where clients see this server: authorities, public URLs, and what proxies say of the request they passed on (§5.1).

Owns: which of these values are well formed (RFC 3986 §3.2, RFC 7239). Must not know: whom to believe.
Invariant: a value that is present and malformed is refused; nothing a client sent becomes part of a URL unread.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Final, NamedTuple

from durable_streams.protocol.errors import InvalidHeaderError
from durable_streams.protocol.request_fields import (
    BLANK,
    FORWARDED,
    HOST,
    X_FORWARDED_HOST,
    X_FORWARDED_PREFIX,
    X_FORWARDED_PROTO,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_PORT_MAX: Final = 65_535
_AUTHORITY: Final = r"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._~%-]+)?\])(?::[0-9]{0,5})?"
_SEGMENT: Final = r"/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~!$&'()*+,;=:@%-]+"
_PREFIX: Final = rf"(?:{_SEGMENT})*"
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_is_authority: Final = re.compile(_AUTHORITY, re.ASCII).fullmatch
_is_prefix: Final = re.compile(_PREFIX, re.ASCII).fullmatch
_bracketed: Final = re.compile(r"\[([^\]]*)\](?::([0-9]*))?", re.ASCII).fullmatch
_half_escape: Final = re.compile(r"%(?![0-9A-Fa-f]{2})", re.ASCII).search
_is_public_url: Final = re.compile(rf"https?://{_AUTHORITY}{_PREFIX}", re.ASCII).fullmatch
_pair: Final = re.compile(
    rf'[ \t]*(?:({_WORD})=(?:({_WORD})|"((?:[^"\\]|\\.)*)"))?[ \t]*([;,]|\Z)', re.ASCII | re.DOTALL
).match


class Forwarded(NamedTuple):
    """What a proxy says of the request as it received it; ``None`` or empty where it says nothing.

    scheme: ``http`` or ``https``. authority: host and port. prefix: the path that it took off, without a slash at the
    end.
    """

    scheme: str | None = None
    authority: str | None = None
    prefix: str = ""


def check_authority(value: str) -> str:
    """Return a ``Host`` value as it is, empty included.

    Raises:
        InvalidHeaderError: no host with or without a port: a server answers it with 400 (RFC 9112 §3.2).
    """
    if value and (_is_authority(value) is None or _names_nothing(value)):
        raise InvalidHeaderError(HOST, "must be a host, with or without a port")
    return value


def _names_nothing(authority: str) -> bool:
    """Whether what looks like a host and a port cannot be: a port beyond the last, half a ``%``, no IPv6 address."""
    found = _bracketed(authority)
    address, port = found.groups() if found is not None else ("", authority.partition(":")[2])
    if port and int(port) > _PORT_MAX:
        return True
    if not address:
        return _half_escape(authority) is not None
    try:
        IPv6Address(address.partition("%")[0])
    except ValueError:
        return True
    return False


def parse_public_url(value: str) -> str:
    """Return scheme, authority and path prefix without a slash at the end.

    Raises:
        ValueError: not http or https, no host, or a query, fragment, credentials, dot segments or doubled slashes.
    """
    url = value.removesuffix("/")
    if _is_public_url(url) is None:
        raise ValueError(f"{value!r} is not of the form https://host, https://host:port or https://host/prefix")
    return url


def parse_forwarded(headers: Mapping[str, str]) -> Forwarded:
    """Return what the last element of ``Forwarded`` says: the nearest proxy's own word (RFC 7239 §4).

    Raises:
        InvalidHeaderError: a malformed list, or a scheme or host that is none.
    """
    pairs: dict[str, str] = {}
    last: dict[str, str] = {}
    value, position, separator = headers.get(FORWARDED, ""), 0, ","
    while separator:
        found = _pair(value, position)
        if found is None:
            raise InvalidHeaderError(FORWARDED, "must be a list of name=value pairs")
        name, token, quoted, separator = found.groups()
        position = found.end()
        if name is not None:
            if name.lower() in pairs:
                raise InvalidHeaderError(FORWARDED, f"says {name} twice of one proxy")
            pairs[name.lower()] = token or re.sub(r"\\(.)", r"\1", quoted)
        if separator != ";":
            last, pairs = pairs or last, {}
    return Forwarded(_scheme(FORWARDED, last.get("proto", "")), _authority(FORWARDED, last.get("host", "")))


def parse_x_forwarded(headers: Mapping[str, str]) -> Forwarded:
    """Return what ``X-Forwarded-Proto``, ``-Host`` and ``-Prefix`` say: of a list, the last, as in ``parse_forwarded``.

    Raises:
        InvalidHeaderError: a scheme, host or path prefix that is none.
    """
    scheme, authority, prefix = (
        headers.get(name, "").rpartition(",")[2].strip(BLANK)
        for name in (X_FORWARDED_PROTO, X_FORWARDED_HOST, X_FORWARDED_PREFIX)
    )
    prefix = prefix.removesuffix("/")
    if _is_prefix(prefix) is None:
        raise InvalidHeaderError(X_FORWARDED_PREFIX, "must be a path")
    return Forwarded(_scheme(X_FORWARDED_PROTO, scheme), _authority(X_FORWARDED_HOST, authority), prefix)


def _scheme(name: str, value: str) -> str | None:
    scheme = value.lower()
    if scheme not in {"", "http", "https"}:
        raise InvalidHeaderError(name, "must name http or https")
    return scheme or None


def _authority(name: str, value: str) -> str | None:
    if value and _is_authority(value) is None:
        raise InvalidHeaderError(name, "must name a host, with or without a port")
    return value or None
