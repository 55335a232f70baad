"""What people hand to `write` works, or they are told what to change before anything is written."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from durable_streams.agents import AlreadyWrittenError, RawText, UnusableError, UpstreamCutError, write
from durable_streams.agents.events import TextDelta, TextEnded
from durable_streams.agents.runs.asked import asked
from durable_streams.agents.sources.http import HttpModel, Upstream
from durable_streams.agents.sources.threaded import from_thread
from durable_streams.client import AsyncDurableStream, StreamNotFoundError
from tests.agents.conftest import stored, text_of
from tests.agents.test_wires import WIRE
from tests.agents.upstream import Script, ScriptedUpstream
from tests.agents.wire_bytes import WIRES, Text, Thought, ToolUse
from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from durable_streams.agents import Run


async def lines() -> AsyncIterator[str]:
    yield "one "
    yield "two"


def blocking_lines() -> Iterator[str]:
    yield "one "
    yield "two"


def of_run(run: Run) -> Iterator[str]:
    yield "one "
    yield "two" if run.messages else "three"


async def whole() -> str:
    return "one two"


async def made() -> AsyncIterator[str]:
    return lines()


@asynccontextmanager
async def opened() -> AsyncIterator[Any]:
    yield lines()


GIVEN: dict[str, Callable[[], Any]] = {
    "text": lambda: "one two",
    "a list of text": lambda: ["one ", "two"],
    "a tuple of events": lambda: (TextDelta("t", "one "), TextDelta("t", "two"), TextEnded("t")),
    "a generator": blocking_lines,
    "an iterator": lambda: iter(["one ", "two"]),
    "a map": lambda: map(str, ["one ", "two"]),
    "an asynchronous generator": lines,
    "a generator function": lambda: blocking_lines,
    "an asynchronous generator function": lambda: lines,
    "a generator function of the run": lambda: of_run,
    "a function that returns a list": lambda: lambda: ["one ", "two"],
    "a function that returns text": lambda: lambda _run: "one two",
    "a coroutine that returns text": whole,
    "a coroutine that returns a generator": made,
    "a context": opened,
}


@pytest.mark.parametrize("kind", GIVEN)
async def test_what_people_try_works(root: str, kind: str) -> None:
    await write(GIVEN[kind](), to=f"{root}/s", messages="hi")
    chunks = await stored(f"{root}/s")
    assert text_of(chunks) == "one two"
    assert [c["type"] for c in chunks][-2:] == ["text-end", "finish"]


def said_by(wire: str, *said: Any) -> list[Any]:  # noqa: ANN401 items of a script
    """What a vendor's stream says, as objects of JSON."""
    texts = [event.partition(b"data: ")[2].strip() for event in WIRES[wire](said)]
    return [orjson.loads(text) for text in texts if text != b"[DONE]"]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("kind", ["list", "generator"])
async def test_a_vendors_events_are_read_by_their_form(root: str, wire: str, kind: str) -> None:
    said = said_by(wire, Thought("hm"), Text("one "), Text("two"))

    async def again() -> AsyncIterator[object]:
        for event in said:
            yield event

    await write(said if kind == "list" else again(), to=f"{root}/s")
    chunks = await stored(f"{root}/s")
    assert text_of(chunks) == "one two"
    assert chunks[-1]["finishReason"] == "stop"
    assert chunks[-1]["messageMetadata"]["usage"] == {"inputTokens": 3, "outputTokens": 7}


@pytest.mark.parametrize("wire", WIRES)
async def test_calls_of_a_vendors_stream_wait_for_whoever_runs_them(root: str, wire: str) -> None:
    written = await write(said_by(wire, ToolUse("c1", "weather", ('{"city":', '"Oslo"}'))), to=f"{root}/s")
    chunks = await stored(f"{root}/s")
    assert [c["input"] for c in chunks if c["type"] == "tool-input-available"] == [{"city": "Oslo"}]
    assert [c for c in chunks if c["type"].startswith("tool-output")] == []
    assert chunks[-1]["finishReason"] == "tool-calls"
    assert chunks[-1]["messageMetadata"]["waiting"] == [{"id": "c1", "kind": "result", "tool": "weather"}]
    assert [one.call_id for one in written.ending.waiting] == ["c1"]


