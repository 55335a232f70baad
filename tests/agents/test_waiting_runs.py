"""Runs that wait for somebody: what is asked and stored, who is heard, and that nothing runs twice or in a loop."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest

from durable_streams.agents import Agent, Tool, UnusableError
from durable_streams.agents.answers import (
    ANSWER_MAX_BYTES,
    NOT_ANSWERED,
    Answer,
    InvalidAnswerError,
    answered_parts,
)
from durable_streams.agents.codecs import Identity, UiChunks
from durable_streams.agents.codecs.continued import replayed
from durable_streams.agents.codecs.message import message_of
from durable_streams.agents.events import (
    SAID,
    UNKNOWN,
    Custom,
    StepEnded,
    StepStarted,
    TextDelta,
    ToolCalled,
    ToolFailed,
    ToolReturned,
)
from durable_streams.agents.sessions.answering import RESUBMISSIONS_MAX, AnsweredError, LoopingError, NotWaitingError
from durable_streams.agents.sessions.begun import begun
from durable_streams.agents.sessions.continuing import opening
from durable_streams.agents.sessions.prompts import Prompt
from durable_streams.agents.sessions.rows import Attempt
from durable_streams.agents.sources.http import HttpModel, Upstream
from durable_streams.agents.wires.openai_chat import OpenAIChatWire
from tests.agents.conftest import ended, stored, text_of
from tests.agents.test_sessions import asking, user
from tests.agents.upstream import Script, ScriptedUpstream
from tests.agents.wire_bytes import Text, ToolUse
from tests.patience import HANG_S, comes_true

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from durable_streams.agents.events import Event
    from durable_streams.agents.sessions.adapter import Adapter
    from tests.agents.conftest import Adapters

LOOKED = ToolUse("c1", "look", ("{}",))
CHARGED = ToolUse("c2", "charge", ('{"cents":5}',))
DONE = Script([Text("Done.")])


class Desk:
    """An agent with a tool of the client's and one that needs approval, and the adapters that share it."""

    def __init__(self, adapters: Adapters, upstream: ScriptedUpstream, **agent: Any) -> None:  # noqa: ANN401 Agent's own
        self.adapters, self.upstream = adapters, upstream
        self.charged: list[Mapping[str, Any]] = []
        self.agent = agent
        upstream.scripts = {
            "look": Script([LOOKED], then=DONE),
            "charge": Script([CHARGED], then=DONE),
            "both": Script([LOOKED, CHARGED], then=DONE),
            "hi": Script(),
        }

    async def charge(self, given: Mapping[str, Any]) -> str:
        self.charged.append(given)
        return "charged"

    @asynccontextmanager
    async def adapter(self) -> AsyncIterator[Adapter]:
        model = HttpModel(Upstream(f"{self.upstream.base_url}/v1", "m"), OpenAIChatWire())
        tools = [Tool("look", runs="client"), Tool("charge", self.charge, approval=True)]
        async with self.adapters(Agent(model, tools, **self.agent)) as adapter:
            yield adapter
        await model.aclose()

    def results(self) -> list[str]:
        """What the model was told of its calls, in its last request."""
        return [one["content"] for one in self.upstream.requests[-1].body["messages"] if one["role"] == "tool"]


@pytest.fixture
def desk(adapters: Adapters, upstream: ScriptedUpstream) -> Desk:
    return Desk(adapters, upstream)


async def waits(adapter: Adapter, text: str, message_id: str = "u1") -> Attempt:
    """Ask, and return the attempt once it waits."""
    asked = await adapter.ask("s1", Prompt([user(message_id, text)]))
    final = await ended(adapter, "s1", asked.attempt.id)
    assert final.status == "waiting"
    return final


def shown(adapter: Adapter, attempt: Attempt) -> dict[str, Any]:
    return adapter.session("s1").state.messages[attempt.message_id]


def calls(message: dict[str, Any]) -> dict[str, Any]:
    return {part["toolCallId"]: part for part in message["parts"] if "toolCallId" in part}


def sent_back(message: dict[str, Any], **added: dict[str, Any]) -> Prompt:
    """Return what an AI SDK client posts by itself: all messages, the last with what was added to its calls."""
    parts = [{**part, **added.get(part.get("toolCallId", ""), {})} for part in message["parts"]]
    return Prompt([user("u1"), {**message, "parts": parts}], message_id=message["id"])


