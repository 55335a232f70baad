"""Which adapter processes are still there, judged by their signs of life and by no clock but one's own.

Theory. Every process appends a beat to one stream, again and again, from a thread of its own, and every process reads
that stream. A process measures the silence of another in its own beats: each that it reads back says that it could
append and read all that time, and that so much time has passed. An outage, or a freeze of the judge, brings none back,
so nothing is counted against anybody; and after a gap the count begins anew, as others had no chance either.
There is a stream for each hour, and clocks differ. A beat says that its own stream could be read, and nothing of
another, whose connection may be lost: a process is judged by own beats of the stream in which it was last heard.
Must not know: streams, wall clocks. Invariant: nobody is found lost who was read from within the lease.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

GAP_BEATS: Final = 2.0
"""Own beats further apart than so many intervals are a gap, unless the ones before were nearly as far apart: where all
is slow, everybody's beats are rarer, and who is silent must be found all the same."""
EARLY_PART: Final = 0.9
"""Own beats that are read closer together than this part of an interval count as one: they have waited somewhere."""


@dataclass(slots=True)
class _Silence:
    """How long a process may be silent, and for how many of this process's beats it has been."""

    beats_max: int
    hour: int
    beats: int = 0


@dataclass(slots=True)
class _Own:
    """The last of this process's beats in a stream, when one was last counted, and how long after the one before."""

    number: int = 0
    counted_s: float | None = None
    passed_s: float = 0.0


class Leases:
    """What one process knows of the others.

    Args:
        own: this process's name.
        lease_ms: how long a process may be silent that has not said so itself.
        renew_ms: time between two of this process's own beats.
    """

    def __init__(self, own: str, *, lease_ms: int, renew_ms: int) -> None:
        self.own = own
        self._lease_ms, self._renew_ms = lease_ms, renew_ms
        self._silences: dict[str, _Silence] = {}
        self._lost: set[str] = set()
        self._beats: dict[int, _Own] = {}
        self._hour = 0

    @property
    def hours(self) -> frozenset[int]:
        """The hours in whose streams somebody is watched: this process has to beat in each of them."""
        return frozenset([silence.hour for silence in list(self._silences.values())])

    def is_lost(self, name: str) -> bool:
        """Return whether a process is taken for dead; one never heard of is watched from now on."""
        if name in self._lost:
            return True
        if name != self.own and name not in self._silences:
            self.heard(name)
        return False

    def heard(self, name: str, lease_ms: int | None = None, hour: int | None = None) -> None:
        """Note a sign of life.

        Args:
            name: whose.
            lease_ms: how long a silence the process has announced.
            hour: in whose stream; ``None``: in that of this process's own hour.
        """
        self._lost.discard(name)
        allowed_ms = self._lease_ms if lease_ms is None else lease_ms
        # One beat more than the lease holds: the first may have been under way when the silence began.
        self._silences[name] = _Silence(ceil(allowed_ms / self._renew_ms) + 1, self._hour if hour is None else hour)

    def left(self, name: str) -> None:
        """Note that a process has said that it is gone."""
        self._silences.pop(name, None)
        self._lost.add(name)

    def own_hour(self, hour: int) -> None:
        """Note which hour it is for this process: who was heard in one that is not followed any more counts anew."""
        self._hour = hour
        for silence in self._silences.values():
            if abs(silence.hour - hour) > 1:
                silence.hour, silence.beats = hour, 0
        self._beats = {one: own for one, own in self._beats.items() if abs(one - hour) <= 1}

    def own_beat(self, number: int, now_s: float, hour: int = 0) -> list[str]:
        """Take a beat of this process as it is read back, and return who is lost from now on.

        Args:
            number: the beat's, from 1; one that is not above the last of its stream is a repetition.
            now_s: of a clock that never goes back.
            hour: whose stream it came by.
        """
        own = self._beats.setdefault(hour, _Own())
        if number <= own.number:
            return []
        own.number = number
        passed_s = None if own.counted_s is None else now_s - own.counted_s
        renew_s = self._renew_ms / 1000
        if passed_s is not None and passed_s < renew_s * EARLY_PART:
            return []
        is_gap = passed_s is None or passed_s > max(renew_s, own.passed_s) * GAP_BEATS
        own.counted_s, own.passed_s = now_s, passed_s or 0.0
        watched = {name: silence for name, silence in self._silences.items() if silence.hour == hour}
        if is_gap:
            for silence in watched.values():
                silence.beats = 0
            return []
        return self._count(watched)

    def _count(self, watched: dict[str, _Silence]) -> list[str]:
        for silence in watched.values():
            silence.beats += 1
        lost = [name for name, silence in watched.items() if silence.beats >= silence.beats_max]
        for name in lost:
            self.left(name)
        return lost