@pytest.mark.parametrize("wire", WIRES)
async def test_a_vendors_stream_that_was_cut_is_no_answer(root: str, wire: str) -> None:
    said = said_by(wire, Text("one "), Text("two"))
    with pytest.raises(UpstreamCutError):
        await write(said[: {"openai_chat": 3, "openai_responses": -1, "anthropic": -2}[wire]], to=f"{root}/s")
    assert (await stored(f"{root}/s"))[-1]["type"] == "error"


ASKED: dict[str, Any] = {
    "text": "hi",
    "a message": {"role": "user", "content": "hi"},
    "messages": [{"role": "user", "content": "hi"}],
    "OpenAI's parts": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    "Responses' parts": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
    "a list of text": [{"role": "user", "content": ["hi"]}],
    "LangChain's roles": [{"type": "human", "content": "hi"}],
    "Gemini's parts": [{"role": "user", "parts": [{"text": "hi"}]}],
    "UI messages": [{"id": "u1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}],
    "UI messages without ids": [{"role": "user", "parts": [{"type": "text", "text": "hi"}]}],
}


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("form", ASKED)
async def test_a_model_hears_what_was_asked(  # noqa: PLR0917 fixtures and parameters
    root: str, upstream: ScriptedUpstream, wire: str, form: str
) -> None:
    """Without `Agent`, too."""
    upstream.scripts["hi"] = Script([Text("hello")])
    base_url = upstream.base_url + ("" if wire == "anthropic" else "/v1")
    model = HttpModel(Upstream(base_url, "m"), WIRE[wire])
    await write(model, to=f"{root}/s", messages=ASKED[form])
    await model.aclose()
    assert text_of(await stored(f"{root}/s")) == "hello"


OPENAI_HISTORY: list[Any] = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    {"role": "assistant", "content": "Sunny."},
]
ANTHROPIC_HISTORY: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
    {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Oslo"}}],
    },
    {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "sunny"}]}],
    },
    {"role": "assistant", "content": [{"type": "text", "text": "Sunny."}]},
]


@pytest.mark.parametrize("history", [OPENAI_HISTORY, ANTHROPIC_HISTORY], ids=["openai", "anthropic"])
def test_calls_in_a_history_are_joined_to_their_results(history: list[Any]) -> None:
    messages = asked(history)
    assert [(message["role"], message["parts"]) for message in messages] == [
        ("system", [{"type": "text", "text": "Be brief."}]),
        ("user", [{"type": "text", "text": "Weather?"}]),
        (
            "assistant",
            [
                {
                    "type": "tool-weather",
                    "toolCallId": "c1",
                    "state": "output-available",
                    "input": {"city": "Oslo"},
                    "output": "sunny",
                }
            ],
        ),
        ("assistant", [{"type": "text", "text": "Sunny."}]),
    ]
    assert len({message["id"] for message in messages}) == 4


@pytest.mark.parametrize(
    ("part", "file"),
    [
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}, "image/png"),
        ({"type": "input_image", "image_url": "https://example.com/a.png"}, "image/*"),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "AA=="}}, "image/gif"),
        ({"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}, "application/pdf"),
        ({"type": "input_audio", "input_audio": {"format": "mp3", "data": "AA=="}}, "audio/mpeg"),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,AA=="}}, "application/pdf"),
    ],
)
def test_files_of_a_prompt_are_parts_of_it(part: dict[str, Any], file: str) -> None:
    [message] = asked([{"role": "user", "content": [{"type": "text", "text": "See"}, part]}])
    assert [one["type"] for one in message["parts"]] == ["text", "file"]
    assert message["parts"][1]["mediaType"] == file


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        (7, "list of messages"),
        (["hi"], r"messages\[0\] .*role and a content"),
        ([{"content": "hi"}], r"messages\[0\] .*role is None"),
        ([{"role": "robot", "content": "hi"}], "role is 'robot'"),
        ([{"role": "user", "content": 7}], r"content is a value of type int"),
        ([{"role": "user", "content": [{"type": "hologram"}]}], "'hologram' is not known"),
        ([{"role": "user", "content": [{"type": "file", "file": {"file_id": "f1"}}]}], "send its bytes"),
        ([{"role": "tool", "tool_call_id": "c9", "content": "x"}], "'c9' that no message"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], r"messages\[0\] cannot be read"),
    ],
)
async def test_a_history_that_cannot_be_read_is_refused(root: str, messages: Any, told: str) -> None:  # noqa: ANN401 on purpose
    with pytest.raises(UnusableError, match=told):
        await write(lines(), to=f"{root}/s", messages=messages)
    with pytest.raises(StreamNotFoundError):
        await stored(f"{root}/s")