async def test_a_call_of_the_clients_is_waited_for(root: str, desk: Desk) -> None:
    async with desk.adapter() as one, desk.adapter() as other:
        waiting = await waits(one, "look")
        assert waiting.waiting == [{"id": "c1", "kind": "result", "tool": "look"}]
        assert (waiting.continues, waiting.finish_reason) == (None, "tool-calls")
        assert calls(shown(one, waiting))["c1"]["state"] == "input-available"
        assert await one.active("s1") is None, "no process is needed while it waits"
        kinds = [chunk["type"] for chunk in await stored(f"{root}/{waiting.stream}")]
        assert kinds[-2:] == ["finish-step", "finish"]

        answered = await other.answer("s1", [{"toolCallId": "c1", "output": {"seen": 7}, "by": "ann"}], waiting.id)
        assert answered.follower is not None
        final = await ended(one, "s1", answered.follower.id)
        assert (final.status, final.message_id, final.continues) == ("finished", waiting.message_id, waiting.id)
        message = shown(one, final)
        assert [part["type"] for part in message["parts"]] == ["step-start", "tool-look", "step-start", "text"]
        assert calls(message)["c1"]["output"] == {"seen": 7}
        assert message["order"] == 1
        assert message["metadata"]["waiting"] == []
        assert one.session("s1").state.attempts[waiting.id].status == "finished"
        chunks = await stored(f"{root}/{final.stream}")
        assert [chunk["type"] for chunk in chunks[:4]] == [
            "start",
            "data-continues",
            "tool-input-available",
            "tool-output-available",
        ]
        assert chunks[0]["messageId"] == waiting.message_id
        assert message_of(chunks)["parts"] == message["parts"], "the stream alone tells the message"
    assert desk.results() == ['{"seen":7}']
    assert len(desk.upstream.requests) == 2


async def test_the_first_answer_counts_and_is_told_to_the_rest(desk: Desk) -> None:
    async with desk.adapter() as one, desk.adapter() as other:
        waiting = await waits(one, "look")
        given: list[list[dict[str, Any]]] = [[{"toolCallId": "c1", "output": n}] for n in range(6)]
        each = [(one, other)[n % 2].answer("s1", given[n]) for n in range(6)]
        results = await asyncio.gather(*each, return_exceptions=True)
        [first] = [result for result in results if not isinstance(result, BaseException)]
        decided = cast("int", first.decided["c1"].output)
        refused = [result for result in results if isinstance(result, AnsweredError)]
        assert [error.decided.output for error in refused] == [decided] * 5
        again = await other.answer("s1", given[decided], waiting.id)
        assert (again.follower, again.created) == (first.follower, False)
        assert first.follower is not None
        await ended(one, "s1", first.follower.id)
        assert [g.continues for g in one.session("s1").state.attempts.values()] == [None, waiting.id]
    assert len(desk.upstream.requests) == 2


async def test_an_approved_call_runs_once(desk: Desk) -> None:
    async with desk.adapter() as one:
        waiting = await waits(one, "charge")
        part = calls(shown(one, waiting))["c2"]
        assert (part["state"], part["approval"]) == ("approval-requested", {"id": "c2"})
        assert desk.charged == []
    async with desk.adapter() as other:  # the first process is gone
        answered = await other.answer("s1", [{"toolCallId": "c2", "approved": True, "by": "bob"}])
        assert answered.follower is not None
        final = await ended(other, "s1", answered.follower.id)
        part = calls(shown(other, final))["c2"]
        assert (part["state"], part["output"], part["approval"]) == (
            "output-available",
            "charged",
            {"id": "c2", "approved": True},
        )
    assert desk.charged == [{"cents": 5}]
    assert desk.results() == ["charged"]


async def test_a_denied_call_does_not_run_and_the_model_is_told(desk: Desk) -> None:
    async with desk.adapter() as one:
        waiting = await waits(one, "charge")
        denied = {"state": "approval-responded", "approval": {"id": "c2", "approved": False, "reason": "too much"}}
        asked = await one.ask("s1", sent_back(shown(one, waiting), c2=denied))
        assert asked.created
        final = await ended(one, "s1", asked.attempt.id)
        assert calls(shown(one, final))["c2"]["state"] == "output-denied"
    assert desk.charged == []
    [told] = desk.results()
    assert told.startswith("denied")
    assert told.endswith("too much")


