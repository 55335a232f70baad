"""Whatever is stored in a session makes a request that no provider refuses for its form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.agents.sources.asking import Asking, NothingToSayError
from durable_streams.agents.wires.anthropic import AnthropicWire
from durable_streams.agents.wires.openai_chat import UNSIGNED, OpenAIChatWire
from durable_streams.agents.wires.openai_responses import OpenAIResponsesWire
from tests.agents.wire_rules import RULES

if TYPE_CHECKING:
    from durable_streams.agents.wires.base import Wire

WIRES: dict[str, Wire] = {
    "openai_chat": OpenAIChatWire(),
    "openai_responses": OpenAIResponsesWire(),
    "anthropic": AnthropicWire(),
}
ASKING = {name: Asking(wire, "https://model.example/v1", "m") for name, wire in WIRES.items()}

BLANK = st.sampled_from(["", " ", "\n\t ", "said", "said \n", "\ud83d", "…"])
IDS = st.sampled_from(["c1", "c2", "bad id!", "x" * 80, "", "ü"])
NAMES = st.sampled_from(["weather", "my.tool", "n" * 90, "", "wetter ü"])
STATES = ["input-streaming", "input-available", "output-available", "output-error", "output-denied", "no-state"]
VALUES = st.sampled_from([None, "", " ", {}, {"a": 1}, [1], "text", 2.5])
BLOCKS: list[dict[str, Any]] = [
    {"type": "server_tool_use", "id": "srv1", "name": "web_search", "input": {}},
    {"type": "web_search_tool_result", "tool_use_id": "srv1", "content": []},
    {"type": "server_tool_use", "id": "srv2", "name": "web_search", "input": {}},
]
OWN = {
    "openai_chat": [{"field": "reasoning_content"}, {"extra_content": {"google": {"thought_signature": "s"}}}],
    "openai_responses": [
        {"item": {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "e"}},
        {"item": {"type": "reasoning", "id": "rs", "summary": []}},
        {"item": {"type": "web_search_call", "id": "ws", "status": "completed"}},
    ],
    "anthropic": [{"signature": "s"}, {"redacted": "r"}, *({"block": block} for block in BLOCKS)],
}
DETAILS = {"reasoning_details": [{"type": "reasoning.text", "text": "t"}]}


def parts(wire: str) -> st.SearchStrategy[dict[str, Any]]:
    provider = ASKING[wire].provider()
    own = st.sampled_from([None, *({provider: one} for one in OWN[wire]), {"other@elsewhere": {"signature": "x"}}])
    kept = own.filter(bool) if wire != "openai_chat" else st.just({provider: DETAILS})
    text = st.builds(lambda said, meta: {"type": "text", "text": said, "providerMetadata": meta}, BLANK, own)
    thought = st.builds(lambda said, meta: {"type": "reasoning", "text": said, "providerMetadata": meta}, BLANK, own)
    call = st.builds(
        lambda name, call_id, state, given, gone, meta: {
            "type": f"tool-{name}",
            "toolCallId": call_id,
            "state": state,
            "input": given,
            "output": gone,
            "errorText": gone if isinstance(gone, str) else "failed",
            "callProviderMetadata": meta,
        },
        NAMES,
        IDS,
        st.sampled_from(STATES),
        VALUES,
        VALUES,
        own,
    )
    file = st.sampled_from(
        [
            {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AAAA"},
            {"type": "file", "mediaType": "video/mp4", "url": "https://a.example/v", "filename": "v.mp4"},
            {"type": "file", "mediaType": "text/plain", "url": "data:text/plain;base64,"},
            {"type": "file"},
        ]
    )
    odd = st.sampled_from([{"type": "step-start"}, {"type": "data-x", "data": 1}, {"type": 7}, {"no": "type"}, 3])
    return st.one_of(text, thought, call, file, odd, st.builds(lambda meta: {"type": "data-kept", "data": meta}, kept))


def histories(wire: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    message = st.builds(
        lambda role, said: {"id": "m", "role": role, "parts": said},
        st.sampled_from(["user", "assistant", "assistant", "system", "robot"]),
        st.lists(parts(wire), max_size=6),
    )
    return st.lists(message, max_size=7)


@pytest.mark.parametrize("wire", WIRES)
@given(data=st.data())
def test_any_stored_history_makes_a_request_that_is_taken(wire: str, data: st.DataObject) -> None:
    messages = data.draw(histories(wire))
    try:
        body = ASKING[wire].body(messages, ())
    except NothingToSayError:
        return
    RULES[wire](body)


def user(text: str) -> dict[str, Any]:
    return {"id": f"u-{text}", "role": "user", "parts": [{"type": "text", "text": text}]}


def assistant(*said: dict[str, Any]) -> dict[str, Any]:
    return {"id": "a", "role": "assistant", "parts": list(said)}


@pytest.mark.parametrize("wire", WIRES)
def test_an_answer_that_was_stopped_before_it_began_is_not_sent(wire: str) -> None:
    stopped = assistant({"type": "step-start"}, {"type": "reasoning", "text": "hm"}, {"type": "text", "text": "\n"})
    body = ASKING[wire].body([user("one"), stopped, user("two")], ())
    RULES[wire](body)
    sent = body.get("messages") or body["input"]
    assert [one["role"] for one in sent] == ["user"]
    content = sent[0]["content"]
    texts = content if isinstance(content, str) else "\n\n".join(part["text"] for part in content)
    assert texts == "one\n\ntwo"


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("messages", [[], [user(" ")], [{"id": "s", "role": "system", "parts": []}]])
def test_nothing_to_say_is_said_to_nobody(wire: str, messages: list[dict[str, Any]]) -> None:
    with pytest.raises(NothingToSayError):
        ASKING[wire].body(messages, ())


def call(call_id: str, tool: str = "t") -> dict[str, Any]:
    done = {"state": "output-available", "input": {}, "output": ""}
    return {"type": f"tool-{tool}", "toolCallId": call_id, **done}


def test_ids_that_are_refused_become_others_and_those_that_are_taken_stay() -> None:
    said = assistant(call("fine-1"), call("x" * 41), call("not fine"), call("fine-1"), call("", "my.tool"))
    sent = ASKING["openai_chat"].body([user("go"), said], ())["messages"][1]["tool_calls"]
    ids = [one["id"] for one in sent]
    assert ids[0] == "fine-1"
    assert len(set(ids)) == 5
    assert sent[-1]["function"]["name"] == "my_tool"
    again = ASKING["openai_chat"].body([user("go"), said], ())["messages"][1]["tool_calls"]
    assert ids == [one["id"] for one in again], "or a provider's cache would never hit"


def test_mistral_has_ids_of_nine_letters_and_digits() -> None:
    asking = Asking(OpenAIChatWire(exact_ids=True), "https://api.mistral.ai/v1", "m")
    sent = asking.body([user("go"), assistant(call("call_abc"), call("abcdefgh1"))], ())["messages"]
    ids = [one["id"] for one in sent[1]["tool_calls"]]
    assert ids[1] == "abcdefgh1"
    assert len(ids[0]) == 9
    assert ids[0].isalnum()


def test_reasoning_that_led_to_nothing_is_not_sent() -> None:
    provider = ASKING["openai_responses"].provider()
    item = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "e"}
    thought = {"type": "reasoning", "text": "hm", "providerMetadata": {provider: {"item": item}}}
    said = assistant({"type": "text", "text": "Well."}, thought)
    body = ASKING["openai_responses"].body([user("go"), said, user("on")], ())
    assert [one.get("type", one.get("role")) for one in body["input"]] == ["user", "assistant", "user"]


@pytest.mark.parametrize(("kept", "sent"), [([0], []), ([1], []), ([0, 1], [0, 1]), ([0, 1, 2], [0, 1])])
def test_calls_of_a_providers_own_tools_are_sent_with_their_results(kept: list[int], sent: list[int]) -> None:
    provider = ASKING["anthropic"].provider()
    blocks = [{"type": "data-kept", "data": {provider: {"block": BLOCKS[number]}}} for number in kept]
    text = {"type": "text", "text": "Well."}
    body = ASKING["anthropic"].body([user("go"), assistant(*blocks, text), user("on")], ())
    assert body["messages"][1]["content"] == [*(BLOCKS[number] for number in sent), text]


def test_a_call_that_waits_for_its_result_is_sent_where_the_model_is_to_go_on() -> None:
    provider = ASKING["anthropic"].provider()
    paused = assistant({"type": "data-kept", "data": {provider: {"block": BLOCKS[2]}}})
    body = ASKING["anthropic"].body([user("go"), paused], ())
    assert body["messages"][1]["content"] == [BLOCKS[2]]


def test_anthropic_is_told_the_tools_that_a_history_has_called() -> None:
    body = ASKING["anthropic"].body([user("go"), assistant(call("c1", "weather")), user("on")], ())
    assert ([one["name"] for one in body["tools"]], body["tool_choice"]) == (["weather"], {"type": "none"})


def test_gemini_takes_the_calls_of_other_models() -> None:
    wire = OpenAIChatWire(signed_calls=True)
    asking = Asking(wire, "https://generativelanguage.googleapis.com/v1beta/openai", "gemini")
    signed = {**call("c3"), "callProviderMetadata": {asking.provider(): {"extra_content": {"google": 1}}}}
    said = assistant(call("c1"), call("c2"), {"type": "step-start"}, signed, call("c4"))
    sent = asking.body([user("go"), said], ())["messages"]
    assert [one.get("extra_content") for one in sent[1]["tool_calls"]] == [UNSIGNED, None]
    assert [one.get("extra_content") for one in sent[4]["tool_calls"]] == [{"google": 1}, None]


def test_anthropic_is_begun_by_a_user_and_ended_without_blanks() -> None:
    body = ASKING["anthropic"].body([assistant({"type": "text", "text": "Hello! \n"})], ())
    assert [one["role"] for one in body["messages"]] == ["user", "assistant"]
    assert body["messages"][-1]["content"][-1]["text"] == "Hello!"
