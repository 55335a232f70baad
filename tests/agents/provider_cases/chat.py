"""OpenAI Chat Completions: helpers of its cases."""

from __future__ import annotations

from typing import Any

from tests.agents.provider_cases.case import Case, Events


def delta(finish: str | None = None, **said: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


def calls(*fragments: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return delta(finish, tool_calls=list(fragments))


def fragment(arguments: object = None, **named: object) -> dict[str, Any]:
    """Return a fragment of a call: `name` is the function's, everything else the call's own."""
    function = {} if (name := named.pop("name", ...)) is ... else {"name": name}
    if arguments is not None:
        function["arguments"] = arguments
    return {"type": "function", "function": function, **named}


def cut_call(last: bytes) -> bytes:
    """Return the first fragment of a call of `read`, which ends in the middle of a character."""
    named = b'"id":"a","function":{"name":"read","arguments":"{\\"p\\":\\"%s"}' % last
    return b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,%s}]}}]}\n\n' % named


USED = delta("tool_calls")
DONE: Events = [delta(content="done"), delta("stop"), "[DONE]"]
A, B = '{"p":"a"}', '{"p":"b"}'


def one_call(arguments: object, **named: object) -> Events:
    return [calls(fragment(arguments, **{"index": 0, "id": "call_a", "name": "charge", **named})), USED, "[DONE]"]


def chat(name: str, *steps: Events, **right: Any) -> Case:  # noqa: ANN401 as `Case` has them
    return Case(name, "openai_chat", steps, **right)
