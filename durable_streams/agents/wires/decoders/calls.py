"""A response's tool calls, put together from whatever fragments a provider makes of them.

Owns: which fragments are one call, what it is called, and whether its input can be read. Must not know: a wire's
events. Invariant: a call is announced once its tool's name is known; its id is given to no other call of the response;
it becomes a ``ToolCalled`` only if its input is an object, else a ``ToolRejected`` that says what was sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from durable_streams.agents.events import ToolCalled, ToolInputDelta, ToolRejected
from durable_streams.agents.plain import NoFormError, plain, whole
from durable_streams.agents.wires.decoders.json_text import Joiner, NotJsonError, parsed_text, written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable_streams.agents.events import Event

UNNAMED: Final = "unnamed"
"""Stands for the tool of a call that never said which; no request may name none."""
SENT_SHOWN_CHARS: Final = 500
"""So much of an input that cannot be read is in the rejection's sentence; the whole of it is beside it."""
_NO_NAMES: Final = frozenset({"", "null", "None"})
"""What servers put where a further fragment has no name."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of a call, as a provider names it.

    Attributes:
        given_id: the call's id, or nothing.
        tool: the tool's name, or nothing.
        text: JSON text of the input, which further fragments may go on with.
    """

    given_id: str
    tool: str
    text: str


@dataclass(slots=True, eq=False)
class OpenCall:
    """A call whose input is not complete yet.

    Attributes:
        call_id: what it is called here.
        given_id: what the provider calls it, if it does.
        tool: its tool's name, once known.
        announced: readers know of it.
        named_again: a name that has come since the input was whole: of this call again, or of the next one.
    """

    call_id: str
    given_id: str
    tool: str = ""
    announced: bool = False
    named_again: str = ""
    _texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The input so far."""
        if len(self._texts) > 1:  # put together only when it is looked at: inputs come by the token
            self._texts = ["".join(self._texts)]
        return self._texts[0] if self._texts else ""

    def add(self, text: str) -> None:
        """Add what comes next of the input."""
        self._texts.append(text)

    def is_whole(self) -> bool:
        """Return whether what came is an object's complete text, so that nothing can go on with it."""
        return self.text.rstrip().endswith(("}", '"')) and isinstance(called("", "", self.text), ToolCalled)


class Calls:
    """The calls of one response, in the order in which they began.

    Args:
        prefix: begins the ids of calls that came without one.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._open: list[OpenCall] = []
        self._ids: set[str] = set()
        self._joiner = Joiner()
        self.count = 0

    def begin(self, given_id: str = "") -> OpenCall:
        """Return a new call. Its id is the provider's, unless that is missing or taken by an earlier call."""
        call = OpenCall(unique(given_id or f"{self._prefix}call-{self.count}", self._ids), given_id)
        self.count += 1
        self._open.append(call)
        return call

    def last(self) -> OpenCall | None:
        """Return the call that began last and is still open."""
        return self._open[-1] if self._open else None

    def named(self, given_id: str) -> OpenCall | None:
        """Return the last open call of a provider's id."""
        return next((call for call in reversed(self._open) if given_id and call.given_id == given_id), None)

    def say(self, call: OpenCall, fragment: Fragment) -> Iterator[Event]:
        """Add a fragment, and tell what is new of the call."""
        text = self._joiner.take(call.call_id, fragment.text)
        call.add(text)
        call.tool = call.tool or fragment.tool
        if not call.tool:
            return
        if not call.announced:
            call.announced, text = True, call.text
            yield ToolInputDelta(call.call_id, call.tool, "")
        if text:
            yield ToolInputDelta(call.call_id, call.tool, text)

    def end(self, call: OpenCall, *, cut: bool = False) -> Event:
        """Return the complete call, or its rejection.

        Args:
            call: which one; it is open no more.
            cut: the answer was cut off, so that an empty input is one that did not come.
        """
        self._open.remove(call)
        call.add(self._joiner.rest(call.call_id))
        if not call.tool:
            return rejected(call.call_id, UNNAMED, call.text, why="the call names no tool")
        if cut and not call.text.strip():
            return rejected(call.call_id, call.tool, call.text, why="the answer was cut off before the input came")
        return called(call.call_id, call.tool, call.text)

    def end_all(self, *, cut: bool = False) -> Iterator[Event]:
        """Yield all calls that are still open, each complete or rejected; ``cut`` is of the last, which it would be."""
        for call in list(self._open):
            yield self.end(call, cut=cut and len(self._open) == 1)

    def is_open(self, call: OpenCall) -> bool:
        """Return whether a call has not been ended yet."""
        return call in self._open


def unique(wanted: str, taken: set[str]) -> str:
    """Return an id that is not taken yet, the wanted one if possible, and take it."""
    found, number = wanted, 1
    while found in taken:
        number += 1
        found = f"{wanted}-{number}"
    taken.add(found)
    return found


def is_another(call: OpenCall, fragment: Fragment) -> bool:
    """Return whether a fragment that was filed with a call begins another one.

    Servers number all their calls 0, or not at all; repeat a call's name in every fragment, or give every fragment an
    id of its own. So neither alone tells; what has come of the call so far does.
    """
    if fragment.given_id and call.given_id and fragment.given_id != call.given_id:
        return _is_fresh(call, fragment) if fragment.tool else call.is_whole()
    if fragment.tool and call.tool and fragment.tool != call.tool:
        return True
    if not call.tool or not call.is_whole():
        return False
    if fragment.text.strip():
        return bool(fragment.tool or call.named_again)
    call.named_again = call.named_again or fragment.tool
    return False


def _is_fresh(call: OpenCall, fragment: Fragment) -> bool:
    begun = call.text.strip()
    return not begun or not fragment.text.strip() or fragment.text.lstrip().startswith("{") or call.is_whole()


def fragment_of(given_id: object, tool: object, given: object) -> Fragment:
    """Return a fragment of what a provider sends: any of it may be missing, and the input may be a value itself."""
    name = tool.strip() if isinstance(tool, str) else ""
    text = "" if given is None else given if isinstance(given, str) else written(given)
    return Fragment("" if given_id is None else str(given_id), "" if name in _NO_NAMES else name, text)


def called(call_id: str, tool: str, text: str) -> Event:
    """Return the complete call, or its rejection if what the model sent is no object. An empty text is no arguments.

    A text that is the JSON text of an object in a string is taken for that object.
    """
    if not text.strip():
        return ToolCalled(call_id, tool, {})
    try:
        given = parsed_text(text)
        if isinstance(given, str) and given.strip():
            given = parsed_text(given)
        plain(given)  # else the call could not be recorded
    except NotJsonError as fault:
        return rejected(call_id, tool, text, why=f"the input is not JSON: {fault}")
    except NoFormError as fault:
        return rejected(call_id, tool, text, why=f"the input cannot be recorded: {fault}")
    if not isinstance(given, dict):
        return rejected(call_id, tool, text, why="the input is not an object")
    return ToolCalled(call_id, tool, given)


def rejected(call_id: str, tool: str, text: str, *, why: str) -> ToolRejected:
    """Return the rejection of a call, whose sentence shows the model what it sent."""
    sent = whole(text)
    shown = sent if len(sent) <= SENT_SHOWN_CHARS else f"{sent[:SENT_SHOWN_CHARS]}…"
    return ToolRejected(call_id, tool, sent, f"not run: {why}; what was sent: {shown or '(nothing)'}")
