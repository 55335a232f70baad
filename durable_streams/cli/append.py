"""``append``: input to a stream, in order, each message once."""

from __future__ import annotations

import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click
import orjson

from durable_streams.cli.descriptors import say
from durable_streams.cli.endings import Failure, Status
from durable_streams.cli.inputs import Source, open_sources, pinned
from durable_streams.cli.options import Size, Whole, as_json, gathered, option
from durable_streams.cli.progress import progress
from durable_streams.cli.pump import Pump, Tally
from durable_streams.cli.remote import Remote, carry_out, remote_options
from durable_streams.cli.splitting import MESSAGE_MAX_BYTES, Splitting, split
from durable_streams.client import IdempotentProducer, StreamNotFoundError
from durable_streams.protocol import content_types

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable_streams.client import AsyncDurableStream, HeadResult

NEVER_MS: Final = 7 * 86_400_000
"""The linger of input that does not stop in the middle: batches then end where they are full, the same at every run."""
PACE_MIN_BYTES: Final = 8 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Appending(Remote):
    """What ``append`` is told."""

    stream: str
    files: tuple[str, ...]
    ndjson: bool
    whole: bool
    create: bool
    content_type: str | None
    close: bool
    producer_id: str | None
    batch_bytes: int
    linger_ms: int
    in_flight_count: int
    as_json: bool

    def __post_init__(self) -> None:
        if self.ndjson and self.whole:
            raise click.UsageError("--ndjson and --whole exclude each other")

    @property
    def expected_type(self) -> str | None:
        """The content type asked for; ``None`` takes the stream's."""
        return self.content_type or (content_types.JSON if self.ndjson else None)

    def splitting(self, content_type: str) -> Splitting:
        """Return how input becomes messages on a stream of this type.

        Raises:
            Failure: lines asked for on a stream that has no messages.
        """
        is_json = content_types.is_json(content_type)
        if self.ndjson and not is_json:
            raise Failure(f"--ndjson needs a JSON stream, and this one is {content_type}", Status.USAGE)
        return "whole" if self.whole else "lines" if is_json else "blocks"


@click.command("append")
@click.argument("stream")
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@option("--ndjson", is_flag=True, help="Each line is a JSON message: the way of JSON streams; refuse any other.")
@option("--whole", is_flag=True, help="Each FILE is one message, such as a JSON value over several lines.")
@option("--create", is_flag=True, help="Create the stream if it is not there.")
@option("--content-type", metavar="TYPE", help="Require, or with --create give, this type.")
@option("--close", is_flag=True, help="Close the stream behind the last message.")
@option(
    "--producer-id",
    metavar="ID",
    help="Make the command repeatable: run again with the same input, it adds only what is missing. Reads all input "
    "before the first message is sent.",
)
@option("--batch-bytes", type=Size(1, 16 * 2**20), default=2**20, help="Most bytes per request.")
@option("--linger-ms", type=Whole(min=0), default=20, help="How long input from a pipe waits for more to join it.")
@option("--in-flight-count", type=Whole(1, 64), default=4, help="Requests under way at once.")
@as_json
@remote_options
@gathered(Appending)
def append_command(appending: Appending) -> None:
    """Append each FILE (- or none is stdin) to STREAM: in order, each message once, whatever happens to the connection.

    On a JSON stream each line is a message; on every other the bytes are appended as they are. Ends when all of it is
    durable.
    """
    began_s = time.perf_counter()
    with ExitStack() as exits:
        try:
            sources = open_sources(appending.files, exits)
            digest = ""
            if appending.producer_id is not None:
                sources, digest = pinned(sources, exits)
        except OSError as error:
            raise Failure(f"{error.filename or 'input'}: {error.strerror}", Status.USAGE) from error
        stored = carry_out(_append(appending, sources, digest))
    elapsed_s = time.perf_counter() - began_s
    say(_as_json(stored, elapsed_s) if appending.as_json else _summary(stored, elapsed_s))


@dataclass(frozen=True, slots=True)
class _Stored:
    url: str
    producer_id: str
    splitting: Splitting
    closed: bool
    tally: Tally


