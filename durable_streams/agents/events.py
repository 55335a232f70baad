"""What a model or an agent does, in one vocabulary between every source and every codec.

Owns: the event types and the kinds of ending. Must not know: any vendor's format, any stream.
Invariant: a part's deltas come between nothing and its end; a tool call's result comes after the call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

FinishReason: TypeAlias = Literal["stop", "length", "content-filter", "tool-calls", "error", "other"]
"""Why a model ended by itself."""

How: TypeAlias = Literal["finished", "aborted", "failed", "lost"]
"""finished: by itself. aborted: somebody stopped it. failed: an error. lost: its owner died."""

Metadata: TypeAlias = "Mapping[str, object]"
"""What a provider wants to see again with what it said, under the provider's name: nobody else reads it.

A decoder gives it without the name; ``wires.provider.named`` adds that.
"""

PendingKind: TypeAlias = Literal["approval", "result", "answer"]
"""approval: may this call run? result: somebody else runs this call. answer: a question, perhaps without a call."""

INTERRUPTED: Final = "interrupted"
"""The error of a tool call that a stop cut short."""
SAID: Final = "said"
"""Name of the transient value that says: the model has said all of this step, and another one follows."""
DENIED: Final = "denied: somebody has refused the call, and it has not run"
"""The error of a tool call that somebody has not approved."""
UNKNOWN: Final = "unknown: the run ended before the result was recorded; it may have taken effect"
"""The error of a tool call whose owner died: nobody can say whether it happened."""


@dataclass(frozen=True, slots=True)
class StepStarted:
    """One call of the model begins."""


@dataclass(frozen=True, slots=True)
class StepEnded:
    """The call of the model, and the tools it asked for, are over."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of a text part; the first one opens it."""

    part: str
    text: str


@dataclass(frozen=True, slots=True)
class TextEnded:
    """A text part is complete."""

    part: str
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More of a reasoning part; the first one opens it."""

    part: str
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningEnded:
    """A reasoning part is complete. One that said nothing is kept if it has metadata."""

    part: str
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True)
class ToolInputDelta:
    """More of the JSON text of a tool's input; the first one announces the call."""

    call_id: str
    tool: str
    text: str


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """The input is complete: the call may run once this is durable. A second one for a call is ignored."""

    call_id: str
    tool: str
    input: object
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True)
class ToolRejected:
    """The call's input cannot be read, or is not what the tool takes; the call does not run.

    Attributes:
        call_id: the call's id.
        tool: the tool's name.
        text: what was sent, as it came.
        error: why, for the model and for people.
    """

    call_id: str
    tool: str
    text: str
    error: str
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True)
class ToolReturned:
    """A call's result; any JSON value."""

    call_id: str
    output: object


@dataclass(frozen=True, slots=True)
class ToolFailed:
    """A call ended without a result."""

    call_id: str
    error: str


@dataclass(frozen=True, slots=True)
class Cited:
    """A source the answer refers to."""

    source_id: str
    url: str
    title: str | None = None


@dataclass(frozen=True, slots=True)
class FileGiven:
    """An image or another file that the model has made; ``url`` is ``data:`` or ``https:``."""

    media_type: str
    url: str
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What shows nothing and is said to the provider again at this place, such as a call of a tool of its own."""

    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Custom:
    """An application's own value; the same ``key`` replaces the earlier one.

    A ``transient`` one is no part of the message: it is for whoever follows the stream.
    """

    name: str
    value: object
    key: str | None = None
    transient: bool = False


@dataclass(frozen=True, slots=True)
class Noted:
    """Metadata of the message, merged into what is there."""

    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that one call of the model took.

    Attributes:
        input_count: all that was sent, cached or not.
        output_count: all that was said, reasoning too.
        cached_count: of the input, those read from the provider's cache.
        reasoning_count: of the output, those of reasoning.
    """

    input_count: int = 0
    output_count: int = 0
    cached_count: int = 0
    reasoning_count: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_count + other.input_count,
            self.output_count + other.output_count,
            self.cached_count + other.cached_count,
            self.reasoning_count + other.reasoning_count,
        )


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens of the call of the model under way, as far as is known; a later one replaces it."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Finished:
    """One call of the model ended by itself; the last one's reason is the answer's.

    Attributes:
        reason: why, in our words.
        usage: tokens that it took.
        said: why, in the provider's word.
        paused: the turn is not over: the provider wants to be called again with what it has said.
    """

    reason: FinishReason
    usage: Usage | None = None
    said: str | None = None
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Pending:
    """One thing that a paused run waits for.

    Attributes:
        call_id: the tool call's; of a question without a call, an id of its own.
        kind: what is waited for.
        tool: the tool's name; empty without a call.
    """

    call_id: str
    kind: PendingKind
    tool: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The source has paused until somebody approves, runs or answers what is pending.

    Not an error: the run ends as finished, ``Ending.waiting`` says what it waits for, and these calls stay open.

    Attributes:
        pending: what is waited for.
        state: what the source needs to go on, any JSON: it is stored where every reader of the answer can see it, and
            is ``Run.state`` of the run that goes on.
    """

    pending: tuple[Pending, ...]
    state: object = None


Event: TypeAlias = (
    StepStarted
    | StepEnded
    | TextDelta
    | TextEnded
    | ReasoningDelta
    | ReasoningEnded
    | ToolInputDelta
    | ToolCalled
    | ToolRejected
    | ToolReturned
    | ToolFailed
    | Cited
    | FileGiven
    | Kept
    | Custom
    | Noted
    | Waiting
    | Spent
    | Finished
)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended, and on whose account.

    Attributes:
        how: the kind.
        reason: a sentence or a word for people; of a failure, what went wrong.
        by: who stopped it.
        at_ms: Unix milliseconds; 0 is not recorded.
        finish_reason: the model's own reason, if it ended by itself.
        finish_said: the same in the provider's word.
        usage: tokens of all calls of the model, as far as known.
        waiting: what somebody has to approve, run or answer before the agent can go on.
    """

    how: How
    reason: str | None = None
    by: str | None = None
    at_ms: int = 0
    finish_reason: FinishReason = "stop"
    usage: Usage | None = None
    finish_said: str | None = None
    waiting: tuple[Pending, ...] = ()
