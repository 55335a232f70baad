"""Models through ``litellm``, whose chunks are those of OpenAI Chat Completions.

Remedies: the stream object does not close its request when iteration stops early, so ``aclose`` is called; at import
the package fetches a price list from the network unless told to use its own.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from durable_streams.agents.sources.asking import Asking
from durable_streams.agents.sources.packages import optional, translated
from durable_streams.agents.wires.openai_chat import OpenAIChatWire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from durable_streams.agents.events import Event
    from durable_streams.agents.tools import Tool
    from durable_streams.agents.wires.base import UIMessage


class LiteLLM:
    """Any model that litellm reaches; see ``Model``.

    Args:
        model: litellm's name of it, such as ``anthropic/claude-…``.
        options: further arguments of ``acompletion``.

    Raises:
        MissingExtraError: the package is not installed.
    """

    def __init__(self, model: str, **options: Any) -> None:  # noqa: ANN401 the package's own
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        self._complete = optional("litellm", extra="litellm").acompletion
        self._options = options
        self._asking = Asking(OpenAIChatWire(), str(options.get("api_base", "litellm")), model)

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
        with translated("litellm", "openai"):
            chunks = await self._complete(**body)
            try:
                async for chunk in chunks:
                    for event in map(name, decoder.feed(chunk.model_dump())):
                        yield event
            finally:
                await chunks.aclose()
        for event in map(name, decoder.finish()):
            yield event
