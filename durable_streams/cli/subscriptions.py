"""``subscriptions``: ``list``, ``show``, ``create``, ``delete``, ``wake``, and ``rotate-key`` for the signing key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import orjson

from durable_streams.cli.descriptors import say
from durable_streams.cli.endings import Failure
from durable_streams.cli.options import Whole, as_json, gathered, option
from durable_streams.cli.remote import Remote, carry_out, remote_options
from durable_streams.client import AsyncSubscription, list_subscriptions

if TYPE_CHECKING:
    from collections.abc import Mapping

_STATE: Final = ("type", "status", "phase", "generation", "pattern", "wake_stream", "lease_ttl_ms", "description")
_MORE: Final = ("created_at", "holder", "lease_expires_at", "next_attempt_at")

_id = click.argument("subscription_id", metavar="ID")


@click.group("subscriptions")
def subscriptions_command() -> None:
    """Subscriptions: durable cursors over streams that wake workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Remote):
    """What ``list`` is told."""

    as_json: bool


@subscriptions_command.command("list")
@as_json
@remote_options
@gathered(Listing)
def list_command(listing: Listing) -> None:
    """List all subscriptions in order of id.

    One line each, tab-separated: id, type, status, phase, generation, and what it listens to.
    """
    carry_out(_list(listing))


async def _list(listing: Listing) -> None:
    root = listing.address("").rstrip("/")
    async for entry in list_subscriptions(root, headers=listing.headers, retry=listing.first_contact):
        columns = [entry[name] for name in ("id", "type", "status", "phase", "generation")]
        _say("\t".join(map(str, [*columns, entry["pattern"] or "-"])), entry, json=listing.as_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class One(Remote):
    """What commands on one subscription are told."""

    subscription_id: str
    as_json: bool

    def subscription(self) -> AsyncSubscription:
        """Return a handle to it."""
        root = self.address("").rstrip("/")
        return AsyncSubscription(root, self.subscription_id, headers=self.headers, retry=self.first_contact)


@subscriptions_command.command("show")
@_id
@as_json
@remote_options
@gathered(One)
def show_command(asked: One) -> None:
    """Print a subscription: its state, then one line per stream with its cursor."""
    shown = carry_out(_show(asked))
    _say(_described(shown), shown, json=asked.as_json)


async def _show(asked: One) -> dict[str, Any]:
    async with asked.subscription() as subscription:
        return await subscription.show()


def _described(shown: Mapping[str, Any]) -> str:
    lines = [f"{name:<16} {shown[name]}" for name in (*_STATE, *_MORE) if shown.get(name) is not None]
    if shown.get("webhook"):
        lines.append(f"{'webhook':<16} {shown['webhook']['url']}")
    lines += [f"{stream['acked_offset']}\t{stream['link_type']}\t{stream['path']}" for stream in shown["streams"]]
    return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation(One):
    """What ``create`` is told."""

    pattern: str | None
    stream: tuple[str, ...]
    webhook_url: str | None
    wake_stream: str | None
    lease_ttl_ms: int | None
    description: str | None

    def fields(self) -> dict[str, Any]:
        """Return the body of the request (§6.2).

        Raises:
            click.UsageError: not exactly one way of waking, or nothing to listen to.
        """
        if (self.webhook_url is None) == (self.wake_stream is None):
            raise click.UsageError("pass either --webhook-url or --wake-stream")
        if self.pattern is None and not self.stream:
            raise click.UsageError("pass --pattern, --stream, or both")
        given = {
            "type": "pull-wake" if self.webhook_url is None else "webhook",
            "webhook": None if self.webhook_url is None else {"url": self.webhook_url},
            "wake_stream": self.wake_stream,
            "pattern": self.pattern,
            "streams": [*self.stream] or None,
            "lease_ttl_ms": self.lease_ttl_ms,
            "description": self.description,
        }
        return {name: value for name, value in given.items() if value is not None}


@subscriptions_command.command("create")
@_id
@option("--pattern", metavar="GLOB", help="Streams to listen to: * is one path segment, ** any number.")
@option("--stream", metavar="PATH", multiple=True, help="A stream to listen to. Repeatable.")
@option("--webhook-url", metavar="URL", help="Wake by a request to this URL.")
@option("--wake-stream", metavar="PATH", help="Wake by an event on this stream, for workers that pull.")
@option("--lease-ttl-ms", type=Whole(1_000, 600_000), help="How long a silent worker keeps its claim. [30000]")
@option("--description", metavar="TEXT", help="For people.")
@as_json
@remote_options
@gathered(Creation)
def create_command(creation: Creation) -> None:
    """Create a subscription, or find it there with this very configuration. What streams hold already is not new."""
    created = carry_out(_create(creation))
    _say(f"created {creation.subscription_id} ({len(created['streams'])} streams)", created, json=creation.as_json)


async def _create(creation: Creation) -> dict[str, Any]:
    async with creation.subscription() as subscription:
        return await subscription.create(creation.fields())


@subscriptions_command.command("delete")
@_id
@as_json
@remote_options
@gathered(One)
def delete_command(asked: One) -> None:
    """Delete a subscription and its cursors. The streams stay."""
    carry_out(_delete(asked))
    _say(f"deleted {asked.subscription_id}", {"id": asked.subscription_id, "deleted": True}, json=asked.as_json)


async def _delete(asked: One) -> None:
    async with asked.subscription() as subscription:
        await subscription.delete()


@subscriptions_command.command("wake")
@_id
@as_json
@remote_options
@gathered(One)
def wake_command(asked: One) -> None:
    """Wake a subscription now, whether or not it has work; a failed webhook is tried again at once."""
    carry_out(_wake(asked))
    _say(f"woke {asked.subscription_id}", {"id": asked.subscription_id, "woken": True}, json=asked.as_json)


async def _wake(asked: One) -> None:
    async with asked.subscription() as subscription:
        await subscription.wake()


@subscriptions_command.command("rotate-key")
@click.argument("data_dir", envvar="DS_DATA_DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
def rotate_key_command(data_dir: Path) -> None:
    """Give the server of DATA_DIR (or DS_DATA_DIR) a new key for signing webhooks; a running one takes it up at once.

    The old key stays published for a day, so that receivers can check what is under way.
    """
    from durable_streams.engine.base import RefusedToStartError  # noqa: PLC0415
    from durable_streams.runtime.clock import SystemClock  # noqa: PLC0415 --help need not load cryptography
    from durable_streams.subscriptions.keys import KEY_FILE, Keyring  # noqa: PLC0415

    if not (data_dir / KEY_FILE).exists():
        raise Failure(f"{data_dir} has no {KEY_FILE}: no server has been started there yet")
    keyring = Keyring(data_dir / KEY_FILE, SystemClock())
    try:
        keyring.open()
    except RefusedToStartError as refusal:
        raise Failure(str(refusal)) from refusal
    try:
        kid = keyring.rotate()
    except OSError as error:
        raise Failure(f"{data_dir / KEY_FILE} cannot be written ({error.strerror})") from error
    say(f"signing with {kid}")


def _say(sentence: str, values: Mapping[str, Any], *, json: bool) -> None:
    """Print the sentence for people, or the values as one line of JSON."""
    say(orjson.dumps(values).decode() if json else sentence)
