"""LangGraph's own examples: nodes side by side, graphs within graphs, interrupts, models that do not stream."""

from __future__ import annotations

import asyncio
import operator
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import pytest

from durable_streams.agents.sources.langgraph import LangGraph
from tests.agents.conftest import ended
from tests.agents.sdks import SDK, answer, calls, errors, results, steps, texts, waiting
from tests.agents.test_sessions import asking
from tests.agents.upstream import Script, ScriptedUpstream
from tests.agents.wire_bytes import Text, ToolUse
from tests.patience import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from durable_streams.agents import Run
    from tests.agents.conftest import Adapters

graphs = pytest.importorskip("langgraph.graph")
kinds = pytest.importorskip("langgraph.types")
prebuilt = pytest.importorskip("langgraph.prebuilt")
memory = pytest.importorskip("langgraph.checkpoint.memory")
models = pytest.importorskip("langchain_core.language_models.chat_models")
outputs = pytest.importorskip("langchain_core.outputs")
said = pytest.importorskip("langchain_core.messages")

pytestmark = SDK

Node = Any
BaseChatModel: Any = models.BaseChatModel


class Words(BaseChatModel):  # type: ignore[misc] # of a package that may be absent
    """Says words, each when all the others that speak have said theirs."""

    words: list[Any]
    barrier: Any = None
    calls: list[Any] = []  # noqa: RUF012 pydantic copies it

    @property
    def _llm_type(self) -> str:
        return "words"

    def _generate(self, *_given: object, **_options: object) -> Any:  # noqa: ANN401 the package's own
        raise AssertionError("it streams")

    async def _agenerate(self, *_given: object, **_options: object) -> Any:  # noqa: ANN401 as above
        uses = [{name: value for name, value in use.items() if name != "raw"} for use in self.calls]
        message = said.AIMessage("".join(self.words), tool_calls=uses)
        return outputs.ChatResult(generations=[outputs.ChatGeneration(message=message)])

    async def _astream(self, *_given: object, **_options: object) -> AsyncIterator[Any]:
        for word in self.words:
            if self.barrier is not None:
                async with asyncio.timeout(HANG_S):
                    await self.barrier.wait()
            chunk = outputs.ChatGenerationChunk(message=said.AIMessageChunk(word))
            yield chunk
        if self.calls:
            fragments = [
                {"name": c["name"], "args": c["raw"], "id": c["id"], "index": n} for n, c in enumerate(self.calls)
            ]
            yield outputs.ChatGenerationChunk(message=said.AIMessageChunk("", tool_call_chunks=fragments))


class Whole(Words):
    """Gives its answer as a whole."""

    disable_streaming: bool = True


def speaks(model: Any, name: str) -> Node:  # noqa: ANN401 as above
    async def node(state: dict[str, Any]) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    node.__name__ = name
    node.__annotations__ = {"state": graphs.MessagesState}
    return node


def graph(*nodes: Node, side_by_side: bool = False, **options: Any) -> Any:  # noqa: ANN401 as above
    made = graphs.StateGraph(graphs.MessagesState)
    before = graphs.START
    for node in nodes:
        made.add_node(node)
        made.add_edge(before, node.__name__)
        before = graphs.START if side_by_side else node.__name__
    return made.compile(**options)


async def test_nodes_side_by_side_are_parts_of_their_own(root: str) -> None:
    """Their chunks come in turns, and each text is whole."""
    barrier = asyncio.Barrier(2)
    left, right = Words(words=["l1 ", "l2 ", "l3"], barrier=barrier), Words(words=["r1 ", "r2 ", "r3"], barrier=barrier)
    chunks = await answer(root, LangGraph(graph(speaks(left, "left"), speaks(right, "right"), side_by_side=True)))
    assert sorted(texts(chunks)) == ["l1 l2 l3", "r1 r2 r3"]
    deltas = [c["id"] for c in chunks if c["type"] == "text-delta"]
    assert deltas != sorted(deltas, key=deltas.index), "they were said in turns"
    assert (steps(chunks), errors(chunks)) == (1, [])


async def test_two_models_at_once_within_a_node(root: str) -> None:
    barrier = asyncio.Barrier(2)
    left, right = Words(words=["l1 ", "l2"], barrier=barrier), Words(words=["r1 ", "r2"], barrier=barrier)

    async def both(state: dict[str, Any]) -> dict[str, Any]:
        return {"messages": await asyncio.gather(*(one.ainvoke(state["messages"]) for one in (left, right)))}

    both.__annotations__ = {"state": graphs.MessagesState}
    chunks = await answer(root, LangGraph(graph(both)))
    assert sorted(texts(chunks)) == ["l1 l2", "r1 r2"]


