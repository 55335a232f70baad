"""The forms in which each wire's servers send an answer: streamed, or whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from hypothesis import strategies as st

from tests.agents.grammar import Answer, End, Pen, Said, Used

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.agents.grammar import Draw

    Event: TypeAlias = "dict[str, Any] | str"


@st.composite
def renderings(draw: Draw, wire: str, answer: Answer) -> bytes:
    """Draw one of the forms in which a wire's servers send an answer."""
    pen = Pen(draw)
    if pen.rarely():
        return pen.written(WHOLE[wire](pen, answer))
    blank = draw(st.sampled_from([b"\n\n", b"\r\n\r\n"]))
    sent = []
    for event in STREAMED[wire](pen, answer):
        if pen.rarely():
            sent.append(b": a comment" + blank)
        sent.append(b"data: " + pen.written(event) + blank)
    whole: bytes = b"".join(sent)
    return whole[: -len(blank)] if pen.flip() else whole


# OpenAI Chat Completions

_REASONS = {"by itself": "stop", "length": "length", "filtered": "content_filter"}


def _chat(pen: Pen, answer: Answer) -> Iterator[Event]:
    # What cannot be read cannot be told from its beginning: so a server that sends such numbers its calls.
    plain = bool(answer.rejected)
    numbered = "well" if plain else pen.one_of("well", "all 0", "not")
    ids = "own" if plain else pen.one_of("own", "none", "one")
    names, content = pen.one_of("first", "late", "every"), pen.one_of("text", "list")
    noisy, reasoned = pen.flip(), pen.one_of("reasoning_content", "reasoning", "list")
    count = 0
    for item in answer.items:
        if noisy:
            yield {"choices": [{"index": 1, "delta": {"content": "of another choice"}, "finish_reason": None}]}
        if isinstance(item, Used):
            for function in _chat_call(pen, item, names):
                index = {"well": {"index": count}, "all 0": {"index": 0}, "not": {}}[numbered]
                given = {"own": f"call_{count}", "none": "", "one": "same"}[ids]
                named = {"id": given} if function.pop("first") or (numbered == "not" and ids == "own") else {}
                yield _chunk({"tool_calls": [{**index, **named, "type": "function", "function": function}]})
            count += 1
            continue
        for text in pen.cut(item.text):
            yield _chunk(_chat_said(text, reasoned if item.thought else content, thought=item.thought))
    yield _chunk({}, pen.one_of("stop", "tool_calls") if count and answer.end == "by itself" else _REASONS[answer.end])
    if pen.flip():
        yield {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    if pen.flip():
        yield "[DONE]"


def _chat_said(text: str, form: str, *, thought: bool) -> dict[str, Any]:
    part = {"type": "text", "text": text}
    if not thought:
        return {"content": [part] if form == "list" else text}
    if form == "list":
        return {"content": [{"type": "thinking", "thinking": [part]}]}
    return {form: text, "content": None}


def _chat_call(pen: Pen, call: Used, names: str) -> Iterator[dict[str, Any]]:
    if isinstance(call.given, dict) and pen.rarely():
        yield {"name": call.tool, "arguments": call.given, "first": True}
        return
    texts = pen.cut(pen.input_text(call.given))
    if names == "late":
        yield {"name": "", "arguments": "", "first": True}
    for number, text in enumerate(texts):
        is_named = number == 0 or (names == "every" and bool(texts[0].strip()))
        named = {"name": call.tool} if is_named else {}
        yield {**named, "arguments": text, "first": number == 0 and names != "late"}


def _chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


def _chat_whole(pen: Pen, answer: Answer) -> dict[str, Any]:
    calls = [
        {"id": f"call_{number}", "function": {"name": call.tool, "arguments": pen.json(call.given)}}
        for number, call in enumerate(answer.calls)
    ]
    said = {"content": answer.text(thought=False), "reasoning_content": answer.text(thought=True)}
    message = {"role": "assistant", **said, **({"tool_calls": calls} if calls else {})}
    return {"choices": [{"index": 0, "message": message, "finish_reason": _REASONS[answer.end]}]}


# Anthropic Messages

_STOPS = {"by itself": "end_turn", "length": "max_tokens", "filtered": "refusal", "paused": "pause_turn"}


def _anthropic(pen: Pen, answer: Answer) -> Iterator[Event]:
    yield {"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 1}}}
    same = pen.flip()
    for index, item in enumerate(answer.items):
        place = {"index": index}
        if pen.flip():
            yield {"type": "ping"}
        started, deltas = _block(pen, item, "t" if same else f"t{index}")
        yield {"type": "content_block_start", **place, "content_block": started}
        for delta in deltas:
            yield {"type": "content_block_delta", **place, "delta": delta}
        yield {"type": "content_block_stop", **place}
    reason = "tool_use" if answer.calls and answer.end == "by itself" else _STOPS[answer.end]
    yield {"type": "message_delta", "delta": {"stop_reason": reason}}
    if pen.flip():
        yield {"type": "message_stop"}


def _block(pen: Pen, item: Said | Used, call_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    at_start = pen.flip()
    if isinstance(item, Used):
        named = {"type": "tool_use", "id": call_id, "name": item.tool, "input": item.given if at_start else {}}
        texts = [] if at_start else pen.cut(pen.input_text(item.given))
        return named, [{"type": "input_json_delta", "partial_json": text} for text in texts]
    kind = "thinking" if item.thought else "text"
    texts = pen.cut(item.text)
    first = texts.pop(0) if at_start else ""
    return {"type": kind, kind: first}, [{"type": f"{kind}_delta", kind: text} for text in texts]


def _anthropic_whole(pen: Pen, answer: Answer) -> dict[str, Any]:
    blocks = [_whole_block(item, f"t{number}") for number, item in enumerate(answer.items)]
    return {"type": "message", "content": blocks, "stop_reason": pen.one_of(_STOPS[answer.end])}


def _whole_block(item: Said | Used, call_id: str) -> dict[str, Any]:
    if isinstance(item, Used):
        return {"type": "tool_use", "id": call_id, "name": item.tool, "input": item.given}
    kind = "thinking" if item.thought else "text"
    return {"type": kind, kind: item.text}


# OpenAI Responses

_WHY = {"length": "max_output_tokens", "filtered": "content_filter"}


def _responses(pen: Pen, answer: Answer) -> Iterator[Event]:
    numbered, same, streamed = pen.one_of("well", "all 0", "not"), pen.flip(), pen.flip()
    output = []
    sent: list[dict[str, Any]] = [{"type": "response.created", "response": {}}]
    for index, item in enumerate(answer.items):
        whole = _item(pen, item, index)
        if same and "call_id" in whole:
            whole["call_id"] = "c"
        output.append(whole)
        sent += list(_item_events(pen, whole, index)) if streamed else []
    response = _over(output, answer.end)
    sent.append({"type": f"response.{response['status']}", "response": response})
    for number, event in enumerate(sent):
        yield event if numbered == "not" else {**event, "sequence_number": number if numbered == "well" else 0}


def _over(output: list[dict[str, Any]], end: End) -> dict[str, Any]:
    if end == "by itself":
        return {"object": "response", "status": "completed", "output": output}
    return {
        "object": "response",
        "status": "incomplete",
        "incomplete_details": {"reason": _WHY[end]},
        "output": output,
    }


def _item(pen: Pen, item: Said | Used, index: int) -> dict[str, Any]:
    if isinstance(item, Used):
        named = {"type": "function_call", "id": f"fc{index}", "call_id": f"c{index}", "name": item.tool}
        return {**named, "arguments": pen.input_text(item.given), "status": "completed"}
    if item.thought:
        return {"type": "reasoning", "id": f"r{index}", "summary": [{"type": "summary_text", "text": item.text}]}
    return {"type": "message", "id": f"m{index}", "content": [{"type": "output_text", "text": item.text}]}


def _item_events(pen: Pen, whole: dict[str, Any], index: int) -> Iterator[dict[str, Any]]:
    place = {"item_id": whole["id"], "output_index": index}
    if pen.flip():  # else nothing but the whole item
        if "arguments" in whole:
            yield {"type": "response.output_item.added", **place, "item": {**whole, "arguments": ""}}
            kind, text = "function_call_arguments", whole["arguments"]
        elif "summary" in whole:
            kind, text = "reasoning_summary_text", whole["summary"][0]["text"]
        else:
            kind, text = "output_text", whole["content"][0]["text"]
        for piece in pen.cut(text):
            yield {"type": f"response.{kind}.delta", **place, "delta": piece}
    yield {"type": "response.output_item.done", **place, "item": whole}


def _responses_whole(pen: Pen, answer: Answer) -> dict[str, Any]:
    return _over([_item(pen, item, index) for index, item in enumerate(answer.items)], answer.end)


STREAMED: dict[str, Callable[[Pen, Answer], Iterator[Event]]] = {
    "openai_chat": _chat,
    "anthropic": _anthropic,
    "openai_responses": _responses,
}
WHOLE: dict[str, Callable[[Pen, Answer], dict[str, Any]]] = {
    "openai_chat": _chat_whole,
    "anthropic": _anthropic_whole,
    "openai_responses": _responses_whole,
}
