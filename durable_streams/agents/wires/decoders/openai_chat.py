"""Chunks of OpenAI Chat Completions, and of the many servers that speak it.

A call's fragments are filed by ``index``, else by id, else they go on with the last one; ``calls.is_another`` tells
what is a call of its own all the same. ``finish_reason`` comes before the usage, whose chunk has no choices, and with
some servers in every chunk: so the last one counts, and calls are complete only at the end. An answer that was not
streamed is one chunk with a ``message`` in place of a ``delta``. Of several choices the first is the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.errors import UpstreamCutError, UpstreamError
from durable_streams.agents.events import (
    Finished,
    FinishReason,
    ReasoningDelta,
    ReasoningEnded,
    TextDelta,
    TextEnded,
    Usage,
)
from durable_streams.agents.wires.decoders.base import error_message, flat_error
from durable_streams.agents.wires.decoders.calls import Calls, fragment_of, is_another
from durable_streams.agents.wires.decoders.content import pieces
from durable_streams.agents.wires.decoders.json_text import Joiner
from durable_streams.agents.wires.decoders.reasons import CUT, reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from durable_streams.agents.events import Event
    from durable_streams.agents.wires.decoders.calls import Fragment, OpenCall

_REASONING: Final = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
"""Where servers put thoughts; those with two put the same in both."""
_ALONE: Final = "function_call"
"""The one call of an answer before there were several, and its place among the indexes."""


class OpenAIChatDecoder:
    """Chunks of one completion; see the module."""

    def __init__(self, prefix: str = "") -> None:
        self._text, self._reasoning = f"{prefix}text", f"{prefix}reasoning"
        self._part: str | None = None
        self._joiner = Joiner()
        self._calls = Calls(prefix)
        self._places: dict[object, OpenCall] = {}
        self._said: str | None = None
        self._reason: FinishReason | None = None
        self._refused = False
        self._usage: Usage | None = None

    @property
    def ended(self) -> bool:
        """Never: the usage may follow, and what ends the stream is no event."""
        return False

    def feed(self, event: Mapping[str, Any]) -> Iterator[Event]:
        """Yield what a chunk says; see ``Decoder``."""
        if usage := event.get("usage"):
            self._usage = Usage(usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0)
        choice = _first_choice(event.get("choices"))
        delta = choice.get("delta") or choice.get("message") or {}
        content = delta.get("content")
        if content and len(delta) == 1 and isinstance(content, str):  # nearly all are so
            yield from self._say(self._text, content)
        elif delta:
            yield from self._delta(delta)
        error = choice.get("error") or (event.get("error") if event.get("choices") else flat_error(event))
        if error:
            raise UpstreamError(error_message(error))
        if said := choice.get("finish_reason"):
            self._said, self._reason = str(said), reason_of(str(said))

    def finish(self) -> Iterator[Event]:
        """Yield what the end says; see ``Decoder``."""
        if self._reason is None:
            raise UpstreamCutError
        yield from self._switch(None)
        yield from self._calls.end_all(cut=self._reason in CUT)
        yield Finished(self._outcome(self._reason), self._usage, self._said)

    def _outcome(self, reason: FinishReason) -> FinishReason:
        if reason != "stop":
            return reason
        # Gemini's compatible end says `stop` after calls, and a refusal is one only by where its text stands.
        return "tool-calls" if self._calls.count else "content-filter" if self._refused else reason

    def _delta(self, delta: Mapping[str, Any]) -> Iterator[Event]:
        thought = next((delta[name] for name in _REASONING if delta.get(name)), None)
        for _, text in pieces(thought):
            yield from self._say(self._reasoning, text)
        for kind, text in pieces(delta.get("content")):
            yield from self._say(self._reasoning if kind == "reasoning" else self._text, text)
        for _, text in pieces(delta.get("refusal")):
            self._refused = True
            yield from self._say(self._text, text)
        for position, call in enumerate(delta.get("tool_calls") or ()):
            function = call.get("function") or call
            fragment = fragment_of(call.get("id"), function.get("name"), function.get("arguments"))
            yield from self._called(fragment, call.get("index"), position)
        if alone := delta.get(_ALONE):
            yield from self._called(fragment_of(None, alone.get("name"), alone.get("arguments")), _ALONE, 0)

    def _say(self, part: str, text: str) -> Iterator[Event]:
        text = self._joiner.take(part, text)
        if text:
            if part != self._part:
                yield from self._switch(part)
            yield TextDelta(part, text) if part == self._text else ReasoningDelta(part, text)

    def _switch(self, part: str | None) -> Iterator[Event]:
        """Close the open part if it is another one than ``part``, and open that one."""
        was, self._part = self._part, part
        if was is None or was == part:
            return
        if rest := self._joiner.rest(was):
            yield TextDelta(was, rest) if was == self._text else ReasoningDelta(was, rest)
        yield TextEnded(was) if was == self._text else ReasoningEnded(was)

    def _called(self, fragment: Fragment, index: object, position: int) -> Iterator[Event]:
        yield from self._switch(None)
        filed = self._filed(fragment, index, position)
        if filed is None or is_another(filed, fragment):
            name = fragment.tool or (filed.named_again if filed is not None else "")
            filed = self._calls.begin(fragment.given_id)
            filed.tool = name
        if index is not None:
            self._places[index] = filed
        yield from self._calls.say(filed, fragment)

    def _filed(self, fragment: Fragment, index: object, position: int) -> OpenCall | None:
        """Return the call that a fragment goes on with, going by what the server says alone."""
        if index is not None:
            return self._places.get(index) or (None if fragment.tool else self._calls.named(fragment.given_id))
        if fragment.given_id:
            return self._calls.named(fragment.given_id)
        # Calls beside each other in one chunk are different ones, whatever they lack.
        return None if position and fragment.tool else self._calls.last()


def _first_choice(choices: object) -> Mapping[str, Any]:
    """Return the choice of index 0, as far as the chunk has it."""
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and not choice.get("index"):
            return choice
    return {}