def spent() -> Iterator[str]:
    generator = blocking_lines()
    list(generator)
    return generator


def returning(value: object) -> Callable[[], object]:
    async def answer() -> object:
        return value

    return answer


def of_two(_one: object, _two: object) -> list[str]:
    return []


UNUSABLE: dict[str, tuple[Callable[[], Any], str]] = {
    "nothing": (lambda: None, "does the function that makes it return it"),
    "bytes": (lambda: b"hi", "decode them"),
    "a number": (lambda: 7, "a value of type int is no source: it can be text, a list"),
    "an object": (lambda: {"a": 1}, "an object"),
    "a message": (lambda: {"role": "user", "content": "hi"}, "messages=.*a model as the source"),
    "a history": (lambda: [{"role": "user", "content": "hi"}], "messages=.*a model as the source"),
    "a list of numbers": (lambda: ["a", 1], "item 1 of the list is neither text nor an event: a value of type int"),
    "a class": (lambda: HttpModel, "the class HttpModel is no source"),
    "a coroutine function": (lambda: whole, "'whole' was not called: write\\(whole\\(…\\), …\\)"),
    "a function of too much": (lambda: of_two, "'of_two' needs more than the run"),
    "a generator that was read": (spent, "has been read already, a value of type generator"),
    "a stream to write to": (lambda: AsyncDurableStream("http://127.0.0.1/v1/stream/s"), "hand it in as to="),
    "a coroutine that returns nothing": (returning(None), "the source is None"),
    "a coroutine that returns a number": (returning(7), "a value of type int is no source"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
async def test_what_is_no_source_is_refused_before_anything_is_written(root: str, kind: str) -> None:
    make, told = UNUSABLE[kind]
    with pytest.raises(UnusableError, match=told):
        await write(make(), to=f"{root}/s")
    with pytest.raises(StreamNotFoundError):
        await stored(f"{root}/s")


async def test_what_was_read_or_awaited_already_is_refused(root: str) -> None:
    generator, coroutine = lines(), whole()
    assert [line async for line in generator] == ["one ", "two"]
    await coroutine
    with pytest.raises(UnusableError, match="has been read already, a value of type async_generator"):
        await write(generator, to=f"{root}/s")
    with pytest.raises(UnusableError, match="'whole' has been awaited already"):
        await write(coroutine, to=f"{root}/s")


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("127.0.0.1:4437/v1/stream/s", "http://127.0.0.1:4437/v1/stream/s, not"),
        ("localhost:4437/v1/stream/s", "http://localhost:4437/v1/stream/s, not"),
        ("//example.com/v1/stream/s", "http://example.com/v1/stream/s, not"),
        ("answer-1", "whole URL, with its scheme"),
        ("/v1/stream/s", "whole URL, with its scheme"),
        ("ws://127.0.0.1:4437/v1/stream/s", "whole URL, with its scheme"),
        ("http://127.0.0.1:4437", "names a server and no stream"),
        (None, "the URL of a stream"),
        (PurePath("/tmp/s"), "whole URL, with its scheme"),  # noqa: S108 a path that is no URL
    ],
)
async def test_an_address_that_is_none_is_refused(to: Any, told: str) -> None:  # noqa: ANN401 on purpose
    with pytest.raises(UnusableError, match=told):
        await write("hi", to=to)


