"""What a provider wants back is stored, comes back to it as it was, and reaches nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from durable_streams.agents import Agent, Tool, write
from durable_streams.agents.codecs import Identity, UiChunks
from durable_streams.agents.codecs.message import message_of
from durable_streams.agents.events import Ending, FileGiven
from durable_streams.agents.sessions.bulk import ROW_MAX_BYTES, parted
from durable_streams.agents.sources.asking import Asking
from durable_streams.agents.wires.anthropic import AnthropicWire
from durable_streams.agents.wires.openai_chat import OpenAIChatWire
from durable_streams.agents.wires.openai_responses import OpenAIResponsesWire
from tests.agents.conftest import ended, stored
from tests.agents.raw_model import Answer, RawModel, anthropic, chat, responses
from tests.agents.test_sessions import asking, user

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durable_streams.agents.wires.base import Wire
    from tests.agents.conftest import Adapters

DONE_CHAT = chat({"content": "done"})
DONE_RESPONSES = responses({"id": "m9", "type": "message", "content": [{"type": "output_text", "text": "done"}]})
DONE_ANTHROPIC = anthropic([{"type": "text", "text": ""}, {"type": "text_delta", "text": "done"}])


async def weather(given: Mapping[str, Any]) -> object:
    return {"degrees": 3, "asked": dict(given)}


def agent(model: RawModel, wire: Wire) -> Agent:
    return Agent(model.client(wire), [Tool("weather", weather)])


async def second_request(root: str, wire: Wire, *answers: Answer) -> dict[str, Any]:
    """Return what a model is asked after its tools have run."""
    async with RawModel(*answers) as model:
        await write(agent(model, wire), to=f"{root}/answer", messages=[user("u1")])
        assert len(model.asked) == 2
        return model.asked[1].body


def chat_call(**more: object) -> dict[str, Any]:
    function = {"name": "weather", "arguments": "{}"}
    return {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": function, **more}]}


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_reasoning_goes_back_under_its_name_while_tools_are_called(root: str, field: str) -> None:
    first = chat({field: "First "}, {field: "the weather."}, chat_call(), reason="tool_calls")
    body = await second_request(root, OpenAIChatWire(), first, DONE_CHAT)
    assert body["messages"][1][field] == "First the weather."


async def test_thought_signatures_go_back_with_their_calls(root: str) -> None:
    extra = {"google": {"thought_signature": "sig"}}
    body = await second_request(
        root, OpenAIChatWire(), chat(chat_call(extra_content=extra), reason="tool_calls"), DONE_CHAT
    )
    assert body["messages"][1]["tool_calls"][0]["extra_content"] == extra


async def test_reasoning_details_go_back_whole(root: str) -> None:
    pieces: list[dict[str, Any]] = [
        {"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "Fir", "format": "f"}]},
        {"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "st"}]},
        {"reasoning_details": [{"type": "reasoning.text", "index": 0, "signature": "sig"}]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "index": 1, "data": "e", "id": "x"}]},
    ]
    first = chat(*pieces, {"reasoning": "First"}, chat_call(), reason="tool_calls")
    body = await second_request(root, OpenAIChatWire(), first, DONE_CHAT)
    sent = body["messages"][1]
    assert sent["reasoning_details"] == [
        {"type": "reasoning.text", "index": 0, "text": "First", "format": "f", "signature": "sig"},
        {"type": "reasoning.encrypted", "index": 1, "data": "e", "id": "x"},
    ]
    assert "reasoning" not in sent


async def test_encrypted_reasoning_goes_back_before_the_call_it_led_to(root: str) -> None:
    thought = {"id": "rs1", "type": "reasoning", "summary": [], "encrypted_content": "e1"}
    named = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
    search = {"id": "ws1", "type": "web_search_call", "status": "completed", "action": {"query": "q"}}
    other = {"id": "rs2", "type": "reasoning", "summary": [], "encrypted_content": "e2"}
    first = responses(search, thought, {"id": "fc1", **named}, other, {"id": "fc2", **named, "call_id": "c2"})
    body = await second_request(root, OpenAIResponsesWire(), first, DONE_RESPONSES)
    assert body["include"] == ["reasoning.encrypted_content"]
    sent = body["input"][1:]
    assert [item.get("id", item.get("call_id")) for item in sent] == ["ws1", "rs1", "c1", "rs2", "c2", "c1", "c2"]
    assert sent[:2] == [search, thought]


async def test_anthropics_blocks_go_back_as_they_came(root: str) -> None:
    search = {"type": "server_tool_use", "id": "srv1", "name": "web_search", "input": {}}
    found = {"type": "web_search_tool_result", "tool_use_id": "srv1", "content": [{"encrypted_content": "e"}]}
    cited = {"type": "web_search_result_location", "url": "https://a.example/", "title": "A", "encrypted_index": "i"}
    first = anthropic(
        [{"type": "thinking", "thinking": "", "signature": ""}, {"type": "signature_delta", "signature": "sig"}],
        [{"type": "redacted_thinking", "data": "secret"}],
        [search, *({"type": "input_json_delta", "partial_json": piece} for piece in ('{"q":', "1}"))],
        [found],
        [
            {"type": "text", "text": ""},
            {"type": "citations_delta", "citation": cited},
            {"type": "text_delta", "text": "It is cold."},
        ],
        [{"type": "tool_use", "id": "c1", "name": "weather", "input": {}}],
        reason="tool_use",
    )
    body = await second_request(root, AnthropicWire(), first, DONE_ANTHROPIC)
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "", "signature": "sig"},
        {"type": "redacted_thinking", "data": "secret"},
        {**search, "input": {"q": 1}},
        found,
        {"type": "text", "text": "It is cold.", "citations": [cited]},
        {"type": "tool_use", "id": "c1", "name": "weather", "input": {}},
    ]
    chunks = await stored(f"{root}/answer")
    assert [(one["url"], one["title"]) for one in chunks if one["type"] == "source-url"] == [
        ("https://a.example/", "A")
    ]


async def test_the_next_turn_has_it_too_from_the_session_and_another_provider_has_not(
    root: str, adapters: Adapters
) -> None:
    del root
    first = anthropic(
        [{"type": "thinking", "thinking": "hm", "signature": "sig"}],
        [{"type": "text", "text": ""}, {"type": "text_delta", "text": "Hello."}],
    )
    async with RawModel(first, DONE_ANTHROPIC) as one, RawModel(DONE_ANTHROPIC) as other:
        async with adapters(agent(one, AnthropicWire())) as adapter:
            for turn in ("u1", "u2"):
                asked = await adapter.ask("s1", asking(turn))
                await ended(adapter, "s1", asked.attempt.id)
        async with adapters(agent(other, AnthropicWire())) as adapter:
            asked = await adapter.ask("s1", asking("u3"))
            await ended(adapter, "s1", asked.attempt.id)
    again, elsewhere = one.asked[1].body["messages"][1], other.asked[0].body["messages"][1]
    assert again["content"][0] == {"type": "thinking", "thinking": "hm", "signature": "sig"}
    assert elsewhere["content"] == [{"type": "text", "text": "Hello."}]
    assert b"sig" not in repr(other.asked[0].body).encode()


def test_a_vendor_behind_a_relay_is_a_provider_of_its_own() -> None:
    names = {Asking(OpenAIChatWire(), "https://r.example/v1", model).provider() for model in ("a/x", "a/y", "b/x", "x")}
    assert len(names) == 3
    assert Asking(OpenAIChatWire(), "https://key@r.example/v1", "x").provider() == "openai-chat@r.example"


@pytest.mark.parametrize(
    ("wire", "answer", "url"),
    [
        (
            OpenAIChatWire(),
            chat({"images": [{"type": "image_url", "image_url": {"url": "data:image/webp;base64,AAAA"}}]}),
            "data:image/webp;base64,AAAA",
        ),
        (
            OpenAIResponsesWire(),
            responses({"id": "ig1", "type": "image_generation_call", "status": "completed", "result": "AAAA"}),
            "data:image/png;base64,AAAA",
        ),
    ],
    ids=["chat", "responses"],
)
async def test_a_generated_image_is_a_part(root: str, *, wire: Wire, answer: Answer, url: str) -> None:
    async with RawModel(answer) as model:
        await write(agent(model, wire), to=f"{root}/answer", messages=[user("u1")])
    message = message_of(await stored(f"{root}/answer"))
    file = next(part for part in message["parts"] if part["type"] == "file")
    assert (file["url"], file["mediaType"]) == (url, url[5:].partition(";")[0])


async def test_an_image_goes_back_as_the_item_it_was(root: str, adapters: Adapters) -> None:
    del root
    image = {"id": "ig1", "type": "image_generation_call", "status": "completed", "result": "AAAA"}
    async with (
        RawModel(responses(image), DONE_RESPONSES) as model,
        adapters(agent(model, OpenAIResponsesWire())) as adapter,
    ):
        for turn in ("u1", "u2"):
            asked = await adapter.ask("s1", asking(turn))
            await ended(adapter, "s1", asked.attempt.id)
    assert model.asked[1].body["input"][1] == image


def test_a_file_that_another_model_made_is_told_of_in_words() -> None:
    codec = UiChunks()
    chunks = [*codec.begin(Identity("a", "r", "t")), *codec.feed(FileGiven("image/png", "data:image/png;base64,AAAA"))]
    answer = message_of([*chunks, *codec.end(Ending("finished"))])
    body = Asking(OpenAIChatWire(), "https://m.example", "m").body([user("u1"), answer, user("u2")], ())
    assert body["messages"][1]["content"] == "[gave a file: image/png]"


ITEM = {"id": "rs1", "type": "reasoning", "summary": [], "encrypted_content": "e1"}
CALLED = {"id": "fc1", "type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
WHOLE: list[tuple[Wire, dict[str, Any], Answer, object]] = [
    (
        OpenAIChatWire(),
        {
            "choices": [
                {
                    "message": {"reasoning_content": "First.", **chat_call(extra_content={"google": 1})},
                    "finish_reason": "tool_calls",
                }
            ]
        },
        DONE_CHAT,
        lambda body: (
            (
                body["messages"][1]["reasoning_content"],
                body["messages"][1]["tool_calls"][0]["extra_content"],
            )
            == ("First.", {"google": 1})
        ),
    ),
    (
        OpenAIResponsesWire(),
        {"object": "response", "status": "completed", "output": [ITEM, CALLED]},
        DONE_RESPONSES,
        lambda body: body["input"][1] == ITEM,
    ),
    (
        AnthropicWire(),
        {
            "type": "message",
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "First.", "signature": "sig"},
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {}},
            ],
            "stop_reason": "tool_use",
        },
        DONE_ANTHROPIC,
        lambda body: body["messages"][1]["content"][0]["signature"] == "sig",
    ),
]


@pytest.mark.parametrize(("wire", "whole", "then", "is_right"), WHOLE, ids=["chat", "responses", "anthropic"])
async def test_an_answer_that_was_not_streamed_holds_the_same(
    root: str, *, wire: Wire, whole: dict[str, Any], then: Answer, is_right: Callable[[dict[str, Any]], bool]
) -> None:
    body = await second_request(root, wire, Answer(orjson.dumps(whole)), then)
    assert is_right(body)


def test_what_is_kept_takes_no_room_from_the_answer() -> None:
    kept = {"provider": {"item": {"encrypted_content": "e" * 20_000}}}
    thoughts = [{"type": "reasoning", "text": "hm", "providerMetadata": kept} for _ in range(20)]
    message = {"id": "a", "role": "assistant", "parts": [*thoughts, {"type": "text", "text": "The answer."}]}
    small, items = parted(message, "sessions/s1/gen/g/kept")
    assert len(orjson.dumps(small)) <= ROW_MAX_BYTES
    assert small["parts"][-1]["text"] == "The answer."
    assert items
    assert Asking(OpenAIResponsesWire(), "https://m.example", "m").body([small], ())["input"] == [
        {"role": "assistant", "content": "The answer."}
    ]
