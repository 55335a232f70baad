"""Codecs know every event, and one module knows every word of what is stored."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, get_args

import pytest

from durable_streams.agents import events
from durable_streams.agents.codecs import AguiEvents, Identity, UiChunks, agui_names, chunk_names
from durable_streams.agents.codecs.ui_chunks import ending_of
from tests.serving import REPOSITORY

if TYPE_CHECKING:
    from types import ModuleType

    from durable_streams.agents.codecs import Codec

AGENTS = REPOSITORY / "durable_streams" / "agents"
SAMPLES: list[events.Event] = [
    events.StepStarted(),
    events.TextDelta("t", "a"),
    events.TextEnded("t"),
    events.ReasoningDelta("r", "a"),
    events.ReasoningEnded("r"),
    events.ToolInputDelta("c", "tool", "{"),
    events.ToolCalled("c", "tool", {}),
    events.ToolReturned("c", 1),
    events.ToolFailed("c", "no"),
    events.ToolRejected("d", "tool", "{", "not JSON"),
    events.Cited("s", "http://localhost/"),
    events.FileGiven("image/png", "https://localhost/"),
    events.Kept({"provider": {"signature": "s"}}),
    events.Custom("name", 1),
    events.Noted({"a": 1}),
    events.StepEnded(),
    events.Waiting((events.Pending("e", "approval", "tool"),)),
    events.Spent(events.Usage(1, 1)),
    events.Finished("stop"),
]


def test_the_samples_are_all_events() -> None:
    assert {type(event) for event in SAMPLES} == set(get_args(events.Event))


@pytest.mark.parametrize("codec", [UiChunks(), AguiEvents()], ids=lambda codec: type(codec).__name__)
def test_a_codec_knows_every_event(codec: Codec) -> None:
    codec.begin(Identity("m", "r", "t"))
    fed = [(type(event), codec.feed(event)) for event in SAMPLES]
    silent = {events.Finished, events.Spent, events.ToolFailed, events.Waiting}
    if isinstance(codec, AguiEvents):
        silent.add(events.Kept)  # which is nobody's but the provider's
    assert {kind for kind, chunks in fed if not chunks} == silent


@pytest.mark.parametrize("kind", get_args(events.PendingKind))
def test_a_call_that_somebody_is_waited_for_stays_open(kind: events.PendingKind) -> None:
    waits = events.Ending("finished", finish_reason="tool-calls", waiting=(events.Pending("c", kind, "tool"),))
    ui, agui = UiChunks(), AguiEvents()
    for event in (events.ToolCalled("c", "tool", {}), events.ToolCalled("d", "tool", {})):
        ui.feed(event)
        agui.feed(event)
    chunks = ui.end(waits)
    assert [c["toolCallId"] for c in chunks if "toolCallId" in c] == ["d"], "only what nobody answers is an error"
    assert ending_of([*chunks]) == waits
    told = agui.end(waits)
    assert [c["toolCallId"] for c in told if c["type"] == agui_names.TOOL_CALL_RESULT] == ["d"]
    asked = {"type": "interrupt", "interrupts": [{"id": "c", "reason": kind, "toolCallId": "c"}]}
    assert told[-1]["outcome"] == ({"type": "success", "pendingToolCallIds": ["c"]} if kind == "result" else asked)


def test_a_stop_ends_what_was_waited_for() -> None:
    codec = UiChunks()
    codec.feed(events.ToolCalled("c", "tool", {}))
    codec.feed(events.Waiting((events.Pending("c", "approval", "tool"),)))
    assert [c["toolCallId"] for c in codec.end(events.Ending("aborted")) if "toolCallId" in c] == ["c"]


@pytest.mark.slow
@pytest.mark.parametrize("owner", [chunk_names, agui_names], ids=lambda module: module.__name__.rpartition(".")[2])
def test_no_other_module_spells_the_words(owner: ModuleType) -> None:
    # A word that is also an ordinary one, such as `error`, is no sign of a chunk.
    words = {word for name in vars(owner) if isinstance(word := getattr(owner, name), str)}
    words = {word for word in words if ("-" in word or "_" in word) and not word.startswith(("_", "durable"))}
    spelled = {
        (path.name, node.value)
        for path in AGENTS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value in words and path.stem not in {"chunk_names", "agui_names"}
    }
    assert spelled == set()


@pytest.mark.parametrize("steps", [True, False], ids=["with steps", "without"])
def test_agui_has_calls_results_and_texts_in_the_order_in_which_they_came(*, steps: bool) -> None:
    codec = AguiEvents()
    chunks = codec.begin(Identity("m", "r", "t"))
    for event in (
        events.StepStarted(),
        events.TextDelta("a", "look"),
        events.ToolCalled("c1", "tool", {}),
        events.ToolReturned("c1", 1),
        events.StepEnded(),
        events.StepStarted(),
        events.ToolCalled("c2", "tool", {}),
        events.ToolCalled("c3", "tool", {}),
        events.ToolReturned("c2", 1),
        events.ToolReturned("c3", 1),
        events.StepEnded(),
        events.StepStarted(),
        events.TextDelta("b", "done"),
    ):
        if steps or not isinstance(event, events.StepStarted | events.StepEnded):
            chunks += codec.feed(event)
    said = [
        (chunk["type"], chunk.get("toolCallId"), chunk.get("parentMessageId") or chunk.get("messageId"))
        for chunk in chunks
        if chunk["type"] in {agui_names.TOOL_CALL_START, agui_names.TEXT_MESSAGE_START, agui_names.TOOL_CALL_RESULT}
    ]
    assert said == [
        (agui_names.TEXT_MESSAGE_START, None, "m"),
        (agui_names.TOOL_CALL_START, "c1", "m"),
        (agui_names.TOOL_CALL_RESULT, "c1", "m-c1"),
        (agui_names.TOOL_CALL_START, "c2", "m-1"),
        (agui_names.TOOL_CALL_START, "c3", "m-1"),
        (agui_names.TOOL_CALL_RESULT, "c2", "m-c2"),
        (agui_names.TOOL_CALL_RESULT, "c3", "m-c3"),
        (agui_names.TEXT_MESSAGE_START, None, "m-2"),
    ]
