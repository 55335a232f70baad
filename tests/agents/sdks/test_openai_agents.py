"""The OpenAI Agents SDK's own examples: what it does is shown as it took it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from durable_streams.agents.sources.openai_agents import OpenAIAgents
from tests.agents.sdks import SDK, answer, calls, errors, results, steps, texts, waiting

if TYPE_CHECKING:
    from collections.abc import Callable

sdk = pytest.importorskip("agents")
testing = pytest.importorskip("agents.testing")
responses = pytest.importorskip("openai.types.responses")
pydantic = pytest.importorskip("pydantic")
sdk.set_tracing_disabled(disabled=True)

pytestmark = SDK

BaseModel: Any = pydantic.BaseModel


def said(text: str) -> Any:  # noqa: ANN401 a package that may be absent
    return testing.assistant_message(text)


def called(tool: str, given: object, call_id: str = "c1") -> Any:  # noqa: ANN401 as above
    return testing.function_call(tool, given, call_id=call_id)


def agent(*answers: list[Any], name: str = "Assistant", **options: Any) -> Any:  # noqa: ANN401 as above
    return sdk.Agent(name, model=testing.ScriptedModel(answers), **options)


def tool(function: Callable[..., object], name: str, *, given: dict[str, type] | None = None, **options: Any) -> Any:  # noqa: ANN401 as above
    function.__annotations__ = given or {}
    return sdk.function_tool(function, name_override=name, **options)


def whole(*items: Any) -> Any:  # noqa: ANN401 as above
    """An answer as the API ends it, for items that the SDK's own script does not stream."""
    response = responses.Response(
        id="r1",
        created_at=1,
        model="m",
        object="response",
        output=list(items),
        parallel_tool_calls=True,
        tool_choice="auto",
        tools=[],
        status="completed",
    )
    done = responses.ResponseCompletedEvent(type="response.completed", response=response, sequence_number=1)
    return testing.ModelStep.stream([done])


async def test_a_handoff_is_a_call_with_its_result(root: str) -> None:
    spanish = agent([said("¡Hola!")], name="Spanish agent")
    triage = agent([called("transfer_to_spanish_agent", {})], name="Triage agent", handoffs=[spanish])
    chunks = await answer(root, OpenAIAgents(triage))
    assert errors(chunks) == []
    assert calls(chunks) == [("transfer_to_spanish_agent", {})]
    assert "Spanish agent" in str(results(chunks)[0])
    assert (texts(chunks), steps(chunks)) == (["¡Hola!"], 2)
    assert chunks[-1]["finishReason"] == "stop"


async def test_tokens_are_counted_once(root: str) -> None:
    spent = testing.ModelStep(output=[said("A")], usage=sdk.Usage(requests=1, input_tokens=3, output_tokens=4))
    model = testing.ModelStep(
        output=[called("look", {})], usage=sdk.Usage(requests=1, input_tokens=10, output_tokens=20)
    )
    made = sdk.Agent("A", model=testing.ScriptedModel([model, spent]), tools=[tool(lambda: "seen", "look")])
    chunks = await answer(root, OpenAIAgents(made))
    assert chunks[-1]["messageMetadata"]["usage"] == {"inputTokens": 13, "outputTokens": 24}


async def test_two_handoffs_at_once_each_have_a_result(root: str) -> None:
    spanish, french = agent([said("¡Hola!")], name="Spanish agent"), agent([said("Salut!")], name="French agent")
    both = [called("transfer_to_spanish_agent", {}), called("transfer_to_french_agent", {}, "c2")]
    chunks = await answer(root, OpenAIAgents(agent(both, name="Triage agent", handoffs=[spanish, french])))
    assert (errors(chunks), len(results(chunks))) == ([], 2)
    assert texts(chunks) == ["¡Hola!"]


async def test_an_approval_is_waited_for(root: str) -> None:
    ran: list[str] = []

    def remove(path: str) -> None:
        ran.append(path)

    delete = tool(remove, "delete", given={"path": str}, needs_approval=True)
    look = tool(lambda: "seen", "look")
    asks = agent(
        [said("One moment."), called("delete", {"path": ".env"}), called("look", {}, "c2")], tools=[delete, look]
    )
    chunks = await answer(root, OpenAIAgents(asks))
    assert (ran, errors(chunks), results(chunks)) == ([], [], ["seen"])
    assert calls(chunks) == [("delete", {"path": ".env"}), ("look", {})]
    assert waiting(chunks) == [{"id": "c1", "kind": "approval", "tool": "delete"}]
    assert texts(chunks) == ["One moment."]


