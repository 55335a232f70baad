"""The two programs around the server: the command line that appends, and the official client that follows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Self

from tests.conformance.suite import JS
from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Feeding:
    """`durable-streams append` on a pipe, written to by a thread as fast as it reads, up to the gates.

    Args:
        url: of the stream.
        pieces: what goes in, one piece after the other.
        gates: the thread waits at piece n until `gates[n]` is set.
    """

    def __init__(self, url: str, pieces: list[bytes], gates: dict[int, threading.Event]) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DS_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "durable_streams", "append", "--ndjson", "--close", "--json", url],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._thread = threading.Thread(target=self._feed, args=(pieces, gates), daemon=True)
        self._thread.start()

    def _feed(self, pieces: Iterable[bytes], gates: dict[int, threading.Event]) -> None:
        assert self.process.stdin is not None
        try:
            for number, piece in enumerate(pieces):
                if number in gates:
                    gates[number].wait()
                self.process.stdin.write(piece)
            self.process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended, and says why

    def outcome(self) -> dict[str, object]:
        """Wait for the end; return what it printed."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        try:
            self.process.wait(HANG_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._thread.join()
        stderr = self.process.stderr.read().decode()
        assert self.process.returncode == 0, stderr
        outcome = json.loads(self.process.stdout.read())
        assert isinstance(outcome, dict)
        return outcome

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


class Following:
    """The official client in a process of its own; see `follow.mjs`."""

    def __init__(self, url: str, live: str, output: Path) -> None:
        self.live, self.output = live, output
        self.received_count = self.session_count = 0
        self._changed = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            ["node", "follow.mjs", url, live, str(output)],
            cwd=JS,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._threads = [
            threading.Thread(target=self._read_progress, daemon=True),
            threading.Thread(target=self._read_interruptions, daemon=True),
        ]
        self.interruptions: list[str] = []
        for thread in self._threads:
            thread.start()

    def wait_for(self, count: int) -> None:
        """Return once this many lines have come."""
        with self._changed:
            came = self._changed.wait_for(lambda: self._ended or self.received_count >= count, HANG_S)
        assert came, f"{self.live}: {self.received_count} of {count} lines after {HANG_S} s"
        assert self.received_count >= count, f"{self.live} ended: {self.interruptions}"

    def wait(self) -> None:
        """Wait until it has seen the stream's end."""
        self.process.wait(HANG_S)
        for thread in self._threads:
            thread.join()
        assert self.process.returncode == 0, self.interruptions

    def _read_progress(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            progress = json.loads(line)
            with self._changed:
                self.received_count, self.session_count = progress["received_count"], progress["session_count"]
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _read_interruptions(self) -> None:
        assert self.process.stderr is not None
        self.interruptions.extend(self.process.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
