from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.protocol.errors import InvalidPathError
from durable_streams.protocol.glob import SEGMENTS_MAX, GlobIndex, literal_prefix, matches, normalize_pattern

segments = st.sampled_from(["a", "b", "ab", "c.d"])
paths = st.lists(segments, min_size=1, max_size=5).map("/".join)
patterns = st.lists(segments | st.sampled_from(["*", "**"]), min_size=1, max_size=5).map("/".join)


def expression(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression over segments that each end in a slash."""
    parts = {"*": "[^/]+/", "**": "(?:[^/]+/)*"}
    return re.compile("".join(parts.get(segment, re.escape(segment) + "/") for segment in pattern.split("/")))


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("events/*", "events/a", True),
        ("events/*", "events", False),
        ("events/*", "events/a/b", False),
        ("events/**", "events", True),
        ("events/**", "events/a/b", True),
        ("events/**", "eventful", False),
        ("**", "a", True),
        ("**/z", "z", True),
        ("**/z", "a/b/z", True),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("a/**/z", "a/b/c", False),
        ("*/*", "a", False),
        ("a", "a", True),
        ("a", "A", False),
    ],
)
def test_what_a_pattern_matches(pattern: str, path: str, *, expected: bool) -> None:
    assert matches(pattern, path) is expected


@given(patterns, paths)
def test_one_pattern_against_its_regular_expression(pattern: str, path: str) -> None:
    assert matches(pattern, path) == (expression(pattern).fullmatch(f"{path}/") is not None)
    if matches(pattern, path):
        assert path.startswith(literal_prefix(pattern))


@given(st.lists(patterns), st.data())
def test_an_index_finds_what_its_patterns_match_after_additions_and_removals(
    kept: list[str], data: st.DataObject
) -> None:
    index: GlobIndex[int] = GlobIndex()
    for key, pattern in enumerate(kept):
        index.add(pattern, key)
    gone = data.draw(st.sets(st.sampled_from(range(len(kept))))) if kept else set()
    for key in gone:
        index.discard(kept[key], key)
    path = data.draw(paths)
    expected = {key for key, pattern in enumerate(kept) if key not in gone and matches(pattern, path)}

    assert index.match(path) == expected


def test_an_emptied_index_keeps_nothing() -> None:
    index: GlobIndex[str] = GlobIndex()
    for pattern in ("a/*/**/b", "a/*", "**", "x"):
        index.add(pattern, pattern)
    for pattern in ("a/*/**/b", "a/*", "**", "x"):
        index.discard(pattern, pattern)

    assert index._root.is_bare()


def test_many_wildcards_do_not_cost_exponential_time() -> None:
    pattern = "/".join(["**", "a"] * 30)

    assert not matches(pattern, "/".join(["a"] * 60 + ["b"]))


@pytest.mark.parametrize(("given_", "normal"), [("/a/*/", "a/*"), ("**", "**"), ("a/b", "a/b")])
def test_slashes_at_the_ends_say_nothing(given_: str, normal: str) -> None:
    assert normalize_pattern(given_) == normal


@pytest.mark.parametrize(
    "pattern",
    ["", "/", "a//b", "a/../b", "./a", "a/b*", "***", "a/\x00", "\x7f", "__ds/*", "a" * 481, "a/" * SEGMENTS_MAX + "a"],
)
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(InvalidPathError):
        normalize_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "prefix"), [("a/*", "a/"), ("a/**", "a"), ("**", ""), ("*", ""), ("a/b", "a/b"), ("a/b/*/c", "a/b/")]
)
def test_the_literal_start(pattern: str, prefix: str) -> None:
    assert literal_prefix(pattern) == prefix


@pytest.mark.parametrize(
    ("other", "path"), [("a/b/c", "a/b/c"), ("a/b/*", "a/b/x"), ("a/b/**", "a/b/x/y"), ("a/b", "a/b"), ("a", "a")]
)
def test_a_pattern_leaves_without_those_that_begin_like_it(other: str, path: str) -> None:
    index: GlobIndex[str] = GlobIndex()
    index.add("a/b", "leaves")
    index.add(other, "stays")
    index.discard("a/b", "leaves")

    assert index.match(path) == {"stays"}
