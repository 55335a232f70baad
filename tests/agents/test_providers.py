"""Every provider's forms over HTTP, through the agent, into a real server: what runs, is stored and is shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from structlog.testing import capture_logs

from durable_streams.agents import Agent, RawText, Tool, UpstreamError, write
from durable_streams.agents.plain import plain
from durable_streams.client import astream
from tests.agents.conftest import ended, stored, text_of
from tests.agents.provider_cases import CASES, Case, sse
from tests.agents.provider_cases.chat import delta, one_call
from tests.agents.test_sessions import asking
from tests.agents.test_wires import WIRE
from tests.agents.test_write import HISTORY, model
from tests.agents.upstream import Script
from tests.agents.wire_bytes import WIRES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.agents.conftest import Adapters
    from tests.agents.upstream import ScriptedUpstream

PAY = {"type": "object", "properties": {"cents": {"type": "integer"}}, "required": ["cents"]}


class Tools:
    """Tools that note what they were run with, and whether that was durable before they were."""

    def __init__(self, url: str) -> None:
        self.runs: list[tuple[str, object]] = []
        self.unrecorded: list[tuple[str, object]] = []
        self._url = url

    def all(self) -> list[Tool]:
        return [
            *(Tool(name, self._named(name)) for name in ("read", "charge", "time")),
            Tool("pay", self._named("pay"), parameters=PAY),
        ]

    def _named(self, name: str) -> Any:  # noqa: ANN401 a tool's function
        async def run(given: Mapping[str, Any]) -> object:
            self.runs.append((name, dict(given)))
            same = [call for call in self.runs if call == (name, given)]
            called = [c for c in await stored(self._url) if c["type"] == "tool-input-available"]
            known = [c for c in called if (c["toolName"], c["input"]) == (name, plain(given))]
            if len(known) < len(same):
                self.unrecorded.append((name, given))
            return {"ok": True}

        return run


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.wire}: {case.name}")
async def test_what_a_provider_sends(case: Case, root: str, upstream: ScriptedUpstream) -> None:
    raw = [[sse(event) for event in step] for step in case.steps]
    upstream.scripts["m"] = Script(raw=[*raw], content_type=case.content_type, stays_open=case.stays_open)
    url = f"{root}/s"
    tools = Tools(url)
    source = model(upstream, case.wire, "m")
    error = ""
    with capture_logs() as logged:
        try:
            await write(Agent(source, tools.all()), to=url, messages=HISTORY)
        except UpstreamError as failure:
            error = str(failure)
    await source.aclose()

    assert tools.runs == list(case.runs)
    assert not tools.unrecorded
    assert len(upstream.requests) == len(case.steps)
    chunks = await stored(url)
    assert text_of(chunks) == case.text
    assert "".join(c["delta"] for c in chunks if c["type"] == "reasoning-delta") == case.reasoning
    if case.reasoning and case.text:
        kinds = [c["type"] for c in chunks]
        assert kinds.index("reasoning-start") < kinds.index("reasoning-end") < kinds.index("text-start")
    assert_rejections(case, chunks)
    assert_ending(case, chunks, error)
    assert [str(entry["exc_info"]) for entry in logged if entry["event"] == "run_failed"] == ([error] if error else [])
    if case.shown:
        second = shown_in(upstream.requests[1].body)
        assert [text for text in case.shown if text not in second] == []


def shown_in(value: object) -> str:
    """Return all texts in a request, one after the other."""
    if isinstance(value, str):
        return f"{value}\n"
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return "".join(shown_in(one) for one in inner)


def assert_rejections(case: Case, chunks: list[dict[str, Any]]) -> None:
    errors = [c["errorText"] for c in chunks if c["type"] in {"tool-input-error", "tool-output-error"}]
    if case.finish is None:
        return  # what was open is closed with an error
    assert len(errors) == len(case.rejected)
    for error, expected in zip(errors, case.rejected, strict=True):
        assert expected in error
    ids = [c["toolCallId"] for c in chunks if c["type"] == "tool-input-start"]
    assert len(ids) == len(set(ids))
    ended = [c["toolCallId"] for c in chunks if c["type"] in {"tool-input-error", "tool-output-error"}]
    ended += [c["toolCallId"] for c in chunks if c["type"] == "tool-output-available"]
    assert len(ended) == len(set(ended))


def assert_ending(case: Case, chunks: list[dict[str, Any]], error: str) -> None:
    last = chunks[-1]
    assert [c["type"] for c in chunks if c["type"] in {"finish", "error", "abort"}] == [last["type"]]
    if case.finish is None:
        assert case.error in error
        assert error.startswith("an event") == case.error.startswith("an event")
        # What the provider said is raised; readers are told its kind.
        assert last["type"] == "error"
        assert re.fullmatch(r"the model's .+ \(error \w{8}\)", last["errorText"])
        assert chunks[-2]["messageMetadata"]["ending"] == "failed"
        return
    assert error == ""
    metadata = last["messageMetadata"]
    assert (last["type"], last["finishReason"], metadata["ending"]) == ("finish", case.finish, "finished")
    assert (metadata["finishReason"], metadata.get("rawFinishReason")) == (case.finish, case.raw)


def test_every_case_has_a_name_of_its_own() -> None:
    assert len({(case.wire, case.name) for case in CASES}) == len(CASES)


LENGTH = [sse(delta(content="half")), sse(delta("length")), sse("[DONE]")]


async def test_why_an_answer_ended_is_in_its_row_and_message(adapters: Adapters, upstream: ScriptedUpstream) -> None:
    upstream.scripts["m"] = Script(raw=[LENGTH])
    source = model(upstream, "openai_chat", "m")
    async with adapters(Agent(source)) as adapter:
        asked = await adapter.ask("s1", asking())
        final = await ended(adapter, "s1", asked.attempt.id)
        assert (final.status, final.finish_reason) == ("finished", "length")
        answer = adapter.session("s1").state.messages[final.message_id]
        assert (answer["metadata"]["ending"], answer["metadata"]["finishReason"]) == ("finished", "length")
    await source.aclose()


async def test_a_failed_answer_has_no_finish_reason(adapters: Adapters, upstream: ScriptedUpstream) -> None:
    upstream.scripts["m"] = Script(raw=[[sse(delta("error", content="par"))]])
    source = model(upstream, "openai_chat", "m")
    async with adapters(Agent(source)) as adapter:
        asked = await adapter.ask("s1", asking())
        final = await ended(adapter, "s1", asked.attempt.id)
        assert (final.status, final.finish_reason) == ("failed", None)
        assert "finishReason" not in adapter.session("s1").state.messages[final.message_id]["metadata"]
    await source.aclose()


async def test_raw_text_tells_that_an_answer_was_cut_off(root: str, upstream: ScriptedUpstream) -> None:
    upstream.scripts["m"] = Script(raw=[LENGTH])
    source = model(upstream, "openai_chat", "m")
    await write(Agent(source), to=f"{root}/s", codec=RawText(), messages=HISTORY)
    await source.aclose()
    async with astream(f"{root}/s", live=False) as response:
        assert await response.read_text() == "half\n[ended: length]\n"


@pytest.mark.parametrize("asked", [("nonsense", "not JSON"), ("{}", "has had its 3 calls")], ids=["bad", "good"])
async def test_calls_that_never_end_are_bounded(root: str, upstream: ScriptedUpstream, asked: tuple[str, str]) -> None:
    arguments, error = asked
    upstream.scripts["m"] = Script(raw=[[sse(event) for event in one_call(arguments)]])
    source = model(upstream, "openai_chat", "m")
    tools = Tools(f"{root}/s")
    await write(Agent(source, tools.all(), steps_max=3), to=f"{root}/s", messages=HISTORY)
    await source.aclose()
    chunks = await stored(f"{root}/s")
    assert len(upstream.requests) == 3
    assert len(tools.runs) == (0 if arguments == "nonsense" else 2)
    errors = [c["errorText"] for c in chunks if c["type"].endswith("-error")]
    assert error in errors[-1]
    assert len({c["toolCallId"] for c in chunks if c["type"] == "tool-input-start"}) == 3
    assert (chunks[-1]["type"], chunks[-1]["finishReason"]) == ("finish", "tool-calls")


async def test_an_id_of_an_earlier_answer_is_not_used_again(adapters: Adapters, upstream: ScriptedUpstream) -> None:
    call = [sse(event) for event in one_call('{"cents":1}')]
    done = [sse(delta("stop", content="done"))]
    upstream.scripts["m"] = Script(raw=[call, done, call, done])
    source = model(upstream, "openai_chat", "m")

    async def charge(given: Mapping[str, Any]) -> object:
        return dict(given)

    async with adapters(Agent(source, [Tool("charge", charge)])) as adapter:
        for name in ("u1", "u2"):
            asked = await adapter.ask("s1", asking(name))
            assert (await ended(adapter, "s1", asked.attempt.id)).status == "finished"
    await source.aclose()
    sent = upstream.requests[3].body["messages"]
    assert [m["tool_call_id"] for m in sent if m["role"] == "tool"] == ["call_a", "call_a-2"]


@pytest.mark.parametrize("wire", WIRES)
def test_what_could_not_be_read_is_shown_in_an_object(wire: str) -> None:
    named = {"type": "tool-charge", "toolCallId": "c1", "state": "output-error", "errorText": "not run"}
    for part in ({**named, "input": "[1,"}, {**named, "rawInput": "[1,"}):
        body = WIRE[wire].request("m", [{"id": "a", "role": "assistant", "parts": [part]}], ())
        assert '{"unreadable_input":"[1,"}' in orjson.dumps(body).decode().replace("\\", "")
