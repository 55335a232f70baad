"""What providers refuse a request for, as far as its history is concerned: one validator for each wire format.

Each rule is one that an API has answered with 400. A validator raises ``AssertionError`` that names it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
CHAT_ID = re.compile(r"[a-zA-Z0-9_-]{1,40}")
LONG_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def said(text: object) -> bool:
    return isinstance(text, str) and bool(text.strip())


def check_chat(body: dict[str, Any]) -> None:
    messages = body["messages"]
    roles = [message["role"] for message in messages]
    assert "user" in roles or "assistant" in roles, "a request has a message"
    assert "system" not in roles[1:], "instructions come first, once"
    waiting: list[str] = []
    seen: set[str] = set()
    before = ""
    for message in messages:
        role = message["role"]
        if role == "tool":
            assert message["tool_call_id"] in waiting, "a result is to a call right before it"
            waiting.remove(message["tool_call_id"])
            assert said(message["content"]), "a result is not blank"
        else:
            assert not waiting, "every call has its result at once"
        if role == "user":
            assert before != "user", "no user twice in a row"
            check_content(message["content"])
        if role == "system":
            assert said(message["content"])
        if role == "assistant":
            assert before != "assistant", "no assistant twice in a row"
            calls = message.get("tool_calls")
            assert calls is None or calls, "a list of calls is not empty"
            assert said(message["content"]) or (message["content"] is None and calls), "an answer is not blank"
            for call in calls or ():
                assert CHAT_ID.fullmatch(call["id"]), "an id is of its characters and length"
                assert call["id"] not in seen, "no id twice"
                assert NAME.fullmatch(call["function"]["name"])
                assert isinstance(call["function"]["arguments"], str)
                seen.add(call["id"])
                waiting.append(call["id"])
        before = role
    assert not waiting, "every call has its result"


def check_content(content: object) -> None:
    if isinstance(content, str):
        assert said(content), "a text is not blank"
        return
    assert isinstance(content, list)
    assert content, "a content is not empty"
    for part in content:
        if part["type"] in {"text", "input_text"}:
            assert said(part["text"]), "a text is not blank"


def check_responses(body: dict[str, Any]) -> None:
    items = body["input"]
    assert any(item.get("role") != "system" for item in items), "a request has a message"
    assert body["store"] is False
    calls: set[str] = set()
    results: set[str] = set()
    for number, item in enumerate(items):
        following = items[number + 1] if number + 1 < len(items) else {}
        if item.get("type") == "function_call":
            assert LONG_ID.fullmatch(item["call_id"])
            assert NAME.fullmatch(item["name"])
            assert item["call_id"] not in calls, "no id twice"
            calls.add(item["call_id"])
        elif item.get("type") == "function_call_output":
            assert item["call_id"] in calls - results, "a result is to a call before it"
            assert said(item["output"])
            results.add(item["call_id"])
        elif item.get("type") == "reasoning":
            assert item["encrypted_content"], "what is not stored is encrypted"
            assert following.get("role") == "assistant" or following.get("type") not in {
                None,
                "function_call_output",
            }, "reasoning is before what it led to"
        elif "role" in item:
            check_content(item["content"])
    assert calls == results, "every call has its result"


def check_anthropic(body: dict[str, Any]) -> None:
    messages = body["messages"]
    assert messages, "a request has a message"
    assert [message["role"] for message in messages] == ["user", "assistant"] * (len(messages) // 2) + ["user"] * (
        len(messages) % 2
    ), "users and assistants take turns, a user first"
    assert "system" not in body or said(body["system"])
    waiting: list[str] = []
    seen: set[str] = set()
    for message in messages:
        check_content(message["content"])
        blocks = message["content"]
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        assert sorted(results) == sorted(waiting), "every call has its result in the next message"
        assert [block["type"] for block in blocks[: len(results)]] == ["tool_result"] * len(results), "results first"
        waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
        for block in blocks:
            if block["type"] == "tool_use":
                assert LONG_ID.fullmatch(block["id"])
                assert NAME.fullmatch(block["name"])
                assert isinstance(block["input"], dict)
                assert block["id"] not in seen, "no id twice"
                seen.add(block["id"])
        if message["role"] == "assistant":
            kinds = [block["type"] == "tool_use" for block in blocks]
            assert kinds == sorted(kinds), "calls are the last of an answer"
            assert blocks[-1]["type"] not in {"thinking", "redacted_thinking"}, "thinking is not the last"
    assert not waiting, "every call has its result"
    check_server_tools(messages)
    last = messages[-1]
    if last["role"] == "assistant" and last["content"][-1]["type"] == "text":
        assert last["content"][-1]["text"] == last["content"][-1]["text"].rstrip(), "no blanks at the end"


def check_server_tools(messages: Sequence[dict[str, Any]]) -> None:
    calls: dict[str, bool] = {}
    results: set[str] = set()
    for number, message in enumerate(messages):
        for block in message["content"]:
            if block["type"] == "server_tool_use":
                calls[block["id"]] = number >= len(messages) - 2
            elif block["type"].endswith("_tool_result"):
                results.add(block["tool_use_id"])
    assert results <= set(calls), "a server's result has its call"
    assert {call for call, may_wait in calls.items() if not may_wait} <= results, "a server's call has its result"


RULES: dict[str, Callable[[dict[str, Any]], None]] = {
    "openai_chat": check_chat,
    "openai_responses": check_responses,
    "anthropic": check_anthropic,
}
