"""Which model the service uses: what was configured, else what the environment has a key for, else none.

Owns: choosing. Must not know: how a model is spoken to.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast
from urllib.parse import urlsplit

import orjson

from durable_streams.agents.errors import AgentError, NoModelError
from durable_streams.agents.sources.context import Context, Fitted
from durable_streams.agents.sources.http import HttpModel, Upstream
from durable_streams.agents.sources.loop import Agent
from durable_streams.agents.wires.anthropic import AnthropicWire
from durable_streams.agents.wires.openai_chat import OpenAIChatWire
from durable_streams.agents.wires.openai_responses import OpenAIResponsesWire
from durable_streams.agents.wires.options import OPTION_NAMES, InvalidOptionsError, Options

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from durable_streams.agents.events import Event
    from durable_streams.agents.runs.run import Run
    from durable_streams.agents.sources.base import Source
    from durable_streams.agents.sources.context import Policy
    from durable_streams.agents.wires.base import Wire

Provider: TypeAlias = Literal["openai-chat", "openai-responses", "anthropic"]

BASE_URLS: Final[Mapping[Provider, str]] = {
    "openai-chat": "https://api.openai.com/v1",
    "openai-responses": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
}


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
        temperature, max_tokens, reasoning_effort, stop: see ``Options``.
        model_headers: sent with every request.
        model_body: further fields of every request's body, as JSON text of an object.
        allow_option: names of options that a prompt may set for its own answer, in ``options`` of its body.
        stream_options: whether to ask servers of ``openai-chat`` for the tokens of a streamed answer.
        context_tokens: the most that a history may take; ``None`` is no bound.
        context_policy: what becomes of what does not fit.
        context_hook: ``module:name`` of a function that changes every history.
    """

    provider: Provider | None = None
    model: str | None = None
    base_url: str | None = None
    api_key: str | None = None
    system: str | None = None
    source: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    reasoning_effort: str | None = None
    stop: tuple[str, ...] = ()
    model_headers: tuple[tuple[str, str], ...] = ()
    model_body: str | None = None
    allow_option: tuple[str, ...] = ()
    stream_options: bool = True
    context_tokens: int | None = None
    context_policy: Policy = "trim"
    context_hook: str | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The source to use, and what to tell people about it."""

    source: Source
    about: str


def choose(choice: ModelChoice, environment: Mapping[str, str]) -> Chosen | None:
    """Return the source that was asked for, or that the environment has a key for; ``None`` if there is neither.

    Raises:
        SourceNotFoundError: ``source`` or ``context_hook`` names nothing.
        InvalidOptionsError: an option has no such value, or the wire format has no such option.
        InvalidContextError: summaries are wanted of a source of one's own.
    """
    context = _context(choice)
    if choice.source is not None:
        return Chosen(_fitted(_imported(choice.source), context, None), choice.source)
    openai, anthropic = environment.get("OPENAI_API_KEY"), environment.get("ANTHROPIC_API_KEY")
    provider = choice.provider or ("anthropic" if anthropic and not openai and not choice.base_url else "openai-chat")
    base_url = choice.base_url or environment.get(
        "ANTHROPIC_BASE_URL" if provider == "anthropic" else "OPENAI_BASE_URL"
    )
    api_key = choice.api_key or (anthropic if provider == "anthropic" else openai)
    options = _options(choice)
    if base_url is None and api_key is None:
        return None
    name = choice.model or ("claude-sonnet-4-5" if provider == "anthropic" else "gpt-5-mini")
    upstream = Upstream(
        base_url or BASE_URLS[provider],
        name,
        api_key,
        headers=dict(choice.model_headers),
        without=frozenset() if choice.stream_options else frozenset({"stream_options"}),
    )
    wire = _wire(provider, upstream.base_url)
    model = HttpModel(upstream, wire, options=options, allowed=frozenset(choice.allow_option))
    return Chosen(_fitted(Agent(model, system=choice.system), context, model), f"{name} ({provider})")


def _wire(provider: Provider, base_url: str) -> Wire:
    """Return the wire format, in the dialect of whoever is at the address."""
    host = urlsplit(base_url).hostname or ""
    if provider == "openai-responses":
        return OpenAIResponsesWire()
    if provider == "anthropic":
        return AnthropicWire()
    is_openai = host.endswith((".openai.com", ".openai.azure.com"))
    return OpenAIChatWire(
        length_field="max_completion_tokens" if is_openai else "max_tokens",
        exact_ids=host.endswith("mistral.ai"),
        signed_calls=host.endswith(".googleapis.com"),
    )


def _options(choice: ModelChoice) -> Options:
    try:
        body = orjson.loads(choice.model_body) if choice.model_body else {}
    except orjson.JSONDecodeError as fault:
        raise InvalidOptionsError(f"the model's body is not JSON: {fault}") from fault
    unknown = set(choice.allow_option) - OPTION_NAMES
    if unknown:
        raise InvalidOptionsError(f"there is no option {', '.join(sorted(unknown))} that a prompt could set")
    return Options(
        temperature=choice.temperature,
        max_tokens=choice.max_tokens,
        reasoning_effort=choice.reasoning_effort,
        stop=choice.stop,
        body=body,
    )


def _context(choice: ModelChoice) -> Context:
    hook = None if choice.context_hook is None else imported(choice.context_hook)
    return Context(choice.context_tokens, choice.context_policy, hook=hook)


def _fitted(source: Source, context: Context, model: HttpModel | None) -> Source:
    return source if context.budget_tokens is None and context.hook is None else Fitted(source, context, model)


class NoModel:
    """Answers every prompt by saying that there is no model."""

    def __init__(self, why: str) -> None:
        self._why = why

    async def open(self, run: Run) -> AsyncGenerator[Event, None]:  # noqa: ARG002 the protocol's signature
        """Fail; see ``Source``."""
        raise NoModelError(self._why)
        yield  # a generator


def _imported(name: str) -> Source:
    found = imported(name)
    return cast("Source", found if hasattr(found, "open") and not isinstance(found, type) else found())


def imported(name: str) -> Any:  # noqa: ANN401 whatever it is
    """Return what ``module:name`` names.

    Raises:
        SourceNotFoundError: nothing.
    """
    module_name, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as missing:
        raise SourceNotFoundError(f"there is no {name!r}: {missing}") from missing
