"""Tokens: what a run has taken, and how that is told.

Owns: the names under which usage is stored. Invariant: a number that a provider repeats is counted once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Final

from durable_streams.agents.events import Finished, Spent, StepEnded, StepStarted, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from durable_streams.agents.events import Event

TOLD: Final = {
    "input_count": "inputTokens",
    "output_count": "outputTokens",
    "cached_count": "cachedInputTokens",
    "reasoning_count": "reasoningTokens",
}
"""Field → its name where usage is stored; the AI SDK's names."""

COUNTED: Final = (Spent, Finished, StepStarted, StepEnded)
"""The events that a meter looks at."""


class Meter:
    """Counts what one run takes, from its events; a call that never finished counts as far as it told.

    Args:
        over: what was taken before, by an earlier owner of the run.
    """

    def __init__(self, over: Usage | None = None) -> None:
        self._over = over
        self._under_way: Usage | None = None

    @property
    def usage(self) -> Usage | None:
        """Tokens so far; ``None`` if nothing was told."""
        if self._under_way is None:
            return self._over
        return self._under_way + (self._over or Usage())

    def observe(self, event: Event) -> None:
        """Take the next event."""
        if isinstance(event, Spent):
            self._under_way = event.usage
        elif isinstance(event, Finished):
            self._under_way = event.usage or self._under_way
            self._close()
        elif isinstance(event, StepStarted | StepEnded):
            self._close()

    def _close(self) -> None:
        self._over, self._under_way = self.usage, None


def told_usage(usage: Usage) -> dict[str, int]:
    """Return usage as it is stored; input and output always, the others if there were any."""
    told = {TOLD[field.name]: int(getattr(usage, field.name)) for field in fields(usage)}
    return {name: count for name, count in told.items() if count or name in {"inputTokens", "outputTokens"}}


def usage_told(told: object) -> Usage | None:
    """Return usage as it was stored; ``None`` if it is none."""
    if not isinstance(told, Mapping):
        return None
    counts = {field: told.get(name, 0) for field, name in TOLD.items()}
    return Usage(**{name: count for name, count in counts.items() if isinstance(count, int)})


def summed(told: Iterable[object]) -> dict[str, int]:
    """Return the sum of stored usages, as it is stored."""
    total = Usage()
    for one in told:
        total += usage_told(one) or Usage()
    return told_usage(total)
