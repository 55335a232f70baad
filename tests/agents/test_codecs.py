"""Codecs know every event, and one module knows every word of what is stored."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, get_args

import pytest

from durable_streams.agents import events
from durable_streams.agents.codecs import AguiEvents, Identity, UiChunks, agui_names, chunk_names
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
    events.Spent(events.Usage(1, 1)),
    events.Finished("stop"),
]


def test_the_samples_are_all_events() -> None:
    assert {type(event) for event in SAMPLES} == set(get_args(events.Event))


@pytest.mark.parametrize("codec", [UiChunks(), AguiEvents()], ids=lambda codec: type(codec).__name__)
def test_a_codec_knows_every_event(codec: Codec) -> None:
    codec.begin(Identity("m", "r", "t"))
    fed = [(type(event), codec.feed(event)) for event in SAMPLES]
    silent = {events.Finished, events.Spent, events.ToolFailed}
    if isinstance(codec, AguiEvents):
        silent.add(events.Kept)  # which is nobody's but the provider's
    assert {kind for kind, chunks in fed if not chunks} == silent


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
