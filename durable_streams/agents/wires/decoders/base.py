"""What every decoder of a response offers, and how a response's bytes become events.

A response is an event stream, or, from servers that do not stream or that report an error with status 200, one JSON
text. Invariant: how the bytes are split never shows in the events, and a response that just ends is an error, not an
answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from durable_streams.agents.errors import UpstreamCutError, UpstreamError
from durable_streams.agents.wires.decoders.json_text import NotJsonError, parsed
from durable_streams.client.sse_parser import EVENT_MAX_BYTES, EventTooLargeError, SseParser

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from durable_streams.agents.events import Event
    from durable_streams.client.sse_parser import SseEvent

_DONE: Final = b"[DONE]"
_ERROR: Final = "error"
_SHORT_BYTES: Final = 16
"""Shorter events may be none: blanks, or what says that there are no more."""
_SHOWN_BYTES: Final = 200
"""So much of what cannot be read is shown."""


class Decoder(Protocol):
    """Turns one response's parsed events into events of ours. Stateful; one for each response."""

    @property
    def ended(self) -> bool:
        """Whether the wire's own last event has come: nothing follows it."""

    def feed(self, event: Mapping[str, Any]) -> Iterator[Event]:
        """Yield what one upstream event says, or what a whole answer says that was not streamed.

        Raises:
            UpstreamError: it says that something went wrong.
        """

    def finish(self) -> Iterator[Event]:
        """Yield what the end of the response says, ``Finished`` last.

        Raises:
            UpstreamCutError: the response was not complete.
        """


class BodyDecoder:
    """Bytes of a response in, events of ours out."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        # llama.cpp has reported errors in a field of that name, without an event around it.
        self._parser = SseParser(own_fields=frozenset({_ERROR.encode()}))
        self._whole: bytearray | None = None
        self._begun = self._done = False

    @property
    def done(self) -> bool:
        """Whether the response has said all it will; a connection that stays open means nothing."""
        return self._done or self._decoder.ended

    def feed(self, received: bytes) -> Iterator[Event]:
        """Yield what the bytes complete.

        Raises:
            UpstreamError: an error event, or one that cannot be read.
        """
        if not self._begun:
            self._begin(received)
        if self._whole is not None:
            self._keep(received, self._whole)
            return
        for event in self._events(received):
            # All but a few events take the short way: there is one for each token.
            if self._done or event.event == _ERROR or len(event.data) < _SHORT_BYTES:
                yield from self._unusual(event)
            elif not self._decoder.ended:
                yield from self._say(_object(event.data))

    def finish(self) -> Iterator[Event]:
        """Yield what the end says; see ``Decoder``."""
        if self._whole is not None:
            yield from self._say(_object(bytes(self._whole)))
        elif not self.done:
            try:
                yield from self.feed(b"\n\n")  # a last event without its blank line
            except UnreadableError as fault:
                raise UpstreamCutError from fault
        yield from self._decoder.finish()

    def _begin(self, received: bytes) -> None:
        begin = received.lstrip()
        self._begun = bool(begin)
        if begin[:1] in {b"{", b"["}:
            self._whole = bytearray()

    def _keep(self, received: bytes, whole: bytearray) -> None:
        whole += received
        if len(whole) > EVENT_MAX_BYTES:
            raise UpstreamError(f"an answer of more than {EVENT_MAX_BYTES} bytes")

    def _events(self, received: bytes) -> list[SseEvent]:
        try:
            return self._parser.feed(received)
        except EventTooLargeError as fault:
            raise UpstreamError(str(fault)) from fault

    def _unusual(self, event: SseEvent) -> Iterator[Event]:
        data = event.data.strip()
        if self.done or not data:
            return
        if data == _DONE:
            self._done = True
        elif event.event == _ERROR:
            raise UpstreamError(_named_error(data))
        else:
            yield from self._say(_object(data))

    def _say(self, said: Mapping[str, Any]) -> Iterator[Event]:
        return readable(self._decoder, said)


class UnreadableError(UpstreamError):
    """What a model's server sent is in no form that its wire has."""


def readable(decoder: Decoder, said: Mapping[str, Any]) -> Iterator[Event]:
    """Yield what one upstream event says.

    Raises:
        UpstreamError: it says that something went wrong, or cannot be read.
    """
    try:
        yield from decoder.feed(said)
    except (LookupError, TypeError, AttributeError, ValueError) as fault:
        raise UnreadableError(f"an event that cannot be read: {str(said)[:_SHOWN_BYTES]}") from fault


def _object(text: bytes) -> dict[str, Any]:
    try:
        said = parsed(text)
    except NotJsonError as fault:
        raise UnreadableError(f"an event that is not JSON: {text[:_SHOWN_BYTES]!r}") from fault
    if isinstance(said, list) and len(said) == 1:  # Gemini wraps its errors so
        said = said[0]
    if not isinstance(said, dict):
        raise UnreadableError(f"an event that is not an object: {text[:_SHOWN_BYTES]!r}")
    return said


def _named_error(text: bytes) -> str:
    try:
        said = parsed(text)
    except NotJsonError:
        return text.decode("utf-8", "replace")
    return error_message(said.get("error") or said) if isinstance(said, dict) else str(said)


def error_message(error: object) -> str:
    """Return the sentence in an upstream's error object."""
    if not isinstance(error, dict):
        return str(error)
    for name in ("message", "detail", "error", "type", "code"):
        said = error.get(name)
        if said:
            return error_message(said)
    return str(error)


def flat_error(said: Mapping[str, Any]) -> object:
    """Return the error that an event is, if it is one: named as such, or nothing but a sentence."""
    if said.get("error"):
        return said["error"]
    is_named = str(said.get("type", _ERROR)).lower().endswith(_ERROR)
    return dict(said) if is_named and isinstance(said.get("message") or said.get("detail"), str) else None
