from __future__ import annotations

import orjson
import pytest

from durable_streams.client import ProducerTriple
from durable_streams.client.appending import IdempotentAppend
from durable_streams.client.batch_lines import Verdict, line_of, verdicts_of

CLAIM = ProducerTriple("gen", 1, 7)
JSON = "application/json"


def test_json_goes_as_it_is() -> None:
    line = line_of("a/b", IdempotentAppend(b'[{"n":1.0} ,12345678901234567890]', JSON, CLAIM))
    assert line == b'{"path":"a/b","producer":["gen",1,7],"json":[{"n":1.0} ,12345678901234567890]}'


@pytest.mark.parametrize(
    ("append", "fields"),
    [
        (IdempotentAppend(b"a\n\xff", "text/plain", CLAIM), {"content_type": "text/plain", "base64": "YQr/"}),
        (IdempotentAppend(b"", "", CLAIM, close=True), {"close": True}),
        (IdempotentAppend(b"[1]", JSON, CLAIM, close=True), {"close": True, "json": [1]}),
        (
            IdempotentAppend(b"[1]", "application/json; charset=utf-8", CLAIM),
            {"content_type": "application/json; charset=utf-8", "json": [1]},
        ),
    ],
)
def test_everything_else_has_its_fields(append: IdempotentAppend, fields: dict[str, object]) -> None:
    line = line_of("s", append)
    assert line is not None
    assert orjson.loads(line) == {"path": "s", "producer": ["gen", 1, 7], **fields}


def test_the_path_is_decoded_once() -> None:
    line = line_of("a%20b/%C3%A9%2525", IdempotentAppend(b"[1]", JSON, CLAIM))
    assert line is not None
    assert orjson.loads(line)["path"] == "a b/é%25"


@pytest.mark.parametrize(("path", "body"), [("%ff", b"[1]"), ("s", b"[1,\n2]")])
def test_what_cannot_be_a_line_is_none(path: str, body: bytes) -> None:
    assert line_of(path, IdempotentAppend(body, JSON, CLAIM)) is None


def test_outcomes_come_in_order() -> None:
    body = b'{"status":200,"next_offset":"05"}\n{"status":404,"code":"not-found","detail":"no"}\n'
    verdicts = verdicts_of(body, 2)
    assert verdicts == [Verdict(200, "05"), Verdict(404)]
    assert [one.accepted for one in verdicts] == [True, False]


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"status":200}\n{"status":200}', b"[]", b"{}", b"7"])
def test_another_answer_is_none_of_a_batch(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"verdict|unexpected|JSON|input"):
        verdicts_of(body, 1)
