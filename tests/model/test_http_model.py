"""The real server, over real sockets, against a model of the protocol: any order of requests, restarts and crashes.

`MODEL_EXAMPLES=5000` looks for new examples, that many per engine; without it the same ones run everywhere.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.model.event_rules import EventRules, RestartRules
from tests.model.read_rules import ReadRules

EXAMPLES = os.environ.get("MODEL_EXAMPLES")


def profile(max_examples: int) -> settings:
    return settings(
        max_examples=int(EXAMPLES or max_examples),
        stateful_step_count=40,
        derandomize=EXAMPLES is None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


pytestmark = [pytest.mark.slow, *([pytest.mark.timeout(0)] if EXAMPLES else [])]


class MemoryMachine(EventRules, ReadRules):
    """The memory engine forgets at a restart, so there is none."""

    engine = "memory"


class LmdbMachine(RestartRules, EventRules, ReadRules):
    """The store on disk."""

    engine = "lmdb"


TestMemory = MemoryMachine.TestCase
TestMemory.settings = profile(300)
TestLmdb = LmdbMachine.TestCase
TestLmdb.settings = profile(80)
