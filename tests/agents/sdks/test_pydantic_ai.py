"""pydantic-ai's own examples: what it does is shown as it took it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from durable_streams.agents.events import Ending
from durable_streams.agents.sources.pydantic_ai import PydanticAI
from tests.agents.conftest import ended, stored
from tests.agents.sdks import SDK, answer, calls, errors, results, steps, texts, waiting
from tests.agents.test_sessions import asking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.agents.conftest import Adapters

ai = pytest.importorskip("pydantic_ai")
messages = pytest.importorskip("pydantic_ai.messages")
functions = pytest.importorskip("pydantic_ai.models.function")
models = pytest.importorskip("pydantic_ai.models")
pydantic = pytest.importorskip("pydantic")
testing = pytest.importorskip("pydantic_ai.models.test")

pytestmark = SDK

TestModel: Any = testing.TestModel
BaseModel: Any = pydantic.BaseModel


class Scripted(TestModel):  # type: ignore[misc] # of a package that may be absent
    """Gives whole answers, one after the other, as the package streams them."""

    def __init__(self, *answers: list[Any]) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked: list[list[Any]] = []

    @asynccontextmanager
    async def request_stream(self, history: list[Any], *given: object, **_options: object) -> AsyncIterator[Any]:
        self.asked.append(history)
        response = messages.ModelResponse(parts=self.answers.pop(0), model_name="m")
        yield models.CompletedStreamedResponse(response, model_request_parameters=given[1], replay_events=True)


def called(tool: str, given: object, call_id: str = "c1") -> Any:  # noqa: ANN401 as above
    return messages.ToolCallPart(tool, given, call_id)


def said(text: str) -> Any:  # noqa: ANN401 as above
    return messages.TextPart(text)


class City(BaseModel):  # type: ignore[misc] # as above
    city: str
    country: str


City.model_rebuild(_types_namespace={"str": str})


async def test_a_structured_output_is_no_error(root: str) -> None:
    """The tool that carries it is a call of the model's that has succeeded, and the value is told besides."""
    model = Scripted([called("final_result", {"city": "London", "country": "UK"})])
    chunks = await answer(root, PydanticAI(ai.Agent(model, output_type=City)))
    assert errors(chunks) == []
    assert calls(chunks) == [("final_result", {"city": "London", "country": "UK"})]
    assert len(results(chunks)) == 1
    assert [c["data"] for c in chunks if c["type"] == "data-output"] == [{"city": "London", "country": "UK"}]
    assert (chunks[-1]["type"], chunks[-1]["finishReason"], waiting(chunks)) == ("finish", "stop", [])


async def test_a_structured_output_beside_a_tool_that_is_skipped(root: str) -> None:
    """The package does not run it, as the answer is there; it says so and that is no error."""
    model = Scripted([called("final_result", {"city": "A", "country": "B"}), called("look", {}, "c2")])
    agent = ai.Agent(model, output_type=City, end_strategy="early")
    ran: list[int] = []
    agent.tool_plain(lambda: ran.append(1), name="look")
    chunks = await answer(root, PydanticAI(agent))
    assert (errors(chunks), ran) == ([], [])
    assert len(results(chunks)) == 2
    assert chunks[-1]["finishReason"] == "stop"


async def test_an_output_that_has_to_be_made_again(root: str) -> None:
    """Its first try is an error of the call, with what was wrong; the second has succeeded, and so has the run."""
    model = Scripted(
        [called("final_result", {"city": "London"})],
        [called("final_result", {"city": "London", "country": "UK"}, "c2")],
    )
    chunks = await answer(root, PydanticAI(ai.Agent(model, output_type=City)))
    [told] = errors(chunks)
    assert "country" in told
    assert [c["toolCallId"] for c in chunks if c["type"] == "tool-input-error"] == ["c1"], "it did not run"
    assert len(results(chunks)) == 1
    assert steps(chunks) == 2
    assert chunks[-1]["type"] == "finish"


