"""Commands on whole streams: ``create``, ``info``, ``close``, ``delete``, ``fork``, ``list``."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import click
import orjson

from durable_streams.cli.descriptors import say
from durable_streams.cli.options import Whole, as_json, gathered, option
from durable_streams.cli.remote import Remote, carry_out, remote_options
from durable_streams.client import DurableStreamError, FetchError, list_streams

if TYPE_CHECKING:
    from collections.abc import Mapping

    from durable_streams.client import StreamListing

PAGE_COUNT: Final = 1_000
_LIST: Final = "list"

_stream = click.argument("stream")
_ttl = option("--ttl-s", type=Whole(min=0), help="Let it expire this long after its last read or write.")
_expires_at = option("--expires-at", metavar="RFC3339", help="Let it expire then, such as 2030-01-31T12:00:00Z.")


@dataclass(frozen=True, slots=True, kw_only=True)
class OneStream(Remote):
    """What commands on one stream are told."""

    stream: str
    as_json: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation(OneStream):
    """What ``create`` is told."""

    content_type: str
    ttl_s: int | None
    expires_at: str | None
    body: str | None
    closed: bool


@click.command("create")
@_stream
@option("--content-type", default="application/octet-stream", help="Type of its content.", metavar="TYPE")
@_ttl
@_expires_at
@option("--body", metavar="TEXT", help="Initial content; on a JSON stream a value, or an array of messages.")
@option("--closed", is_flag=True, help="Create it closed: --body is all it will ever hold.")
@as_json
@remote_options
@gathered(Creation)
def create_command(creation: Creation) -> None:
    """Create STREAM, or find it there with this very configuration."""
    carry_out(_create(creation))
    url = creation.address(creation.stream)
    values = {"url": url, "content_type": creation.content_type, "closed": creation.closed}
    _say(f"created {url} ({creation.content_type})", values, json=creation.as_json)


async def _create(creation: Creation) -> None:
    async with creation.handle(creation.stream) as stream:
        await stream.create_stream(
            content_type=creation.content_type,
            ttl_seconds=creation.ttl_s,
            expires_at=creation.expires_at,
            body=creation.body,
            closed=creation.closed,
        )


@click.command("info")
@_stream
@as_json
@remote_options
@gathered(OneStream)
def info_command(asked: OneStream) -> None:
    """Print the metadata of STREAM. Does not count as a use: a sliding time to live goes on running out."""
    values = carry_out(_head(asked))
    lines = "\n".join(f"{name:<13} {_shown(value)}" for name, value in values.items() if value not in (None, []))
    _say(lines, values, json=asked.as_json)


async def _head(asked: OneStream) -> dict[str, object]:
    async with asked.handle(asked.stream) as stream:
        found = await stream.head()
    listed = await _entry(asked, stream.url) if _LIST in found.extensions else None
    return {
        "url": stream.url,
        "content_type": found.content_type,
        "next_offset": found.offset,
        "closed": found.stream_closed,
        "ttl_s": found.ttl_seconds,
        "expires_at": found.expires_at,
        "forked_from": listed.forked_from if listed else None,
        "extensions": sorted(found.extensions),
    }


async def _entry(asked: OneStream, url: str) -> StreamListing | None:
    """Return the stream's entry in the list; ``None`` if it is not below the root, or if there is nothing to be had."""
    root = asked.address("")
    if not url.startswith(root):
        return None
    path = unquote(url.removeprefix(root))
    listing = list_streams(root, prefix=path, page_size=1, headers=asked.headers, retry=asked.first_contact)
    try:
        async with aclosing(listing) as found:
            first = await anext(found, None)
    except (DurableStreamError, FetchError):  # it has told of itself already: this is more than was asked for
        return None
    return first if first is not None and first.path == path else None


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing(OneStream):
    """What ``close`` is told."""

    body: str | None


