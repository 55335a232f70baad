"""Whatever a source or a tool gives, the run ends, the stream is closed, and the session goes on."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.agents import Agent, Run, Tool, ToolError, write
from durable_streams.agents.events import (
    Custom,
    Finished,
    Noted,
    ReasoningDelta,
    ReasoningEnded,
    TextDelta,
    TextEnded,
    ToolCalled,
    ToolInputDelta,
    ToolReturned,
)
from durable_streams.agents.fit import UnstorableError
from durable_streams.agents.plain import DEPTH_MAX, NoFormError, plain, whole
from durable_streams.agents.runs.intake import Intake
from tests.agents.conftest import ended, stored, text_of
from tests.agents.test_sessions import asking

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from durable_streams.agents.events import Event
    from durable_streams.agents.wires.base import UIMessage
    from tests.agents.conftest import Adapters

EMOJI = "\U0001f600"
HALVES = ("\ud83d", "\ude00")


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    names: dict[int, str]


class Modelled:
    def model_dump(self) -> dict[str, object]:
        return {"a": 2**70}


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ({2024: 3.5, True: 1, None: 2, 1.5: 3}, {"2024": 3.5, "true": 1, "null": 2, "1.5": 3}),
        (2**70, "1180591620717411303424"),
        (2**64 - 1, 2**64 - 1),
        (-(2**63), -(2**63)),
        (HALVES[0], "\ufffd"),
        ("".join(HALVES), EMOJI),
        ({HALVES[1]: [HALVES[0]]}, {"\ufffd": ["\ufffd"]}),
        (Point(1, {2: "b"}), {"x": 1, "names": {"2": "b"}}),
        (Modelled(), {"a": "1180591620717411303424"}),
        (b"\xff\x00", "/wA="),
        ((1, {2}), [1, [2]]),
        (Colour.RED, "red"),
        (dt.date(2024, 2, 29), "2024-02-29"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (PurePosixPath("/a"), "/a"),
        ({UUID(int=1): None}, {"00000000-0000-0000-0000-000000000001": None}),
    ],
)
def test_the_form_of(value: object, form: object) -> None:
    assert plain(value) == form


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [object(), {(1, 2): 3}, [Point], nested(DEPTH_MAX + 1)], ids=["object", "key", "class", "deep"]
)
def test_what_has_no_form(value: object) -> None:
    assert plain(nested(DEPTH_MAX))
    with pytest.raises(NoFormError):
        plain(value)


@pytest.mark.slow
@given(st.text(st.characters()), st.data())
def test_a_text_is_the_same_wherever_it_is_split(text: str, data: st.DataObject) -> None:
    units = text.encode("utf-16-le", "surrogatepass")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(units) // 2))))
    pieces = [
        units[2 * begin : 2 * end].decode("utf-16-le", "surrogatepass")
        for begin, end in zip([0, *cuts], [*cuts, len(units) // 2], strict=True)
    ]
    intake = Intake()
    taken = [event for piece in pieces for event in intake.take(TextDelta("t", piece))]
    taken += intake.finish()
    assert "".join(event.text for event in taken if isinstance(event, TextDelta)) == whole(text)


@pytest.mark.parametrize("kind", [TextDelta, ReasoningDelta])
def test_halves_of_different_parts_are_not_joined(kind: type[TextDelta | ReasoningDelta]) -> None:
    intake = Intake()
    said: list[Event] = [
        kind("a", "x" + HALVES[0]),
        kind("b", HALVES[1]),
        kind("a", HALVES[1] + "y"),
        kind("a", "z" + HALVES[0]),
        ToolCalled("a", "tool", {}),
    ]
    taken = [event for one in said for event in intake.take(one)]
    taken += intake.take(TextEnded("a") if kind is TextDelta else ReasoningEnded("a"))
    texts = [event.text if isinstance(event, TextDelta | ReasoningDelta) else type(event) for event in taken]
    assert texts == ["x", "\ufffd", EMOJI + "y", "z", ToolCalled, "\ufffd", type(taken[-1])]


@pytest.mark.parametrize(
    "event",
    [
        TextDelta("t", ["a"]),  # type: ignore[arg-type]
        TextDelta(None, "a"),  # type: ignore[arg-type]
        ReasoningDelta("t", b"a"),  # type: ignore[arg-type]
        ToolInputDelta("c", "t", {}),  # type: ignore[arg-type]
        ToolCalled("c", "t", object()),
        Custom("n", {(1, 2): 3}),
        Noted(7),  # type: ignore[arg-type]
        7,
        None,
    ],
)
async def test_what_is_refused_fails_the_run_and_closes_the_stream(root: str, event: Event) -> None:
    async def source() -> AsyncIterator[str | Event]:
        yield "half"
        yield event

    with pytest.raises(UnstorableError):
        await write(source(), to=f"{root}/s")
    chunks = await stored(f"{root}/s")
    assert (text_of(chunks), chunks[-1]["type"], chunks[-2]["messageMetadata"]["ending"]) == ("half", "error", "failed")


async def test_a_result_without_a_form_is_the_calls_failure(root: str) -> None:
    async def source() -> AsyncIterator[Event]:
        yield ToolCalled("c", "t", {2024: 2**70})
        yield ToolReturned("c", object())
        yield ToolCalled("d", "t", {})
        yield ToolReturned("d", {2024: "".join(HALVES)})
        yield Finished("stop")

    await write(source(), to=f"{root}/s")
    chunks = await stored(f"{root}/s")
    by_type = {chunk["type"]: chunk for chunk in chunks}
    assert chunks[1]["input"] == {"2024": "1180591620717411303424"}
    assert "type object" in by_type["tool-output-error"]["errorText"]
    assert by_type["tool-output-available"]["output"] == {"2024": EMOJI}
    assert chunks[-1]["type"] == "finish"


async def test_an_error_that_is_no_unicode_ends_the_run_all_the_same(root: str) -> None:
    async def source() -> AsyncIterator[str]:
        yield f"half{HALVES[0]}"
        raise ToolError(HALVES[1])

    with pytest.raises(ToolError, match=HALVES[1]):
        await write(source(), to=f"{root}/s")
    chunks = await stored(f"{root}/s")
    assert (text_of(chunks), chunks[-1]["type"], chunks[-1]["errorText"]) == ("half\ufffd", "error", "\ufffd")


Function: TypeAlias = "Callable[[Mapping[str, Any]], Awaitable[object]]"


class Caller:
    """A model that calls a tool once, then says what it was told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    async def stream(
        self, messages: Sequence[UIMessage], tools: Sequence[Tool], *, prefix: str = ""
    ) -> AsyncGenerator[Event, None]:
        del tools
        parts = messages[-1]["parts"]
        if parts[0]["type"] == "text":
            yield ToolCalled("c", "tool", {})
            yield Finished("tool-calls")
        else:
            self.told.append(parts[-1])
            yield TextDelta(f"{prefix}t", "done")
            yield Finished("stop")


