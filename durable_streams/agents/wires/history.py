"""A stored history as every provider takes it: nothing blank, nobody twice in a row, no name that is refused.

Owns: the rules that the wire formats share. Each wire says what of an answer is worth a message of its own.
Invariant: what is stored never makes a request that is refused for its form; what cannot be said is left out, or said
in words.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from durable_streams.agents.attachments import File
from durable_streams.agents.wires.parts import Call, Part, Text, Thought, steps, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from durable_streams.agents.wires.base import UIMessage

NAME_MAX_CHARS: Final = 64
"""A tool's name, as the strictest provider has it."""
_REFUSED: Final = re.compile(r"[^a-zA-Z0-9_-]")


@dataclass(frozen=True, slots=True)
class Asked:
    """What users said before an answer: texts and files."""

    parts: list[Text | File]


@dataclass(frozen=True, slots=True)
class Answered:
    """What the model said in one call."""

    parts: list[Part]

    @property
    def calls(self) -> list[Call]:
        """The calls of tools in it."""
        return [part for part in self.parts if isinstance(part, Call)]

    @property
    def text(self) -> str:
        """Its text."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


Turn: TypeAlias = Asked | Answered


@dataclass(frozen=True, slots=True)
class Conversation:
    """A history.

    Attributes:
        system: all instructions, wherever they stand; providers want them first, or apart.
        turns: never two ``Asked`` in a row.
    """

    system: str
    turns: list[Turn]


@dataclass(frozen=True, slots=True)
class Taste:
    """What a format makes of the parts of an answer.

    Attributes:
        speaks: whether a part alone is worth a message. Files of the model's that are not are told of in words.
        keeps: whether a part is sent at all.
    """

    speaks: Callable[[Part], bool] = lambda part: isinstance(part, Text | Call)
    keeps: Callable[[Part], bool] = lambda _part: True


def conversation(messages: Sequence[UIMessage], ids: Ids, taste: Taste) -> Conversation:
    """Return the history.

    Args:
        messages: stored messages, oldest first.
        ids: makes ids of calls that the provider takes.
        taste: what the format makes of answers.
    """
    system = [text for message in messages if message.get("role") == "system" and (text := text_of(message)).strip()]
    turns: list[Turn] = []
    for message in messages:
        if message.get("role") == "user":
            _ask(turns, [part for parts in steps(message) for part in parts])
        elif message.get("role") == "assistant":
            said = [_answered(parts, taste) for parts in steps(message)]
            _answer(turns, [_with_ids(one, ids) for one in said if one is not None])
    return Conversation("\n\n".join(system), turns)


def _ask(turns: list[Turn], said: Iterable[Part]) -> None:
    parts = [part for part in said if isinstance(part, File) or (isinstance(part, Text) and part.text.strip())]
    if not parts:
        return
    if turns and isinstance(turns[-1], Asked):
        turns[-1].parts.extend(parts)  # several people may have spoken in a row, or one again after a stop
    else:
        turns.append(Asked(parts))


def _answer(turns: list[Turn], said: Iterable[Answered]) -> None:
    for one in said:
        last = turns[-1] if turns else None
        if isinstance(last, Answered) and not last.calls:
            last.parts.extend(one.parts)
        else:
            turns.append(one)


def _answered(said: Sequence[Part], taste: Taste) -> Answered | None:
    parts = [
        Text(f"[gave a file: {part.name}]") if isinstance(part, File) and not taste.speaks(part) else part
        for part in said
        if taste.keeps(part) and not (isinstance(part, Text) and not part.text.strip())
    ]
    # Reasoning is signed together with what follows it, and nothing follows what was stopped.
    while parts and isinstance(parts[-1], Thought):
        parts.pop()
    return Answered(parts) if any(taste.speaks(part) for part in parts) else None


def _with_ids(said: Answered, ids: Ids) -> Answered:
    return Answered([ids.fit(part) if isinstance(part, Call) else part for part in said.parts])


class Ids:
    """Ids and names of calls that a provider takes: its characters, its length, no id twice in a request.

    Args:
        max_chars: of an id.
        exact: ids have exactly so many, and letters and digits only.
    """

    def __init__(self, max_chars: int, *, exact: bool = False) -> None:
        self._max_chars, self._exact = max_chars, exact
        self._used: set[str] = set()

    def fit(self, call: Call) -> Call:
        """Return the call with an id of its own and a name that is not refused."""
        number, call_id = 0, call.call_id
        while not self._is_good(call_id):
            call_id = self._made(f"{call.call_id}#{number}")
            number += 1
        self._used.add(call_id)
        name = _REFUSED.sub("_", call.tool)[:NAME_MAX_CHARS] or "unknown"
        return call if (call_id, name) == (call.call_id, call.tool) else replace(call, call_id=call_id, tool=name)

    def _is_good(self, call_id: str) -> bool:
        if call_id in self._used or not call_id or _REFUSED.search(call_id):
            return False
        if self._exact:
            return len(call_id) == self._max_chars and call_id.isalnum()
        return len(call_id) <= self._max_chars

    def _made(self, seed: str) -> str:
        digest = hashlib.sha256(seed.encode("utf-8", "replace")).hexdigest()
        return digest[: self._max_chars] if self._exact else f"call_{digest}"[: min(self._max_chars, 29)]
