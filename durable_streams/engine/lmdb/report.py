"""What a check of a data directory found.

Owns: the report's shape and the bound on its length.
Must not know: what is checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

MAX_PROBLEMS = 1000
"""Problems that a report holds; the rest are counted only."""


class Problem(NamedTuple):
    """One broken invariant: ``where`` is a stream's path, or ``sid N`` where there is none; ``what`` is a sentence."""

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The outcome of one check.

    problems: the first ``MAX_PROBLEMS``; empty for a sound store.
    problem_count: how many there are in all.
    stream_count: heads, soft-deleted ones included.
    chunk_count, byte_count: chunks of those streams, and their bytes; a fork counts only its own.
    producer_count: producer rows, those of dropped incarnations included.
    dropped_count: incarnations that wait to be collected, which is no problem.
    file_bytes: size of the data file. room_bytes: what of it can be written to before it has to grow, the reserve that
        appends leave for deletes included.
    """

    problems: tuple[Problem, ...]
    problem_count: int
    stream_count: int
    chunk_count: int
    byte_count: int
    producer_count: int
    dropped_count: int
    file_bytes: int = 0
    room_bytes: int = 0

    @property
    def sound(self) -> bool:
        """Whether every invariant holds."""
        return self.problem_count == 0


@dataclass(slots=True)
class Findings:
    """A report in the making."""

    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    chunk_count: int = 0
    byte_count: int = 0

    def add(self, where: str, what: str) -> None:
        """Count a problem, and keep it while there is room."""
        self.problem_count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(where, what))

    def report(self, *, streams: int, producers: int, dropped: int) -> CheckReport:
        """Return the report, with these numbers of rows."""
        return CheckReport(
            tuple(self.problems), self.problem_count, streams, self.chunk_count, self.byte_count, producers, dropped
        )
