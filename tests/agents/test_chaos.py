"""Streams server and adapters killed, frozen and told wrong times under many runs: what is healthy is not lost.

Nothing ends twice, and a stop reaches the model's server while the streams server is away.

A run is healthy whose process was neither killed nor frozen for longer than half its lease; one that is not goes on
elsewhere exactly, or ends as lost, once. `CHAOS_SEED`, `CHAOS_ROUNDS` and `CHAOS_RUNS` say what is tried; the seed says
what happens and in which order, the machine when.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.agents.chaos.crowd import Crowd
from tests.agents.chaos.fleet import Fleet
from tests.agents.chaos.prompts import prompts
from tests.agents.chaos.trouble import CLOCK_STEP_MAX_S, Trouble
from tests.agents.chaos.verdict import ACTIVE, answers, attempts, faults, reading_faults, tool_faults
from tests.patience import comes_true, pause
from tests.serving import ServerProcess

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agents.chaos.prompts import Asked
    from tests.agents.chaos.verdict import Answer
    from tests.agents.upstream import ScriptedUpstream

SEED = int(os.environ.get("CHAOS_SEED", "1"))
ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))
RUNS = int(os.environ.get("CHAOS_RUNS", "50"))
PLACES = 3
OF_THE_SERVER, OF_THE_ADAPTERS = 3, 6
"""How often something happens in a round."""
ASKED_WITHIN_S = 8.0
LOOK_AGAIN_S = 0.5

pytestmark = pytest.mark.slow

_log = logging.getLogger(__name__)


@pytest.mark.parametrize("seed", range(SEED, SEED + ROUNDS))
async def test_a_round(tmp_path: Path, upstream: ScriptedUpstream, seed: int) -> None:
    chance = random.Random(seed)
    asked = prompts(chance, RUNS)
    upstream.scripts = {one.text: one.script for one in asked}
    with ServerProcess(tmp_path) as server:
        root = server.stream_url("").rstrip("/")
        environment = {"MODEL_URL": f"{upstream.base_url}/v1", "TOOL_RUNS": str(tmp_path / "tool-runs")}
        fleet = Fleet(root, tmp_path, environment)
        crowd = Crowd(fleet, upstream, asked)
        trouble = Trouble(server, fleet, crowd)
        try:
            await fleet.start([chance.uniform(-CLOCK_STEP_MAX_S, CLOCK_STEP_MAX_S) for _ in range(PLACES)])
            await _play(chance, asked, trouble)
            await comes_true(lambda: _all_over(root, asked, trouble, random.Random(seed)))
            await crowd.readers()
            found = await answers(root, asked)
            wrong = faults(found, crowd.told, upstream)
            wrong += tool_faults(found, tmp_path / "tool-runs") + reading_faults(found, crowd.told, root)
        except BaseException:
            _log.error("%s\n%s", _summary(seed, [], trouble), fleet.log())
            raise
        finally:
            await crowd.close()
            await fleet.close()
    _log.info("%s", _summary(seed, found, trouble))
    assert wrong == [], "\n".join([*wrong, ", ".join(trouble.happened), fleet.log()])


async def _play(chance: random.Random, asked: list[Asked], trouble: Trouble) -> None:
    """Ask everything while trouble is made, and return when both are done."""

    async def person(one: Asked, own: random.Random) -> None:
        await pause(own.uniform(0, ASKED_WITHIN_S))
        await trouble.crowd.ask(own, one)

    pages = asyncio.create_task(trouble.crowd.open_pages(random.Random(chance.random())))
    try:
        async with asyncio.TaskGroup() as group:
            for one in asked:
                group.create_task(person(one, random.Random(chance.random())))
            group.create_task(trouble.of_the_server(random.Random(chance.random()), OF_THE_SERVER))
            group.create_task(trouble.of_the_adapters(random.Random(chance.random()), OF_THE_ADAPTERS))
    finally:
        pages.cancel()
        await asyncio.gather(pages, return_exceptions=True)


async def _all_over(root: str, asked: list[Asked], trouble: Trouble, chance: random.Random) -> bool:  # noqa: PLR0917 as they come
    """Return whether every answer has ended; what ends by a stop alone is stopped, at any process."""
    of_message = {one.message_id: one for one in asked}
    open_ones = []
    for session_id in sorted({one.session_id for one in asked}):
        for gid, rows in (await attempts(root, session_id)).items():
            if rows[-1]["status"] in ACTIVE:
                open_ones.append((gid, of_message[rows[-1]["prompt_id"]]))
    endless = [(gid, one) for gid, one in open_ones if one.is_endless and trouble.crowd.under_way(one)]
    stop, fleet = trouble.crowd.stop, trouble.fleet
    await asyncio.gather(*(stop(fleet.any(chance), one, gid, by="the last one") for gid, one in endless))
    trouble.still_open = [f"{one.text} {gid}" for gid, one in open_ones]
    await pause(LOOK_AGAIN_S)
    return not open_ones


def _summary(seed: int, found: list[Answer], trouble: Trouble) -> str:
    told = trouble.crowd.told
    ends = ", ".join(f"{count} {status}" for status, count in sorted(Counter(one.status for one in found).items()))
    taken_over = sum(one.final["epoch"] > 0 and one.status == "finished" for one in found)
    stops = ", ".join(f"{ms:.0f}" for ms in sorted(told.cancel_ms))
    return (
        f"seed {seed}: {len(found)} answers: {ends}; {taken_over} finished elsewhere; {len(told.read)} read live; "
        f"stops that the model saw while the streams server was away, ms: {stops}; {', '.join(trouble.happened)}"
        f"{'; still open: ' if trouble.still_open else ''}{', '.join(trouble.still_open)}"
    )