async def test_some_of_the_answers_are_not_enough(root: str, desk: Desk) -> None:
    async with desk.adapter() as one, desk.adapter() as other:
        waiting = await waits(one, "both")
        answered = await other.answer("s1", [{"toolCallId": "c2", "approved": True}])
        assert ([pending.call_id for pending in answered.left], answered.follower) == (["c1"], None)
        asked = await one.ask("s1", sent_back(shown(one, waiting)))
        kinds = [chunk["type"] for chunk in await stored(f"{root}/{asked.attempt.stream}")]
        assert kinds == ["start", "finish"], "a client shows nothing twice, and its calls stay those of the last step"
        assert desk.charged == []
        output = {"state": "output-error", "errorText": "no camera"}
        asked = await one.ask("s1", sent_back(shown(one, waiting), c1=output))
        assert (asked.created, asked.attempt.continues) == (True, waiting.id)
        await ended(one, "s1", asked.attempt.id)
    assert desk.results() == ["no camera", "charged"]
    assert desk.charged == [{"cents": 5}]


async def test_another_prompt_closes_what_waits(desk: Desk) -> None:
    async with desk.adapter() as one:
        waiting = await waits(one, "both")
        await one.answer("s1", [{"toolCallId": "c2", "approved": True}])
        asked = await one.ask("s1", Prompt([user("u2", "hi")]))
        await ended(one, "s1", asked.attempt.id)
        row = one.session("s1").state.attempts[waiting.id]
        assert (row.status, row.reason) == ("finished", NOT_ANSWERED)
        assert {part["errorText"] for part in calls(shown(one, waiting)).values()} == {NOT_ANSWERED}
        with pytest.raises(NotWaitingError):
            await one.answer("s1", [{"toolCallId": "c1", "output": 1}], waiting.id)
        late = await one.ask("s1", sent_back(shown(one, waiting), c1={"state": "output-available", "output": 1}))
        assert not late.created
    assert desk.results() == [NOT_ANSWERED, NOT_ANSWERED]
    assert desk.charged == [], "what was approved and had not begun does not run behind anybody's back"
    assert len(desk.upstream.requests) == 2


async def test_what_is_sent_back_without_news_calls_no_model(root: str, desk: Desk) -> None:
    async with desk.adapter() as one:
        waiting = await waits(one, "look")
        output = {"state": "output-available", "output": 7}
        post = sent_back(shown(one, waiting), c1=output)
        asked = [await one.ask("s1", post) for _ in range(3)]
        assert {one.attempt.id for one in asked} == {asked[0].attempt.id}
        assert [one.created for one in asked] == [True, False, False]
        final = await ended(one, "s1", asked[0].attempt.id)
        assert (await one.ask("s1", post)).attempt.stream == final.stream, "the client has not seen it"
        whole = sent_back(shown(one, final))
        over = await one.ask("s1", whole)
        kinds = [chunk["type"] for chunk in await stored(f"{root}/{over.attempt.stream}")]
        assert kinds == ["start", "start-step", "finish-step", "finish"], "no step with calls is the last one"
        for _ in range(RESUBMISSIONS_MAX - 1):
            assert not (await one.ask("s1", whole)).created
        with pytest.raises(LoopingError):
            await one.ask("s1", whole)
    assert len(desk.upstream.requests) == 2


