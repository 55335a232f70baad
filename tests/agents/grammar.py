"""A grammar of what models' servers send: an answer, in any of the forms of its wire, whole or broken, cut anywhere.

An answer is what is meant; a rendering is how a provider puts it on the wire. Everything is drawn by hypothesis.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]

TOOLS = ("read", "charge", "time")

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
numbers = st.integers(-(10**25), 10**25) | st.floats(allow_nan=False, allow_infinity=False, width=32)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@dataclass(frozen=True)
class Said:
    """A piece of text, or of thoughts."""

    text: str
    thought: bool


@dataclass(frozen=True)
class Used:
    """A call of a tool."""

    tool: str
    given: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What one response means."""

    items: tuple[Said | Used, ...]

    def text(self, *, thought: bool) -> str:
        return "".join(item.text for item in self.items if isinstance(item, Said) and item.thought is thought)

    @property
    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        return [(item.tool, item.given) for item in self.items if isinstance(item, Used)]


items = st.builds(Said, texts, st.booleans()) | st.builds(
    Used, st.sampled_from(TOOLS), st.dictionaries(texts, values, max_size=3)
)
answers = st.builds(Answer, st.lists(items, max_size=6).map(tuple))


@st.composite
def renderings(draw: Draw, wire: str, answer: Answer) -> bytes:
    """Draw one of the forms in which a wire's servers send an answer."""
    events = list(_RENDER[wire](draw, answer))
    escaped: bool = draw(st.booleans())
    end: bytes = draw(st.sampled_from([b"\n\n", b"\r\n\r\n"]))
    sent = []
    for event in events:
        if draw(st.integers(0, 9)) == 0:
            sent.append(b": a comment" + end)
        text = event if isinstance(event, str) else json.dumps(event, ensure_ascii=escaped)
        sent.append(b"data: " + text.encode() + end)
    whole = b"".join(sent)
    return whole[: -len(end)] if draw(st.booleans()) else whole


