from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.protocol.errors import InvalidPathError
from durable_streams.protocol.glob import (
    BLOCK_COUNT,
    SEGMENTS_MAX,
    GlobIndex,
    literal_prefix,
    matches,
    normalize_pattern,
)
from tests.operations import counted_calls

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


@pytest.mark.parametrize("pattern", ["a", "a/**", "**/a", "a/**/b"])
def test_what_was_never_added_can_be_taken_away(pattern: str) -> None:
    index: GlobIndex[str] = GlobIndex()
    index.discard(pattern, "x")
    assert index._root.is_bare()
    index.add("a/**/c", "x")
    index.discard(pattern, "x")

    assert index.match("a/b/c") == {"x"}


def naive(pattern: list[str], path: list[str]) -> bool:
    """What the words of the specification say, and no more."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return naive(pattern[1:], path) or (bool(path) and naive(pattern, path[1:]))
    return bool(path) and pattern[0] in {"*", path[0]} and naive(pattern[1:], path[1:])


few = st.sampled_from(["a", "b", "*", "**", "**"])


@given(
    st.lists(st.lists(few, min_size=1, max_size=6).map("/".join), min_size=1, max_size=3 * BLOCK_COUNT),
    st.randoms(use_true_random=False),
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6).map("/".join),
)
def test_patterns_full_of_wildcards_match_as_a_naive_matcher_says(
    kept: list[str], chance: random.Random, path: str
) -> None:
    """Also after some have gone, in any order, and others have taken their places."""
    index: GlobIndex[int] = GlobIndex()
    present = dict(enumerate(kept))
    for key, pattern in present.items():
        index.add(pattern, key)
    index.match(path)
    for key in chance.sample(sorted(present), len(present) // 2):
        index.discard(present.pop(key), key)
    for key in range(1_000, 1_000 + len(kept) // 4):
        present[key] = chance.choice(kept)
        index.add(present[key], key)
        index.discard("**/never/there", key)

    assert index.match(path) == {key for key, pattern in present.items() if naive(pattern.split("/"), path.split("/"))}


def test_tails_make_room_and_fill_it() -> None:
    """More patterns than one block has, ending alike and not, taken away from the front and from the back."""
    kept = [f"a/**/n{number}/{end}" for number in range(3 * BLOCK_COUNT) for end in ("x", "*", "**")]
    for order in (kept, kept[::-1], random.Random(1).sample(kept, len(kept))):
        index: GlobIndex[str] = GlobIndex()
        for pattern in kept:
            index.add(pattern, pattern)
        assert index.match("a/b/n7/x") == {"a/**/n7/x", "a/**/n7/*", "a/**/n7/**"}
        for count, gone in enumerate(order, 1):
            index.discard(gone, gone)
            probe = order[count % len(order)]
            found = index.match(probe.replace("**", "q").replace("*", "q"))
            assert (probe in found) == (count < len(order))
        assert index._root.is_bare()


def test_wildcards_without_number_cost_little() -> None:
    """200 patterns of 64 segments against 240: each ``**`` could begin anywhere."""
    chance = random.Random(1)
    index: GlobIndex[int] = GlobIndex()
    for key in range(200):
        index.add("/".join(chance.choice(["**", "a", "*", "**"]) for _ in range(SEGMENTS_MAX)), key)

    with counted_calls() as count:
        matched = index.match("/".join(["a"] * 240))

    assert len(matched) == 200
    assert index.match("/".join(["a"] * 3)) == set()
    assert count.calls < 100_000  # it takes 22,000, and one state after the other several millions


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
