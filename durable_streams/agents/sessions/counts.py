"""What a process has done since it began, for whoever watches it.

Written by hand in Prometheus' text format: a few counters and one gauge are a line each, and a package for it would
have to be installed by everybody. Must not know: how it is asked for.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from durable_streams.agents.events import Usage

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
HELP: Final[Mapping[str, tuple[str, str]]] = {
    "ds_agent_runs_started_total": ("counter", "Runs that this process has begun."),
    "ds_agent_runs_ended_total": ("counter", "Endings that this process has recorded, by kind."),
    "ds_agent_runs_running": ("gauge", "Runs of this process that are queued or being written."),
    "ds_agent_tokens_total": ("counter", "Tokens of the runs whose endings this process has recorded, by direction."),
    "ds_agent_prompts_refused_total": ("counter", "Prompts that were refused, by the code of the answer."),
    "ds_agent_webhooks_total": ("counter", "Attempts to deliver an ending, by outcome."),
}


class Counts:
    """Counters of one process."""

    def __init__(self) -> None:
        self._counted: Counter[tuple[str, str]] = Counter()

    def started(self) -> None:
        """Count a run that was begun."""
        self._add("ds_agent_runs_started_total")

    def ended(self, how: str, usage: Usage) -> None:
        """Count an ending."""
        self._add("ds_agent_runs_ended_total", f'how="{how}"')
        self._add("ds_agent_tokens_total", 'direction="input"', usage.input_count)
        self._add("ds_agent_tokens_total", 'direction="output"', usage.output_count)

    def refused(self, code: str) -> None:
        """Count a prompt that was not taken; ``code`` is one of ours."""
        self._add("ds_agent_prompts_refused_total", f'code="{code}"')

    def delivered(self, outcome: str) -> None:
        """Count an attempt to deliver an ending."""
        self._add("ds_agent_webhooks_total", f'outcome="{outcome}"')

    def text(self, running: int) -> str:
        """Return all counters, and the gauge of what runs now."""
        counted = Counter(self._counted)
        counted["ds_agent_runs_running", ""] = running
        return "".join(f"{line}\n" for line in _lines(counted))

    def _add(self, name: str, labels: str = "", count: int = 1) -> None:
        self._counted[name, labels] += count


def _lines(counted: Counter[tuple[str, str]]) -> Iterator[str]:
    for name, (kind, about) in HELP.items():
        yield f"# HELP {name} {about}"
        yield f"# TYPE {name} {kind}"
        for (counter, labels), value in sorted(counted.items()):
            if counter == name:
                yield f"{name}{{{labels}}} {value}" if labels else f"{name} {value}"
