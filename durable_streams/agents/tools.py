"""Tools that a model may call.

Owns: what a tool is. How a call is made durable before it runs, and its result after, is ``Run.call``.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from durable_streams.agents.errors import UnusableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

Function: TypeAlias = "Callable[[Mapping[str, Any]], Awaitable[object]]"
Approval: TypeAlias = "bool | Callable[[Mapping[str, Any]], bool | Awaitable[bool]]"


@dataclass(frozen=True, slots=True)
class Tool:
    """Something that a model may call.

    Attributes:
        name: what the model calls it.
        function: takes the input object, returns any JSON value. Runs in the run's task group: a stop cancels it.
            What it raises is the call's failure; the words of a ``ToolError`` are for the model and all who read.
            ``None`` if somebody else runs it.
        description: tells the model when to use it.
        parameters: JSON schema of the input.
        runs: who runs it: the adapter, or a client, such as the page in a browser or a person. The run waits for it.
        approval: whether somebody has to approve a call before it runs, or a function of the input that tells; if that
            fails, somebody has to. The run waits for them.

    Raises:
        UnusableError: a function is missing, or a client's tool has one or needs approval.
    """

    name: str
    function: Function | None = None
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    runs: Literal["adapter", "client"] = "adapter"
    approval: Approval = False

    def __post_init__(self) -> None:
        if self.runs == "client" and (self.function is not None or self.approval is not False):
            raise UnusableError(
                f"the tool {self.name!r} runs in a client: it has no function here and needs no approval"
            )
        if self.runs == "adapter" and self.function is None:
            raise UnusableError(f"the tool {self.name!r} has no function: give one, or runs='client'")

    async def needs_approval(self, given: Mapping[str, Any]) -> bool:
        """Return whether somebody has to approve a call with this input."""
        if isinstance(self.approval, bool):
            return self.approval
        try:
            told = self.approval(given)
            return bool(await told) if inspect.isawaitable(told) else bool(told)
        except Exception:  # noqa: BLE001 whatever it is, the question is open
            return True