async def test_tools_of_the_provider_are_calls_with_their_results(root: str) -> None:
    search = responses.ResponseFunctionWebSearch(
        id="ws1", type="web_search_call", status="completed", action={"type": "search", "query": "q"}
    )
    files = responses.ResponseFileSearchToolCall(
        id="fs1", type="file_search_call", status="completed", queries=["q"], results=[{"file_id": "f", "text": "t"}]
    )
    code = responses.ResponseCodeInterpreterToolCall(
        id="ci1",
        type="code_interpreter_call",
        status="completed",
        code="1+1",
        container_id="k",
        outputs=[{"type": "logs", "logs": "2"}],
    )
    items = pytest.importorskip("openai.types.responses.response_output_item")
    remote = items.McpCall(id="m1", type="mcp_call", name="ask", arguments='{"a":1}', server_label="s", output="yes")
    fault = {"type": "http_error", "code": 500, "message": "down"}
    broken = items.McpCall(id="m2", type="mcp_call", name="ask", arguments="{}", server_label="s", error=fault)
    image = items.ImageGenerationCall(id="ig1", type="image_generation_call", status="completed", result="iVBORw==")
    hosts = sdk.Agent(
        "A",
        model=testing.ScriptedModel([whole(search, files, code, remote, broken, image, said("Here."))]),
        tools=[sdk.WebSearchTool()],
    )
    chunks = await answer(root, OpenAIAgents(hosts))
    assert calls(chunks) == [
        ("web_search", {"action": {"type": "search", "query": "q"}}),
        ("file_search", {"queries": ["q"]}),
        ("code_interpreter", {"code": "1+1", "container_id": "k"}),
        ("ask", {"a": 1}),
        ("ask", {}),
        ("image_generation", {}),
    ]
    assert results(chunks) == [
        {"status": "completed"},
        [{"file_id": "f", "text": "t"}],
        [{"type": "logs", "logs": "2"}],
        "yes",
        {"status": "completed"},
    ]
    assert [c["toolCallId"] for c in chunks if c["type"] == "tool-output-error"] == ["m2"]
    assert [c["url"] for c in chunks if c["type"] == "file"] == ["data:image/png;base64,iVBORw=="]
    assert texts(chunks) == ["Here."], "the answer of a model that does not stream is there too"


class City(BaseModel):  # type: ignore[misc] # of a package that may be absent
    city: str
    country: str


City.model_rebuild(_types_namespace={"str": str})


async def test_a_structured_output_is_a_value_besides(root: str) -> None:
    chunks = await answer(root, OpenAIAgents(agent([said('{"city":"London","country":"UK"}')], output_type=City)))
    assert errors(chunks) == []
    assert [c["data"] for c in chunks if c["type"] == "data-output"] == [{"city": "London", "country": "UK"}]
    assert chunks[-1]["finishReason"] == "stop"


class Formless:
    def __str__(self) -> str:
        return "formless"


async def test_results_of_tools_have_a_form(root: str) -> None:
    given: dict[str, tuple[object, object]] = {
        "c1": (City(city="A", country="B"), {"city": "A", "country": "B"}),
        "c2": ({2024: 3.5}, {"2024": 3.5}),
        "c3": (Formless(), "formless"),
        "c4": (sdk.ToolOutputText(text="t"), {"type": "text", "text": "t"}),
    }
    tools = [
        tool(lambda value=value: value, f"tool_{call_id}", strict_mode=False) for call_id, (value, _) in given.items()
    ]
    made = agent([called(f"tool_{call_id}", {}, call_id) for call_id in given], [said("Done.")], tools=tools)
    chunks = await answer(root, OpenAIAgents(made))
    assert errors(chunks) == []
    told = {c["toolCallId"]: c["output"] for c in chunks if c["type"] == "tool-output-available"}
    assert told == {call_id: form for call_id, (_, form) in given.items()}
    assert (texts(chunks), steps(chunks)) == (["Done."], 2)


async def test_a_run_that_ends_with_a_tools_result_waits_for_nobody(root: str) -> None:
    look = tool(lambda: "seen", "look")
    ends = agent([called("look", {})], tools=[look], tool_use_behavior="stop_on_first_tool")
    chunks = await answer(root, OpenAIAgents(ends))
    assert (results(chunks), errors(chunks), waiting(chunks)) == (["seen"], [], [])
    assert chunks[-1]["finishReason"] == "stop"


async def test_an_agent_as_a_tool_of_another(root: str) -> None:
    inner = agent([said("four")], name="Inner")
    outer = agent(
        [called("compute", {"input": "2+2"})],
        [said("It is four.")],
        tools=[inner.as_tool(tool_name="compute", tool_description="Computes.")],
    )
    chunks = await answer(root, OpenAIAgents(outer))
    assert (results(chunks), errors(chunks), texts(chunks)) == (["four"], [], ["It is four."])
