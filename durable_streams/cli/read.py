"""``read`` and ``tail``: what is in a stream, on stdout."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click
import orjson

from durable_streams.cli.descriptors import write
from durable_streams.cli.options import Whole, as_json, gathered, option
from durable_streams.cli.remote import Remote, carry_out, remote_options
from durable_streams.protocol import content_types

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.client import AsyncStreamResponse, StreamEvent
    from durable_streams.client.response import EventMode

_LINE_ENDS: Final = bytes.maketrans(b"\r\n", b"  ")
"""A line end within a message stands between tokens, as strings cannot hold one, so a blank means the same."""
_NEWLINE: Final = b"\n"

_stream = click.argument("stream")
_offset = option("--offset", help="Start behind this offset, as --json and info print them; -1 is the beginning.")
_last = option("--tail-count", "-n", type=Whole(min=0), help="Start at the last so many messages of a JSON stream.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Remote):
    """What ``read`` and ``tail`` are told."""

    stream: str
    offset: str | None
    tail_count: int | None
    as_json: bool

    def __post_init__(self) -> None:
        if self.offset is not None and self.tail_count is not None:
            raise click.UsageError("--offset and --tail-count exclude each other")


@click.command("read")
@_stream
@_offset
@_last
@as_json
@remote_options
@gathered(Reading)
def read_command(reading: Reading) -> None:
    """Print what STREAM holds now.

    A JSON stream comes as one message per line, every other as its very bytes. With --json every line is one delivery:
    its messages, text or base64, and the next_offset to go on from.
    """
    carry_out(_copy(reading, live=False, start="-1"))


@click.command("tail")
@_stream
@_offset
@_last
@as_json
@remote_options
@gathered(Reading)
def tail_command(reading: Reading) -> None:
    """Print what is appended to STREAM from now on, until it is closed.

    Goes on where it was when the server comes back within --retry-ms: nothing is skipped or repeated. Prints as read
    does.
    """
    carry_out(_copy(reading, live=True, start="now"))


async def _copy(reading: Reading, *, live: bool, start: str) -> None:
    """Write deliveries to stdout, from ``start`` on if the user did not say from where."""
    last = reading.tail_count or None
    offset = None if last else "now" if reading.tail_count == 0 else reading.offset or start
    async with reading.handle(reading.stream) as stream:
        await stream.head()
        opened = stream.stream(offset=offset, tail=last, live=live, retry=reading.patience)
        async with opened as response:
            mode, written = _form(response, as_json=reading.as_json)
            async for event in response.iter_events(mode):
                if event.data is not None or reading.as_json:
                    write(written(event))


def _form(response: AsyncStreamResponse, *, as_json: bool) -> tuple[EventMode, Callable[[StreamEvent[Any]], bytes]]:
    """Return the mode to read in and how to write what comes."""
    content_type = response.content_type or ""
    if content_types.is_json(content_type):
        return "messages", _json_of_messages if as_json else _lines_of
    if not as_json:
        return "bytes", _bytes_of
    if content_types.is_sse_text(content_type):
        return "text", _json_of_text
    return "bytes", _json_of_bytes


def _bytes_of(event: StreamEvent[bytes]) -> bytes:
    return event.data or b""


def _lines_of(event: StreamEvent[list[bytes]]) -> bytes:
    return b"".join([message.translate(_LINE_ENDS) + _NEWLINE for message in event.data or ()])


def _json_of_messages(event: StreamEvent[list[bytes]]) -> bytes:
    messages = [orjson.Fragment(message.translate(_LINE_ENDS)) for message in event.data or ()]
    return _envelope(event, "messages", messages)


def _json_of_text(event: StreamEvent[str]) -> bytes:
    return _envelope(event, "text", event.data or "")


def _json_of_bytes(event: StreamEvent[bytes]) -> bytes:
    return _envelope(event, "base64", base64.b64encode(event.data or b"").decode("ascii"))


def _envelope(event: StreamEvent[Any], form: str, payload: object) -> bytes:
    fields = {
        form: payload,
        "next_offset": event.next_offset,
        "up_to_date": event.up_to_date,
        "closed": event.stream_closed,
    }
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