async def test_one_node_after_the_other_is_one_step_after_the_other(root: str) -> None:
    chunks = await answer(
        root, LangGraph(graph(speaks(Words(words=["a", "b"]), "first"), speaks(Words(words=["c"]), "second")))
    )
    assert (texts(chunks), steps(chunks)) == (["ab", "c"], 2)


@pytest.mark.parametrize("heard", [True, False], ids=["heard", "not heard"])
async def test_a_graph_within_a_graph(root: str, *, heard: bool) -> None:
    """Its model is heard live, or its message when it is there; in both cases once."""
    inner = graph(speaks(Words(words=["in", "ner"]), "speak"))
    outer = graphs.StateGraph(graphs.MessagesState)
    outer.add_node("inner", inner)
    outer.add_node(speaks(Words(words=["out", "er"]), "after"))
    outer.add_edge(graphs.START, "inner").add_edge("inner", "after")
    options: dict[str, Any] = {"subgraphs": True} if heard else {}
    chunks = await answer(root, LangGraph(outer.compile(), **options))
    assert (texts(chunks), steps(chunks), errors(chunks)) == (["inner", "outer"], 2, [])
    assert len([c for c in chunks if c["type"] == "text-delta"]) >= 2


async def test_graphs_within_a_graph_side_by_side(root: str) -> None:
    barrier = asyncio.Barrier(2)
    outer = graphs.StateGraph(graphs.MessagesState)
    for name in ("left", "right"):
        model = Words(words=[f"{name}1 ", f"{name}2 ", f"{name}3"], barrier=barrier)
        outer.add_node(name, graph(speaks(model, "speak")))
        outer.add_edge(graphs.START, name)
    chunks = await answer(root, LangGraph(outer.compile(), subgraphs=True))
    assert sorted(texts(chunks)) == ["left1 left2 left3", "right1 right2 right3"]


def double(n: int) -> int:
    """Double a number."""
    return n * 2


def fail(n: int) -> int:
    """Fail."""
    raise ValueError(f"not {n}")


for function in (double, fail):
    function.__annotations__ = {"n": int, "return": int}


def with_tools(first: Any, then: Any) -> Any:  # noqa: ANN401 a package that may be absent
    answers = [first, then]

    async def model(state: dict[str, Any]) -> dict[str, Any]:
        return {"messages": [await answers.pop(0).ainvoke(state["messages"])]}

    model.__annotations__ = {"state": graphs.MessagesState}
    made = graphs.StateGraph(graphs.MessagesState)
    made.add_node(model).add_node("tools", prebuilt.ToolNode([double, fail], handle_tool_errors=True))
    made.add_edge(graphs.START, "model").add_edge("tools", "model")
    made.add_conditional_edges("model", prebuilt.tools_condition)
    return made.compile()


def use(tool: str, n: int, call_id: str) -> dict[str, Any]:
    return {"name": tool, "args": {"n": n}, "raw": f'{{"n": {n}}}', "id": call_id, "type": "tool_call"}


@pytest.mark.parametrize("kind", [Words, Whole], ids=["streamed", "whole"])
async def test_calls_side_by_side_of_models_that_stream_and_that_do_not(root: str, kind: Callable[..., Any]) -> None:
    uses = [use("double", 2, "c1"), use("fail", 3, "c2"), use("double", 4, "c3")]
    chunks = await answer(root, LangGraph(with_tools(kind(words=["Well. "], calls=uses), kind(words=["Done."]))))
    assert calls(chunks) == [("double", {"n": 2}), ("fail", {"n": 3}), ("double", {"n": 4})]
    assert results(chunks) == ["4", "8"]
    assert [c["toolCallId"] for c in chunks if c["type"] == "tool-output-error"] == ["c2"]
    assert (texts(chunks), steps(chunks), waiting(chunks)) == (["Well. ", "Done."], 2, [])
    assert chunks[-1]["finishReason"] == "stop"


async def test_calls_of_a_real_models_package(root: str, upstream: ScriptedUpstream) -> None:
    package = pytest.importorskip("langchain_openai")
    uses = [ToolUse("c1", "double", ('{"n"', ":2}")), ToolUse("c2", "double", ('{"n"', ":3}"))]
    upstream.scripts["go"] = Script([Text("Well. "), *uses], then=Script([Text("Done.")]))
    model = package.ChatOpenAI(base_url=f"{upstream.base_url}/v1", api_key="none", model="m").bind_tools([double])
    chunks = await answer(root, LangGraph(with_tools(model, model)))
    await model.bound.root_async_client.close()
    assert (calls(chunks), results(chunks)) == ([("double", {"n": 2}), ("double", {"n": 3})], ["4", "6"])
    assert (texts(chunks), steps(chunks), errors(chunks)) == (["Well. ", "Done."], 2, [])
    assert chunks[-1]["messageMetadata"]["usage"] == {"inputTokens": 6, "outputTokens": 14}


