"""Files in prompts reach the model in its own form, or the prompt is refused before anything is written."""

from __future__ import annotations

import base64
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.agents import Agent
from durable_streams.agents.attachments import ATTACHED_MAX_BYTES, URL_MAX_CHARS
from durable_streams.agents.sessions.bulk import ROW_MAX_BYTES, forget_asked, keep_asked, restored
from durable_streams.agents.sessions.places import Places
from durable_streams.agents.sessions.prompts import InvalidPromptError, Prompt, checked_message
from durable_streams.agents.sessions.rows import message_row
from durable_streams.agents.sources.asking import Asking
from durable_streams.agents.sources.http import HttpModel, Upstream
from durable_streams.agents.wires.anthropic import AnthropicWire
from durable_streams.agents.wires.openai_chat import OpenAIChatWire
from durable_streams.agents.wires.openai_responses import OpenAIResponsesWire
from durable_streams.client import StreamNotFoundError
from tests.agents.conftest import ended, stored
from tests.agents.raw_model import RawModel
from tests.agents.test_kept import DONE_CHAT
from tests.agents.test_sent_history import ASKING, user

if TYPE_CHECKING:
    from durable_streams.agents.wires.base import Wire
    from tests.agents.conftest import Adapters

MIB = 2**20
AT = "https://a.example/f"


def data(kind: str, content: bytes = b"abc") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def posted(*parts: dict[str, Any]) -> dict[str, Any]:
    return checked_message({"id": "u1", "role": "user", "parts": list(parts)})


def file(kind: str, url: str | None = None, **more: object) -> dict[str, Any]:
    return {"type": "file", "mediaType": kind, "url": url or data(kind), **more}


def sent(wire: str, *parts: dict[str, Any]) -> object:
    body = ASKING[wire].body([posted(*parts)], ())
    return (body.get("messages") or body["input"])[0]["content"]


PNG, PDF, WAV, TXT = data("image/png"), data("application/pdf"), data("audio/wav"), data("text/csv")
MAPPED: list[tuple[str, dict[str, Any], Any]] = [
    ("openai_chat", file("image/png"), {"type": "image_url", "image_url": {"url": PNG}}),
    ("openai_chat", file("image/jpeg", AT), {"type": "image_url", "image_url": {"url": AT}}),
    ("openai_chat", file("audio/wav"), {"type": "input_audio", "input_audio": {"data": "YWJj", "format": "wav"}}),
    ("openai_chat", file("audio/mpeg"), {"type": "input_audio", "input_audio": {"data": "YWJj", "format": "mp3"}}),
    (
        "openai_chat",
        file("application/pdf", filename="a.pdf"),
        {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}},
    ),
    ("openai_responses", file("image/png"), {"type": "input_image", "image_url": PNG}),
    ("openai_responses", file("application/pdf", AT), {"type": "input_file", "file_url": AT}),
    (
        "openai_responses",
        file("application/pdf", filename="a.pdf"),
        {"type": "input_file", "filename": "a.pdf", "file_data": PDF},
    ),
    (
        "openai_responses",
        file("text/csv", filename="a.csv"),
        {"type": "input_text", "text": "File a.csv:\n\nabc"},
    ),
    (
        "anthropic",
        file("image/png"),
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "YWJj"}},
    ),
    ("anthropic", file("image/webp", AT), {"type": "image", "source": {"type": "url", "url": AT}}),
    (
        "anthropic",
        file("application/pdf"),
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "YWJj"}},
    ),
    ("anthropic", file("application/pdf", AT), {"type": "document", "source": {"type": "url", "url": AT}}),
    ("anthropic", file("application/json", filename="a.json"), {"type": "text", "text": "File a.json:\n\nabc"}),
]


@pytest.mark.parametrize(("wire", "part", "mapped"), MAPPED)
def test_a_file_is_sent_as_the_format_has_it(wire: str, part: dict[str, Any], mapped: object) -> None:
    kind = "input_text" if wire == "openai_responses" else "text"
    assert sent(wire, {"type": "text", "text": "Look:"}, part) == [{"type": kind, "text": "Look:"}, mapped]


def test_a_text_file_is_part_of_the_text_for_servers_that_know_nothing_else() -> None:
    assert sent("openai_chat", {"type": "text", "text": "Look:"}, file("text/csv", filename="a.csv")) == (
        "Look:\n\nFile a.csv:\n\nabc"
    )


FORMS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"type": "image", "source": {"type": "data", "value": "YWJj", "mimeType": "image/png"}}, {"url": PNG}),
    ({"type": "image", "source": {"type": "url", "value": AT, "mimeType": "image/png"}}, {"url": AT}),
    (
        {"type": "document", "source": {"type": "data", "value": "YWJj", "mimeType": "application/pdf"}},
        {"url": PDF, "mediaType": "application/pdf"},
    ),
    ({"type": "binary", "mimeType": "image/png", "data": "YWJj", "filename": "a"}, {"url": PNG, "filename": "a"}),
    ({"type": "image_url", "image_url": {"url": PNG}}, {"url": PNG, "mediaType": "image/png"}),
    ({"type": "file", "url": PNG}, {"mediaType": "image/png"}),
    ({"type": "file", "mediaType": "text/plain", "url": "data:text/plain,a%20b"}, {"url": data("text/plain", b"a b")}),
]


