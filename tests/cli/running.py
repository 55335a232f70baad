"""The real command line as a process of its own, and eyes on a stream that do not go through it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from typing import IO, TYPE_CHECKING, Any, Self

from tests.patience import HANG_S

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

PROGRAM = [sys.executable, "-m", "durable_streams"]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without anybody's DS_* settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DS_")}
    return {**inherited, "COLUMNS": "200", **(more or {})}


def run(
    *arguments: str | Path, text: str | bytes = b"", url: str | None = None, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end; `url` is DS_URL."""
    variables = {**({"DS_URL": url} if url else {}), **(more or {})}
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        input=text.decode() if isinstance(text, bytes) else text,
        env=environment(variables),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=HANG_S,
        check=False,
    )


def done(*arguments: str | Path, text: str | bytes = b"", url: str | None = None) -> str:
    """Run one command that must succeed and say nothing on stderr; return its stdout."""
    finished = run(*arguments, text=text, url=url)
    assert (finished.returncode, finished.stderr) == (0, "")
    return finished.stdout


class Running:
    """A command that goes on, to be read from and written to line by line."""

    def __init__(self, *arguments: str | Path, url: str) -> None:
        self.process = subprocess.Popen(
            [*PROGRAM, *map(str, arguments)],
            env=environment({"DS_URL": url}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=HANG_S)

    def lines(self, count: int) -> list[str]:
        """Wait for so many lines of stdout."""
        return [self._pipe(self.process.stdout).readline().decode() for _ in range(count)]

    def write(self, lines: Iterable[str]) -> None:
        """Write lines to stdin, which stays open."""
        pipe = self._pipe(self.process.stdin)
        pipe.write("".join(f"{line}\n" for line in lines).encode())
        pipe.flush()

    def end(self, number: signal.Signals | None = None) -> tuple[int, str, str]:
        """Close stdin, send the signal if there is one, wait; return status, the rest of stdout, and stderr."""
        if number is not None:
            self.process.send_signal(number)
        stdout, stderr = self.process.communicate(timeout=HANG_S)
        return self.process.returncode, stdout.decode(), stderr.decode()

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe


def tail_of(url: str) -> int:
    """The tail of the stream at this URL."""
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=HANG_S) as answer:  # noqa: S310 - http
        return int(answer.headers["Stream-Next-Offset"])


def wait_for_tail(url: str, least: int) -> int:
    """Return the tail once it is at `least`, woken by the server."""
    tail = tail_of(url)
    while tail < least:
        with urllib.request.urlopen(f"{url}?offset={tail:016d}&live=long-poll", timeout=HANG_S) as answer:  # noqa: S310 - http
            tail = int(answer.headers["Stream-Next-Offset"])
    return tail


def pages(url: str) -> Iterator[bytes]:
    """Everything in the stream, page by page."""
    offset = "-1"
    while True:
        with urllib.request.urlopen(f"{url}?offset={offset}", timeout=HANG_S) as answer:  # noqa: S310 - http
            yield answer.read()
            offset = answer.headers["Stream-Next-Offset"]
            if answer.headers["Stream-Up-To-Date"] == "true":
                return


def content(url: str) -> bytes:
    """Everything in the stream."""
    return b"".join(pages(url))


def messages(url: str) -> list[Any]:
    """All messages of a JSON stream, parsed."""
    return [message for page in pages(url) for message in json.loads(page)]
