"""A grammar of what models' servers send: an answer, in any of the forms of its wire, whole or broken, cut anywhere.

An answer is what is meant; `grammar_forms` has how providers put it on the wire. Everything is drawn by hypothesis.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

    Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]

TOOLS = ("read", "charge", "time")
UNREADABLE = ("null", "[1]", '{"a":1,}', "nonsense", "7", '"x"', '{"a":', '"[1]"')
"""Inputs that are no object."""

End: TypeAlias = Literal["by itself", "length", "filtered", "paused"]

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
numbers = st.integers(-(10**25), 10**25) | st.floats(allow_nan=False, allow_infinity=False, width=32)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@dataclass(frozen=True)
class Said:
    """A piece of text, or of thoughts."""

    text: str
    thought: bool


@dataclass(frozen=True)
class Used:
    """A call of a tool; `given` is its input, or the text of one that cannot be read."""

    tool: str
    given: dict[str, Any] | str


@dataclass(frozen=True)
class Answer:
    """What one response means."""

    items: tuple[Said | Used, ...]
    end: End = "by itself"

    def text(self, *, thought: bool) -> str:
        return "".join(item.text for item in self.items if isinstance(item, Said) and item.thought is thought)

    @property
    def calls(self) -> list[Used]:
        return [item for item in self.items if isinstance(item, Used)]

    @property
    def runs(self) -> list[tuple[str, dict[str, Any]]]:
        return [(call.tool, call.given) for call in self.calls if isinstance(call.given, dict)]

    @property
    def rejected(self) -> list[str]:
        return [call.tool for call in self.calls if isinstance(call.given, str)]


says = st.builds(Said, texts, st.booleans())
uses = st.builds(Used, st.sampled_from(TOOLS), st.dictionaries(texts, values, max_size=3))
misuses = st.builds(Used, st.sampled_from(TOOLS), st.sampled_from(UNREADABLE))
answers = st.builds(Answer, st.lists(says | says | uses | misuses, max_size=6).map(tuple))
cut_off = st.builds(Answer, st.lists(says, max_size=6).map(tuple), st.sampled_from(["length", "filtered"]))
paused = st.builds(Answer, st.lists(says, max_size=6).map(tuple), st.just("paused"))


class Pen:
    """Draws how things are written.

    Attributes:
        escaped: all characters beyond ASCII are, so that a cut may go through an escaped pair; else it may go through
            the bytes of a character.
    """

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.escaped: bool = draw(st.booleans())

    def flip(self) -> bool:
        flipped: bool = self.draw(st.booleans())
        return flipped

    def one_of(self, *choices: str) -> str:
        chosen: str = self.draw(st.sampled_from(choices))
        return chosen

    def cut(self, text: str) -> list[str]:
        """Return the text in pieces, cut anywhere."""
        form, errors, width = ("utf-16-le", "surrogatepass", 2) if self.escaped else ("utf-8", "surrogateescape", 1)
        units = text.encode(form)
        places = [width * cut for cut in sorted(self.draw(st.lists(st.integers(0, len(units) // width), max_size=3)))]
        ends = [*places, len(units)]
        return [units[begin:end].decode(form, errors) for begin, end in zip([0, *places], ends, strict=True)]

    def rarely(self) -> bool:
        return bool(self.draw(st.integers(0, 4)) == 0)

    def json(self, value: object) -> str:
        """Return the JSON text of a call's input; one that cannot be read is a text already."""
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=self.flip())

    def input_text(self, value: dict[str, Any] | str) -> str:
        """Return the same, maybe as the JSON text of a string that holds it."""
        text = self.json(value)
        return json.dumps(text) if isinstance(value, dict) and self.rarely() else text

    def written(self, event: dict[str, Any] | str) -> bytes:
        """Return an event's data."""
        text = event if isinstance(event, str) else json.dumps(event, ensure_ascii=self.escaped)
        return text.encode("utf-8", "surrogateescape")


@st.composite
def pieces(draw: Draw, whole: bytes) -> list[bytes]:
    """Draw how bytes arrive."""
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    return [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


@st.composite
def broken(draw: Draw, whole: bytes) -> bytes:
    """Draw what a bad day makes of bytes: something is missing, doubled, or put in."""
    begin, end = sorted([draw(st.integers(0, len(whole))), draw(st.integers(0, len(whole)))])
    put_in: list[bytes] = [b"", whole[begin:end] * 2, *ERRORS, b"\n\n", b"data: {}\n\n", b"data: [DONE]\n\n", b"\xff"]
    instead: bytes = draw(st.sampled_from(put_in))
    return whole[:begin] + instead + whole[end:]


ERRORS = (
    b'data: {"error":{"message":"bad day"}}\n\n',
    b'data: {"error":"bad day"}\n\n',
    b'data: {"type":"error","message":"bad day"}\n\n',
    b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"bad day"}}\n\n',
    b"event: error\ndata: bad day\n\n",
    b'error: {"code":500,"message":"bad day"}\n\n',
)
"""How every wire's servers report one."""
