"""No test says how fast anything is: what bounds a time, reads a clock or sleeps is in the few places meant for it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from tests.serving import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TESTS = REPOSITORY / "tests"
NETS = {"HANG_S", "WHOLE_HANG_S"}
BOUNDED = {"timeout": 0, "timeout_at": 0, "wait_for": 1}
"""Functions of asyncio, and which argument is the bound."""
CLOCKS = {"monotonic", "perf_counter", "process_time", "thread_time", "monotonic_ns", "perf_counter_ns", "time_ns"}
MEANT_FOR_IT = {
    "patience.py": "where the nets are",
    "operations.py": "compares two inputs of one run",
    "loops.py": "moves a loop's time",
    "phases.py": "prints how long the phases took",
    "test_serving.py": "the harness's own patience runs out on programs that never do what it waits for",
    "browser/cdp.py": "a browser that does not close is killed, and nothing depends on it",
}


def modules() -> list[Path]:
    return sorted(path for path in TESTS.rglob("*.py") if "node_modules" not in path.parts)


def faults(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and kind of everything that makes a test depend on how fast a machine is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from ((node.lineno, what) for what in faults_of(node))


def faults_of(call: ast.Call) -> Iterator[str]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in CLOCKS:
        yield f"{name}() reads a clock"
    if name == "sleep" and call.args and not (isinstance(call.args[0], ast.Constant) and call.args[0].value == 0):
        yield "a sleep: see tests.patience for what it may be"
    bounds = [keyword.value for keyword in call.keywords if keyword.arg in {"timeout", "timeout_s"}]
    if name in BOUNDED and len(call.args) > BOUNDED[name] and "mark" not in ast.dump(call.func):
        bounds.append(call.args[BOUNDED[name]])
    if name == "wait" and len(call.args) == 1 and isinstance(call.args[0], ast.Constant):
        bounds.append(call.args[0])
    yield from ("a bound of its own instead of HANG_S" for bound in bounds if not is_net(bound))


def is_net(bound: ast.expr) -> bool:
    """Whether a bound is a net, none at all, or handed in by somebody who is held to the same."""
    if isinstance(bound, ast.Name):
        return bound.id in NETS or bound.id == "timeout_s"
    if isinstance(bound, ast.Call):  # of several bounds
        return all(is_net(keyword.value) for keyword in bound.keywords)
    return isinstance(bound, ast.Constant) and bound.value is None


@pytest.mark.parametrize("module", modules(), ids=lambda path: path.relative_to(TESTS).as_posix())
def test_nothing_depends_on_how_fast_a_machine_is(module: Path) -> None:
    if module.relative_to(TESTS).as_posix() in MEANT_FOR_IT:
        return
    tree = ast.parse(module.read_text("utf-8"))
    assert [f"line {line}: {what}" for line, what in faults(tree)] == []


@pytest.mark.parametrize(
    "line",
    [
        "assert time.thread_time() - began_s < 0.15",
        "await asyncio.sleep(0.05)",
        "async with asyncio.timeout(5): pass",
        "await asyncio.wait_for(task, 10)",
        "process.wait(30)",
        "process.wait(timeout=30)",
        "subprocess.run(command, timeout=PATIENCE_S)",
        "server.stop(timeout_s=4.0)",
    ],
)
def test_what_it_finds(line: str) -> None:
    assert len(list(faults(ast.parse(f"async def test():\n    {line}")))) == 1


@pytest.mark.parametrize(
    "line",
    ["await asyncio.sleep(0)", "process.wait(HANG_S)", "async with asyncio.timeout(HANG_S): pass", "event.wait()"],
)
def test_what_it_lets_pass(line: str) -> None:
    assert list(faults(ast.parse(f"async def test():\n    {line}"))) == []