@click.command("close")
@_stream
@option("--body", metavar="TEXT", help="Last message, appended in the same transaction.")
@as_json
@remote_options
@gathered(Closing)
def close_command(closing: Closing) -> None:
    """Close STREAM for ever: nothing can be appended any more, and readers learn that it has ended."""
    url, offset = carry_out(_close(closing))
    _say(f"closed {url} at {offset}", {"url": url, "next_offset": offset, "closed": True}, json=closing.as_json)


async def _close(closing: Closing) -> tuple[str, str]:
    async with closing.handle(closing.stream) as stream:
        closed = await stream.close_stream(data=closing.body)
    return stream.url, closed.final_offset


@click.command("delete")
@_stream
@as_json
@remote_options
@gathered(OneStream)
def delete_command(asked: OneStream) -> None:
    """Delete STREAM. What its forks share with it stays readable through them."""
    url = carry_out(_delete(asked))
    _say(f"deleted {url}", {"url": url, "deleted": True}, json=asked.as_json)


async def _delete(asked: OneStream) -> str:
    async with asked.handle(asked.stream) as stream:
        await stream.delete()
    return stream.url


@dataclass(frozen=True, slots=True, kw_only=True)
class Forking(Remote):
    """What ``fork`` is told."""

    source: str
    target: str
    offset: str | None
    sub_offset: int | None
    ttl_s: int | None
    expires_at: str | None
    as_json: bool


@click.command("fork")
@click.argument("source")
@click.argument("target")
@option("--offset", help="Offset in SOURCE up to which content is shared; its tail if not given.")
@option("--sub-offset", type=Whole(min=0), help="Share so many messages (JSON) or bytes beyond --offset.")
@_ttl
@_expires_at
@as_json
@remote_options
@gathered(Forking)
def fork_command(forking: Forking) -> None:
    """Create TARGET as a fork of SOURCE: it begins with SOURCE's content, which is shared, and goes its own way."""
    source, target = carry_out(_fork(forking))
    _say(f"forked {source} to {target}", {"url": target, "forked_from": source}, json=forking.as_json)


async def _fork(forking: Forking) -> tuple[str, str]:
    target = forking.address(forking.target)
    async with forking.handle(forking.source) as source:
        await source.fork(
            target,
            offset=forking.offset,
            sub_offset=forking.sub_offset,
            ttl_seconds=forking.ttl_s,
            expires_at=forking.expires_at,
        )
    return source.url, target


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Remote):
    """What ``list`` is told."""

    prefix: str
    after: str | None
    limit_count: int | None
    as_json: bool


@click.command("list")
@click.argument("prefix", default="")
@option("--after", metavar="PATH", help="Only streams whose path sorts behind this one.")
@option("--limit-count", type=Whole(min=1), help="Stop after so many streams.")
@as_json
@remote_options
@gathered(Listing)
def list_command(listing: Listing) -> None:
    """List the streams whose path starts with PREFIX, in order of path.

    One line each, tab-separated: path, content type, next offset, open or closed, and what else there is to say.
    """
    carry_out(_list(listing))


async def _list(listing: Listing) -> None:
    root = listing.address("").rstrip("/")
    found = list_streams(
        root,
        prefix=listing.prefix,
        after=listing.after,
        page_size=min(listing.limit_count or PAGE_COUNT, PAGE_COUNT),
        headers=listing.headers,
        retry=listing.first_contact,
    )
    left = listing.limit_count
    async for entry in found:
        _say(_row(entry), asdict(entry), json=listing.as_json)
        left = None if left is None else left - 1
        if left == 0:
            return


def _row(entry: StreamListing) -> str:
    columns = [entry.path, entry.content_type, entry.next_offset, "closed" if entry.closed else "open"]
    for name in ("ttl_s", "expires_at", "forked_from"):
        value = getattr(entry, name)
        if value is not None:
            columns.append(f"{name}={value}")
    return "\t".join(columns)


def _say(sentence: str, values: Mapping[str, object], *, json: bool) -> None:
    """Print the sentence for people, or the values as one line of JSON."""
    say(orjson.dumps(values).decode() if json else sentence)
