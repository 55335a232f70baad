"""Start ``tests.engine.child`` and talk to it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self


class Child:
    """An engine in another process. Use as a context manager: on leaving, its input ends and so does it."""

    def __init__(self, data_dir: Path, fault_point: str = "") -> None:
        """Start the process; its first line says whether it opened the store."""
        command = [sys.executable, "-m", "tests.engine.child", str(data_dir), fault_point]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.opened = self._answer()

    def ask(self, command: str) -> str:
        """Return the answer to one command; empty if the process ended instead."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()
