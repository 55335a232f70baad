"""The three standard descriptors: always open, and no reason for a process to end.

Owns: what stands in for a missing descriptor, and every byte that a command prints. Must not know: what is printed.
Invariant: no file that is opened later gets one of the three numbers, so nothing that is printed lands in a store.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from typing import TYPE_CHECKING, Final

from durable_streams.cli.endings import Failure

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2


def occupy_standard_descriptors() -> None:
    """Put ``/dev/null`` where this process was started without a standard descriptor; to be called first of all.

    Reading it is the end of input, writing to it loses what is written. From here on ``sys.stderr`` keeps nothing
    back: what a full disk or a closed pipe has refused does not fail once more when the interpreter ends.
    """
    for descriptor in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            _open_null(descriptor)
    if sys.stdin is None:
        sys.stdin = open(STDIN, encoding="utf-8", closefd=False)  # noqa: SIM115 for as long as the process
    if sys.stdout is None:
        sys.stdout = open(STDOUT, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 same
    sys.stderr = _unbuffered(sys.stderr)


def _open_null(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null == descriptor:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 standard descriptors are
    else:
        os.dup2(null, descriptor)
        os.close(null)


def _unbuffered(stderr: TextIO | None) -> TextIO:
    encoding = "utf-8" if stderr is None else stderr.encoding
    raw = io.FileIO(STDERR, "w", closefd=False)
    return io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=True, write_through=True)


def say(text: str) -> None:
    """Print text and a line end to stdout now; file names keep the bytes that are not UTF-8.

    Raises: as ``write``.
    """
    write(_encoded(f"{text}\n"))


def write(content: bytes) -> None:
    """Write all of it to stdout now.

    Past Python's own layers: what they do with a pipe that takes a part depends on ``PYTHONUNBUFFERED``, and what they
    could not write they try again when the interpreter ends.

    Raises:
        BrokenPipeError: the reader has gone.
        Failure: stdout takes nothing: a full disk.
    """
    try:
        _write(memoryview(content))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Failure(f"stdout cannot be written to ({error.strerror})") from error


def printable(path: Path) -> str:
    """Return a path for JSON, which has no bytes: those that are not UTF-8 are escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def announce(text: str) -> None:
    """Print what a service says when it is ready: nobody reading it is no reason not to serve."""
    with contextlib.suppress(OSError, Failure):
        say(text)


def _write(left: memoryview) -> None:
    while left:
        try:
            left = left[os.write(STDOUT, left) :]
        except BlockingIOError:
            # Somebody who shares the descriptor has made it non-blocking.
            select.select([], [STDOUT], [])


def _encoded(text: str) -> bytes:
    encoding = sys.stdout.encoding
    try:
        return text.encode(encoding, "surrogateescape")
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace")