async def test_a_model_that_is_asked_nothing_or_what_it_cannot_take_is_not_asked(root: str) -> None:
    model = HttpModel(Upstream("http://127.0.0.1:1/v1", "m"), WIRE["openai_chat"])
    film = {"type": "file", "mediaType": "video/mp4", "url": "data:video/mp4;base64,AA=="}
    broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,%%"}}
    for messages, told in (
        ([], "the model is asked nothing: hand in messages="),
        ([{"role": "system", "content": "Be brief."}], "the model is asked nothing"),
        ([{"role": "user", "content": " "}], "the message says nothing"),
        ([{"role": "user", "parts": [film]}], "video/mp4.* cannot be sent to this model"),
        ([{"role": "user", "content": [broken]}], r"messages\[0\] cannot be used: a file's data is not base64"),
    ):
        with pytest.raises(UnusableError, match=told):
            await write(model, to=f"{root}/s", messages=messages)
    with pytest.raises(StreamNotFoundError):
        await stored(f"{root}/s")


async def test_a_codecs_class_is_told_from_a_codec(root: str) -> None:
    with pytest.raises(UnusableError, match=r"codec=RawText\(\)"):
        await write("hi", to=f"{root}/s", codec=RawText)  # type: ignore[arg-type] # on purpose


async def test_a_stream_that_is_closed_is_left_alone_and_the_source_closed(root: str) -> None:
    await write("first", to=f"{root}/s")
    before = await stored(f"{root}/s")
    generator = lines()
    assert await anext(generator) == "one "
    with pytest.raises(AlreadyWrittenError):
        await write(generator, to=f"{root}/s")
    assert [line async for line in generator] == [], "closed, so that its upstream is released"
    assert await stored(f"{root}/s") == before


async def test_a_stream_of_another_content_type_is_left_alone(root: str) -> None:
    async with AsyncDurableStream(f"{root}/s", content_type="text/plain") as stream:
        await stream.create_stream()
        with pytest.raises(UnusableError, match="holds text/plain, and UiChunks writes application/json"):
            await write("hi", to=stream)
        assert (await stream.head()).offset == "0" * 16


async def test_a_call_that_is_cancelled_while_the_stream_is_made_has_an_ending(root: str) -> None:
    """A reader of a stream that is open and empty would wait for ever."""
    held, go = asyncio.Event(), asyncio.Event()

    async def hold() -> str:
        held.set()
        await go.wait()
        return ""

    async with AsyncDurableStream(f"{root}/s", headers={"x-held": hold}) as stream:
        task = asyncio.create_task(write(lines(), to=stream))
        await asyncio.wait_for(held.wait(), HANG_S)
        task.cancel()
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [c["type"] for c in await stored(f"{root}/s")][-1] == "abort"


async def test_a_generator_that_blocks_holds_nobody_up_and_is_closed(root: str) -> None:
    said, go, closed = asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def blocking() -> Iterator[str]:
        try:
            yield "one"
            loop.call_soon_threadsafe(said.set)
            go.wait(HANG_S)
            yield "two"
        finally:
            closed.set()

    task = asyncio.create_task(write(blocking(), to=f"{root}/s"))
    await asyncio.wait_for(said.wait(), HANG_S)
    await write("meanwhile", to=f"{root}/t")  # while the generator blocks
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not closed.is_set(), "nobody waits for it"
    go.set()
    assert await asyncio.to_thread(closed.wait, HANG_S)
    assert text_of(await stored(f"{root}/s")) == "one"


async def test_what_a_blocking_generator_raises_is_recorded_and_raised(root: str) -> None:
    def failing() -> Iterator[str]:
        yield "half"
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await write(failing(), to=f"{root}/s")
    chunks = await stored(f"{root}/s")
    assert text_of(chunks) == "half"
    assert chunks[-1]["type"] == "error"


async def test_a_blocking_generator_is_not_read_ahead_of_a_slow_reader(root: str) -> None:
    """The thread waits until there is room, so that what nobody wants is not made."""
    made: list[int] = []

    def counted() -> Iterator[str]:
        for number in range(10_000):
            made.append(number)
            yield "x"

    async def first(run: Run) -> AsyncIterator[str]:
        generator = from_thread(counted())
        yield await anext(generator)
        await run.durable()
        await generator.aclose()

    await write(first, to=f"{root}/s")
    assert len(made) < 100
