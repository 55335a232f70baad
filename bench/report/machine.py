"""What the figures were taken on: processor, kernel, disk, and how long the disk takes to make a write durable."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

SYNC_S = 1.0
PAGE = bytes(4096)


def describe(directory: Path) -> list[str]:
    """Return the machine in a few lines."""
    memory_kib = int(Path("/proc/meminfo").read_text(encoding="ascii").split()[1])
    device, file_system = mount_of(directory)
    return [
        f"{cpu_model()}, {os.cpu_count()} cores, {memory_kib / 2**20:.0f} GiB, Linux {platform.release()}",
        f"data on {device} ({file_system})",
        f"Python {platform.python_version()}, Node {version('node', '--version')}, {sys.platform}",
    ]


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def mount_of(directory: Path) -> tuple[str, str]:
    """Return device and type of the file system a directory is on."""
    best = ("", "?", "?")
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        device, point, kind, *_ = line.split()
        if str(directory.resolve()).startswith(point) and len(point) > len(best[0]):
            best = (point, device, kind)
    return best[1], best[2]


def version(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "not installed"


def sync_ms(directory: Path) -> float:
    """Return the median milliseconds of writing one page in place and ``fdatasync``."""
    path = directory / "sync-probe"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.pwrite(descriptor, PAGE * 64, 0)
        os.fsync(descriptor)
        taken_ms = []
        until_s = time.perf_counter() + SYNC_S
        while time.perf_counter() < until_s:
            start_s = time.perf_counter()
            os.pwrite(descriptor, PAGE, len(taken_ms) % 64 * 4096)
            os.fdatasync(descriptor)
            taken_ms.append((time.perf_counter() - start_s) * 1000)
    finally:
        os.close(descriptor)
        path.unlink()
    return statistics.median(taken_ms)
