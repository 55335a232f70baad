"""Failures of frameworks' own tools, told as those of ours are.

Frameworks make a text of a tool's exception, which quotes it, and show it to their model. What is stored is read by
everybody, so the text goes to the log, under the number that readers are told.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from durable_streams.agents.events import ToolFailed, ToolReturned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from durable_streams.agents.events import Event
    from durable_streams.agents.telling import Teller

_QUOTES: Final = "An error occurred while running the tool"
"""How the OpenAI Agents SDK begins what it makes of an exception. To its readers it is a result like others."""


def hidden(events: Iterable[Event], teller: Teller) -> Iterator[Event]:
    """Yield the events, without the texts of exceptions."""
    for event in events:
        if isinstance(event, ToolFailed):
            yield replace(event, error=teller.of_tool_text(event.error, event.call_id))
        elif isinstance(event, ToolReturned) and isinstance(event.output, str) and event.output.startswith(_QUOTES):
            yield ToolFailed(event.call_id, teller.of_tool_text(event.output, event.call_id))
        else:
            yield event
