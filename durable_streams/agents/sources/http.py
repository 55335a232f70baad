"""A model over plain HTTP, for any server that speaks one of the three wire formats; needs no vendor's package.

Cancelling closes the connection, which is how these servers are told to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from durable_streams.agents.errors import UpstreamCutError, UpstreamError
from durable_streams.agents.plain import encoded
from durable_streams.agents.wires.decoders.base import BodyDecoder, error_message

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from durable_streams.agents.events import Event
    from durable_streams.agents.tools import Tool
    from durable_streams.agents.wires.base import UIMessage, Wire

RETRY_STATUSES: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
RETRY_AFTER_MAX_S: Final = 20.0
ERROR_SHOWN_CHARS: Final = 500
END_S: Final = 0.2
"""How long the end of a response is waited for that has said all it will, so that its connection can be used again."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where a model is and how patient to be.

    Attributes:
        base_url: as the vendor's own package takes it: with ``/v1`` for OpenAI, without for Anthropic.
        model: the model's name.
        api_key: the key; ``None`` sends none.
        connect_s: bound of connecting, in seconds.
        silence_s: a model that says nothing for so many seconds is given up.
        retry_count: further attempts after a refusal that another one may better; only before the first event.
        first_wait_s: bound of the wait before the first of them; doubles.
    """

    base_url: str
    model: str
    api_key: str | None = None
    connect_s: float = 10.0
    silence_s: float = 300.0
    retry_count: int = 2
    first_wait_s: float = 0.5


class HttpModel:
    """A model; see ``Model``.

    Args:
        upstream: where it is.
        wire: the format it speaks.
        session: session to use, left open; ``None`` opens one, which ``aclose`` closes.
    """

    def __init__(self, upstream: Upstream, wire: Wire, *, session: aiohttp.ClientSession | None = None) -> None:
        self._upstream, self._wire = upstream, wire
        self._session, self._owns_session = session, session is None

    async def aclose(self) -> None:
        """Close the session if this object opened it."""
        if self._owns_session and self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def stream(
        self, messages: Sequence[UIMessage], tools: Sequence[Tool], *, prefix: str = ""
    ) -> AsyncGenerator[Event, None]:
        """Answer once; see ``Model``."""
        body = self._wire.request(self._upstream.model, messages, tools)
        decoder = BodyDecoder(self._wire.decoder(prefix))
        async with self._persist(body) as response:
            try:
                async for received in response.content.iter_any():
                    for event in decoder.feed(received):
                        yield event
                    if decoder.done:
                        break  # some servers leave the connection open
            except (aiohttp.ClientError, TimeoutError, OSError) as fault:
                raise UpstreamCutError(f"the model's stream was cut: {_sentence(fault)}") from fault
            for event in decoder.finish():
                yield event
            await _reach_end(response)

    @asynccontextmanager
    async def _persist(self, body: dict[str, Any]) -> AsyncIterator[aiohttp.ClientResponse]:
        for attempt in range(self._upstream.retry_count + 1):
            last = attempt == self._upstream.retry_count
            try:
                response = await self._post(body)
            except (aiohttp.ClientError, TimeoutError, OSError) as fault:
                if last:
                    raise UpstreamError(f"the model cannot be reached: {_sentence(fault)}") from fault
                await asyncio.sleep(self._upstream.first_wait_s * 2**attempt)
                continue
            try:
                if response.status < 300:  # noqa: PLR2004 2xx
                    yield response
                    return
                if last or response.status not in RETRY_STATUSES:
                    raise await _refusal(response)
                wait_s = _retry_after_s(response) or self._upstream.first_wait_s * 2**attempt
            finally:
                response.close()
            await asyncio.sleep(wait_s)

    async def _post(self, body: dict[str, Any]) -> aiohttp.ClientResponse:
        if self._session is None:
            # No limit of connections: every answer holds one.
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return await self._session.post(
            self._upstream.base_url.rstrip("/") + self._wire.path,
            data=encoded(body),
            headers={"Content-Type": "application/json", **self._wire.headers(self._upstream.api_key)},
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self._upstream.connect_s, sock_read=self._upstream.silence_s
            ),
        )


async def _reach_end(response: aiohttp.ClientResponse) -> None:
    with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
        async with asyncio.timeout(END_S):
            while not response.content.at_eof():
                await response.content.readany()


async def _refusal(response: aiohttp.ClientResponse) -> UpstreamError:
    text = (await response.read()).decode("utf-8", "replace")
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        parsed = None
    error = parsed.get("error", text) if isinstance(parsed, dict) else text
    return UpstreamError(error_message(error)[:ERROR_SHOWN_CHARS], status=response.status)


def _retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    value = response.headers.get("Retry-After", "")
    return min(float(value), RETRY_AFTER_MAX_S) if value.isascii() and value.isdigit() else None


def _sentence(fault: BaseException) -> str:
    return str(fault) or type(fault).__name__
