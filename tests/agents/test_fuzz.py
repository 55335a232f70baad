"""Whatever a model's server sends, however split: no hang, one ending, its plain fold stored, no unrecorded run.

``make fuzz`` draws more than the slice that runs with the other tests.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable_streams.agents import Agent, Run, Tool, UiChunks, UpstreamError, write
from durable_streams.agents.codecs import Identity
from durable_streams.agents.events import Ending, Finished
from durable_streams.agents.plain import plain
from durable_streams.agents.runs.drive import drive
from durable_streams.agents.runs.intake import Intake
from durable_streams.agents.runs.scope import Scope
from durable_streams.agents.wires.decoders.base import BodyDecoder
from tests.agents.conftest import stored, text_of
from tests.agents.grammar import ERRORS, TOOLS, Answer, answers, broken, cut_off, paused, pieces
from tests.agents.grammar_forms import renderings
from tests.agents.test_wires import WIRE
from tests.agents.test_write import model
from tests.agents.upstream import Script
from tests.agents.wire_bytes import WIRES, Text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence

    from durable_streams.agents.codecs.base import Chunk
    from durable_streams.agents.events import Event
    from durable_streams.agents.runs.writer import StreamWriter
    from durable_streams.agents.wires.base import UIMessage
    from tests.agents.upstream import ScriptedUpstream

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
IDENTITY = Identity("msg-1", "run-1", "thread-1")
TERMINAL = {"finish", "error", "abort"}
LAST = {wire: [b"".join(render([Text("ok")]))] for wire, render in WIRES.items()}
STEPS_MAX = 4
REASON = {"openai_chat": b'"finish_reason', "anthropic": b'"stop_reason', "openai_responses": b'"response.completed'}
"""Begins what says that an answer is whole."""


class Memory:
    """A writer whose stream is a list, of which the first `durable_count` chunks are durable."""

    def __init__(self) -> None:
        self.codec = UiChunks()
        self.chunks: list[Chunk] = self.codec.begin(IDENTITY)
        self.durable_count = 0
        self._intake = Intake()

    def put(self, event: Event) -> None:
        for checked in self._intake.take(event):
            self.chunks += self.codec.feed(checked)

    def has_result(self, call_id: str) -> bool:
        return self._intake.has_result(call_id)

    async def room(self) -> None:
        await asyncio.sleep(0)

    async def flush(self) -> None:
        count = len(self.chunks)
        await asyncio.sleep(0)
        self.durable_count = max(count, self.durable_count)

    def end(self, ending: Ending) -> None:
        for rest in self._intake.finish():
            self.chunks += self.codec.feed(rest)
        self.chunks += self.codec.end(ending)


class Bytes:
    """A model that says bytes, one answer after the other; the last one stays."""

    def __init__(self, wire: str, said: Sequence[list[bytes]]) -> None:
        self._wire, self._said = wire, list(said)
        self.count = 0

    async def stream(
        self, messages: Sequence[UIMessage], tools: Sequence[Tool], *, prefix: str = ""
    ) -> AsyncGenerator[Event, None]:
        WIRE[self._wire].request("m", messages, tools)  # whatever came before can be told to the model
        decoder = BodyDecoder(WIRE[self._wire].decoder(prefix))
        for event in self._events(decoder):
            yield event

    def _events(self, decoder: BodyDecoder) -> Iterator[Event]:
        said = self._said[min(self.count, len(self._said) - 1)]
        self.count += 1
        for received in said:
            yield from decoder.feed(received)
            if decoder.done:
                break
        yield from decoder.finish()


class Ran:
    """Tools that note what they were run with, and what of it was not durable before."""

    def __init__(self, memory: Memory) -> None:
        self.runs: list[tuple[str, Mapping[str, Any]]] = []
        self.unrecorded: list[tuple[str, Mapping[str, Any]]] = []
        self._memory = memory

    def tools(self) -> list[Tool]:
        return [Tool(name, self._named(name)) for name in TOOLS]

    def _named(self, name: str) -> Any:  # noqa: ANN401 a tool's function
        async def run(given: Mapping[str, Any]) -> object:
            self.runs.append((name, given))
            durable = self._memory.chunks[: self._memory.durable_count]
            recorded = [c for c in durable if c["type"] == "tool-input-available"]
            same = [c for c in recorded if (c["toolName"], c["input"]) == (name, plain(given))]
            if len(same) < self.runs.count((name, given)):
                self.unrecorded.append((name, given))
            await asyncio.sleep(0)
            return given

        return run


def answered(wire: str, said: Sequence[list[bytes]]) -> tuple[Memory, Ran, Bytes]:
    """Let the agent answer with what the bytes say, and end as a run does."""
    memory = Memory()
    ran, source = Ran(memory), Bytes(wire, said)
    agent = Agent(source, ran.tools(), steps_max=STEPS_MAX)

    async def run() -> None:
        try:
            writer = cast("StreamWriter", memory)
            ending = await drive(agent, Run(IDENTITY, [], memory), writer=writer, scope=Scope())
        except UpstreamError as error:
            ending = Ending("failed", reason=str(error))
        memory.end(ending)

    asyncio.run(run())
    assert not ran.unrecorded
    assert [c["type"] for c in memory.chunks if c["type"] in TERMINAL] == [memory.chunks[-1]["type"]]
    return memory, ran, source


def reasoning_of(chunks: Sequence[Mapping[str, Any]]) -> str:
    return "".join(c["delta"] for c in chunks if c["type"] == "reasoning-delta")


def assert_calls_are_told_once(chunks: Sequence[Mapping[str, Any]]) -> None:
    for kinds in ({"tool-input-start"}, {"tool-input-available", "tool-input-error"}):
        ids = [c["toolCallId"] for c in chunks if c["type"] in kinds]
        assert len(ids) == len(set(ids))
    opened = {c["toolCallId"] for c in chunks if c["type"].startswith("tool-input")}
    returned = [c["toolCallId"] for c in chunks if c["type"].startswith(("tool-output", "tool-input-error"))]
    assert sorted(returned) == sorted(opened)


@dataclass
class Fold:
    """What a conversation amounts to: its answers, up to the first that calls nothing."""

    text: str = ""
    reasoning: str = ""
    runs: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    count: int = 0

    @classmethod
    def of(cls, said: Sequence[Answer]) -> Fold:
        fold = cls()
        for answer in said:
            fold.count += 1
            fold.text += answer.text(thought=False)
            fold.reasoning += answer.text(thought=True)
            fold.runs += answer.runs
            fold.rejected += answer.rejected
            if not answer.calls:
                return fold
        fold.text += "ok"
        fold.count += 1
        return fold


def assert_says(chunks: Sequence[Mapping[str, Any]], fold: Fold) -> None:
    assert text_of([dict(chunk) for chunk in chunks]) == fold.text
    assert reasoning_of(chunks) == fold.reasoning
    assert [c["toolName"] for c in chunks if c["type"] == "tool-input-error"] == fold.rejected
    assert (chunks[-1]["type"], chunks[-1]["finishReason"]) == ("finish", "stop")
    assert_calls_are_told_once(chunks)


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
@settings(max_examples=EXAMPLES)
@given(said=st.lists(answers, min_size=1, max_size=2), data=st.data())
def test_every_form_of_an_answer_means_the_same(wire: str, said: list[Answer], data: st.DataObject) -> None:
    sent = [data.draw(pieces(data.draw(renderings(wire, answer)))) for answer in said]
    memory, ran, source = answered(wire, [*sent, LAST[wire]])
    fold = Fold.of(said)
    assert_says(memory.chunks, fold)
    assert ran.runs == fold.runs
    assert source.count == fold.count


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
@settings(max_examples=EXAMPLES)
@given(answer=answers, data=st.data())
def test_half_an_answer_has_failed(wire: str, answer: Answer, data: st.DataObject) -> None:
    whole = data.draw(renderings(wire, answer))
    # Without its last byte a whole answer is none; of a stream, what comes before the reason is not enough.
    end = len(whole) - 1 if whole.startswith(b"{") else whole.rindex(REASON[wire])
    memory, ran, _ = answered(wire, [data.draw(pieces(whole[: data.draw(st.integers(0, end))]))])
    chunks = cast("list[dict[str, Any]]", memory.chunks)
    assert chunks[-1]["type"] == "error"
    assert answer.text(thought=False).startswith(text_of(chunks).rstrip("\ufffd"))
    assert answer.text(thought=True).startswith(reasoning_of(chunks).rstrip("\ufffd"))
    assert ran.runs == []
    assert_calls_are_told_once(chunks)


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
@settings(max_examples=EXAMPLES)
@given(answer=cut_off, data=st.data())
def test_an_answer_that_was_cut_off_says_so(wire: str, answer: Answer, data: st.DataObject) -> None:
    memory, _, source = answered(wire, [data.draw(pieces(data.draw(renderings(wire, answer))))])
    chunks = cast("list[dict[str, Any]]", memory.chunks)
    assert (text_of(chunks), reasoning_of(chunks)) == (answer.text(thought=False), answer.text(thought=True))
    assert chunks[-1]["finishReason"] == {"length": "length", "filtered": "content-filter"}[answer.end]
    assert source.count == 1


@pytest.mark.slow
@settings(max_examples=EXAMPLES)
@given(said=st.lists(paused, min_size=1, max_size=3), data=st.data())
def test_a_turn_that_is_paused_goes_on(said: list[Answer], data: st.DataObject) -> None:
    sent = [data.draw(pieces(data.draw(renderings("anthropic", answer)))) for answer in said]
    memory, _, source = answered("anthropic", [*sent, LAST["anthropic"]])
    chunks = cast("list[dict[str, Any]]", memory.chunks)
    assert text_of(chunks) == "".join(answer.text(thought=False) for answer in said) + "ok"
    assert (source.count, chunks[-1]["finishReason"]) == (len(said) + 1, "stop")


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
@settings(max_examples=EXAMPLES)
@given(answer=answers, data=st.data())
def test_an_error_in_the_middle_is_the_ending(wire: str, answer: Answer, data: st.DataObject) -> None:
    whole = data.draw(renderings(wire, answer))
    end = 0 if whole.startswith(b"{") else whole.rindex(REASON[wire])
    events = whole[:end].replace(b"\r\n", b"\n").split(b"\n\n")
    begun = b"".join(event + b"\n\n" for event in events[: data.draw(st.integers(0, len(events) - 1))])
    error, rest = data.draw(st.sampled_from(ERRORS)), data.draw(st.sampled_from([b"", whole]))
    memory, ran, _ = answered(wire, [data.draw(pieces(begun + error + rest))])
    assert memory.chunks[-1]["type"] == "error"
    assert memory.chunks[-1]["errorText"] == "bad day"
    assert ran.runs == []
    assert_calls_are_told_once(memory.chunks)


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
@settings(max_examples=EXAMPLES * 2)
@given(answer=answers, data=st.data())
def test_a_broken_answer_ends_once(wire: str, answer: Answer, data: st.DataObject) -> None:
    said = data.draw(pieces(data.draw(broken(data.draw(renderings(wire, answer))))))
    memory, ran, source = answered(wire, [said])
    chunks = cast("list[dict[str, Any]]", memory.chunks)
    assert source.count <= STEPS_MAX
    recorded = [(c["toolName"], c["input"]) for c in chunks if c["type"] == "tool-input-available"]
    assert len(ran.runs) <= len(recorded)
    assert_calls_are_told_once(chunks)
    if chunks[-1]["type"] == "finish" and source.count == 1:
        decoder = BodyDecoder(WIRE[wire].decoder(""))
        events = [event for piece in [b"".join(said)] for event in decoder.feed(piece)]
        assert [isinstance(event, Finished) for event in [*events, *decoder.finish()]].count(True) == 1


ASKED = [{"id": "u1", "role": "user", "parts": [{"type": "text", "text": "go on"}]}]


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
async def test_the_same_through_a_real_server(wire: str, root: str, upstream: ScriptedUpstream) -> None:
    """A few of the answers above, over HTTP on both sides."""
    drawn: list[tuple[Answer, list[bytes]]] = []

    @settings(max_examples=12, database=None)
    @given(answer=answers, data=st.data())
    def draw(answer: Answer, data: st.DataObject) -> None:
        drawn.append((answer, data.draw(pieces(data.draw(renderings(wire, answer))))))

    draw()
    ran: list[tuple[str, Mapping[str, Any]]] = []

    async def noted(name: str, given: Mapping[str, Any]) -> object:
        ran.append((name, given))
        return given

    tools = [Tool(name, partial(noted, name)) for name in TOOLS]
    source = model(upstream, wire, "m")
    for number, (answer, said) in enumerate(drawn):
        upstream.scripts["m"] = Script(raw=[said, LAST[wire]])
        ran.clear()
        await write(Agent(source, tools), to=f"{root}/{number}", messages=ASKED)
        fold = Fold.of([answer])
        assert_says(await stored(f"{root}/{number}"), fold)
        assert ran == fold.runs
    await source.aclose()