async def test_a_text_that_a_validator_refuses_is_followed_by_another(root: str) -> None:
    model = Scripted([said("I cannot.")], [said("I can.")])
    agent = ai.Agent(model)

    def be_helpful(text: str) -> str:
        if "cannot" in text:
            raise ai.ModelRetry("be helpful")
        return text

    agent.output_validator(be_helpful)
    chunks = await answer(root, PydanticAI(agent))
    assert (texts(chunks), errors(chunks), steps(chunks)) == (["I cannot.", "I can."], [], 2)
    assert chunks[-1]["type"] == "finish"


async def test_a_tool_that_asks_for_another_try(root: str) -> None:
    model = Scripted([called("find", {"name": "Bob"})], [called("find", {"name": "Bob Smith"}, "c2")], [said("Found.")])
    agent = ai.Agent(model)

    def find(name: str) -> int:
        if " " not in name:
            raise ai.ModelRetry("give the whole name")
        return 7

    find.__annotations__ = {"name": str, "return": int}
    agent.tool_plain(retries=2)(find)
    chunks = await answer(root, PydanticAI(agent))
    assert (errors(chunks), results(chunks), texts(chunks)) == (["give the whole name"], [7], ["Found."])
    assert [call["toolCallId"] for call in chunks if call["type"] == "tool-output-error"] == ["c1"]
    assert steps(chunks) == 3


async def test_a_call_whose_input_is_not_valid_has_not_run(root: str) -> None:
    model = Scripted([called("double", {"n": "many"})], [called("double", {"n": 2}, "c2")], [said("4")])
    agent = ai.Agent(model)
    ran: list[int] = []

    def double(n: int) -> int:
        ran.append(n)
        return n * 2

    double.__annotations__ = {"n": int, "return": int}
    agent.tool_plain(double)
    chunks = await answer(root, PydanticAI(agent))
    assert (ran, results(chunks), len(errors(chunks))) == ([2], [4], 1)
    assert [c["toolCallId"] for c in chunks if c["type"] == "tool-input-error"] == ["c1"]
    assert calls(chunks) == [("double", {"n": 2})]


async def test_an_approval_is_waited_for(root: str) -> None:
    model = Scripted([said("One moment."), called("delete", {"path": ".env"}), called("look", {}, "c2")])
    agent = ai.Agent(model, output_type=[str, ai.DeferredToolRequests])
    ran: list[str] = []
    agent.tool_plain(requires_approval=True, name="delete")(_delete(ran))
    agent.tool_plain(lambda: "seen", name="look")
    chunks = await answer(root, PydanticAI(agent))
    assert (ran, errors(chunks), results(chunks)) == ([], [], ["seen"])
    assert calls(chunks) == [("look", {}), ("delete", {"path": ".env"})]
    assert waiting(chunks) == [{"id": "c1", "kind": "approval", "tool": "delete"}]
    assert [c for c in chunks if c["type"] == "data-output"] == []


async def test_another_prompt_while_an_approval_is_waited_for(adapters: Adapters) -> None:
    """The session goes on; the model is told that the call has not run."""
    model = Scripted([called("delete", {"path": ".env"})], [said("Yes.")])
    agent = ai.Agent(model, output_type=[str, ai.DeferredToolRequests])
    agent.tool_plain(requires_approval=True, name="delete")(_delete([]))
    async with adapters(PydanticAI(agent)) as adapter:
        first = await adapter.ask("s1", asking("u1"))
        await ended(adapter, "s1", first.attempt.id)
        second = await adapter.ask("s1", asking("u2"))
        attempt = await ended(adapter, "s1", second.attempt.id)
    assert attempt.status == "finished", attempt.reason
    parts = [part for message in model.asked[1] for part in message.parts]
    assert [part.part_kind for part in parts] == ["user-prompt", "tool-call", "tool-return", "user-prompt"]
    assert "not answered" in parts[2].content


def _delete(ran: list[str]) -> Any:  # noqa: ANN401 a tool
    def delete(path: str) -> str:
        ran.append(path)
        return "deleted"

    delete.__annotations__ = {"path": str, "return": str}
    return delete


