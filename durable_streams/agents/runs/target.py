"""Where an answer goes: what people hand in as ``to``, checked, and the stream made.

Invariant: a stream that another attempt has closed, or that holds something else, is left as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from durable_streams.agents.errors import AlreadyWrittenError, UnusableError
from durable_streams.client import AsyncDurableStream, StreamExistsError

if TYPE_CHECKING:
    from durable_streams.agents.codecs import Codec

_SCHEMES: Final = frozenset({"http", "https"})
_EXAMPLE: Final = "http://127.0.0.1:4437/v1/stream/answer-1"


def target(to: object) -> AsyncDurableStream:
    """Return a handle to the stream; nothing is sent.

    Raises:
        UnusableError: it names no stream.
    """
    if isinstance(to, AsyncDurableStream):
        return to
    if to is None or isinstance(to, bytes):
        raise UnusableError(f"to= is the URL of a stream, such as {_EXAMPLE}, not {to!r}")
    url = str(to)
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.netloc:
        guess = f"http://{url.lstrip('/')}" if _names_a_host(url) else _EXAMPLE
        raise UnusableError(f"to= is a whole URL, with its scheme: {guess}, not {url!r}")
    if not parts.path.strip("/"):
        raise UnusableError(f"to= names a server and no stream on it: {_EXAMPLE}, not {url!r}")
    return AsyncDurableStream(url)


async def create(stream: AsyncDurableStream, codec: Codec) -> None:
    """Create the stream, or find it as it was created before.

    Raises:
        AlreadyWrittenError: an earlier attempt has closed it.
        UnusableError: it has another content type.
        DurableStreamError, FetchError: the server refused, or could not be reached.
    """
    try:
        await stream.create_stream(content_type=codec.content_type)
    except StreamExistsError as exists:
        there = await stream.head()
        if there.stream_closed:
            raise AlreadyWrittenError(stream.url) from exists
        if _media_type(there.content_type) != _media_type(codec.content_type):
            raise UnusableError(
                f"{stream.url} holds {there.content_type}, and {type(codec).__name__} writes {codec.content_type}:"
                " use another stream, or another codec=…"
            ) from exists
        raise


def _names_a_host(url: str) -> bool:
    host, slash, _ = url.removeprefix("//").partition("/")
    return bool(slash) and (":" in host or "." in host) and "://" not in url


def _media_type(content_type: str | None) -> str:
    return (content_type or "").partition(";")[0].strip().lower()