async def test_an_interrupt_is_a_question_and_no_error(root: str) -> None:
    """And it can be answered in the next run, by the thread that the run's session is."""

    async def review(state: dict[str, Any]) -> dict[str, Any]:
        reply = kinds.interrupt({"question": "Send it?"})
        return {"messages": [said.AIMessage(f"You said {reply}.")]}

    review.__annotations__ = {"state": graphs.MessagesState}
    made = graph(speaks(Words(words=["A draft."]), "draft"), review, checkpointer=memory.InMemorySaver())

    def config(run: Run) -> dict[str, Any]:
        assert run.identity.thread_id
        return {"configurable": {"thread_id": "t1"}}

    chunks = await answer(root, LangGraph(made, config=config))
    assert (texts(chunks), errors(chunks)) == (["A draft."], [])
    [asked] = [c for c in chunks if c["type"] == "data-interrupt"]
    assert asked["data"] == {"question": "Send it?"}
    assert waiting(chunks) == [{"id": asked["id"], "kind": "answer", "tool": ""}]

    again = LangGraph(made, to_input=lambda _run: kinds.Command(resume="yes"), config=config)
    chunks = await answer(root, again, name="again")
    assert (texts(chunks), waiting(chunks), errors(chunks)) == (["You said yes."], [], [])


async def test_calls_that_an_interrupt_holds_up_wait_for_approval(root: str) -> None:
    async def approve(state: dict[str, Any]) -> dict[str, Any]:
        kinds.interrupt("May it run?")
        return {}

    approve.__annotations__ = {"state": graphs.MessagesState}
    model = Words(words=["Well. "], calls=[use("double", 2, "c1")])
    made = graph(speaks(model, "model"), approve, checkpointer=memory.InMemorySaver())
    chunks = await answer(root, LangGraph(made, config={"configurable": {"thread_id": "t1"}}, subgraphs=True))
    assert (calls(chunks), errors(chunks)) == ([("double", {"n": 2})], [])
    question, call = waiting(chunks)
    assert (question["kind"], call) == ("answer", {"id": "c1", "kind": "approval", "tool": "double"})


async def test_calls_that_a_graph_leaves_to_others_wait_for_their_result(root: str) -> None:
    model = Words(words=["Well. "], calls=[use("show_map", 2, "c1")])
    chunks = await answer(root, LangGraph(graph(speaks(model, "model"))))
    assert errors(chunks) == []
    assert waiting(chunks) == [{"id": "c1", "kind": "result", "tool": "show_map"}]


async def test_a_graph_that_remembers_is_told_the_new_message_alone(adapters: Adapters) -> None:
    model = Words(words=["Yes."])
    heard: list[list[str]] = []

    async def speak(state: dict[str, Any]) -> dict[str, Any]:
        heard.append([message.type for message in state["messages"]])
        return {"messages": [await model.ainvoke(state["messages"])]}

    speak.__annotations__ = {"state": graphs.MessagesState}

    def config(run: Run) -> dict[str, Any]:
        return {"configurable": {"thread_id": run.identity.thread_id}}

    remembers = LangGraph(graph(speak, checkpointer=memory.InMemorySaver()), config=config)
    for source in (remembers, LangGraph(graph(speak))):
        async with adapters(source) as adapter:
            for number in (1, 2):
                asked = await adapter.ask(f"s{len(heard) // 2}", asking(f"u{number}"))
                await ended(adapter, asked.attempt.stream.split("/")[1], asked.attempt.id)
    assert heard == [["human"], ["human", "ai", "human"]] * 2


async def test_reasoning_is_told_from_text(root: str) -> None:
    thought = [{"type": "thinking", "thinking": "hm"}]
    chunks = await answer(
        root, LangGraph(graph(speaks(Words(words=[thought, [{"type": "text", "text": "So."}]]), "m")))
    )
    assert [c["delta"] for c in chunks if c["type"] == "reasoning-delta"] == ["hm"]
    assert texts(chunks) == ["So."]


class Tally(TypedDict):
    count: Annotated[int, operator.add]


async def test_a_graph_without_messages_is_an_answer_without_text(root: str) -> None:
    def add(_state: object) -> dict[str, Any]:
        return {"count": 1}

    add.__annotations__ = {"_state": Tally}
    made = graphs.StateGraph(Tally).add_node(add).add_edge(graphs.START, "add").compile()
    chunks = await answer(root, LangGraph(made, to_input=lambda _run: {"count": 1}))
    assert (texts(chunks), errors(chunks), waiting(chunks)) == ([], [], [])
