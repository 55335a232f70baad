"""Callback, claim and write tokens: JSON web tokens signed by HMAC-SHA256 (§12.9).

Owns: what is in them and how they are checked. Must not know: whether their generation is current.
Made by hand from the standard library: one algorithm, which the verifier fixes, needs no library that offers others.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import orjson

from durable_streams.protocol.subscription_errors import TokenExpiredError, TokenInvalidError

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN_LIFE_MS: Final = 24 * 3600 * 1000
"""A wake that takes longer than this loses its token, however often it heartbeats."""
TOKEN_MAX_BYTES: Final = 2_048
Use = Literal["callback", "claim", "write"]


class Grant(NamedTuple):
    """What a token says: whose it is, which incarnation and generation, and until when (Unix milliseconds)."""

    subscription_id: str
    sid: int
    generation: int
    expires_ms: int


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


_HEADER: Final = _encode(b'{"alg":"HS256","typ":"JWT"}')


class Tokens:
    """Makes and opens tokens.

    Args:
        secret: returns the key, 32 bytes, kept beside the store.
    """

    def __init__(self, secret: Callable[[], bytes]) -> None:
        self._secret = secret

    def make(self, use: Use, grant: Grant) -> str:
        """Return a signed token."""
        claims = {"use": use, "sub": grant.subscription_id, "sid": grant.sid, "gen": grant.generation}
        signed = f"{_HEADER}.{_encode(orjson.dumps({**claims, 'exp': grant.expires_ms // 1000}))}"
        return f"{signed}.{_encode(self._mac(signed))}"

    def open_wake(self, token: str, subscription_id: str, now_ms: int) -> Grant:
        """Return what a callback or claim token of this subscription says.

        Raises:
            TokenInvalidError: forged, malformed, of another subscription, or made for another use.
            TokenExpiredError: past its time.
        """
        grant = self._open(token, {"callback", "claim"}, now_ms)
        if grant.subscription_id != subscription_id:
            raise TokenInvalidError("the token belongs to another subscription")
        return grant

    def open_write(self, token: str, now_ms: int) -> Grant:
        """Return what a write token says. Raises as ``open_wake``."""
        return self._open(token, {"write"}, now_ms)

    def _open(self, token: str, uses: set[Use], now_ms: int) -> Grant:
        header, _, rest = token.partition(".")
        claims, _, mac = rest.partition(".")
        if len(token) > TOKEN_MAX_BYTES or header != _HEADER or not token.isascii():
            raise TokenInvalidError("the token is not one of this server")
        # Compared as text: of a base64 text's last character some bits count for nothing.
        if not hmac.compare_digest(_encode(self._mac(f"{header}.{claims}")), mac):
            raise TokenInvalidError("the token's signature is wrong")
        try:
            said = orjson.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        except (binascii.Error, ValueError) as error:
            raise AssertionError("a token signed here cannot be read") from error
        if said["use"] not in uses:
            raise TokenInvalidError("the token was made for another use")
        if now_ms // 1000 >= said["exp"]:
            raise TokenExpiredError("the token has expired")
        return Grant(said["sub"], said["sid"], said["gen"], said["exp"] * 1000)

    def _mac(self, text: str) -> bytes:
        return hmac.new(self._secret(), text.encode(), hashlib.sha256).digest()
