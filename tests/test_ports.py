"""Ports of test processes that run side by side."""

from __future__ import annotations

import subprocess
import sys

from tests.ports import BLOCK_COUNT, BLOCK_PORTS, FIRST, free_port
from tests.serving import REPOSITORY

CHOOSE = "from tests.ports import free_port; print(*[free_port() for _ in range(300)], flush=True); input()"


def test_they_are_not_those_of_outgoing_connections() -> None:
    assert all(FIRST <= free_port() < FIRST + BLOCK_COUNT * BLOCK_PORTS <= 32_768 for _ in range(20))


def test_the_next_one_is_another() -> None:
    assert len({free_port() for _ in range(20)}) == 20


def test_two_processes_have_none_in_common() -> None:
    """Though each has chosen more often than it has ports."""
    choosers = [
        subprocess.Popen(
            [sys.executable, "-c", CHOOSE], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    chosen = []
    for chooser in choosers:
        assert chooser.stdout is not None
        chosen.append({int(port) for port in chooser.stdout.readline().split()})
    for chooser in choosers:
        chooser.communicate("\n")
    ours = {free_port() for _ in range(20)}

    assert all(len(ports) > BLOCK_PORTS // 2 for ports in chosen)
    assert not chosen[0] & chosen[1]
    assert not ours & (chosen[0] | chosen[1])
