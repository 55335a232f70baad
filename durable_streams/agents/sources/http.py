"""A model over plain HTTP, for any server that speaks one of the three wire formats; needs no vendor's package.

Cancelling closes the connection, which is how these servers are told to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson
from multidict import CIMultiDict

from durable_streams.agents.errors import UpstreamCutError, UpstreamError
from durable_streams.agents.plain import encoded
from durable_streams.agents.sources.asking import FIELD_STATUSES, Asking
from durable_streams.agents.sources.patience import retry_after_s
from durable_streams.agents.sources.proxies import proxy_for
from durable_streams.agents.wires.decoders.base import BodyDecoder, error_message
from durable_streams.agents.wires.options import Options

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

    from durable_streams.agents.events import Event
    from durable_streams.agents.sources.base import Model
    from durable_streams.agents.tools import Tool
    from durable_streams.agents.wires.base import UIMessage, Wire

RETRY_STATUSES: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
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
        first_wait_s: the wait before the first of them; doubles. What the server asks for comes before it.
        retry_after_max_s: longest such wait, whatever the server asks for.
        headers: sent with every request; they win over the wire's own.
        without: fields of a request that this server refuses, such as ``stream_options``. Those that it refuses by
            name are left out from then on in any case.
    """

    base_url: str
    model: str
    api_key: str | None = None
    connect_s: float = 10.0
    silence_s: float = 300.0
    retry_count: int = 2
    first_wait_s: float = 0.5
    retry_after_max_s: float = 20.0
    headers: Mapping[str, str] = field(default_factory=dict)
    without: frozenset[str] = frozenset()


class HttpModel:
    """A model; see ``Model``.

    Args:
        upstream: where it is.
        wire: the format it speaks.
        session: session to use, left open; ``None`` opens one, which ``aclose`` closes, and which goes by the proxy
            that the environment names.
        options: of every call.
        allowed: names of options that a prompt may set for its own answer, in the field ``options`` of its body.

    Raises:
        InvalidOptionsError: the format has no such option.
    """

    def __init__(
        self,
        upstream: Upstream,
        wire: Wire,
        *,
        session: aiohttp.ClientSession | None = None,
        options: Options | None = None,
        allowed: frozenset[str] = frozenset(),
    ) -> None:
        self._upstream, self._wire = upstream, wire
        self._session, self._owns_session = session, session is None
        self._asking = Asking(
            wire, upstream.base_url, upstream.model, options or Options(), allowed, set(upstream.without)
        )
        wire.options(self._asking.options)

    async def aclose(self) -> None:
        """Close the session if this object opened it."""
        if self._owns_session and self._session is not None:
            session, self._session = self._session, None
            await session.close()

    def refusal(self, message: UIMessage | None, request: Mapping[str, Any]) -> str | None:
        """Return why a prompt cannot be answered; see ``Choosy``."""
        return self._asking.refusal(message, request)

    def adjusted(self, request: Mapping[str, Any]) -> Model:
        """Return the model with a request's own options; see ``sources.base.adjusted``."""
        return _Adjusted(self, self._asking.chosen(request))

    async def stream(
        self, messages: Sequence[UIMessage], tools: Sequence[Tool], *, prefix: str = ""
    ) -> AsyncGenerator[Event, None]:
        """Answer once; see ``Model``."""
        async with aclosing(self.answer(messages, tools, prefix=prefix)) as events:
            async for event in events:
                yield event

    async def answer(
        self,
        messages: Sequence[UIMessage],
        tools: Sequence[Tool],
        *,
        prefix: str = "",
        options: Options | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Answer once with these options; see ``Model``."""
        decoder = BodyDecoder(self._wire.decoder(prefix))
        name, body = self._asking.naming(options), self._asking.body(messages, tools, options=options)
        async with self._persist(body) as response:
            try:
                async for received in response.content.iter_any():
                    for event in map(name, decoder.feed(received)):
                        yield event
                    if decoder.done:
                        break  # some servers leave the connection open
            except (aiohttp.ClientError, TimeoutError, OSError) as fault:
                raise UpstreamCutError(f"the model's stream was cut: {_sentence(fault)}") from fault
            for event in map(name, decoder.finish()):
                yield event
            await _reach_end(response)

    @asynccontextmanager
    async def _persist(self, body: dict[str, Any]) -> AsyncIterator[aiohttp.ClientResponse]:
        attempt = 0
        while True:
            last = attempt == self._upstream.retry_count
            wait_s = self._upstream.first_wait_s * 2**attempt
            try:
                response = await self._post(body)
            except (aiohttp.ClientError, TimeoutError, OSError) as fault:
                if last:
                    raise UpstreamError(f"the model cannot be reached: {_sentence(fault)}") from fault
            else:
                try:
                    if response.status < 300:  # noqa: PLR2004 2xx
                        yield response
                        return
                    if await self._forgo(response, body):
                        continue
                    if last or response.status not in RETRY_STATUSES:
                        raise await _refusal(response)
                    asked_s = retry_after_s(response.headers, time.time())
                    wait_s = wait_s if asked_s is None else min(asked_s, self._upstream.retry_after_max_s)
                finally:
                    response.close()
            attempt += 1
            await asyncio.sleep(wait_s)

    async def _forgo(self, response: aiohttp.ClientResponse, body: dict[str, Any]) -> bool:
        if response.status not in FIELD_STATUSES:
            return False
        return self._asking.forgo(body, response.status, (await response.read()).decode("utf-8", "replace"))

    async def _post(self, body: dict[str, Any]) -> aiohttp.ClientResponse:
        if self._session is None:
            # No limit of connections: every answer holds one.
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        url = self._upstream.base_url.rstrip("/") + self._wire.path
        headers = CIMultiDict({"Content-Type": "application/json", **self._wire.headers(self._upstream.api_key)})
        headers.update(self._upstream.headers)
        return await self._session.post(
            url,
            # aiohttp warns of large bodies in one piece, as it would write them in one go.
            data=io.BytesIO(encoded(body)),
            headers=headers,
            proxy=proxy_for(url) if self._owns_session else None,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self._upstream.connect_s, sock_read=self._upstream.silence_s
            ),
        )


class _Adjusted:
    """A model with options of one request."""

    def __init__(self, model: HttpModel, options: Options) -> None:
        self._model, self._options = model, options

    def stream(
        self, messages: Sequence[UIMessage], tools: Sequence[Tool], *, prefix: str = ""
    ) -> AsyncGenerator[Event, None]:
        return self._model.answer(messages, tools, prefix=prefix, options=self._options)


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


def _sentence(fault: BaseException) -> str:
    return str(fault) or type(fault).__name__
