"""How a command ends: its exit status and its one line on stderr.

Owns: exit statuses. Must not know: what commands do.
Invariant: an ending that was foreseen prints no traceback and no second line.
"""

from __future__ import annotations

import contextlib
import enum
import os
import re
import signal
import sys
from typing import TYPE_CHECKING, Final, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_NO_UTF_8: Final = re.compile("[\udc80-\udcff]")
"""How Python shows the bytes of arguments and variables that are not UTF-8. Names of files may have them."""
_BY_SIGNAL: Final = 128
"""Added to the signal's number, it is the exit status by which a shell tells of it."""


class Status(enum.IntEnum):
    """Exit statuses. A command that a signal ends dies of it: 130 (ctrl-C) and 141 (closed pipe) in a shell."""

    DONE = 0
    FAILED = 1
    """Refused by the server or the store, damage found, or the server cannot start."""
    USAGE = 2
    """Wrong options or arguments, or input that cannot be what it should be."""
    NOT_FOUND = 3
    """No such stream: never created, deleted or expired."""
    CONFLICT = 4
    """The stream is not as expected: it exists with another configuration, is closed, or a producer is fenced."""
    UNREACHABLE = 5
    """No answer from the server within the time to retry."""


class Failure(click.ClickException):
    """Ends a command with one line and a status.

    Args:
        message: one sentence for a person, without the program's name.
        status: the exit status.
    """

    def __init__(self, message: str, status: Status = Status.FAILED) -> None:
        super().__init__(message)
        self.exit_code = status  # type: ignore[misc] # click itself assigns it per instance in Exit
        self.ctx = click.get_current_context(silent=True)


def conclude(run: Callable[[], object]) -> int:
    """Run a command line and return its exit status, its failure said on stderr."""
    try:
        status = run()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return Status.USAGE
    except click.ClickException as error:
        with contextlib.suppress(OSError):  # the exit status says it, too
            click.echo(_line(error), err=True)
        return error.exit_code
    except UnicodeEncodeError as error:
        if not _NO_UTF_8.search(error.object):
            raise
        with contextlib.suppress(OSError):
            click.echo(f"durable-streams: {error.object!r} is to be text, and is not UTF-8", err=True)
        return Status.USAGE
    return status if isinstance(status, int) else Status.DONE


@contextlib.contextmanager
def dying_quietly() -> Iterator[None]:
    """Run a command; one that has lost its reader, or is interrupted, ends the process by the signal that says so."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        die_of(signal.SIGPIPE)
    except KeyboardInterrupt:
        die_of(signal.SIGINT)


def die_of(number: signal.Signals) -> NoReturn:
    """End the process as the signal does by default: a shell stops its loop, and nobody sees a traceback."""
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    os._exit(_BY_SIGNAL + number)  # process 1, whom no signal ends by default


def end_by_sigterm_as_process_1() -> None:
    """Let SIGTERM end process 1 of a container as it ends any other; there the kernel drops it without a handler."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _frame: os._exit(_BY_SIGNAL + number))


def _line(error: click.ClickException) -> str:
    """Return program, command, what is wrong and, for wrong usage, where to read on: in one line."""
    context = getattr(error, "ctx", None)
    command = context.command_path if isinstance(context, click.Context) else "durable-streams"
    message = " ".join(error.format_message().split())
    hint = f" (see {command} --help)" if isinstance(error, click.UsageError) else ""
    return f"{command}: {message}{hint}"
