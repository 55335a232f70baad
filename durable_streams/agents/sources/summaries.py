"""Older turns told in a few words by the model itself.

Invariant: a summary is used only for the very turns it was made of; an edit before its end makes it worth nothing.
"""

from __future__ import annotations

import hashlib
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.attachments import File
from durable_streams.agents.events import Finished, TextDelta
from durable_streams.agents.plain import encoded, whole
from durable_streams.agents.runs.run import Summary
from durable_streams.agents.wires.parts import Call, Part, Text, steps, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from durable_streams.agents.runs.run import Run
    from durable_streams.agents.sources.base import Model
    from durable_streams.agents.wires.base import UIMessage

WORDS_MAX: Final = 400
"""What the model is asked to keep to."""
SAID_MAX_CHARS: Final = 4_000
"""So much of one text, input or result is shown to the model that summarises."""
TOLD_BY_CHARS: Final = 500
"""So much of a message's text tells it from another of the same id."""
INSTRUCTIONS: Final = (
    f"Summarise the conversation below in at most {WORDS_MAX} words, for an assistant that is to go on with it. Keep "
    "names, numbers, decisions, open questions, what tools have found, and what the user wants. Write nothing else."
)


def summary_of(turns: Sequence[Sequence[UIMessage]], text: str) -> Summary:
    """Return the summary of turns with this text."""
    return Summary(upto=str(turns[-1][-1].get("id")), text=text, digest=_digest(turns), turn_count=len(turns))


def covers(summaries: Iterable[Summary], turns: Sequence[Sequence[UIMessage]]) -> Summary | None:
    """Return the summary of most of the first of these turns, all of them as they are now."""
    for one in sorted(summaries, key=lambda summary: summary.turn_count, reverse=True):
        if 0 < one.turn_count < len(turns) and one.digest == _digest(turns[: one.turn_count]):
            return one
    return None


async def summarise(
    run: Run,
    model: Model,
    turns: Sequence[Sequence[UIMessage]],
    *,
    known: Summary | None,
    piece_tokens: int,
    count: Callable[[UIMessage], int],
) -> str:
    """Return the turns in a few words; the tokens this takes are the run's.

    Args:
        run: whose tokens it takes.
        model: writes it, piece by piece where the turns are too many for one call.
        turns: what to tell.
        known: a summary of the first of them, to go on from.
        piece_tokens: turns of about so many tokens are told at once.
        count: tokens of one message.

    Raises:
        UpstreamError: the model failed.
    """
    text = "" if known is None else known.text
    left = turns if known is None else turns[known.turn_count :]
    for piece in _pieces(left, piece_tokens, count):
        before = f"Summary of what came before:\n{text}\n\n" if text else ""
        text = await _told(run, model, before + _transcript(piece))
    return text


def _pieces(
    turns: Sequence[Sequence[UIMessage]], piece_tokens: int, count: Callable[[UIMessage], int]
) -> Iterator[list[UIMessage]]:
    piece: list[UIMessage] = []
    size = 0
    for turn in turns:
        more = sum(count(message) for message in turn)
        if piece and size + more > piece_tokens:
            yield piece
            piece, size = [], 0
        piece, size = [*piece, *turn], size + more
    if piece:
        yield piece


async def _told(run: Run, model: Model, transcript: str) -> str:
    asked = [_message("system", INSTRUCTIONS), _message("user", transcript)]
    said: list[str] = []
    async with aclosing(model.stream(asked, (), prefix="summary-")) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                said.append(event.text)
            elif isinstance(event, Finished):
                run.emit(event)  # for its tokens; nothing else of it is stored
    return whole("".join(said)).strip()


def _message(role: str, text: str) -> dict[str, Any]:
    return {"id": f"summary-{role}", "role": role, "parts": [{"type": "text", "text": text}]}


def _transcript(messages: Iterable[UIMessage]) -> str:
    lines = []
    for message in messages:
        who = "User" if message.get("role") == "user" else "Assistant"
        lines += [f"{who}: {_shown(part)}" for parts in steps(message) for part in parts if _shown(part)]
    return "\n\n".join(lines)


def _shown(part: Part) -> str:
    if isinstance(part, Text):
        return part.text[:SAID_MAX_CHARS]
    if isinstance(part, Call):
        return f"[called {part.tool}({part.arguments[:SAID_MAX_CHARS]}): {part.result[:SAID_MAX_CHARS]}]"
    return f"[file {part.name}]" if isinstance(part, File) else ""


def _digest(turns: Sequence[Sequence[UIMessage]]) -> str:
    """Return what tells turns from others: ids, and how each text begins, as large values may not have come along."""
    told = [
        [str(message.get("id")), str(message.get("role")), text_of(message)[:TOLD_BY_CHARS]]
        for turn in turns
        for message in turn
    ]
    return hashlib.sha256(encoded({"": told})).hexdigest()