async def test_a_result_from_elsewhere_is_waited_for(root: str) -> None:
    model = Scripted([called("render", {})])
    agent = ai.Agent(model, output_type=[str, ai.DeferredToolRequests])

    def render() -> str:
        raise ai.CallDeferred

    render.__annotations__ = {"return": str}
    agent.tool_plain(render)
    chunks = await answer(root, PydanticAI(agent))
    assert (errors(chunks), results(chunks)) == ([], [])
    assert waiting(chunks) == [{"id": "c1", "kind": "result", "tool": "render"}]


async def test_a_stop_while_an_approval_is_waited_for_in_a_session(adapters: Adapters, root: str) -> None:
    """The run is over: there is nothing left to stop, and the message says what it waits for."""
    model = Scripted([called("delete", {"path": ".env"})])
    agent = ai.Agent(model, output_type=[str, ai.DeferredToolRequests])
    agent.tool_plain(requires_approval=True, name="delete")(_delete([]))
    async with adapters(PydanticAI(agent)) as adapter:
        asked = await adapter.ask("s1", asking())
        attempt = await ended(adapter, "s1", asked.attempt.id)
        stopped = await adapter.stop("s1", Ending("aborted", by="eve"))
        session = adapter.session("s1")
        async with session.following():
            [message] = [m for m in session.state.messages.values() if m["role"] == "assistant"]
    assert (attempt.status, stopped.stopped) == ("waiting", False)
    assert [part["state"] for part in message["parts"] if part["type"] == "tool-delete"] == ["approval-requested"]
    assert message["metadata"]["waiting"] == [{"id": "c1", "kind": "approval", "tool": "delete"}]
    assert errors(await stored(f"{root}/{asked.attempt.stream}")) == []


async def test_a_tool_of_the_provider_is_a_call_with_its_result(root: str) -> None:
    native = messages.NativeToolCallPart("web_search", {"query": "q"}, "c1", provider_name="p")
    found = messages.NativeToolReturnPart("web_search", [{"url": "https://example.com"}], "c1", provider_name="p")
    lost = messages.NativeToolCallPart("web_search", {"query": "r"}, "c2", provider_name="p")
    failed = messages.NativeToolReturnPart("web_search", "no net", "c2", provider_name="p", outcome="failed")
    chunks = await answer(root, PydanticAI(ai.Agent(Scripted([native, found, lost, failed, said("Here.")]))))
    assert calls(chunks) == [("web_search", {"query": "q"}), ("web_search", {"query": "r"})]
    assert (results(chunks), errors(chunks)) == ([[{"url": "https://example.com"}]], ["no net"])
    assert (texts(chunks), steps(chunks)) == (["Here."], 1)


async def test_files_that_a_model_makes_are_parts(adapters: Adapters, root: str) -> None:
    image = messages.FilePart(messages.BinaryContent(b"\x89PNG", media_type="image/png"))
    model = Scripted([image, said("A fox.")], [said("Yes.")])
    agent = PydanticAI(ai.Agent(model))
    chunks = await answer(root, agent)
    file = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,iVBORw=="}
    assert [c for c in chunks if c["type"] == "file"] == [file]
    assert (texts(chunks), errors(chunks)) == (["A fox."], [])


async def test_files_in_a_prompt_reach_the_model(root: str) -> None:
    model = Scripted([said("A fox.")])
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}
    agent = ai.Agent(model, system_prompt="Be brief.")
    asked = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}]
    await answer(root, PydanticAI(agent), asked)
    parts = [part for message in model.asked[0] for part in message.parts]
    assert [part.part_kind for part in parts] == ["system-prompt", "user-prompt"]
    text, file = parts[1].content
    assert (text, file.media_type, file.data) == ("What is it?", "image/png", b"\x89PNG")


