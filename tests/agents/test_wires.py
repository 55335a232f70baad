"""How upstream bytes are split never shows; every format says the same; what is not whole is an error."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.agents.codecs import AguiEvents, Identity, UiChunks
from durable_streams.agents.errors import UpstreamCutError, UpstreamError
from durable_streams.agents.events import Ending, Finished, ToolCalled, ToolRejected
from durable_streams.agents.wires.anthropic import AnthropicWire
from durable_streams.agents.wires.decoders.base import BodyDecoder
from durable_streams.agents.wires.openai_chat import OpenAIChatWire
from durable_streams.agents.wires.openai_responses import OpenAIResponsesWire
from tests.agents.wire_bytes import WIRES, Said, Text, Thought, ToolUse

if TYPE_CHECKING:
    from durable_streams.agents.events import Event
    from durable_streams.agents.wires.base import Wire

WIRE: dict[str, Wire] = {
    "openai_chat": OpenAIChatWire(),
    "openai_responses": OpenAIResponsesWire(),
    "anthropic": AnthropicWire(),
}
IDENTITY = Identity("msg-1", "run-1", "thread-1")
SAID: list[Said] = [
    Thought("hmm ✓"),
    Text("Grüße"),
    Text(" 🦊 "),
    Text('"quoted"\r\n'),
    ToolUse("call-1", "weather", ('{"ci', 'ty":"Zür', 'ich 🏔"', "}")),
    ToolUse("call-2", "time", ()),
]


def events_of(wire: str, pieces: list[bytes]) -> list[Event]:
    decoder = BodyDecoder(WIRE[wire].decoder("s0-"))
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return [*events, *decoder.finish()]


def chunks_of(events: list[Event]) -> list[dict[str, Any]]:
    codec = UiChunks()
    chunks = [chunk for event in events for chunk in codec.feed(event)]
    return [*codec.begin(IDENTITY), *chunks, *codec.end(Ending("finished"))]


@pytest.mark.parametrize("wire", WIRES)
@given(cuts=st.lists(st.integers(min_value=0, max_value=6000), max_size=60))
def test_any_split_of_the_bytes_gives_the_same_chunks(wire: str, cuts: list[int]) -> None:
    whole = b"".join(WIRES[wire](SAID))
    places = [0, *sorted(cut % len(whole) for cut in cuts), len(whole)]
    pieces = [whole[start:end] for start, end in pairwise(places)]
    assert chunks_of(events_of(wire, pieces)) == chunks_of(events_of(wire, [whole]))


@pytest.mark.parametrize("wire", WIRES)
def test_one_byte_at_a_time_gives_the_same_chunks(wire: str) -> None:
    whole = b"".join(WIRES[wire](SAID))
    assert chunks_of(events_of(wire, [bytes([byte]) for byte in whole])) == chunks_of(events_of(wire, [whole]))


@pytest.mark.parametrize("wire", WIRES)
def test_each_format_says_the_same(wire: str) -> None:
    chunks = chunks_of(events_of(wire, WIRES[wire](SAID)))
    assert "".join(c["delta"] for c in chunks if c["type"] == "text-delta") == 'Grüße 🦊 "quoted"\r\n'
    assert "".join(c["delta"] for c in chunks if c["type"] == "reasoning-delta") == "hmm ✓"
    calls = [c for c in chunks if c["type"] == "tool-input-available"]
    assert [(c["toolCallId"], c["toolName"], c["input"]) for c in calls] == [
        ("call-1", "weather", {"city": "Zürich 🏔"}),
        ("call-2", "time", {}),
    ]
    finished = events_of(wire, WIRES[wire](SAID))[-1]
    assert isinstance(finished, Finished)
    assert finished.reason == "tool-calls"
    assert finished.usage is not None
    assert (finished.usage.input_count, finished.usage.output_count) == (3, 7)


@pytest.mark.parametrize("wire", WIRES)
@given(cut=st.integers(min_value=0, max_value=6000))
def test_a_stream_cut_before_its_end_is_no_answer(wire: str, cut: int) -> None:
    events = WIRES[wire]([Text("one"), Text("two")])
    # What ends an answer comes after the last text; everything before it leaves the answer open.
    body = b"".join(events[: {"openai_chat": 3, "openai_responses": 6, "anthropic": 6}[wire]])
    with pytest.raises(UpstreamCutError):
        events_of(wire, [body[: cut % (len(body) + 1)]])


@pytest.mark.parametrize(
    ("wire", "event"),
    [
        ("openai_chat", b'data: {"error":{"message":"boom"}}\n\n'),
        ("openai_responses", b'data: {"type":"error","message":"boom","code":null,"sequence_number":0}\n\n'),
        ("openai_responses", b'data: {"type":"response.failed","response":{"error":{"message":"boom"}}}\n\n'),
        ("anthropic", b'data: {"type":"error","error":{"type":"overloaded_error","message":"boom"}}\n\n'),
    ],
)
def test_an_error_event_is_an_error(wire: str, event: bytes) -> None:
    with pytest.raises(UpstreamError, match="boom"):
        events_of(wire, [event])


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("body", [b"data: nonsense\n\n", b"data: [1]\n\n"])
def test_what_is_not_an_object_is_an_error(wire: str, body: bytes) -> None:
    with pytest.raises(UpstreamError, match="not"):
        events_of(wire, [body])


@pytest.mark.parametrize("wire", WIRES)
def test_a_call_whose_input_is_not_json_is_rejected_not_run(wire: str) -> None:
    events = events_of(wire, WIRES[wire]([ToolUse("c", "t", ('{"a":',))]))
    assert [event.call_id for event in events if isinstance(event, ToolRejected)] == ["c"]
    assert not [event for event in events if isinstance(event, ToolCalled)]


def test_fragments_of_two_calls_may_be_interleaved() -> None:
    def chunk(calls: str, reason: str = "null") -> bytes:
        return b'data: {"choices":[{"delta":{"tool_calls":[%s]},"finish_reason":%s}]}\n\n' % (
            calls.encode(),
            reason.encode(),
        )

    body = [
        chunk('{"index":0,"id":"a","function":{"name":"f","arguments":"{\\"x\\""}}'),
        chunk('{"index":1,"id":"b","function":{"name":"g","arguments":"{\\"y\\":"}}'),
        chunk('{"index":0,"function":{"arguments":":1}"}},{"index":1,"function":{"arguments":"2}"}}'),
        b'data: {"choices":[{"delta":{},"finish_reason":"tool_calls"}]}\n\n',
    ]
    calls = [event for event in events_of("openai_chat", body) if isinstance(event, ToolCalled)]
    assert calls == [ToolCalled("a", "f", {"x": 1}), ToolCalled("b", "g", {"y": 2})]


def test_an_event_seen_twice_says_nothing_the_second_time() -> None:
    events = WIRES["openai_responses"]([Text("once")])
    doubled = [piece for event in events for piece in (event, event)]
    assert events_of("openai_responses", doubled) == events_of("openai_responses", events)


HISTORY: list[dict[str, Any]] = [
    {"id": "s", "role": "system", "parts": [{"type": "text", "text": "Be brief."}]},
    {"id": "u", "role": "user", "parts": [{"type": "text", "text": "Weather?"}]},
    {
        "id": "a",
        "role": "assistant",
        "parts": [
            {"type": "step-start"},
            {"type": "text", "text": "Looking."},
            {
                "type": "tool-weather",
                "toolCallId": "c1",
                "state": "output-available",
                "input": {"city": "Bonn"},
                "output": {"t": 3},
            },
            {"type": "tool-weather", "toolCallId": "c2", "state": "input-available", "input": {"city": "Köln"}},
            {"type": "tool-weather", "toolCallId": "c3", "state": "input-streaming", "input": None},
            {"type": "step-start"},
            {"type": "text", "text": "3 degrees."},
        ],
    },
    {"id": "v", "role": "user", "parts": [{"type": "text", "text": "Thanks."}]},
]


def test_every_call_in_a_history_has_a_result() -> None:
    chat = OpenAIChatWire().request("m", HISTORY, ())["messages"]
    assert [message["role"] for message in chat] == ["system", "user", "assistant", "tool", "tool", "assistant", "user"]
    assert [call["id"] for call in chat[2]["tool_calls"]] == ["c1", "c2"]
    assert chat[3]["content"] == '{"t":3}'
    assert "unknown" in chat[4]["content"]
    items = OpenAIResponsesWire().request("m", HISTORY, ())["input"]
    assert [item["call_id"] for item in items if item.get("type") == "function_call"] == ["c1", "c2"]
    assert [item["call_id"] for item in items if item.get("type") == "function_call_output"] == ["c1", "c2"]
    body = AnthropicWire().request("m", HISTORY, ())
    assert body["system"] == "Be brief."
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user", "assistant", "user"]
    assert [block["type"] for block in body["messages"][2]["content"]] == ["tool_result", "tool_result"]


def test_neighbours_of_one_role_become_one_message_for_anthropic() -> None:
    users = [{"id": str(n), "role": "user", "parts": [{"type": "text", "text": str(n)}]} for n in range(2)]
    assert [len(m["content"]) for m in AnthropicWire().request("m", users, ())["messages"]] == [2]


def test_agui_says_the_same_as_ui_chunks() -> None:
    events = events_of("anthropic", WIRES["anthropic"](SAID))
    codec = AguiEvents()
    said = [*codec.begin(IDENTITY), *(chunk for event in events for chunk in codec.feed(event))]
    said += codec.end(Ending("aborted", by="eve"))
    text = "".join(str(c["delta"]) for c in said if c["type"] == "TEXT_MESSAGE_CONTENT")
    assert text == 'Grüße 🦊 "quoted"\r\n'
    assert [c["toolCallName"] for c in said if c["type"] == "TOOL_CALL_START"] == ["weather", "time"]
    assert [c["content"] for c in said if c["type"] == "TOOL_CALL_RESULT"] == ["interrupted", "interrupted"]
    assert said[-1]["outcome"] == {"type": "cancelled"}
    assert [c["type"] for c in said].count("RUN_FINISHED") == 1
