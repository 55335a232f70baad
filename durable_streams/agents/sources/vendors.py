"""The events of a vendor's own stream, whoever has opened it: which wire format they are of, and what they say.

For ``write(await client.chat.completions.create(…, stream=True))`` and its kin. Nobody runs the tools that such a
stream calls, so its calls wait for whoever does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, get_args

from durable_streams.agents.errors import UpstreamCutError
from durable_streams.agents.events import (
    Event,
    Pending,
    StepEnded,
    StepStarted,
    ToolCalled,
    Waiting,
)
from durable_streams.agents.fit import UnstorableError
from durable_streams.agents.sources.packages import package_of
from durable_streams.agents.wires.anthropic import AnthropicWire
from durable_streams.agents.wires.decoders.base import readable
from durable_streams.agents.wires.openai_chat import OpenAIChatWire
from durable_streams.agents.wires.openai_responses import OpenAIResponsesWire
from durable_streams.agents.wires.provider import named, provider_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from durable_streams.agents.wires.base import Wire
    from durable_streams.agents.wires.decoders.base import Decoder

VENDORS: Final = ("openai", "anthropic", "litellm")
"""Packages whose streams are read here."""
_EVENTS: Final = get_args(Event)
_ANTHROPIC: Final = frozenset({"message_start", "content_block_start", "content_block_delta", "ping"})


def is_event(item: object) -> bool:
    """Return whether it is an event of ours."""
    return isinstance(item, _EVENTS)


def address_of(given: object) -> str | None:
    """Return where a vendor's stream comes from; ``None`` if it is no vendor's."""
    if package_of(given) not in VENDORS:
        return None
    response = getattr(given, "response", None) or getattr(given, "_response", None)
    return str(getattr(response, "url", ""))


class VendorStream:
    """Reads one stream; its first event tells the format.

    Args:
        address: where it comes from; ``None`` is unknown, and then it may be no vendor's at all.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._decoder: Decoder | None = None
        self._provider = ""
        self._calls: dict[str, str] = {}

    def feed(self, item: object) -> Iterator[Event]:
        """Yield what an event says.

        Raises:
            UnstorableError: it is of no format that is known.
            UpstreamError: it says that something went wrong, or cannot be read.
        """
        said = _fields(item)
        if self._decoder is None:
            wire = wire_of(item)
            if wire is None:
                raise UnstorableError(f"a source said what is no event: a value of type {type(item).__name__}")
            self._decoder = wire.decoder("")
            self._provider = provider_name(wire.name, self._address or "", _model_of(said))
            yield StepStarted()
        yield from self._take(readable(self._decoder, said))

    def finish(self) -> Iterator[Event]:
        """Yield what the end says.

        Raises:
            UpstreamCutError: the stream was not complete.
        """
        if self._decoder is None:
            if self._address is not None:
                raise UpstreamCutError
            return
        yield from self._take(self._decoder.finish())
        yield StepEnded()
        if self._calls:
            yield Waiting(tuple(Pending(call_id, "result", tool) for call_id, tool in self._calls.items()))

    def _take(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            if isinstance(event, ToolCalled):
                self._calls[event.call_id] = event.tool
            yield named(event, self._provider)


def _model_of(said: Mapping[str, Any]) -> str:
    for one in (said, said.get("message"), said.get("response")):
        if isinstance(one, Mapping) and isinstance(one.get("model"), str):
            return str(one["model"])
    return ""


def wire_of(item: object) -> Wire | None:
    """Return the wire format whose streams begin with such an event."""
    kind = str(_get(item, "type") or "")
    if kind.startswith("response."):
        return OpenAIResponsesWire()
    if kind in _ANTHROPIC:
        return AnthropicWire()
    if kind == "chunk" or (_get(item, "choices") is not None and _get(item, "object") != "chat.completion"):
        return OpenAIChatWire()
    return None


def _fields(item: Any) -> dict[str, Any]:  # noqa: ANN401 a vendor's object
    if isinstance(item, Mapping):
        return dict(item)
    if _get(item, "type") == "chunk":  # openai's helper wraps each chunk, and adds events of its own
        return _fields(item.chunk)
    dump = getattr(item, "model_dump", None)
    if not callable(dump):
        return {}
    # What a helper has parsed is not what the package's own types expect, which is nobody's concern.
    fields: dict[str, Any] = dump(exclude_unset=package_of(item) == "openai", warnings=False)
    return fields


def _get(item: Any, name: str) -> object:  # noqa: ANN401 as above
    return item.get(name) if isinstance(item, Mapping) else getattr(item, name, None)
