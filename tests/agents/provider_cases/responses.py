"""OpenAI Responses and its relays."""

from __future__ import annotations

from typing import Any

import orjson

from tests.agents.provider_cases.case import OK, Case, Events, charge


def event(kind: str, **fields: object) -> dict[str, Any]:
    return {"type": f"response.{kind}", **fields}


def completed(*output: dict[str, Any], **fields: object) -> dict[str, Any]:
    return event("completed", response={"object": "response", "status": "completed", "output": list(output), **fields})


def incomplete(reason: str) -> dict[str, Any]:
    return event(
        "incomplete", response={"status": "incomplete", "incomplete_details": {"reason": reason}, "output": []}
    )


def said(text: str, kind: str = "output_text", **fields: object) -> dict[str, Any]:
    content = {"type": kind, "text" if kind == "output_text" else kind: text}
    return {"type": "message", "id": "msg1", "content": [content], **fields}


HM = {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "hm"}]}


def function(arguments: object, call_id: str = "c1", **fields: object) -> dict[str, Any]:
    named = {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "name": "charge"}
    return {**named, "arguments": arguments, **fields}


def responses(name: str, *steps: Events, **right: Any) -> Case:  # noqa: ANN401 as `Case` has them
    return Case(name, "openai_responses", steps, **right)


