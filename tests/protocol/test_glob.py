from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.protocol.errors import InvalidPathError
from durable_streams.protocol.glob import GlobIndex, literal_prefix, matches, normalize_pattern

segments = st.sampled_from(["a", "b", "ab"])
paths = st.lists(segments, min_size=1, max_size=5).map("/".join)
patterns = st.lists(segments | st.sampled_from(["*", "**"]), min_size=1, max_size=5).map("/".join)


def by_the_book(pattern: str, path: str) -> bool:
    """§6.2: ``*`` is one segment, ``**`` zero or more. A regular expression over segments that end in a slash."""
    parts = {"*": "[^/]+/", "**": "(?:[^/]+/)*"}
    expression = "".join(parts.get(segment) or re.escape(segment) + "/" for segment in pattern.split("/"))
    return re.fullmatch(expression, path + "/") is not None


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("a", "a", True),
        ("a", "a/b", False),
        ("a/*", "a/b", True),
        ("a/*", "a", False),
        ("a/*", "a/b/c", False),
        ("a/**", "a", True),
        ("a/**", "a/b/c", True),
        ("a/**", "ab", False),
        ("**", "a/b", True),
        ("**/c", "a/b/c", True),
        ("**/c", "c", True),
        ("a/**/c", "a/c", True),
        ("a/**/*", "a", False),
        ("**/a/**/b/**", "x/a/y/b/z", True),
        ("**/a/**/b/**", "x/b/y/a/z", False),
    ],
)
def test_one_pattern(pattern: str, path: str, *, expected: bool) -> None:
    assert matches(pattern, path) is expected
    assert by_the_book(pattern, path) is expected


@given(st.lists(patterns, max_size=8), st.lists(paths, max_size=5))
def test_an_index_finds_what_each_pattern_matches(kept: list[str], asked: list[str]) -> None:
    index: GlobIndex[int] = GlobIndex()
    for key, pattern in enumerate(kept):
        index.add(pattern, key)

    for path in asked:
        assert index.match(path) == {key for key, pattern in enumerate(kept) if by_the_book(pattern, path)}


@given(st.lists(patterns, min_size=1, max_size=8), st.data())
def test_what_was_taken_away_is_gone_and_the_rest_stays(kept: list[str], data: st.DataObject) -> None:
    index: GlobIndex[int] = GlobIndex()
    for key, pattern in enumerate(kept):
        index.add(pattern, key)
    gone = data.draw(st.sets(st.sampled_from(range(len(kept)))))
    for key in gone:
        index.discard(kept[key], key)
    path = data.draw(paths)

    assert index.match(path) == {
        key for key, pattern in enumerate(kept) if key not in gone and by_the_book(pattern, path)
    }


@given(st.lists(patterns, max_size=6), patterns)
def test_an_index_keeps_nothing_of_what_it_lost(kept: list[str], never_added: str) -> None:
    index: GlobIndex[str] = GlobIndex()
    for pattern in kept:
        index.add(pattern, pattern)
    for pattern in [*kept, never_added]:
        index.discard(pattern, pattern)

    assert index._root.is_bare()


def test_many_wildcards_cost_no_exponential_time() -> None:
    index: GlobIndex[int] = GlobIndex()
    index.add("/".join(["**", "a"] * 30), 1)

    assert index.match("/".join(["a"] * 60)) == {1}
    assert index.match("/".join(["a"] * 59 + ["b"])) == set()


@given(patterns, paths)
def test_every_match_begins_with_the_literal_prefix(pattern: str, path: str) -> None:
    if matches(pattern, path):
        assert path.startswith(literal_prefix(pattern))


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [("a/b", "a/b"), ("a/*", "a/"), ("a/**", "a"), ("*", ""), ("**/a", ""), ("a/b/*/c", "a/b/"), ("a/b/**/c", "a/b")],
)
def test_the_literal_prefix(pattern: str, prefix: str) -> None:
    assert literal_prefix(pattern) == prefix


@pytest.mark.parametrize(
    ("pattern", "normal"),
    [("a/*", "a/*"), ("/a/**/", "a/**"), ("é" * 240, "é" * 240), ("/".join("a" * 64), "/".join("a" * 64))],
)
def test_a_pattern_is_kept_without_slashes_at_its_ends(pattern: str, normal: str) -> None:
    assert normalize_pattern(pattern) == normal


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "/",
        "a//b",
        "a/./b",
        "../a",
        "a/b*",
        "a/***",
        "*a/b",
        "a\x00b",
        "a\x7f",
        "a\nb",
        "__ds",
        "__ds/*",
        "é" * 240 + "a",
        "/".join("a" * 65),
    ],
)
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(InvalidPathError) as refused:
        normalize_pattern(pattern)
    str(refused.value).encode()
