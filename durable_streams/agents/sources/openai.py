"""Models through the ``openai`` package: Chat Completions and Responses.

Remedy: leaving the iteration of an ``AsyncStream`` early keeps the request running unless the stream itself is closed,
so it is entered as a context manager.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable_streams.agents.sources.asking import Asking
from durable_streams.agents.sources.packages import refuse_blocking, translated
from durable_streams.agents.wires.openai_chat import OpenAIChatWire
from durable_streams.agents.wires.openai_responses import OpenAIResponsesWire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from durable_streams.agents.events import Event
    from durable_streams.agents.tools import Tool
    from durable_streams.agents.wires.base import UIMessage


class OpenAIChat:
    """Chat Completions; see ``Model``.

    Args:
        client: an ``openai.AsyncOpenAI``.
        model: the model's name.
        options: further arguments of ``chat.completions.create``.

    Raises:
        UnusableError: the client is the blocking one.
    """

    def __init__(self, client: Any, model: str, **options: Any) -> None:  # noqa: ANN401 a package that may be absent
        refuse_blocking(client)
        self._client, self._options = client, options
        self._asking = Asking(OpenAIChatWire(), str(getattr(client, "base_url", "")), model)

    def refusal(self, message: UIMessage | None, request: Mapping[str, Any]) -> str | None:
        """Return why a prompt cannot be answered; see ``Choosy``."""
        return self._asking.refusal(message, request)

    async def stream(
        self, messages: Sequence[UIMessage], tools: Sequence[Tool], *, prefix: str = ""
    ) -> AsyncGenerator[Event, None]:
        """Answer once; see ``Model``."""
        asking = self._asking
        body = asking.body(messages, tools) | self._options | {"stream": True}
        name, decoder = asking.naming(), asking.wire.decoder(prefix)
        with translated("openai"):
            async with await asking.created(self._client.chat.completions.create, body) as chunks:
                async for chunk in chunks:
                    for event in map(name, decoder.feed(chunk.model_dump(exclude_unset=True))):
                        yield event
        for event in map(name, decoder.finish()):
            yield event


class OpenAIResponses:
    """Responses; see ``Model``. Arguments as ``OpenAIChat``."""

    def __init__(self, client: Any, model: str, **options: Any) -> None:  # noqa: ANN401 as above
        refuse_blocking(client)
        self._client, self._options = client, options
        self._asking = Asking(OpenAIResponsesWire(), str(getattr(client, "base_url", "")), model)

    def refusal(self, message: UIMessage | None, request: Mapping[str, Any]) -> str | None:
        """Return why a prompt cannot be answered; see ``Choosy``."""
        return self._asking.refusal(message, request)

    async def stream(
        self, messages: Sequence[UIMessage], tools: Sequence[Tool], *, prefix: str = ""
    ) -> AsyncGenerator[Event, None]:
        """Answer once; see ``Model``."""
        asking = self._asking
        body = asking.body(messages, tools) | self._options | {"stream": True}
        name, decoder = asking.naming(), asking.wire.decoder(prefix)
        with translated("openai"):
            async with await asking.created(self._client.responses.create, body) as events:
                async for said in events:
                    for event in map(name, decoder.feed(said.model_dump(exclude_unset=True))):
                        yield event
        for event in map(name, decoder.finish()):
            yield event
