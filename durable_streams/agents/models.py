"""Which model the service uses: what was configured, else what the environment has a key for, else none.

Owns: choosing. Must not know: how a model is spoken to.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from durable_streams.agents.errors import AgentError, UpstreamError
from durable_streams.agents.sources.http import HttpModel, Upstream
from durable_streams.agents.sources.loop import Agent
from durable_streams.agents.wires.anthropic import AnthropicWire
from durable_streams.agents.wires.openai_chat import OpenAIChatWire
from durable_streams.agents.wires.openai_responses import OpenAIResponsesWire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from durable_streams.agents.events import Event
    from durable_streams.agents.runs.run import Run
    from durable_streams.agents.sources.base import Source
    from durable_streams.agents.wires.base import Wire

Provider: TypeAlias = Literal["openai-chat", "openai-responses", "anthropic"]

BASE_URLS: Final[Mapping[Provider, str]] = {
    "openai-chat": "https://api.openai.com/v1",
    "openai-responses": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
}
_WIRES: Final[Mapping[Provider, type[Wire]]] = cast(
    "Mapping[Provider, type[Wire]]",
    {"openai-chat": OpenAIChatWire, "openai-responses": OpenAIResponsesWire, "anthropic": AnthropicWire},
)


class SourceNotFoundError(AgentError):
    """``--source`` names nothing that could be imported."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """What was asked for.

    Attributes:
        provider: the wire format; ``None`` is ``openai-chat``, or that of the environment's key.
        model: the model's name.
        base_url: where it is; ``None`` is the vendor's own.
        api_key: the key; ``None`` takes the environment's.
        system: instructions for it.
        source: ``module:name`` of a ``Source``, or of a function that makes one, instead of all the above.
    """

    provider: Provider | None = None
    model: str | None = None
    base_url: str | None = None
    api_key: str | None = None
    system: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The source to use, and what to tell people about it."""

    source: Source
    about: str


def choose(choice: ModelChoice, environment: Mapping[str, str]) -> Chosen | None:
    """Return the source that was asked for, or that the environment has a key for; ``None`` if there is neither.

    Raises:
        SourceNotFoundError: ``source`` names nothing.
    """
    if choice.source is not None:
        return Chosen(_imported(choice.source), choice.source)
    openai, anthropic = environment.get("OPENAI_API_KEY"), environment.get("ANTHROPIC_API_KEY")
    provider = choice.provider or ("anthropic" if anthropic and not openai and not choice.base_url else "openai-chat")
    base_url = choice.base_url or environment.get(
        "ANTHROPIC_BASE_URL" if provider == "anthropic" else "OPENAI_BASE_URL"
    )
    api_key = choice.api_key or (anthropic if provider == "anthropic" else openai)
    if base_url is None and api_key is None:
        return None
    name = choice.model or ("claude-sonnet-4-5" if provider == "anthropic" else "gpt-5-mini")
    upstream = Upstream(base_url or BASE_URLS[provider], name, api_key)
    return Chosen(Agent(HttpModel(upstream, _WIRES[provider]()), system=choice.system), f"{name} ({provider})")


class NoModel:
    """Answers every prompt by saying that there is no model."""

    def __init__(self, why: str) -> None:
        self._why = why

    async def open(self, run: Run) -> AsyncGenerator[Event, None]:  # noqa: ARG002 the protocol's signature
        """Fail; see ``Source``."""
        raise UpstreamError(self._why)
        yield  # a generator


def _imported(name: str) -> Source:
    module_name, _, attribute = name.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as missing:
        raise SourceNotFoundError(f"no source {name!r}: {missing}") from missing
    return cast("Source", found if hasattr(found, "open") and not isinstance(found, type) else found())