async def returns_an_object(_given: Mapping[str, Any]) -> object:
    return object()


async def cancels_itself(_given: Mapping[str, Any]) -> object:
    raise asyncio.CancelledError


async def awaits_a_cancelled_task(_given: Mapping[str, Any]) -> object:
    task = asyncio.ensure_future(asyncio.Event().wait())
    task.cancel()
    return await task


@pytest.mark.parametrize(
    "failing",
    [
        (returns_an_object, "a value of type object cannot be written as JSON"),
        (cancels_itself, "the tool 'tool' cancelled itself"),
        (awaits_a_cancelled_task, "the tool 'tool' cancelled itself"),
    ],
)
async def test_a_tool_that_fails_oddly_is_told_to_the_model(
    adapters: Adapters, root: str, failing: tuple[Function, str]
) -> None:
    function, said = failing
    model = Caller()
    async with adapters(Agent(model, [Tool("tool", function)])) as adapter:
        asked = await adapter.ask("s1", asking())
        final = await ended(adapter, "s1", asked.attempt.id)
        assert final.status == "finished"
    assert [(part["state"], part["errorText"]) for part in model.told] == [("output-error", said)]
    chunks = await stored(f"{root}/{final.stream}")
    assert [chunk["errorText"] for chunk in chunks if chunk["type"] == "tool-output-error"] == [said]


async def test_a_source_that_cancels_itself_has_failed(adapters: Adapters) -> None:
    async def source(_run: Run) -> AsyncIterator[str]:
        yield "half"
        raise asyncio.CancelledError

    async with adapters(source) as adapter:
        asked = await adapter.ask("s1", asking())
        final = await ended(adapter, "s1", asked.attempt.id)
        assert (final.status, final.reason) == ("failed", "the source cancelled itself")


@pytest.mark.parametrize("event", [TextDelta("t", ["a"]), ToolCalled("c", "t", object())], ids=["delta", "input"])  # type: ignore[arg-type]
async def test_a_session_goes_on_after_what_was_refused(event: Event, adapters: Adapters) -> None:
    said: list[Event] = [event]

    async def source(_run: Run) -> AsyncIterator[str | Event]:
        yield said.pop() if said else "well"

    async with adapters(source) as adapter:
        first = await adapter.ask("s1", asking("u1"))
        assert (await ended(adapter, "s1", first.attempt.id)).status == "failed"
        second = await adapter.ask("s1", asking("u2"))
        assert (await ended(adapter, "s1", second.attempt.id)).status == "finished"
