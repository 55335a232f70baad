"""A wall clock that is wrong by what a file says, in seconds: for processes with this folder in their PYTHONPATH.

The file is mapped, so whoever writes it moves the clock of a running process, as somebody who sets a machine's does.
"""

from __future__ import annotations

import mmap
import os
import struct
import time

_path = os.environ.get("WRONG_CLOCK")
if _path:
    with open(_path, "rb") as _file:  # noqa: PTH123 at the start of every process, before anything is imported
        _map = mmap.mmap(_file.fileno(), 8, prot=mmap.PROT_READ)
    _true, _true_ns = time.time, time.time_ns
    _seconds = struct.Struct("d")

    def _wrong() -> float:
        return _true() + float(_seconds.unpack(_map)[0])

    def _wrong_ns() -> int:
        return _true_ns() + int(_seconds.unpack(_map)[0] * 1e9)

    time.time, time.time_ns = _wrong, _wrong_ns
