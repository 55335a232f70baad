"""The server's keys: Ed25519 pairs that sign webhooks, and the secret of the tokens (§6.5, §12.9, §12.10).

Owns: the key file, mode 0600, written whole and atomically; which key is active and which are still published. Must not
know: what is signed.
Rotation puts a new pair in front; the one before stays published for ``OVERLAP_MS``, far beyond the five minutes within
which receivers accept a signature. A running server notices a file that another process has rotated.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from durable_streams.engine.base import RefusedToStartError
from durable_streams.engine.files import make_file, restrict, sync_directory

if TYPE_CHECKING:
    from pathlib import Path

    from durable_streams.runtime.clock import Clock

KEY_FILE: Final = "webhook-keys.json"
OVERLAP_MS: Final = 24 * 3600 * 1000
LOOK_INTERVAL_MS: Final = 1_000
"""How often a running server looks whether the file has been rotated."""
_MODE: Final = 0o600


class _Pair(NamedTuple):
    """retired_ms: when another took its place, 0 for the active one."""

    private: Ed25519PrivateKey
    public: bytes
    kid: str
    retired_ms: int


class _Keys(NamedTuple):
    token_secret: bytes
    pairs: tuple[_Pair, ...]


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _pair(private: bytes, retired_ms: int = 0) -> _Pair:
    key = Ed25519PrivateKey.from_private_bytes(private)
    public = key.public_key().public_bytes_raw()
    # RFC 7638: the thumbprint of the public key's required members, in order of their names.
    thumbprint = hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{_b64(public)}"}}'.encode()).digest()
    return _Pair(key, public, f"ds_{_b64(thumbprint)[:22]}", retired_ms)


def _fresh() -> _Keys:
    return _Keys(secrets.token_bytes(32), (_pair(secrets.token_bytes(32)),))


class Keyring:
    """The keys in use.

    Args:
        path: the key file, created at first use; ``None`` keeps keys in memory only.
        clock: for overlap and looks at the file.
    """

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._keys: _Keys | None = None
        self._stamp: tuple[int, int] = (0, 0)
        self._looked_ms = 0

    def open(self) -> None:
        """Read the file, or make it.

        Raises:
            RefusedToStartError: it cannot be read or written, or is no key file.
        """
        try:
            if self._path is not None:
                restrict(self._path, _MODE)
            self._current()
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"the key file {self._path} cannot be used ({error}): restore it, or remove it to get new keys"
            raise RefusedToStartError(message) from error

    def token_secret(self) -> bytes:
        """Return the key of callback, claim and write tokens, 32 bytes."""
        return self._current().token_secret

    @property
    def kid(self) -> str:
        """The active key's id: part of its RFC 7638 thumbprint."""
        return self._current().pairs[0].kid

    def signature(self, body: bytes) -> str:
        """Return the ``Webhook-Signature`` of a body (§7.1)."""
        pair, now_s = self._current().pairs[0], self._clock.now_ms() // 1000
        signed = pair.private.sign(f"{now_s}.".encode() + body)
        return f"t={now_s},kid={pair.kid},ed25519={_b64(signed)}"

    def jwks(self) -> bytes:
        """Return the JWK Set: the active key, and those that signed what may still be under way (§6.5)."""
        keys = [
            {"kty": "OKP", "crv": "Ed25519", "kid": pair.kid, "use": "sig", "alg": "EdDSA", "x": _b64(pair.public)}
            for pair in self._published(self._current())
        ]
        return orjson.dumps({"keys": keys})

    def rotate(self) -> str:
        """Put a new signing key in front and return its id. The secret of the tokens stays."""
        now_ms, keys = self._clock.now_ms(), self._current()
        active, *older = self._published(keys)
        rotated = (_pair(secrets.token_bytes(32)), active._replace(retired_ms=now_ms), *older)
        self._store(_Keys(keys.token_secret, rotated))
        return rotated[0].kid

    def _published(self, keys: _Keys) -> list[_Pair]:
        since_ms = self._clock.now_ms() - OVERLAP_MS
        return [pair for pair in keys.pairs if not pair.retired_ms or pair.retired_ms > since_ms]

    def _current(self) -> _Keys:
        now_ms = self._clock.now_ms()
        if self._keys is not None and (self._path is None or now_ms - self._looked_ms < LOOK_INTERVAL_MS):
            return self._keys
        self._looked_ms = now_ms
        if self._path is None:
            self._keys = _fresh()
            return self._keys
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return self._store(self._keys or _fresh())
        stamp = (status.st_mtime_ns, status.st_ino)
        if self._keys is None or stamp != self._stamp:
            self._keys, self._stamp = _read(self._path), stamp
        return self._keys

    def _store(self, keys: _Keys) -> _Keys:
        self._keys = keys
        if self._path is not None:
            _write(self._path, keys)
            status = self._path.stat()
            self._stamp = (status.st_mtime_ns, status.st_ino)
        return keys


def _read(path: Path) -> _Keys:
    stored = orjson.loads(path.read_bytes())
    pairs = tuple(_pair(_unb64(key["private"]), key["retired_ms"]) for key in stored["signing"])
    if not pairs:
        raise ValueError("it holds no signing key")
    return _Keys(_unb64(stored["token_secret"]), pairs)


def _write(path: Path, keys: _Keys) -> None:
    """Replace the file in one step, durably."""
    signing = [
        {"private": _b64(pair.private.private_bytes_raw()), "retired_ms": pair.retired_ms} for pair in keys.pairs
    ]
    stored = orjson.dumps({"token_secret": _b64(keys.token_secret), "signing": signing})
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = make_file(fresh, _MODE)
    try:
        os.write(descriptor, stored)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.replace(path)
    sync_directory(path.parent)