async def test_a_message_does_not_go_on_for_ever(adapters: Adapters, upstream: ScriptedUpstream) -> None:
    desk = Desk(adapters, upstream, steps_max=3)
    upstream.scripts = {"look": Script([LOOKED])}
    async with desk.adapter() as one:
        attempt = await waits(one, "look")
        for _ in range(2):
            [pending] = one.session("s1").state.attempts[attempt.id].pending
            answered = await one.answer("s1", [{"toolCallId": pending.call_id, "output": 1}], attempt.id)
            assert answered.follower is not None
            attempt = await ended(one, "s1", answered.follower.id)
        assert (attempt.status, attempt.continuations) == ("finished", 2)
    assert len(upstream.requests) == 3, "calls of the model are counted over the whole message"


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("charge", {"toolCallId": "c2", "output": "made up"}),
        ("charge", {"toolCallId": "c2", "approved": "yes"}),
        ("look", {"toolCallId": "c1", "approved": True}),
        ("look", {"toolCallId": "c1", "output": 1, "errorText": "both"}),
        ("look", {"toolCallId": "c1", "output": "x" * ANSWER_MAX_BYTES}),
    ],
)
async def test_what_answers_something_else_is_refused(desk: Desk, text: str, given: dict[str, Any]) -> None:
    async with desk.adapter() as one:
        waiting = await waits(one, text)
        with pytest.raises(InvalidAnswerError):
            await one.answer("s1", [given], waiting.id)
        with pytest.raises(NotWaitingError):
            await one.answer("s1", [{"toolCallId": "c9", "output": 1}], waiting.id)
        made_up = {"state": "output-available", "output": "made up"}
        if text == "charge":
            asked = await one.ask("s1", sent_back(shown(one, waiting), c2=made_up))
            assert not asked.created
        assert one.session("s1").state.answers == {}
    assert desk.charged == []


@pytest.mark.slow
async def test_a_large_answer_is_kept_beside_the_session(desk: Desk) -> None:
    async with desk.adapter() as one:
        await waits(one, "look")
        output = "y" * (ANSWER_MAX_BYTES - 1_000)
        answered = await one.answer("s1", [{"toolCallId": "c1", "output": output}])
        assert answered.follower is not None
        await ended(one, "s1", answered.follower.id)
    assert desk.results() == [output]


async def test_nobody_waits_where_nobody_is_asked(desk: Desk) -> None:
    async with desk.adapter() as one:
        asked = await one.ask("s1", asking())
        await ended(one, "s1", asked.attempt.id)
        with pytest.raises(NotWaitingError):
            await one.answer("s1", [{"toolCallId": "c1", "output": 1}])


async def test_whether_approval_is_needed_may_depend_on_the_input() -> None:
    async def function(_given: Mapping[str, Any]) -> None:
        return None

    async def later(given: Mapping[str, Any]) -> bool:
        return bool(given["cents"] > 5)

    tool = Tool("t", function, approval=lambda given: given["cents"] > 5)
    assert [await tool.needs_approval({"cents": cents}) for cents in (5, 6)] == [False, True]
    assert [await Tool("t", function, approval=later).needs_approval(given) for given in ({"cents": 1}, {})] == [
        False,
        True,
    ], "what cannot be told is asked"


def test_a_tool_is_run_by_somebody() -> None:
    with pytest.raises(UnusableError):
        Tool("t")
    with pytest.raises(UnusableError):
        Tool("t", runs="client", approval=True)


async def test_the_same_text_is_read_once_by_all(root: str, desk: Desk) -> None:
    async with desk.adapter() as one, asyncio.timeout(HANG_S):
        await waits(one, "look")
        answered = await one.answer("s1", [{"toolCallId": "c1", "output": 1}])
        assert answered.follower is not None
        await ended(one, "s1", answered.follower.id)
        assert text_of(await stored(f"{root}/{answered.follower.stream}")) == "Done."


STEP: list[Event] = [
    StepStarted(),
    ToolCalled("c1", "look", {}),
    ToolCalled("c2", "charge", {}),
    ToolCalled("c3", "nod", {}),
]
WAITS = [{"id": "c1", "kind": "result", "tool": "look"}, {"id": "c2", "kind": "approval", "tool": "charge"}]
SAID_ALL: list[Event] = [*STEP, Custom(SAID, {"step": 0, "waits": WAITS}, transient=True)]
GOES_ON = Attempt("g2", 1, "s", "m1", "p", "u1", "running", "o", 0, 0, continues="g1")


def opened(answers: Mapping[str, Answer]) -> list[dict[str, Any]]:
    """Return what an attempt begins with that goes on with that step."""
    codec = UiChunks()
    chunks = [*codec.begin(Identity("m1", "g1", "s1"))]
    events: list[Event] = [*STEP, ToolReturned("c3", 1), StepEnded()]
    chunks += [chunk for event in events for chunk in codec.feed(event)]
    message = message_of(chunks)
    message = {**message, "parts": answered_parts(message["parts"], answers)}
    return opening(GOES_ON, message, answers=answers, waited=[], session_id="s1")


