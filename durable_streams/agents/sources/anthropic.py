"""Models through the ``anthropic`` package.

Remedy: none needed beyond entering the stream as the package asks for; closing it ends the request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable_streams.agents.sources.asking import Asking
from durable_streams.agents.sources.packages import refuse_blocking, translated
from durable_streams.agents.wires.anthropic import AnthropicWire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from durable_streams.agents.events import Event
    from durable_streams.agents.tools import Tool
    from durable_streams.agents.wires.base import UIMessage


class Anthropic:
    """Messages; see ``Model``.

    Args:
        client: an ``anthropic.AsyncAnthropic``.
        model: the model's name.
        max_tokens: bound of an answer.
        options: further arguments of ``messages.stream``.

    Raises:
        UnusableError: the client is the blocking one.
    """

    def __init__(self, client: Any, model: str, *, max_tokens: int = 4096, **options: Any) -> None:  # noqa: ANN401 a package that may be absent
        refuse_blocking(client)
        self._client, self._options = client, options
        self._asking = Asking(AnthropicWire(max_tokens), str(getattr(client, "base_url", "")), model)

    def refusal(self, message: UIMessage | None, request: Mapping[str, Any]) -> str | None:
        """Return why a prompt cannot be answered; see ``Choosy``."""
        return self._asking.refusal(message, request)

    async def stream(
        self, messages: Sequence[UIMessage], tools: Sequence[Tool], *, prefix: str = ""
    ) -> AsyncGenerator[Event, None]:
        """Answer once; see ``Model``."""
        asking = self._asking
        body = asking.body(messages, tools) | self._options
        body.pop("stream")
        name, decoder = asking.naming(), asking.wire.decoder(prefix)
        with translated("anthropic"):
            async with self._client.messages.stream(**body) as said:
                async for event in said:
                    # The package adds events of its own, such as `text`, which the decoder does not know.
                    for own in map(name, decoder.feed(event.model_dump())):
                        yield own
        for own in map(name, decoder.finish()):
            yield own
