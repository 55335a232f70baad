"""Arbitrary JSON texts, written down piece by piece so that their messages are known without parsing them."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

whitespace = st.text(" \t\n\r", max_size=3)

_plain_characters = st.characters(exclude_categories=["Cs"], exclude_characters='"\\', min_codepoint=0x20)
_pieces = st.one_of(
    st.text(_plain_characters, max_size=8),
    st.sampled_from([r"\"", r"\\", r"\/", r"\b\f\n\r\t", r"\u00e9", r"\uD83D\uDE00", r"\ud800", r"\uDfFf", r"\\ud800"]),
    st.sampled_from([",", "[", "]", "{", "}", r"\",", r"\"},", "},", "],", "//", "\u2028", "\ufeff", "\x7f"]),
)
strings = st.lists(_pieces, max_size=5).map(lambda pieces: '"' + "".join(pieces) + '"')
numbers = st.one_of(
    st.integers().map(str),
    st.sampled_from(
        ["-0", "1.0", "1e5", "1E+5", "-12.50e-3", "12345678901234567890", "-1e-400", "0.1000000000000000055"]
    ),
)
_scalars = st.one_of(strings, numbers, st.sampled_from(["null", "true", "false"]))


def _spaced(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(whitespace, texts, whitespace).map("".join)


def _arrays(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    filled = st.lists(_spaced(items), min_size=1, max_size=4).map(",".join)
    return st.one_of(filled, whitespace).map(lambda inner: f"[{inner}]")


def _objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    keys = st.one_of(strings, st.sampled_from(['"a"', '"b"']))  # few enough that some come twice
    members = st.tuples(_spaced(keys), _spaced(values)).map(":".join)
    filled = st.lists(members, min_size=1, max_size=4).map(",".join)
    return st.one_of(filled, whitespace).map(lambda inner: f"{{{inner}}}")


def _containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return _arrays(inner) | _objects(inner)


values = st.recursive(_scalars, _containers, max_leaves=12)
"""One JSON value, with no whitespace around it."""


class Body(NamedTuple):
    """A request body, and what has to be stored of it: one text per message, the whitespace around it included."""

    text: str
    stored_texts: list[str]

    @property
    def stored(self) -> bytes:
        """Return the stored form: each message and a comma."""
        return "".join(f"{text}," for text in self.stored_texts).encode()

    @property
    def ends(self) -> list[int]:
        """Return the offset just behind each message's comma."""
        lengths = [len(text.encode()) + 1 for text in self.stored_texts]
        return [sum(lengths[: count + 1]) for count in range(len(lengths))]


def _batch(around: tuple[str, str], items: list[str]) -> Body:
    before, after = around
    # What stands between the outer brackets is stored as it is, but for whitespace at its two ends.
    stored_texts = [*items]
    stored_texts[0] = stored_texts[0].lstrip(" \t\n\r")
    stored_texts[-1] = stored_texts[-1].rstrip(" \t\n\r")
    return Body(f"{before}[{','.join(items)}]{after}", stored_texts)


_singles = st.tuples(whitespace, values.filter(lambda text: not text.startswith("[")), whitespace).map(
    lambda parts: Body("".join(parts), [parts[1]])
)
_batches = st.builds(_batch, st.tuples(whitespace, whitespace), st.lists(_spaced(values), min_size=1, max_size=5))

bodies = _singles | _batches
"""A body that appends at least one message."""
