"""A source whose tool holds the loop, from the moment it makes a file until another file is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from durable_streams.agents import Agent, Tool
from durable_streams.agents.sources.http import HttpModel, Upstream
from durable_streams.agents.wires.openai_chat import OpenAIChatWire
from tests.patience import let_pass

if TYPE_CHECKING:
    from collections.abc import Mapping


async def block(_given: Mapping[str, Any]) -> str:
    place = Path(os.environ["BLOCK_DIR"])
    (place / "held").touch()
    while not (place / "go").exists():
        let_pass(0.01)
    return "done"


def make() -> Agent:
    return Agent(HttpModel(Upstream(os.environ["MODEL_URL"], "m"), OpenAIChatWire()), [Tool("block", block)])
