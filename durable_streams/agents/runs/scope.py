"""Everything that a run has started, so that cancelling the run ends all of it.

Cancelling the task that iterates a source should be enough, and frameworks break it in two ways. ``asyncio.wait_for``,
before Python 3.12, swallows a cancellation that comes at the instant its future is done, so an inner task just goes on:
LangGraph, stopped at the model's first words. And a generator whose consumer waits elsewhere at that instant, say in a
callback between two items, stays suspended with the model's connection open until the garbage collector comes by. So
tasks and generators that start inside a run are remembered, weakly; after a cancellation the tasks are cancelled again
until they end, and the generators are closed.

Python tells of new generators by one hook per thread, and the loop of new tasks by its task factory; what is set here
calls what was set before.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import AsyncGeneratorType

    AnyGenerator = AsyncGeneratorType[Any, Any]
    AnyTask = asyncio.Task[Any]

AGAIN_AFTER_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""When tasks that still run are cancelled again: soon, as the model is paid by the token, then with more time for
cleanups that really take long."""
CLOSE_S: Final = 1.0
"""How long one generator's own cleanup may take."""


class Scope:
    """What one run has started. ``enter`` it in the run's task."""

    def __init__(self) -> None:
        self.tasks: weakref.WeakSet[AnyTask] = weakref.WeakSet()
        self.generators: weakref.WeakSet[AnyGenerator] = weakref.WeakSet()

    def enter(self) -> None:
        """Remember what this task, and the tasks it starts, start from now on."""
        loop = asyncio.get_running_loop()
        if not isinstance(loop.get_task_factory(), _Factory):
            loop.set_task_factory(cast("Any", _Factory(loop.get_task_factory())))
        hooks = sys.get_asyncgen_hooks()
        if not isinstance(hooks.firstiter, _Hook):
            sys.set_asyncgen_hooks(firstiter=cast("Any", _Hook(hooks.firstiter)))
        _current.set(self)

    async def end(self, driving: AnyTask) -> None:
        """Cancel the run's task and all that was started in it, and return when they have ended or are given up."""
        driving.cancel()
        for wait_s in AGAIN_AFTER_S:
            running = self._running(driving)
            if not running:
                break
            _, running = await asyncio.wait(running, timeout=wait_s)
            for task in running:
                task.cancel()
        for generator in list(self.generators):
            await _close(generator)

    def _running(self, driving: AnyTask) -> set[AnyTask]:
        own = asyncio.current_task()
        return {task for task in {driving, *self.tasks} if not task.done() and task is not own}


_current: ContextVar[Scope | None] = ContextVar("scope", default=None)


class _Factory:
    """Makes tasks as before, and remembers those of a run."""

    def __init__(self, before: Callable[..., Any] | None) -> None:
        self._before = before

    def __call__(self, loop: asyncio.AbstractEventLoop, coro: Any, **settings: Any) -> Any:  # noqa: ANN401 asyncio's own
        make = self._before or _make
        task = make(loop, coro, **settings)
        context = settings.get("context")
        scope = _current.get() if context is None else context.get(_current)
        if scope is not None:
            scope.tasks.add(task)
        return task


def _make(loop: asyncio.AbstractEventLoop, coro: Any, **settings: Any) -> AnyTask:  # noqa: ANN401 as above
    return asyncio.Task(coro, loop=loop, **settings)


class _Hook:
    """Remembers the generators of a run."""

    def __init__(self, before: Callable[[Any], Any] | None) -> None:
        self._before = before

    def __call__(self, generator: AnyGenerator) -> None:
        scope = _current.get()
        if scope is not None:
            scope.generators.add(generator)
        if self._before is not None:
            self._before(generator)


async def _close(generator: AnyGenerator) -> None:
    # One that runs is awaited by a task that was given up; one without a frame is over.
    if generator.ag_running or cast("Any", generator).ag_frame is None:
        return
    # Whatever its cleanup raises is nobody's concern any more: the run has its ending.
    with contextlib.suppress(Exception):
        async with asyncio.timeout(CLOSE_S):
            await generator.aclose()
