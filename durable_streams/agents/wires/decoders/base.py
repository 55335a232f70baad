"""What every decoder of a response offers, and how a response's bytes become events.

Invariant: how the bytes are split never shows in the events, and a stream that just ends is an error, not an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import orjson

from durable_streams.agents.errors import UpstreamError
from durable_streams.agents.events import ToolCalled, ToolRejected
from durable_streams.client.sse_parser import SseParser

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from durable_streams.agents.events import Event

_DONE = b"[DONE]"


class Decoder(Protocol):
    """Turns one response's parsed events into events of ours. Stateful; one for each response."""

    def feed(self, event: Mapping[str, Any]) -> list[Event]:
        """Return what one upstream event says.

        Raises:
            UpstreamError: it says that something went wrong.
        """

    def finish(self) -> list[Event]:
        """Return what the end of the response says, ``Finished`` last.

        Raises:
            UpstreamCutError: the response was not complete.
        """


class SseDecoder:
    """Bytes of an event stream in, events of ours out."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._parser = SseParser()

    def feed(self, received: bytes) -> Iterator[Event]:
        """Yield what the bytes complete.

        Raises:
            UpstreamError: an error event, or one that is not a JSON object.
        """
        for event in self._parser.feed(received):
            if event.data != _DONE:
                yield from self._decoder.feed(_parsed(event.data))

    def finish(self) -> list[Event]:
        """Return what the end says; see ``Decoder``."""
        return self._decoder.finish()


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError as fault:
        raise UpstreamError(f"an event that is not JSON: {text[:200]!r}") from fault
    if not isinstance(parsed, dict):
        raise UpstreamError(f"an event that is not an object: {text[:200]!r}")
    return parsed


def called(call_id: str, tool: str, text: str) -> Event:
    """Return the complete call, or its rejection if the model's JSON is none. An empty text is no arguments."""
    try:
        given = orjson.loads(text) if text.strip() else {}
    except orjson.JSONDecodeError as fault:
        return ToolRejected(call_id, tool, text, f"the input is not JSON: {fault}")
    return ToolCalled(call_id, tool, given)


def error_message(error: object) -> str:
    """Return the sentence in an upstream's error object."""
    if isinstance(error, dict):
        return str(error.get("message") or error.get("type") or error)
    return str(error)