RESPONSES = [
    responses(
        "relays: a message without deltas",
        [event("output_item.done", item=said("Hi")), completed(said("Hi"))],
        text="Hi",
    ),
    responses("relays: nothing but the response", [completed(said("Hi"))], text="Hi"),
    responses(
        "relays: text.done without deltas",
        [event("output_text.done", item_id="msg1", content_index=0, text="Hi"), completed(said("Hi"))],
        text="Hi",
    ),
    responses(
        "relays: deltas without an item",
        [event("output_text.delta", delta="Hi"), event("output_item.done", item=said("Hi")), completed(said("Hi"))],
        text="Hi",
    ),
    responses(
        "relays: another item id in each event",
        [
            event("output_text.delta", item_id="x1", delta="Hi "),
            event("output_text.delta", item_id="x1", delta="you"),
            event("output_item.done", item=said("Hi you", id="x2")),
            completed(said("Hi you", id="x3")),
        ],
        text="Hi you",
    ),
    responses(
        "relays: all events have the same number",
        [
            event("created", sequence_number=0, response={}),
            *(event("output_text.delta", sequence_number=0, item_id="m", delta="ha") for _ in range(3)),
            completed(said("hahaha")) | {"sequence_number": 0},
        ],
        text="hahaha",
    ),
    responses(
        "two messages",
        [
            event("output_text.delta", item_id="m1", delta="a"),
            event("output_item.done", item=said("a", id="m1")),
            event("output_item.done", item=said("b", id="m2")),
            completed(said("a", id="m1"), said("b", id="m2")),
        ],
        text="ab",
    ),
    responses(
        "thoughts in the item alone",
        [
            event(
                "output_item.done",
                item={"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "hm"}]},
            ),
            completed(said("Hi")),
        ],
        reasoning="hm",
        text="Hi",
    ),
    responses(
        "a call in the item alone",
        [event("output_item.done", item=function('{"cents":5}')), completed(function('{"cents":5}'))],
        OK["openai_responses"],
        runs=[charge(5)],
        text="ok",
    ),
    responses(
        "a call in the response alone",
        [completed(function('{"cents":5}'), function('{"cents":6}', "c2"))],
        OK["openai_responses"],
        runs=[charge(5), charge(6)],
        text="ok",
    ),
    responses(
        "a call with arguments.done, and no item.done",
        [
            event("output_item.added", output_index=0, item=function("")),
            event("function_call_arguments.done", item_id="fc_c1", output_index=0, arguments='{"cents":5}'),
            completed(),
        ],
        OK["openai_responses"],
        runs=[charge(5)],
        text="ok",
    ),
    responses(
        "a call whose deltas name its place alone",
        [
            event("output_item.added", output_index=3, item=function("", id=None)),
            event("function_call_arguments.delta", output_index=3, delta='{"cents"'),
            event("function_call_arguments.delta", output_index=3, delta=":5}"),
            event("output_item.done", output_index=3, item=function("", id=None)),
            completed(),
        ],
        OK["openai_responses"],
        runs=[charge(5)],
        text="ok",
    ),
    responses(
        "one call id twice",
        [
            event("output_item.done", output_index=0, item=function('{"cents":1}', id="i1")),
            event("output_item.done", output_index=1, item=function('{"cents":2}', id="i2")),
            completed(),
        ],
        OK["openai_responses"],
        runs=[charge(1), charge(2)],
        text="ok",
        shown=["c1-2"],
    ),
    responses(
        "relays: all items have the same place",
        [
            event("output_item.done", output_index=0, item=function('{"cents":1}', "c1")),
            event("output_item.done", output_index=0, item=function('{"cents":2}', "c2")),
            completed(function('{"cents":1}', "c1"), function('{"cents":2}', "c2")),
        ],
        OK["openai_responses"],
        runs=[charge(1), charge(2)],
        text="ok",
    ),
    responses(
        "an input as an object",
        [event("output_item.done", item=function({"cents": 5})), completed()],
        OK["openai_responses"],
        runs=[charge(5)],
        text="ok",
    ),
    responses(
        "an input of null",
        [event("output_item.done", item=function("null")), completed()],
        OK["openai_responses"],
        text="ok",
        rejected=["not an object"],
        shown=["null"],
    ),
    responses(
        "max_output_tokens",
        [event("output_text.delta", item_id="m", delta="half"), incomplete("max_output_tokens")],
        text="half",
        finish="length",
        raw="max_output_tokens",
    ),
    responses(
        "max_output_tokens in a call",
        [
            event("output_item.added", output_index=0, item=function("")),
            event("function_call_arguments.delta", item_id="fc_c1", delta='{"cents"'),
            event("output_item.done", output_index=0, item=function('{"cents"', status="incomplete")),
            incomplete("max_output_tokens"),
        ],
        finish="length",
        raw="max_output_tokens",
        rejected=["not JSON"],
    ),
    responses(
        "max_output_tokens before a call's input",
        [
            event("output_item.added", output_index=0, item=function("")),
            event("output_item.done", output_index=0, item=function("", status="incomplete")),
            incomplete("max_output_tokens"),
        ],
        finish="length",
        raw="max_output_tokens",
        rejected=["cut off"],
    ),
    responses(
        "content_filter",
        [event("output_text.delta", item_id="m", delta="half"), incomplete("content_filter")],
        text="half",
        finish="content-filter",
        raw="content_filter",
    ),
    responses(
        "a refusal",
        [
            event("refusal.delta", item_id="msg1", content_index=0, delta="I can"),
            event("refusal.delta", item_id="msg1", content_index=0, delta="not."),
            event("refusal.done", item_id="msg1", content_index=0, refusal="I cannot."),
            event("output_item.done", item=said("I cannot.", "refusal")),
            completed(said("I cannot.", "refusal")),
        ],
        text="I cannot.",
        finish="content-filter",
    ),
    responses(
        "a refusal in the response alone", [completed(said("No.", "refusal"))], text="No.", finish="content-filter"
    ),
    responses(
        "response.failed",
        [
            event("output_text.delta", item_id="m", delta="par"),
            event("failed", response={"status": "failed", "error": {"code": "server_error", "message": "boom"}}),
        ],
        text="par",
        finish=None,
        error="boom",
    ),
    responses(
        "a completed response that has failed",
        [event("completed", response={"status": "failed", "error": {"message": "boom"}})],
        finish=None,
        error="boom",
    ),
    responses("a flat error", [{"type": "error", "code": "x", "message": "boom"}], finish=None, error="boom"),
    responses(
        "a nested error, named",
        [b'event: error\ndata: {"type":"error","error":{"message":"slow down"}}\n\n'],
        finish=None,
        error="slow down",
    ),
    responses(
        "an answer that was not streamed",
        [
            orjson.dumps(
                {
                    "object": "response",
                    "status": "completed",
                    "error": None,
                    "output": [
                        HM,
                        said("Let me see."),
                        function('{"cents":5}'),
                    ],
                    "usage": {"input_tokens": 1, "output_tokens": 2},
                }
            )
        ],
        OK["openai_responses"],
        runs=[charge(5)],
        reasoning="hm",
        text="Let me see.ok",
        content_type="application/json",
    ),
    responses(
        "an error with status 200",
        [b'{"error":{"message":"no credit"}}'],
        finish=None,
        error="no credit",
        content_type="application/json",
    ),
    responses("a connection that stays open", [completed(said("Hi"))], text="Hi", stays_open=True),
    responses("cut", [event("output_text.delta", item_id="m", delta="a")], text="a", finish=None, error="cut short"),
]
