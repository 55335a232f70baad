"""The command line: ``durable-streams``, or ``python -m durable_streams``.

Owns: reading arguments and ``DS_*`` variables, printing, exit statuses. Must not know: how anything is done.
Invariants: a command's module is imported when that command is asked for, so that ``serve`` does not pay for the
client; whatever a command refuses is one line on stderr.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

from durable_streams.cli.descriptors import occupy_standard_descriptors
from durable_streams.cli.endings import conclude, end_by_sigterm_as_process_1
from durable_streams.cli.program import program

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command line (``None``: this process's) and exit; ``endings.Status`` has the exit statuses."""
    occupy_standard_descriptors()
    end_by_sigterm_as_process_1()
    sys.exit(conclude(lambda: program.main(arguments, prog_name=program.name, standalone_mode=False)))
