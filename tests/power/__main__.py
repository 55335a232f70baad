"""``make power-cuts``: thousands of images, of several recordings."""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

import structlog

from tests.power.cuts import cut
from tests.power.recording import can_record, record

RECORDINGS = 5


def main(count: int, seed: int) -> int:
    """Print what is wrong and how many images were looked at; return the exit status."""
    if not can_record():
        sys.stdout.write("no C compiler: nothing can be recorded\n")
        return 1
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    problems: list[str] = []
    for number in range(RECORDINGS):
        with tempfile.TemporaryDirectory() as directory:
            recording = record(Path(directory), seed + number)
        problems += cut(recording, count // RECORDINGS, seed + number)
        sys.stdout.write(f"recording {number + 1}: {len(recording.ops)} calls, {len(problems)} problems so far\n")
        sys.stdout.flush()
    sys.stdout.write("\n".join([*problems, f"{count} images, {len(problems)} problems\n"]))
    return 1 if problems else 0


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*(numbers + [10_000, 1][len(numbers) :])))
