"""Generator processes: started with a task, set off together, their results put together.

Owns: the pipes. Must not know: what a load does.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Self

from bench.process import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.load.base import Task

TIMEOUT_S = 180.0


class LoadFailedError(Exception):
    """A generator has ended without a result: the server refused, or was lost."""


class Fleet:
    """Generators of one kind, one process for each task. A context manager: whatever happens, none is left."""

    def __init__(self, kind: str, *tasks: Mapping[str, Any]) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "bench.load", kind],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in tasks
        ]
        self._timers = [threading.Timer(TIMEOUT_S, process.kill) for process in self._processes]
        for timer in self._timers:
            timer.daemon = True
            timer.start()
        for process, task in zip(self._processes, tasks, strict=True):
            self._tell(process, json.dumps(task))

    def ready(self) -> Self:
        """Return when all have prepared."""
        for process in self._processes:
            self._hear(process, "ready")
        return self

    def go(self) -> Self:
        """Set all off."""
        for process in self._processes:
            self._tell(process, "go")
        return self

    def stop(self, order: Task) -> Self:
        """Tell all that the others are done, and what to wait for."""
        for process in self._processes:
            self._tell(process, json.dumps({"stop": order}))
        return self

    def result(self) -> Task:
        """Return the results of all as one: counts added, samples together, times and processor shares the largest."""
        return merged([self._hear(process, "result") for process in self._processes])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process, timer in zip(self._processes, self._timers, strict=True):
            timer.cancel()
            process.kill()
            process.communicate()

    @staticmethod
    def _tell(process: subprocess.Popen[str], line: str) -> None:
        if process.stdin is None:
            raise AssertionError
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it has failed; whoever hears it is told

    @staticmethod
    def _hear(process: subprocess.Popen[str], what: str) -> Task:
        if process.stdout is None or process.stderr is None:
            raise AssertionError
        line = process.stdout.readline()
        if not line:
            lines = process.stderr.read().strip().splitlines()
            raise LoadFailedError(lines[-1] if lines else "a generator took too long")
        found: Task = json.loads(line)[what]
        return found


def merged(results: Sequence[Task]) -> Task:
    """Put results of one load together."""
    whole: Task = {
        "share": max((one["cpu_s"] / one["wall_s"] for one in results), default=0.0),
        "elapsed_s": max(one["elapsed_s"] for one in results),
    }
    for name in ("count", "bytes", "pages"):
        whole[name] = sum(one.get(name, 0) for one in results)
    whole["latencies_ms"] = sorted(sample for one in results for sample in one.get("latencies_ms", ()))
    whole["faults"] = [fault for one in results for fault in one.get("faults", ())]
    return whole


def run_load(kind: str, *tasks: Mapping[str, Any]) -> Task:
    """Run one load from start to end."""
    with Fleet(kind, *tasks) as fleet:
        return fleet.ready().go().result()


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the value below which this share of sorted samples lies."""
    return samples[min(len(samples) - 1, int(len(samples) * share))] if samples else float("nan")