@pytest.mark.parametrize("more", [[], [ToolReturned("c3", 1)], [ToolReturned("c3", 1), StepEnded()]])
def test_what_a_dead_owner_was_about_to_wait_for_is_waited_for(more: list[Event]) -> None:
    codec = UiChunks()
    chunks = [*codec.begin(Identity("m1", "g1", "s1"))]
    chunks += [chunk for event in [*SAID_ALL, *more] for chunk in codec.feed(event)]
    left = begun(chunks)
    assert left is not None
    assert ([one.call_id for one in left.waiting], left.is_complete) == (["c1", "c2"], True)
    assert [event for event in left.closing if isinstance(event, ToolFailed)] == (
        [] if more else [ToolFailed("c3", UNKNOWN)]
    ), "nobody has run what waits"


def test_what_was_approved_is_run_by_whoever_takes_over_unless_it_was_begun() -> None:
    answers = {"c1": Answer("c1", output=7), "c2": Answer("c2", approved=True)}
    chunks = opened(answers)
    left = begun(chunks)
    assert left is not None
    assert (left.closing, left.is_complete) == ([], False)
    states = {part["toolCallId"]: part["state"] for part in left.parts if "toolCallId" in part}
    assert states == {"c1": "output-available", "c2": "approval-responded", "c3": "output-available"}
    codec = UiChunks.resumed(chunks)
    chunks += codec.feed(Custom(SAID, {"step": "approved", "waits": []}, transient=True))
    left = begun(chunks)
    assert left is not None
    assert left.closing == [ToolFailed("c2", UNKNOWN), StepEnded()]
    chunks += [*codec.feed(ToolReturned("c2", 5)), *codec.feed(StepStarted())]
    left = begun(chunks)
    assert left is not None
    assert [part.get("output") for part in left.parts if "toolCallId" in part] == [7, 5, 1]
    assert (left.closing, left.is_complete) == ([], False)
    begun_to_speak = [*chunks, *codec.feed(TextDelta("s1-t", "So"))]
    assert begun(begun_to_speak) is None, "what a model was saying cannot be gone on with"


def test_a_message_is_said_again_as_it_was() -> None:
    parts: list[dict[str, Any]] = [
        {"type": "step-start"},
        {"type": "reasoning", "text": "Hm.", "state": "done", "providerMetadata": {"p": {"s": 1}}},
        {"type": "text", "text": "Let me see.", "state": "done"},
        {"type": "tool-look", "toolCallId": "c1", "state": "output-available", "input": {}, "output": 7},
        {"type": "tool-nod", "toolCallId": "c2", "state": "output-error", "input": {}, "errorText": "no"},
        {"type": "tool-charge", "toolCallId": "c3", "state": "output-denied", "input": {}, "approval": {"id": "c3"}},
        {"type": "step-start"},
        {"type": "file", "mediaType": "image/png", "url": "data:,"},
    ]
    assert message_of(replayed(parts))["parts"] == parts


async def test_what_goes_on_is_told_in_the_agui_stream_as_a_run_of_its_own(root: str, desk: Desk) -> None:
    async with desk.adapter() as one:
        asked = await one.ask("s1", Prompt([user("u1", "look")], agui=True))
        await ended(one, "s1", asked.attempt.id)
        answered = await one.answer("s1", [{"toolCallId": "c1", "output": 7}])
        assert answered.follower is not None
        await ended(one, "s1", answered.follower.id)

        async def told() -> bool:
            events = await stored(f"{root}/sessions/s1/agui")
            return [event["type"] for event in events].count("RUN_FINISHED") == 2

        await comes_true(told)
        events = await stored(f"{root}/sessions/s1/agui")
    started = [event for event in events if event["type"] == "TEXT_MESSAGE_START"]
    assert [event["role"] for event in started] == ["user", "assistant"], "the prompt is told once"
    [result] = [event for event in events if event["type"] == "TOOL_CALL_RESULT"]
    assert (result["toolCallId"], result["content"]) == ("c1", "7")