async def _append(appending: Appending, sources: Sequence[Source], digest: str) -> _Stored:
    async with appending.handle(appending.stream) as stream:
        found = await _prepare(appending, stream)
    content_type = found.content_type or content_types.DEFAULT
    splitting = appending.splitting(content_type)
    producer_id = _producer_id(appending, splitting, digest)
    tally = Tally(next_offset=found.offset or "")
    if not (found.stream_closed and appending.close):
        steady = all(source.size_bytes is not None for source in sources)
        linger_ms = NEVER_MS if steady else appending.linger_ms
        async with _producer(appending, producer_id, content_type, linger_ms=linger_ms) as producer:
            await _take_all(Pump(producer, _pace_bytes(appending), tally), sources, splitting)
    if appending.close:
        # Under a name of its own, so that a repeated command finds its batches refused as behind a close, yet can tell
        # by this duplicate that the close was its own, before which all of its input was stored.
        async with _producer(appending, f"{producer_id}-close", content_type, linger_ms=0) as closer:
            await closer.close_stream()
    return _Stored(stream.url, producer_id, splitting, appending.close, tally)


async def _prepare(appending: Appending, stream: AsyncDurableStream) -> HeadResult:
    """Return the stream's metadata; create it first if asked to.

    Raises:
        Failure: it is of another type than asked for.
    """
    try:
        found = await stream.head()
    except StreamNotFoundError:
        if not appending.create:
            raise
        await stream.create_stream(content_type=appending.expected_type)
        found = await stream.head()
    content_type = found.content_type or content_types.DEFAULT
    expected = appending.expected_type
    if expected is not None and content_types.media_type(expected) != content_types.media_type(content_type):
        raise Failure(f"{stream.url} is {content_type}, not {expected}", Status.CONFLICT)
    return found


def _pace_bytes(appending: Appending) -> int:
    return max(PACE_MIN_BYTES, 2 * appending.in_flight_count * appending.batch_bytes)


def _producer(appending: Appending, producer_id: str, content_type: str, *, linger_ms: int) -> IdempotentProducer:
    return IdempotentProducer(
        appending.address(appending.stream),
        producer_id,
        content_type=content_type,
        headers=appending.headers,
        retry=appending.patience,
        max_batch_bytes=appending.batch_bytes,
        linger_ms=linger_ms,
        max_in_flight=appending.in_flight_count,
        max_buffer_bytes=_pace_bytes(appending) + 2 * MESSAGE_MAX_BYTES,
    )


async def _take_all(pump: Pump, sources: Sequence[Source], splitting: Splitting) -> None:
    sizes = [source.size_bytes for source in sources]
    total_bytes = None if None in sizes else sum(size or 0 for size in sizes)
    with progress(total_bytes) as show:
        for source in sources:
            async for piece in split(source, splitting):
                await pump.take(source.name, piece)
                show(pump.tally.byte_count)
        await pump.finish()


def _producer_id(appending: Appending, splitting: Splitting, digest: str) -> str:
    """Return the name that goes to the server.

    A server knows a batch again by its number alone. So the name holds everything that batches depend on: with other
    input, or cut otherwise, batch n would be taken for the old one and its messages lost.
    """
    if appending.producer_id is None:
        return f"append-{uuid.uuid4().hex}"
    return f"{appending.producer_id}-{splitting}-{appending.batch_bytes}-{digest}"


def _as_json(stored: _Stored, elapsed_s: float) -> str:
    values = {
        "url": stored.url,
        "producer_id": stored.producer_id,
        "message_count": stored.tally.message_count,
        "duplicate_count": stored.tally.duplicate_count,
        "byte_count": stored.tally.byte_count,
        "next_offset": stored.tally.next_offset,
        "closed": stored.closed,
        "elapsed_s": round(elapsed_s, 3),
    }
    return orjson.dumps(values).decode()


def _summary(stored: _Stored, elapsed_s: float) -> str:
    tally = stored.tally
    # Blocks of bytes are no messages to anybody but this program.
    unit = "blocks" if stored.splitting == "blocks" else "messages"
    again = f", {tally.duplicate_count} {unit} of it stored by an earlier attempt" if tally.duplicate_count else ""
    closed = ", closed" if stored.closed else ""
    return (
        f"appended {tally.message_count} {unit}, {tally.byte_count} bytes in {elapsed_s:.1f} s{again}; "
        f"next offset {tally.next_offset}{closed}"
    )
