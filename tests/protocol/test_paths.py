from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.protocol.errors import InvalidPathError, PathTooLongError, ReservedPathError
from durable_streams.protocol.paths import PATH_MAX_BYTES, parse_path


@pytest.mark.parametrize(
    ("encoded", "path"),
    [
        ("a", "a"),
        ("chat/42", "chat/42"),
        ("a%2Fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("a+b%20c", "a+b c"),
        ("%E2%82%AC", "€"),
        ("€", "€"),
        ("...", "..."),
        ("a..b/.c", "a..b/.c"),
        ("x/__ds/y", "x/__ds/y"),
        ("__dsx", "__dsx"),
        ("__DS", "__DS"),
        ("%", "%"),
        ("%zz", "%zz"),
        ("a?b", "a?b"),
    ],
)
def test_what_names_a_stream(encoded: str, path: str) -> None:
    assert parse_path(encoded) == path


@pytest.mark.parametrize(
    "encoded",
    [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        "a%2F%2Fb",
        ".",
        "..",
        "a/./b",
        "a/../b",
        "a/%2e%2E/b",
        "a/%2e",
        "%00",
        "a%00b",
        "a%0D%0Ab",
        "a\x1fb",
        "%7F",
        "%FF",
        "%C3",
        "%ED%A0%80",
        "\udcff",
    ],
)
def test_what_names_none(encoded: str) -> None:
    with pytest.raises(InvalidPathError):
        parse_path(encoded)


@pytest.mark.parametrize("encoded", ["__ds", "__ds/", "__ds/streams", "__ds/../a", "%5F%5Fds/x", "__ds%2Fx"])
def test_the_control_segment_is_reserved_however_it_is_spelt(encoded: str) -> None:
    with pytest.raises(ReservedPathError):
        parse_path(encoded)


@pytest.mark.parametrize("character", ["a", "%61"])
def test_at_most_480_bytes_after_decoding(character: str) -> None:
    assert len(parse_path(character * PATH_MAX_BYTES)) == PATH_MAX_BYTES == 480
    with pytest.raises(PathTooLongError) as refused:
        parse_path(character * (PATH_MAX_BYTES + 1))
    assert (refused.value.length_bytes, refused.value.limit_bytes) == (481, 480)


def test_the_bound_counts_bytes_not_characters() -> None:
    assert len(parse_path("€" * 160)) == 160
    with pytest.raises(PathTooLongError):
        parse_path("€" * 160 + "a")


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/"), min_size=1), min_size=1)
)
def test_any_text_survives_encoding(segments: list[str]) -> None:
    path = "/".join(segments)
    if len(path.encode()) <= PATH_MAX_BYTES and not {".", ".."} & set(segments) and segments[0] != "__ds":
        assert parse_path(quote(path)) == path
        assert parse_path(quote(path, safe="")) == path
