"""Chat Completions and its relatives.

======================================  =============================================================================
reasoning, ``reasoning_content``        its field's name: DeepSeek, vLLM and Kimi want it back under it
``reasoning_details``                   OpenRouter's, whole, as signed and encrypted pieces are among them
``extra_content`` of calls and texts    Gemini's thought signatures, without which it refuses the calls
``images``                              files that the model has made
``annotations``                         sources
``usage`` of chunk, choice, ``x_groq``  tokens of the whole call: the last that is told, never their sum
``timings``, ``prompt_eval_count``      the same, by llama.cpp and Ollama
======================================  =============================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.events import (
    Cited,
    FileGiven,
    Kept,
    ReasoningEnded,
    TextEnded,
    ToolCalled,
    ToolRejected,
    Usage,
)
from durable_streams.agents.fit import DELTAS
from durable_streams.agents.wires.keepers.base import Keeper, count, listed, mapping, text, with_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from durable_streams.agents.events import Event
    from durable_streams.agents.wires.decoders.base import Decoder

FIELDS: Final = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
_PLAIN: Final = frozenset({"content", "role", "refusal"})
"""Fields of a delta of which nothing is kept."""
_TELLING: Final = frozenset({"x_groq", "timings", "eval_count"})
"""Fields of a chunk that tell of tokens, beside its usage."""
_JOINED: Final = ("text", "summary")
"""Fields of a detail that come in pieces."""


class ChatKeeper(Keeper):
    """Keeps what chunks hold; see the module."""

    def __init__(self, inner: Decoder, prefix: str = "") -> None:
        super().__init__(inner, prefix)
        self._field: str | None = None
        self._plain = _PLAIN
        self._extra: object = None
        self._source_count = 0
        self._details: list[dict[str, Any]] = []
        self._extras: list[tuple[str, object]] = []

    def is_plain(self, event: Mapping[str, Any]) -> bool:
        """Return whether a chunk has text alone, or reasoning as the one before; see ``Keeper``."""
        if event.get("usage") or not _TELLING.isdisjoint(event):
            return False
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
        if not isinstance(choice, dict) or choice.get("finish_reason") or "message" in choice or "usage" in choice:
            return False
        delta = choice.get("delta")
        return isinstance(delta, dict) and self._plain.issuperset(delta)

    def usage_in(self, event: Mapping[str, Any]) -> Usage | None:
        """Return the tokens told of; see ``Keeper``."""
        choice = next(iter(listed(event.get("choices"))), {})
        for told in (event.get("usage"), mapping(event.get("x_groq")).get("usage"), choice.get("usage")):
            if isinstance(told, dict) and told:
                return _usage(told)
        timings = mapping(event.get("timings"))
        if timings:
            read = count(timings.get("cache_n"))
            return Usage(count(timings.get("prompt_n")) + read, count(timings.get("predicted_n")), read)
        if isinstance(event.get("eval_count"), int):
            return Usage(count(event.get("prompt_eval_count")), count(event["eval_count"]))
        return None

    def observe(self, event: Mapping[str, Any]) -> None:
        """Look at a chunk; see ``Keeper``."""
        for delta in _deltas(event):
            self._field = next((name for name in FIELDS if delta.get(name)), self._field)
            self._plain = _PLAIN if self._field is None else _PLAIN | {self._field}
            self._extra = delta.get("extra_content") or self._extra
            for one in listed(delta.get("reasoning_details")):
                _add(self._details, one)
            for call in listed(delta.get("tool_calls")):
                if call.get("extra_content") is not None:
                    self._extras.append((text(call.get("id")), call["extra_content"]))

    def beside(self, event: Mapping[str, Any]) -> Iterator[Event]:
        """Yield files and sources; see ``Keeper``."""
        for delta in _deltas(event):
            yield from _images(delta)
            yield from self._sources(delta)

    def marked(self, said: Event) -> Event:
        """Return the event with what is kept; see ``Keeper``."""
        if type(said) in DELTAS:
            return said
        if isinstance(said, ReasoningEnded):
            return with_metadata(said, {"field": self._field} if self._field else {})
        if isinstance(said, TextEnded):
            extra, self._extra = self._extra, None
            return with_metadata(said, {} if extra is None else {"extra_content": extra})
        if isinstance(said, ToolCalled | ToolRejected):
            extra = self._of_call(said.call_id)
            return with_metadata(said, {} if extra is None else {"extra_content": extra})
        return said

    def last(self) -> Iterator[Event]:
        """Yield the details; see ``Keeper``."""
        if self._details:
            yield Kept({"reasoning_details": self._details})

    def _of_call(self, call_id: str) -> object:
        """Return a call's own; calls whose id the server did not give have theirs in their order."""
        for wanted in (call_id, call_id.rpartition("-")[0], ""):
            for number, (told, extra) in enumerate(self._extras):
                if told == wanted:
                    del self._extras[number]
                    return extra
        return None

    def _sources(self, delta: dict[str, Any]) -> Iterator[Event]:
        for note in listed(delta.get("annotations")):
            cited = mapping(note.get("url_citation")) or note
            if text(cited.get("url")):
                self._source_count += 1
                name = f"{self._prefix}source-{self._source_count}"
                yield Cited(name, cited["url"], text(cited.get("title")) or None)


def _deltas(event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for choice in listed(event.get("choices"))[:1]:
        yield from (one for name in ("delta", "message") if (one := mapping(choice.get(name))))


def _images(delta: dict[str, Any]) -> Iterator[Event]:
    for image in listed(delta.get("images")):
        url = text(mapping(image.get("image_url")).get("url")) or text(image.get("image_url"))
        if url:
            yield FileGiven(_media_type(url), url)


def _usage(told: dict[str, Any]) -> Usage:
    read, said = mapping(told.get("prompt_tokens_details")), mapping(told.get("completion_tokens_details"))
    return Usage(
        count(told.get("prompt_tokens"), told.get("input_tokens")),
        count(told.get("completion_tokens"), told.get("output_tokens")),
        count(read.get("cached_tokens"), told.get("prompt_cache_hit_tokens"), told.get("cached_tokens")),
        count(said.get("reasoning_tokens"), told.get("reasoning_tokens")),
    )


def _add(details: list[dict[str, Any]], one: dict[str, Any]) -> None:
    """Add a piece to the detail that it continues, or as a new one."""
    last = details[-1] if details else None
    same = ("type", "index")
    if last is None or any(last.get(name) != one.get(name) for name in same) or one.get("data"):
        details.append(dict(one))
        return
    joined = {name: text(last.get(name)) + text(one[name]) for name in _JOINED if text(one.get(name))}
    last.update({name: value for name, value in one.items() if value is not None} | joined)


def _media_type(url: str) -> str:
    return url.removeprefix("data:").partition(";")[0] if url.startswith("data:") else "image/*"
