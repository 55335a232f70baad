"""A progress bar on a terminal, and nothing anywhere else."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def progress(total_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """Show how many bytes are acknowledged; yields the function to say so. Stderr, and only if it is a terminal.

    Args:
        total_bytes: how many there will be; ``None`` if nobody knows.
    """
    if not sys.stderr.isatty():
        yield lambda _acknowledged_bytes: None
        return
    from rich.console import Console  # noqa: PLC0415 50 ms that scripts need not pay
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn  # noqa: PLC0415

    columns = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("append", total=total_bytes)
        yield lambda acknowledged_bytes: bar.update(task, completed=acknowledged_bytes)