async def test_what_a_provider_wants_back_reaches_it_in_the_next_turn(adapters: Adapters) -> None:
    """By the package's own form, which it takes from a history."""
    thought = messages.ThinkingPart("hm", signature="sig", provider_name="anthropic")
    model = Scripted([thought, said("A")], [said("B")])
    async with adapters(PydanticAI(ai.Agent(model))) as adapter:
        for number in (1, 2):
            asked = await adapter.ask("s1", asking(f"u{number}"))
            await ended(adapter, "s1", asked.attempt.id)
    [again] = [part for message in model.asked[1] for part in message.parts if part.part_kind == "thinking"]
    assert (again.content, again.signature, again.provider_name) == ("hm", "sig", "anthropic")


@dataclass
class Found:
    name: str
    at: tuple[int, int]


async def test_results_of_tools_have_a_form(root: str) -> None:
    given = {
        "c1": (Found("a", (1, 2)), {"name": "a", "at": [1, 2]}),
        "c2": (City(city="A", country="B"), {"city": "A", "country": "B"}),
        "c3": (
            messages.BinaryContent(b"\x89PNG", media_type="image/png"),
            {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,iVBORw=="},
        ),
        "c4": (
            ["see", messages.ImageUrl("https://example.com/a.png")],
            ["see", {"type": "file", "mediaType": "image/png", "url": "https://example.com/a.png"}],
        ),
        "c5": (messages.ToolReturn("short", content="long", metadata={"a": 1}), "short"),
    }
    agent = ai.Agent(Scripted([called(f"tool_{n}", {}, n) for n in given], [said("Done.")]))
    for call_id, (value, _) in given.items():
        agent.tool_plain(lambda value=value: value, name=f"tool_{call_id}")
    chunks = await answer(root, PydanticAI(agent))
    assert errors(chunks) == []
    told = {c["toolCallId"]: c["output"] for c in chunks if c["type"] == "tool-output-available"}
    assert told == {call_id: form for call_id, (_, form) in given.items()}


async def test_a_streamed_call_and_thinking(root: str) -> None:
    async def stream(history: list[Any], _info: object) -> AsyncIterator[Any]:
        if len(history) == 1:
            yield {0: functions.DeltaThinkingPart(content="hm")}
            yield {1: functions.DeltaToolCall("double", '{"n"', tool_call_id="c1")}
            yield {1: functions.DeltaToolCall(json_args=": 2}")}
        else:
            yield "It is "
            yield "four."

    agent = ai.Agent(functions.FunctionModel(stream_function=stream))

    def double(n: int) -> int:
        return n * 2

    double.__annotations__ = {"n": int, "return": int}
    agent.tool_plain(double)
    chunks = await answer(root, PydanticAI(agent))
    assert "".join(c["delta"] for c in chunks if c["type"] == "reasoning-delta") == "hm"
    assert "".join(c["inputTextDelta"] for c in chunks if c["type"] == "tool-input-delta") == '{"n": 2}'
    assert (calls(chunks), results(chunks)) == ([("double", {"n": 2})], [4])
    assert (texts(chunks), steps(chunks), errors(chunks)) == (["It is four."], 2, [])


async def test_the_next_turn_knows_the_last_one(adapters: Adapters) -> None:
    """Whatever was in it: the package takes the message as it was stored."""
    image = messages.FilePart(messages.BinaryContent(b"\x89PNG", media_type="image/png"))
    model = Scripted([said("A"), image, called("final_result", {"city": "London", "country": "UK"})], [said("Yes.")])
    agent = ai.Agent(model, output_type=[City, str])
    async with adapters(PydanticAI(agent)) as adapter:
        first = await adapter.ask("s1", asking("u1"))
        await ended(adapter, "s1", first.attempt.id)
        second = await adapter.ask("s1", asking("u2"))
        attempt = await ended(adapter, "s1", second.attempt.id)
    assert attempt.status == "finished", attempt.reason
    kinds = [part.part_kind for message in model.asked[1] for part in message.parts]
    assert kinds == ["user-prompt", "text", "file", "tool-call", "tool-return", "user-prompt"]
