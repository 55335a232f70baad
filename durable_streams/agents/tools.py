"""Tools that a model may call.

Owns: what a tool is. How a call is made durable before it runs, and its result after, is ``Run.call``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call.

    Attributes:
        name: what the model calls it.
        function: takes the input object, returns any JSON value. Runs in the run's task group: a stop cancels it.
            What it raises is the call's failure; the words of a ``ToolError`` are for the model and all who read.
        description: tells the model when to use it.
        parameters: JSON schema of the input.
    """

    name: str
    function: Callable[[Mapping[str, Any]], Awaitable[object]]
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
