"""A run that needs somebody ends as finished, says what it waits for, and does not hold up the session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from durable_streams.agents import write
from durable_streams.agents.events import Finished, Pending, TextDelta, ToolCalled, Waiting
from durable_streams.agents.fit import UnstorableError
from durable_streams.agents.wires.parts import NOT_RUN
from tests.agents.conftest import ended, stored
from tests.agents.test_sessions import asking
from tests.agents.test_wires import WIRE
from tests.agents.wire_bytes import WIRES
from tests.patience import comes_true

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from durable_streams.agents import Run
    from durable_streams.agents.events import Event
    from tests.agents.conftest import Adapters


async def asks(run: Run) -> AsyncIterator[Event]:
    yield TextDelta("t", "May I?")
    yield ToolCalled("c1", "delete", {"path": ".env"})
    yield Waiting((Pending("c1", "approval", "delete"),))
    yield Finished("tool-calls")


async def test_the_session_and_its_agui_stream_say_what_is_waited_for(root: str, adapters: Adapters) -> None:
    async with adapters(asks) as adapter:
        asked = await adapter.ask("s1", asking(agui=True))
        attempt = await ended(adapter, "s1", asked.attempt.id)

        async def told() -> bool:
            return "RUN_FINISHED" in [event["type"] for event in await stored(f"{root}/sessions/s1/agui")]

        await comes_true(told)
        session = adapter.session("s1")
        async with session.following():
            [message] = [one for one in session.state.messages.values() if one["role"] == "assistant"]
    assert attempt.status == "waiting"
    assert message["metadata"]["waiting"] == [{"id": "c1", "kind": "approval", "tool": "delete"}]
    assert [part["state"] for part in message["parts"] if part["type"] == "tool-delete"] == ["approval-requested"]
    events = await stored(f"{root}/sessions/s1/agui")
    assert events[-1]["outcome"] == {
        "type": "interrupt",
        "interrupts": [{"id": "c1", "reason": "approval", "toolCallId": "c1"}],
    }
    assert [event for event in events if event["type"] == "TOOL_CALL_RESULT"] == []


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("waits", [True, False], ids=["waited for", "cut short"])
def test_a_model_is_told_that_what_nobody_approved_has_not_run(wire: str, *, waits: bool) -> None:
    """Of a call that was cut short nobody knows."""
    call = {"type": "tool-delete", "toolCallId": "c1", "state": "input-available", "input": {"path": ".env"}}
    metadata = {"waiting": [{"id": "c1", "kind": "approval", "tool": "delete"}]} if waits else {}
    answer = {"id": "a1", "role": "assistant", "parts": [call], "metadata": metadata}
    messages: list[Any] = [
        {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "Delete it."}]},
        answer,
        {"id": "u2", "role": "user", "parts": [{"type": "text", "text": "Wait, no."}]},
    ]
    body = orjson.dumps(WIRE[wire].request("m", messages, ())).decode()
    assert (NOT_RUN in body) == waits
    assert ("may have taken effect" in body) != waits


async def test_what_is_pending_is_checked_where_it_is_said(root: str) -> None:
    async def wrong(_run: Run) -> AsyncIterator[Event]:
        yield Waiting(({"id": "c1"},))  # type: ignore[arg-type] # on purpose

    with pytest.raises(UnstorableError, match=r"Waiting\.pending"):
        await write(wrong, to=f"{root}/s")
    assert (await stored(f"{root}/s"))[-1]["type"] == "error"
