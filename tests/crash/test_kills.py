"""kill -9 at random moments, and at every point inside a commit: nothing acknowledged is lost, nothing is doubled.

CRASH_ROUNDS: how many kills at random moments, 20 if not set. CRASH_SEED: what the first campaign does, 1 if not set;
each campaign takes the next seed. A seed fixes what every writer does and when the kills come; how far the writers have
come by then is up to the machine, so a failure is repeated by running its seed some times.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from durable_streams.engine.lmdb.engine import FAULT_POINTS
from tests.crash.campaign import ANSWERS_PER_ROUND, Plan, run_campaign

if TYPE_CHECKING:
    from pathlib import Path

    from tests.crash.ledger import Tally

ROUNDS_PER_CAMPAIGN = 5
ROUNDS = int(os.environ.get("CRASH_ROUNDS", "20"))
SEED = int(os.environ.get("CRASH_SEED", "1"))
PLANS = [
    Plan(SEED + k, min(ROUNDS_PER_CAMPAIGN, ROUNDS - k * ROUNDS_PER_CAMPAIGN))
    for k in range(-(-ROUNDS // ROUNDS_PER_CAMPAIGN))
]
FAULT_ROUNDS = 4

pytestmark = pytest.mark.slow


async def prove(directory: Path, plan: Plan) -> Tally:
    try:
        return await run_campaign(directory, plan)
    except BaseException as failure:
        failure.add_note(f"repeat with: make crash CRASH_SEED={plan.seed} CRASH_ROUNDS={ROUNDS_PER_CAMPAIGN}")
        raise


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"seed{plan.seed}")
async def test_kills_at_random_moments(tmp_path: Path, plan: Plan) -> None:
    tally = await prove(tmp_path, plan)

    assert tally.answered >= ANSWERS_PER_ROUND * plan.rounds
    assert tally.obeyed_unanswered + tally.lost_unanswered > 5 * plan.rounds


@pytest.mark.parametrize("point", FAULT_POINTS)
async def test_kills_inside_a_commit(tmp_path: Path, point: str) -> None:
    tally = await prove(tmp_path, Plan(SEED, FAULT_ROUNDS, point))

    if point == "after-commit":
        assert tally.obeyed_unanswered >= FAULT_ROUNDS
    else:
        assert tally.lost_unanswered >= FAULT_ROUNDS
