"""Whatever people hand in for a source, as a source, or a sentence that says what to change.

Owns: which things are sources, and how those that are none are told. Must not know: how a source is run.
Invariant: nothing is read, awaited or started here.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Awaitable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from durable_streams.agents.errors import UnusableError
from durable_streams.agents.sources.iterated import IteratedSource, is_maker
from durable_streams.agents.sources.loop import Agent
from durable_streams.agents.sources.packages import kinds_of, package_of
from durable_streams.agents.sources.vendors import VENDORS, is_event, wire_of
from durable_streams.client import AsyncDurableStream

if TYPE_CHECKING:
    from durable_streams.agents.sources.base import Model, Source
    from durable_streams.agents.sources.iterated import Iterated

Given: TypeAlias = "Source | Model | Iterated | Awaitable[object]"
"""A source; a model, which becomes an ``Agent`` without tools; an iterable; or what gives one of them when awaited."""

_FRAMEWORKS: Final[Mapping[str, str]] = {
    "pydantic_ai": "sources.pydantic_ai.PydanticAI(agent)",
    "agents": "sources.openai_agents.OpenAIAgents(agent)",
    "langgraph": "sources.langgraph.LangGraph(graph)",
    "langchain_core": "sources.langgraph.LangGraph(graph), with the model in a graph",
}
"""Packages → what makes a source of their agents."""
_CLIENTS: Final[Mapping[str, str]] = {
    "openai": "OpenAIChat(AsyncOpenAI(), model)",
    "anthropic": "Anthropic(AsyncAnthropic(), model)",
}
_KINDS: Final = "text, a list, a generator, a model's stream, a model, an agent, or a function that makes one of them"


def as_source(given: Any) -> Source:  # noqa: ANN401 whatever people hand in
    """Return the source, or the one that is made of what was given.

    Raises:
        UnusableError: nothing could be made of it.
    """
    fault = _fault(given)
    if fault is not None:
        raise UnusableError(fault)
    if isinstance(given, AsyncIterable):
        return IteratedSource(given)
    if callable(getattr(given, "open", None)):
        source: Source = given
        return source
    return Agent(given) if _is_model(given) else IteratedSource(given)


def refuse_awaited(given: object) -> None:
    """Refuse a coroutine that somebody has awaited already.

    Raises:
        UnusableError: it is one.
    """
    if inspect.iscoroutine(given) and inspect.getcoroutinestate(given) == inspect.CORO_CLOSED:
        raise UnusableError(f"the coroutine {given.__qualname__!r} has been awaited already: call its function again")


def _fault(given: Any) -> str | None:  # noqa: ANN401 as above
    for find in (_no_value, _vendors_own, _frameworks_own, _callable, _read_already, _listed, _no_kind):
        fault = find(given)
        if fault is not None:
            return fault
    return None


def _no_value(given: object) -> str | None:
    if given is None:
        return "the source is None: does the function that makes it return it?"
    if isinstance(given, bytes | bytearray | memoryview):
        return "the source is bytes: a model says text, so decode them"
    if isinstance(given, AsyncDurableStream):
        return "the source is a stream to write to: hand it in as to=…"
    if isinstance(given, Mapping):
        return f"the source is an object: {_as_history(given) or f'it can be {_KINDS}'}"
    return None


def _vendors_own(given: Any) -> str | None:  # noqa: ANN401 as above
    package, name = package_of(given), _type(given)
    if package not in VENDORS:
        return None
    if kinds_of(given) & {"SyncAPIClient", "AsyncAPIClient"}:
        return f"{name}() is a client, which answers nothing by itself: {_CLIENTS[package]}"
    if isinstance(given, AsyncIterable) or hasattr(given, "__aenter__"):
        return None
    if hasattr(given, "model_dump"):
        return f"a value of type {name} is a whole answer: ask for it with stream=True"
    if isinstance(given, Iterable) or hasattr(given, "__enter__"):
        return f"a {name} holds up everything while it waits, and a stop cannot reach it: use {_async_client(package)}"
    return None


def _async_client(package: str) -> str:
    return {"openai": "AsyncOpenAI() instead of OpenAI()", "anthropic": "AsyncAnthropic() instead of Anthropic()"}.get(
        package, "acompletion() instead of completion()"
    )


def _frameworks_own(given: object) -> str | None:
    packages = {kind.__module__.partition(".")[0] for kind in type(given).__mro__}
    for package, makes in _FRAMEWORKS.items():
        if package in packages:
            return f"a value of type {_type(given)} is no source: durable_streams.agents.{makes} makes one"
    return None


def _callable(given: Any) -> str | None:  # noqa: ANN401 as above
    if not is_maker(given) or (callable(getattr(given, "open", None)) and not isinstance(given, type)):
        return None
    name = getattr(given, "__qualname__", _type(given))
    if isinstance(given, type):
        return f"the class {name} is no source: make an object of it, {name}(…)"
    if inspect.iscoroutinefunction(given) or str(getattr(given, "__module__", "")).partition(".")[0] in VENDORS:
        return f"the function {name!r} was not called: write({given.__name__}(…), …)"
    try:
        signature = inspect.signature(given)
        signature.bind(*[None] * min(len(signature.parameters), 1))
    except (TypeError, ValueError):
        return f"the function {name!r} needs more than the run: call it, or take one argument"
    return None


def _read_already(given: Any) -> str | None:  # noqa: ANN401 as above
    over = any(getattr(given, frame, given) is None for frame in ("ag_frame", "gi_frame"))
    response = getattr(given, "response", None)
    read = any(getattr(response, name, None) is True for name in ("is_closed", "is_stream_consumed"))
    if over or (read and package_of(given) in VENDORS):
        return f"what can be read once has been read already, a value of type {_type(given)}: make another"
    return None


def _listed(given: object) -> str | None:
    if isinstance(given, str) or not isinstance(given, Sequence):
        return None
    for number, item in enumerate(given):
        if isinstance(item, str) or is_event(item) or (number and wire_of(given[0]) is not None):
            continue
        if wire_of(item) is None:
            asked = _as_history(item) if isinstance(item, Mapping) else None
            return asked or f"item {number} of the list is neither text nor an event: a value of type {_type(item)}"
    return None


def _no_kind(given: object) -> str | None:
    if isinstance(given, AsyncIterable | Iterable) or callable(given) or hasattr(given, "__aenter__"):
        return None
    if callable(getattr(given, "open", None)) or _is_model(given):
        return None
    return f"a value of type {_type(given)} is no source: it can be {_KINDS}"


def _as_history(item: Mapping[Any, Any]) -> str | None:
    if "role" not in item:
        return None
    return "messages are what a model is asked: hand them in as messages=[…], and a model as the source"


def _is_model(given: Any) -> bool:  # noqa: ANN401 as above
    stream = getattr(given, "stream", None)
    if not callable(stream):
        return False
    try:
        return {"messages", "tools"} <= set(inspect.signature(stream).parameters)
    except (TypeError, ValueError):
        return False


def _type(given: object) -> str:
    return type(given).__name__