@pytest.mark.parametrize(("part", "form"), FORMS)
def test_every_clients_form_is_stored_as_one(part: dict[str, Any], form: dict[str, Any]) -> None:
    for message in ({"parts": [part]}, {"content": [part]}):
        kept = checked_message({"id": "u1", "role": "user", **message})["parts"]
        assert kept == [{"type": "file", "mediaType": "image/png"} | kept[0] | form]


BAD: list[dict[str, Any]] = [
    {"type": "file", "mediaType": "image/png"},
    {"type": "file", "url": AT},
    {"type": "file", "mediaType": "png", "url": AT},
    {"type": "file", "mediaType": "image/png", "url": "file:///etc/passwd"},
    {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64"},
    {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,%%%"},
    {"type": "file", "mediaType": "image/png", "url": f"https://a.example/{'x' * URL_MAX_CHARS}"},
    {"type": "image", "source": {"type": "data", "mimeType": "image/png"}},
    {"type": "image", "source": 7},
    {"type": "file", "mediaType": "image/png", "url": "https://[a"},
    {"type": "file", "mediaType": "image/png", "url": data("image/png", bytes(ATTACHED_MAX_BYTES + 3))},
]


@pytest.mark.parametrize("part", BAD, ids=range(len(BAD)))
def test_a_file_that_nobody_could_be_sent_is_refused(part: dict[str, Any]) -> None:
    with pytest.raises(InvalidPromptError):
        posted(part)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.sampled_from([AT, PNG, "data:,a", "http://["]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "url", "value"]), inner),
    max_leaves=4,
)
KINDS = st.sampled_from(["file", "image", "binary", "image_url", "document", "text", "hologram"])
PARTS = st.dictionaries(
    st.sampled_from(["url", "mediaType", "mimeType", "data", "source", "image_url", "filename", "metadata", "text"]),
    VALUES,
)


@given(KINDS, PARTS)
def test_whatever_is_posted_is_stored_or_refused(kind: str, fields: dict[str, Any]) -> None:
    try:
        message = posted({"type": kind, **fields})
    except InvalidPromptError:
        return
    asking = Asking(AnthropicWire(), "https://a.example", "m")
    if asking.refusal(message, {}) is None:
        assert asking.body([message], ())["messages"]


@pytest.mark.parametrize("wire", [OpenAIChatWire(), OpenAIResponsesWire(), AnthropicWire()], ids=lambda wire: wire.name)
@pytest.mark.parametrize(
    ("part", "named"),
    [
        (file("video/mp4", filename="film.mp4"), "film.mp4"),
        (file("application/zip", AT), "application/zip"),
        (file("text/plain", AT), "text/plain"),
        ({"type": "hologram"}, "hologram"),
        ({"type": "text", "text": " "}, "nothing"),
    ],
)
async def test_what_the_model_cannot_take_is_refused_before_anything_is_written(
    root: str, adapters: Adapters, *, wire: Wire, part: dict[str, Any], named: str
) -> None:
    source = Agent(HttpModel(Upstream("http://127.0.0.1:1", "m"), wire))
    async with adapters(source) as adapter:
        with pytest.raises(InvalidPromptError, match=named):
            await adapter.ask("s1", Prompt([posted(part)]))
    with pytest.raises(StreamNotFoundError):
        await stored(f"{root}/sessions/s1")


def test_a_file_in_an_old_message_that_another_model_could_take_is_told_of() -> None:
    body = ASKING["anthropic"].body([posted(file("audio/wav", filename="song.wav")), user("And?")], ())
    assert "song.wav" in body["messages"][0]["content"][0]["text"]


async def test_a_large_file_is_kept_beside_the_session_and_the_model_has_it(root: str, adapters: Adapters) -> None:
    picture = data("image/png", bytes(MIB))
    async with RawModel(DONE_CHAT) as model, adapters(Agent(model.client(OpenAIChatWire()))) as adapter:
        for turn in ("u1", "u2"):
            prompt = Prompt([{**posted({"type": "text", "text": "Look:"}, file("image/png", picture)), "id": turn}])
            asked = await adapter.ask("s1", prompt)
            assert (await ended(adapter, "s1", asked.attempt.id)).status == "finished"
    rows = await stored(f"{root}/sessions/s1")
    assert max(len(orjson.dumps(row)) for row in rows) < ROW_MAX_BYTES
    sent = [one for one in model.asked[1].body["messages"] if one["role"] == "user"]
    assert [one["content"][1]["image_url"]["url"] for one in sent] == [picture, picture]


async def test_a_file_that_is_not_brought_back_is_told_of(root: str) -> None:
    prompt = {**posted(file("image/png", data("image/png", bytes(MIB)), filename="a.png")), "id": "u1"}
    async with AsyncExitStack() as exits:
        places = Places(root)
        exits.push_async_callback(places.aclose)
        [small] = await keep_asked(places, "sessions/s1/gen/g", [message_row(prompt)])
        message = orjson.loads(small)["value"]
        body = ASKING["anthropic"].body(await restored(places, "s2", [message]), ())
        assert "a.png" in body["messages"][0]["content"][0]["text"]
        assert await restored(places, "s1", [message]) == [prompt]
        await forget_asked(places, "sessions/s1/gen/g", [message_row(prompt)])
        assert await restored(places, "s1", [message]) != [prompt]


def test_what_applications_put_beside_the_text_refuses_nothing() -> None:
    asking = Asking(AnthropicWire(), "https://a.example", "m")
    assert asking.refusal(posted({"type": "text", "text": "hi"}, {"type": "data-place", "data": 1}), {}) is None
