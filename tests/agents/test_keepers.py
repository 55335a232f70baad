"""A keeper adds to what its decoder says, and changes nothing else of it, whatever a server sends."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.agents.errors import UpstreamError
from durable_streams.agents.events import Cited, FileGiven, Finished, Kept, ReasoningEnded, Spent
from durable_streams.agents.wires.anthropic import AnthropicWire
from durable_streams.agents.wires.decoders.anthropic import AnthropicDecoder
from durable_streams.agents.wires.decoders.openai_chat import OpenAIChatDecoder
from durable_streams.agents.wires.decoders.openai_responses import OpenAIResponsesDecoder
from durable_streams.agents.wires.openai_chat import OpenAIChatWire
from durable_streams.agents.wires.openai_responses import OpenAIResponsesWire

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.agents.wires.base import Wire
    from durable_streams.agents.wires.decoders.base import Decoder

pytestmark = pytest.mark.slow

BOTH: dict[str, tuple[Callable[[str], Decoder], Wire]] = {
    "openai_chat": (OpenAIChatDecoder, OpenAIChatWire()),
    "openai_responses": (OpenAIResponsesDecoder, OpenAIResponsesWire()),
    "anthropic": (AnthropicDecoder, AnthropicWire()),
}
UNREADABLE = (LookupError, TypeError, AttributeError, ValueError)
"""What the reader of a body takes for an event that cannot be read."""
NAMES = st.sampled_from(["thinking", "text", "redacted_thinking", "server_tool_use", "tool_use", "reasoning", "x"])
SCALARS = (
    st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["", "a", "c1", "{}", "data:image/png;base64,A"])
)


def objects(fields: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(fields.split()), values, max_size=5)


DETAIL = objects("type index text data signature url title url_citation image_url id usage", SCALARS)
LISTED = st.lists(DETAIL | SCALARS, max_size=2)
CALLS = st.lists(
    st.builds(
        lambda call, function: {**call, "function": function},
        objects("index id extra_content", SCALARS),
        objects("name arguments", SCALARS),
    ),
    max_size=2,
)
DELTA = st.builds(
    lambda plain, more, calls: plain | more | ({"tool_calls": calls} if calls else {}),
    objects("content role reasoning_content reasoning refusal extra_content", SCALARS),
    objects("reasoning_details images annotations", LISTED | SCALARS),
    CALLS,
)
CHUNK = st.builds(
    lambda name, delta, reason, more: {"choices": [{name: delta, **reason}], **more},
    st.sampled_from(["delta", "delta", "message"]),
    DELTA | SCALARS,
    objects("finish_reason usage index", SCALARS),
    objects("usage timings x_groq eval_count", DETAIL | SCALARS),
)
ITEM = st.builds(
    lambda kind, more: {"type": kind, **more},
    st.sampled_from(["reasoning", "message", "function_call", "web_search_call", "image_generation_call"]),
    objects("id call_id name arguments encrypted_content result summary content", SCALARS),
)
SAID = st.builds(
    lambda kind, item, more, output: {
        "type": f"response.{kind}",
        "item": item,
        "response": {"output": output, "usage": more},
        "delta": "a",
        **more,
    },
    st.sampled_from(["output_item.done", "output_item.added", "output_text.delta", "completed", "output_text.done"]),
    ITEM,
    objects("item_id output_index content_index", SCALARS),
    st.lists(ITEM, max_size=2),
)
BLOCK = st.builds(
    lambda kind, more: {"type": kind, **more}, NAMES, objects("text thinking id name data input", SCALARS)
)
BLOCKS = st.builds(
    lambda kind, index, block, delta: {
        "type": kind,
        "index": index,
        "content_block": block,
        "message": {"usage": {"input_tokens": 1}},
        "delta": delta,
    },
    st.sampled_from(
        ["content_block_start", "content_block_delta", "content_block_stop", "message_start", "message_stop"]
    ),
    st.integers(0, 1),
    BLOCK,
    st.builds(
        lambda kind, more: {"type": kind, **more},
        st.sampled_from(["text_delta", "thinking_delta", "signature_delta", "input_json_delta", "citations_delta"]),
        objects("text thinking signature partial_json citation stop_reason", SCALARS),
    ),
)
EVENTS = {"openai_chat": CHUNK, "openai_responses": SAID, "anthropic": BLOCKS}


def told(decoder: Decoder, events: list[dict[str, Any]]) -> list[object]:
    """Return what a decoder says, and how it ends."""
    said: list[object] = []
    try:
        for event in events:
            said += decoder.feed(event)
        said += decoder.finish()
    except UpstreamError as error:
        said.append(str(error))
    except UNREADABLE as error:
        said.append(type(error))
    return said


def bare(said: list[object]) -> list[object]:
    """Return what was said without what is kept of it."""
    beside = [one for one in said if not isinstance(one, Spent | Kept | FileGiven | Cited)]
    return [bared(one) for one in beside]


def bared(one: Any) -> object:  # noqa: ANN401 an event, or how it ended
    if isinstance(one, Finished):
        return replace(one, usage=None)
    return replace(one, metadata=None) if getattr(one, "metadata", None) is not None else one


@pytest.mark.parametrize("wire", ["openai_chat", "openai_responses"])
@given(data=st.data())
def test_whatever_comes_a_keeper_only_adds(wire: str, data: st.DataObject) -> None:
    events = data.draw(st.lists(EVENTS[wire], max_size=6))
    decoder, format_ = BOTH[wire]
    assert bare(told(format_.decoder("s-"), events)) == bare(told(decoder("s-"), events))


@given(st.lists(BLOCKS, max_size=8))
def test_whatever_blocks_come_a_keeper_only_adds(events: list[dict[str, Any]]) -> None:
    known = {"text", "thinking", "tool_use"}
    foreign: set[object] = set()
    understood = []
    for event in events:
        if event["type"] == "content_block_start":
            (foreign.discard if event["content_block"]["type"] in known else foreign.add)(event["index"])
        is_block = event["type"].startswith("content_block")
        if event["type"] == "content_block_delta" and event["delta"]["type"] in {"text_delta", "thinking_delta"}:
            understood.append(event)  # what is said is shown, whatever block it is in
        elif not is_block or event["index"] not in foreign:
            understood.append(event)
        elif event["type"] == "content_block_stop":
            foreign.discard(event["index"])
    kept = [one for one in told(AnthropicWire().decoder("s-"), events) if not is_redacted(one)]
    assert bare(kept) == bare(told(AnthropicDecoder("s-"), understood))


def is_redacted(one: object) -> bool:
    return isinstance(one, ReasoningEnded) and one.metadata is not None and "redacted" in one.metadata
