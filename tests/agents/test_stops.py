"""Fifty people press stop at once, at random instants: one ending, last, and the model is told.

`STOP_SEEDS` says how many random schedules are tried.
"""

from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING, Any

import pytest

from durable_streams.agents import Agent, Pace
from durable_streams.agents.events import Ending
from durable_streams.agents.sessions.adapter import Adapter
from durable_streams.agents.sessions.prompts import Prompt
from durable_streams.agents.sessions.settings import Settings
from durable_streams.agents.sources.http import HttpModel, Upstream
from durable_streams.agents.wires.openai_chat import OpenAIChatWire
from tests.agents.conftest import stored, text_of
from tests.agents.upstream import Script, ScriptedUpstream
from tests.agents.wire_bytes import Text
from tests.patience import HANG_S, pause

if TYPE_CHECKING:
    from durable_streams.agents.sessions.stopping import Stopped

SEEDS = int(os.environ.get("STOP_SEEDS", "100"))
STOPS = 50
TERMINAL = {"finish", "abort", "error"}
WORDS = [Text(f"w{n} ") for n in range(400)]
WHOLE = "".join(word.text for word in WORDS)


def prompt(seed: int) -> Prompt:
    return Prompt([{"id": f"u{seed}", "role": "user", "parts": [{"type": "text", "text": "go"}]}])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_fifty_stops_at_random_instants(root: str, upstream: ScriptedUpstream, seed: int) -> None:
    chance = random.Random(seed)
    # Silent before the first token, silent in the middle, talking all the time, or about to finish when stopped.
    upstream.scripts["m"] = chance.choice(
        [
            Script(WORDS, hang_after=0),
            Script(WORDS, hang_after=chance.randrange(1, 40)),
            Script(WORDS, delay_s=0.002),
            Script(WORDS[:20], delay_s=0.002),
        ]
    )
    model = HttpModel(Upstream(f"{upstream.base_url}/v1", "m"), OpenAIChatWire())
    settings = Settings(root, pace=Pace(linger_ms=5))
    async with Adapter(settings, Agent(model)) as owner, Adapter(settings, Agent(model)) as other:
        asked = await owner.ask("s1", prompt(seed))
        attempt = asked.attempt
        began_s = chance.uniform(0, 0.06)

        async def stop(number: int) -> Stopped:
            await pause(began_s + chance.uniform(0, 0.03) * (number > 0))
            adapter = (owner, other)[number % 2]
            return await adapter.stop("s1", Ending("aborted", "enough", f"p{number}", adapter.now_ms()), attempt.id)

        stopped = await asyncio.gather(*(stop(number) for number in range(STOPS)))
        chunks = await stored(f"{root}/{attempt.stream}")
        _check_ending(chunks, stopped)
        if upstream.requests:
            # One that hangs, or has most to say, ends for no other reason.
            await asyncio.wait_for(upstream.requests[0].ended.wait(), HANG_S)
        state = await owner.session("s1").refresh()
        assert {one.attempt for one in stopped} == {state.attempts[attempt.id]}
    await model.aclose()
    assert await stored(f"{root}/{attempt.stream}") == chunks, "nothing has come after the ending"


def _check_ending(chunks: list[dict[str, Any]], stopped: list[Stopped]) -> None:
    assert [chunk["type"] in TERMINAL for chunk in chunks].count(True) == 1
    assert chunks[-1]["type"] in {"abort", "finish"}
    assert WHOLE.startswith(text_of(chunks))
    opened = [c["id"] for c in chunks if c["type"] == "text-start"]
    closed = [c["id"] for c in chunks if c["type"] == "text-end"]
    assert len(closed) == len(set(closed))
    assert set(closed) <= set(opened)
    if chunks[-1]["type"] == "abort":
        by = chunks[-2]["messageMetadata"]["by"]
        assert {(one.stopped, one.attempt.stopped_by) for one in stopped if one.attempt} == {(True, by)}
    else:
        assert {(one.stopped, one.why) for one in stopped} == {(False, "finished")}