@st.composite
def pieces(draw: Draw, whole: bytes) -> list[bytes]:
    """Draw how bytes arrive."""
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    return [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


@st.composite
def broken(draw: Draw, whole: bytes) -> bytes:
    """Draw what a bad day makes of bytes: something is missing, doubled, or put in."""
    begin, end = sorted([draw(st.integers(0, len(whole))), draw(st.integers(0, len(whole)))])
    put_in = [
        b"",
        whole[begin:end] * 2,
        b'data: {"error":{"message":"bad day"}}\n\n',
        b"\n\n",
        b"data: {}\n\n",
        b"\xff",
    ]
    instead: bytes = draw(st.sampled_from(put_in))
    return whole[:begin] + instead + whole[end:]


def _cut(draw: Draw, text: str) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def _json(draw: Draw, value: object) -> str:
    return json.dumps(value, ensure_ascii=draw(st.booleans()))


def _chat(draw: Draw, answer: Answer) -> Iterator[dict[str, Any] | str]:
    numbered, ids = draw(st.sampled_from(["well", "all 0", "not"])), draw(st.sampled_from(["own", "none", "one"]))
    names = draw(st.sampled_from(["first", "late", "every"]))
    listed, noisy = draw(st.booleans()), draw(st.booleans())
    count = 0
    for item in answer.items:
        if noisy:
            yield {"choices": [{"index": 1, "delta": {"content": "of another choice"}}]}
        if isinstance(item, Used):
            for said in _chat_call(draw, item, names):
                index = {"well": {"index": count}, "all 0": {"index": 0}, "not": {}}[numbered]
                given = {"own": f"call_{count}", "none": "", "one": "same"}[ids]
                named = {"id": given} if said.pop("first") or (numbered == "not" and ids == "own") else {}
                yield _chunk({"tool_calls": [{**index, **named, "type": "function", "function": said}]})
            count += 1
        elif item.thought:
            yield _chunk({"reasoning_content": item.text, "content": None})
        else:
            yield _chunk({"content": [{"type": "text", "text": item.text}] if listed else item.text})
    yield _chunk({}, draw(st.sampled_from(["stop", "tool_calls"])) if count else "stop")
    if draw(st.booleans()):
        yield {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    if draw(st.booleans()):
        yield "[DONE]"


def _chat_call(draw: Draw, item: Used, names: str) -> Iterator[dict[str, Any]]:
    texts = _cut(draw, _json(draw, item.given))
    if names == "late":
        yield {"name": "", "arguments": "", "first": True}
    for number, text in enumerate(texts):
        is_named = number == 0 or (names == "every" and bool(texts[0].strip()))
        named = {"name": item.tool} if is_named else {}
        yield {**named, "arguments": text, "first": number == 0 and names != "late"}


def _chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


def _anthropic(draw: Draw, answer: Answer) -> Iterator[dict[str, Any]]:
    yield {"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 1}}}
    same = draw(st.booleans())
    for index, item in enumerate(answer.items):
        place = {"index": index}
        if draw(st.booleans()):
            yield {"type": "ping"}
        started, deltas = _block(draw, item, "t" if same else f"t{index}")
        yield {"type": "content_block_start", **place, "content_block": started}
        for delta in deltas:
            yield {"type": "content_block_delta", **place, "delta": delta}
        yield {"type": "content_block_stop", **place}
    yield {"type": "message_delta", "delta": {"stop_reason": "tool_use" if answer.calls else "end_turn"}}
    if draw(st.booleans()):
        yield {"type": "message_stop"}


def _block(draw: Draw, item: Said | Used, call_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    at_start = draw(st.booleans())
    if isinstance(item, Used):
        named = {"type": "tool_use", "id": call_id, "name": item.tool, "input": item.given if at_start else {}}
        texts = [] if at_start else _cut(draw, _json(draw, item.given))
        return named, [{"type": "input_json_delta", "partial_json": text} for text in texts]
    kind = "thinking" if item.thought else "text"
    texts = _cut(draw, item.text)
    first = texts.pop(0) if at_start else ""
    return {"type": kind, kind: first}, [{"type": f"{kind}_delta", kind: text} for text in texts]


def _responses(draw: Draw, answer: Answer) -> Iterator[dict[str, Any]]:
    numbered, same, streamed = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    output = []
    sent = []
    for index, item in enumerate(answer.items):
        whole = _item(item, index, _json(draw, item.given) if isinstance(item, Used) else "")
        if same and isinstance(item, Used):
            whole["call_id"] = "c"
        output.append(whole)
        sent += list(_item_events(draw, whole, index)) if streamed else []
    sent.append({"type": "response.completed", "response": {"status": "completed", "output": output}})
    for number, event in enumerate(sent):
        yield {**event, "sequence_number": number} if numbered else event


def _item(item: Said | Used, index: int, arguments: str) -> dict[str, Any]:
    if isinstance(item, Used):
        named = {"type": "function_call", "id": f"fc{index}", "call_id": f"c{index}", "name": item.tool}
        return {**named, "arguments": arguments, "status": "completed"}
    if item.thought:
        return {"type": "reasoning", "id": f"r{index}", "summary": [{"type": "summary_text", "text": item.text}]}
    return {"type": "message", "id": f"m{index}", "content": [{"type": "output_text", "text": item.text}]}


def _item_events(draw: Draw, whole: dict[str, Any], index: int) -> Iterator[dict[str, Any]]:
    place = {"item_id": whole["id"], "output_index": index}
    if draw(st.booleans()):  # else nothing but the whole item
        if "arguments" in whole:
            yield {"type": "response.output_item.added", **place, "item": {**whole, "arguments": ""}}
            kind, text = "function_call_arguments", whole["arguments"]
        elif "summary" in whole:
            kind, text = "reasoning_summary_text", whole["summary"][0]["text"]
        else:
            kind, text = "output_text", whole["content"][0]["text"]
        for piece in _cut(draw, text):
            yield {"type": f"response.{kind}.delta", **place, "delta": piece}
    yield {"type": "response.output_item.done", **place, "item": whole}


_RENDER: dict[str, Callable[[Draw, Answer], Iterator[dict[str, Any] | str]]] = {
    "openai_chat": _chat,
    "anthropic": _anthropic,
    "openai_responses": _responses,
}
