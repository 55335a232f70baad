from __future__ import annotations

import pytest

from durable_streams.protocol.content_types import check, is_active, is_json, is_sse_text, media_type
from durable_streams.protocol.errors import InvalidHeaderError


@pytest.mark.parametrize(
    ("content_type", "media"),
    [
        ("text/plain", "text/plain"),
        ("Text/PLAIN", "text/plain"),
        (" text/plain ; charset=utf-8", "text/plain"),
        ('a/b;x=";"', "a/b"),
        ("", ""),
    ],
)
def test_the_media_type_is_lower_case_and_bare(content_type: str, media: str) -> None:
    assert media_type(content_type) == media


@pytest.mark.parametrize(
    ("content_type", "active"),
    [
        ("text/html", True),
        ("TEXT/HTML; charset=utf-8", True),
        ("image/svg+xml", True),
        ("application/xhtml+xml", True),
        ("application/xml", True),
        ("text/xml", True),
        ("text/javascript", True),
        ("application/pdf", True),
        ("multipart/x-mixed-replace", True),
        ("unheard/of", True),
        ("application/json", False),
        ("text/plain; charset=utf-8", False),
        ("application/octet-stream", False),
        ("application/x-ndjson", False),
        ("image/png", False),
        ("video/mp4", False),
    ],
)
def test_what_a_browser_might_run(content_type: str, *, active: bool) -> None:
    assert is_active(content_type) is active


@pytest.mark.parametrize(
    ("content_type", "json", "text"),
    [
        ("application/json", True, True),
        ("APPLICATION/JSON; charset=utf-8", True, True),
        ("text/plain", False, True),
        ("TEXT/html", False, True),
        ("application/ndjson", False, False),
        ("application/vnd.api+json", False, False),
        ("application/octet-stream", False, False),
        ("texture/plain", False, False),
        ("text", False, False),
    ],
)
def test_json_mode_and_text_over_sse(content_type: str, *, json: bool, text: bool) -> None:
    assert is_json(content_type) is json
    assert is_sse_text(content_type) is text


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/vnd.api+json", "a/b ; c=d", 'text/plain;charset="utf-8"', "x/y;", "!#$%&'*+.^_`|~-/1"],
)
def test_what_has_the_form_of_a_content_type(content_type: str) -> None:
    assert check(content_type) == content_type


@pytest.mark.parametrize(
    "content_type",
    [
        "text",
        "/plain",
        "text/",
        "text/plain,text/html",
        "te xt/plain",
        "text/pl\udcffain",
        "text/plain; charset=\udcff",
        "text/plain;\u00e9",
        "text/plain\r\nX: y",
        "text/plain;\x00",
        "text/plain\n",
    ],
)
def test_what_has_not_is_refused(content_type: str) -> None:
    """Bytes that are no UTF-8 arrive as lone surrogates, which no record could hold."""
    with pytest.raises(InvalidHeaderError) as refused:
        check(content_type)
    assert refused.value.name == "Content-Type"
