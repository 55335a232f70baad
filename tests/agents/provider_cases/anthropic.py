"""Anthropic Messages and its relays."""

from __future__ import annotations

from typing import Any

import orjson

from tests.agents.provider_cases.case import HUGE, OK, Case, Events, charge


def message(**fields: object) -> dict[str, Any]:
    start = {"id": "m", "role": "assistant", "content": [], "usage": {"input_tokens": 1, "output_tokens": 1}}
    return {"type": "message_start", "message": {**start, **fields}}


def block(index: int, *deltas: dict[str, Any], **started: object) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": started},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def says(index: int, text: str) -> list[dict[str, Any]]:
    return block(index, {"type": "text_delta", "text": text}, type="text", text="")


def uses(index: int, *pieces: str, given: object = None, call_id: str = "t1") -> list[dict[str, Any]]:
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return block(index, *deltas, type="tool_use", id=call_id, name="charge", input={} if given is None else given)


def stops(reason: str | None = "end_turn") -> list[dict[str, Any]]:
    return [
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]


def anthropic(name: str, *steps: Events, **right: Any) -> Case:  # noqa: ANN401 as `Case` has them
    if right.get("finish", "stop") == "stop":
        right["raw"] = "end_turn"
    return Case(name, "anthropic", steps, **right)


ANTHROPIC = [
    anthropic(
        "relays: the input in the block's start",
        [message(), *uses(0, given={"cents": 500}), *stops("tool_use")],
        OK["anthropic"],
        runs=[charge(500)],
        text="ok",
    ),
    anthropic(
        "relays: the input in the block's start, an empty delta",
        [message(), *uses(0, "", given={"cents": 500}), *stops("tool_use")],
        OK["anthropic"],
        runs=[charge(500)],
        text="ok",
    ),
    anthropic(
        "relays: the input in the block's start, as text",
        [message(), *uses(0, given='{"cents": 5}'), *stops("tool_use")],
        OK["anthropic"],
        runs=[charge(5)],
        text="ok",
    ),
    anthropic(
        "an input that is a list",
        [message(), *uses(0, "[1,", "2]"), *stops("tool_use")],
        OK["anthropic"],
        text="ok",
        rejected=["not an object"],
        shown=["[1,2]"],
    ),
    anthropic(
        "an integer of 23 digits",
        [message(), *uses(0, f'{{"cents":{HUGE}}}'), *stops("tool_use")],
        OK["anthropic"],
        runs=[charge(HUGE)],
        text="ok",
    ),
    anthropic(
        "one id twice",
        [message(), *uses(0, '{"cents":1}'), *uses(1, '{"cents":2}'), *stops("tool_use")],
        OK["anthropic"],
        runs=[charge(1), charge(2)],
        text="ok",
        shown=["t1-2"],
    ),
    anthropic(
        "no id",
        [message(), *uses(0, '{"cents":1}', call_id=""), *stops("tool_use")],
        OK["anthropic"],
        runs=[charge(1)],
        text="ok",
    ),
    anthropic(
        "relays: text in the block's start",
        [
            message(),
            *block(0, {"type": "text_delta", "text": "world"}, type="text", text="Hello "),
            *stops(),
        ],
        text="Hello world",
    ),
    anthropic(
        "relays: thoughts in the block's start",
        [message(), *block(0, type="thinking", thinking="hm", signature="s"), *says(1, "Hi"), *stops()],
        reasoning="hm",
        text="Hi",
    ),
    anthropic(
        "relays: deltas without the block's start, and without its end",
        [
            message(),
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
            *stops(),
        ],
        text="Hi",
    ),
    anthropic(
        "pause_turn",
        [message(), *says(0, "Let me search."), *stops("pause_turn")],
        OK["anthropic"],
        text="Let me search.ok",
        shown=["Let me search."],
    ),
    anthropic(
        "refusal", [message(), *says(0, "No"), *stops("refusal")], text="No", finish="content-filter", raw="refusal"
    ),
    anthropic(
        "max_tokens",
        [message(), *says(0, "half"), *stops("max_tokens")],
        text="half",
        finish="length",
        raw="max_tokens",
    ),
    anthropic(
        "model_context_window_exceeded",
        [message(), *says(0, "half"), *stops("model_context_window_exceeded")],
        text="half",
        finish="length",
        raw="model_context_window_exceeded",
    ),
    anthropic(
        "max_tokens in a call",
        [message(), *uses(0, '{"cents": 5'), *stops("max_tokens")],
        finish="length",
        raw="max_tokens",
        rejected=["not JSON"],
    ),
    anthropic(
        "max_tokens before a call's input",
        [message(), *uses(0), *stops("max_tokens")],
        finish="length",
        raw="max_tokens",
        rejected=["cut off"],
    ),
    anthropic(
        "overloaded in the middle",
        [
            message(),
            *says(0, "par")[:2],
            b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n',
        ],
        text="par",
        finish=None,
        error="Overloaded",
    ),
    anthropic("an error without a type", [{"error": {"message": "bad"}}], finish=None, error="bad"),
    anthropic(
        "an error with status 200",
        [b'{"type":"error","error":{"type":"api_error","message":"down"}}'],
        finish=None,
        error="down",
        content_type="application/json",
    ),
    anthropic("a reason, and no message_stop", [message(), *says(0, "a"), stops()[0]], text="a"),
    anthropic("cut before the reason", [message(), *says(0, "a")], text="a", finish=None, error="cut short"),
    anthropic(
        "a call, and then cut",
        [message(), *uses(0, '{"cents":5}')],
        finish=None,
        error="cut short",
    ),
    anthropic(
        "an answer that was not streamed",
        [
            orjson.dumps(
                {
                    "type": "message",
                    "content": [
                        {"type": "thinking", "thinking": "hm", "signature": "s"},
                        {"type": "text", "text": "Let me see."},
                        {"type": "tool_use", "id": "t1", "name": "charge", "input": {"cents": 5}},
                    ],
                    "stop_reason": "tool_use",
                    "usage": {"input_tokens": 1, "output_tokens": 2},
                }
            )
        ],
        OK["anthropic"],
        runs=[charge(5)],
        reasoning="hm",
        text="Let me see.ok",
        content_type="application/json",
    ),
    anthropic(
        "kinds that nobody knows",
        [
            message(),
            {"type": "ping"},
            *block(0, {"type": "new_delta", "new": 1}, type="new_block", new=1),
            {"type": "new_event"},
            *says(1, "Hi"),
            *stops(),
        ],
        text="Hi",
    ),
]
