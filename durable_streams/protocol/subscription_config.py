"""What a subscription is created with (§6.2): read, normalised, hashed.

Owns: the fields of the creation body. Must not know: whether a webhook URL is safe to call.
"""

from __future__ import annotations

import enum
import hashlib
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

import orjson

from durable_streams.protocol.errors import InvalidPathError, InvalidRequestError, PathTooLongError
from durable_streams.protocol.glob import normalize_pattern
from durable_streams.protocol.paths import RESERVED, parse_path
from durable_streams.protocol.subscription_errors import InvalidSubscriptionError

LEASE_MIN_MS: Final = 1_000
LEASE_MAX_MS: Final = 600_000
LEASE_DEFAULT_MS: Final = 30_000
ID_MAX_BYTES: Final = 256
STREAMS_MAX: Final = 1_000
"""Most streams named in one request."""
ACKS_MAX: Final = 1_000
"""Most acks in one request: as many as a claim shows streams. They are checked within a batch, and all others wait."""
TEXT_MAX_BYTES: Final = 4_096
"""Longest description, URL or worker name."""


class Kind(enum.StrEnum):
    """How wakes reach workers; the values are stored and spoken."""

    WEBHOOK = "webhook"
    PULL_WAKE = "pull-wake"


class Config(NamedTuple):
    """A subscription's configuration, normalised, without the streams named at creation: those are links.

    kind: webhook or pull-wake. pattern: a glob, or ``None``. webhook_url, wake_stream: set for their kind only.
    """

    kind: Kind
    pattern: str | None
    webhook_url: str | None
    wake_stream: str | None
    lease_ttl_ms: int
    description: str | None


class Creation(NamedTuple):
    """One request to create. streams: sorted, each once."""

    config: Config
    streams: tuple[str, ...]

    @property
    def config_hash(self) -> str:
        """What must be equal for a creation to be a re-confirmation (§6.2)."""
        return hashlib.sha256(orjson.dumps([*self.config, self.streams])).hexdigest()


def parse_creation(body: bytes) -> Creation:
    """Return the creation that a PUT body asks for.

    Raises:
        InvalidSubscriptionError: it makes no sense; the message says which field.
    """
    fields = parse_object(body)
    try:
        kind = Kind(fields.get("type", ""))
    except ValueError:
        raise InvalidSubscriptionError("type must be webhook or pull-wake") from None
    pattern = _text(fields, "pattern")
    streams = () if fields.get("streams") is None else parse_streams(fields["streams"])
    if not pattern and not streams:
        raise InvalidSubscriptionError("pattern or streams must be present")
    wake_stream = _wake_stream(fields) if kind is Kind.PULL_WAKE else None
    if wake_stream in streams:
        raise InvalidSubscriptionError("the wake stream cannot be among the streams it tells of")
    config = Config(
        kind,
        _pattern(pattern) if pattern else None,
        _webhook_url(fields) if kind is Kind.WEBHOOK else None,
        wake_stream,
        _lease_ttl_ms(fields),
        _text(fields, "description"),
    )
    return Creation(config, streams)


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body.

    Raises:
        InvalidSubscriptionError: it is none.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise InvalidSubscriptionError("the body is not valid JSON") from None
    if not isinstance(value, dict):
        raise InvalidSubscriptionError("the body must be a JSON object")
    return value


def parse_streams(value: object) -> tuple[str, ...]:
    """Return stream paths as given in a body: checked, sorted, each once.

    Raises:
        InvalidSubscriptionError: no array of stream paths, or more than ``STREAMS_MAX``.
    """
    if not isinstance(value, list) or len(value) > STREAMS_MAX:
        raise InvalidSubscriptionError(f"streams must be an array of at most {STREAMS_MAX} stream paths")
    return tuple(sorted({parse_stream(path) for path in value}))


def parse_stream(value: object) -> str:
    """Return a stream path as given in a body: root-relative, not percent-encoded.

    Raises:
        InvalidSubscriptionError: no path that a stream of this server can have.
    """
    if not isinstance(value, str):
        raise InvalidSubscriptionError("a stream path must be a string")
    try:
        return parse_path(quote(value.strip("/"), safe="/"))
    except (InvalidRequestError, PathTooLongError) as refusal:
        raise InvalidSubscriptionError(f"stream path {value[:100]!r}: {refusal}") from None


def parse_id(encoded: str) -> str:
    """Return the subscription id in its percent-encoded URL segment.

    Raises:
        InvalidSubscriptionError: empty, longer than ``ID_MAX_BYTES``, not UTF-8, or with control characters.
    """
    raw = unquote_to_bytes(encoded.encode("utf-8", "surrogatepass"))
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if (
        not 0 < len(raw) <= ID_MAX_BYTES
        or not text
        or any(character < " " or character == "\x7f" for character in text)
    ):
        raise InvalidSubscriptionError(f"a subscription id has 1 to {ID_MAX_BYTES} bytes of UTF-8")
    return text


def head_path(subscription_id: str) -> str:
    """Return the reserved path at which a subscription's head stands."""
    return PREFIX + subscription_id


PREFIX: Final = f"{RESERVED}/subscriptions/"
"""What the paths of all subscriptions' heads start with; no stream of an application can."""


def _pattern(pattern: str) -> str:
    try:
        return normalize_pattern(pattern)
    except InvalidPathError as refusal:
        raise InvalidSubscriptionError(f"pattern: {refusal}") from None


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and (not isinstance(value, str) or len(value.encode()) > TEXT_MAX_BYTES):
        raise InvalidSubscriptionError(f"{name} must be a string of at most {TEXT_MAX_BYTES} bytes")
    return value


def _webhook_url(fields: dict[str, Any]) -> str:
    webhook = fields.get("webhook")
    url = _text(webhook, "url") if isinstance(webhook, dict) else None
    if not url:
        raise InvalidSubscriptionError("a webhook subscription needs webhook.url")
    return url


def _wake_stream(fields: dict[str, Any]) -> str:
    if not fields.get("wake_stream"):
        raise InvalidSubscriptionError("a pull-wake subscription needs wake_stream")
    return parse_stream(fields["wake_stream"])


def _lease_ttl_ms(fields: dict[str, Any]) -> int:
    value = fields.get("lease_ttl_ms", LEASE_DEFAULT_MS)
    if type(value) is not int or not LEASE_MIN_MS <= value <= LEASE_MAX_MS:
        raise InvalidSubscriptionError(f"lease_ttl_ms must be a whole number from {LEASE_MIN_MS} to {LEASE_MAX_MS}")
    return value
