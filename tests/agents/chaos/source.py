"""A source with a tool that takes a while, and notes in a file each time that it is run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from durable_streams.agents import Agent, Tool
from durable_streams.agents.sources.http import HttpModel, Upstream
from durable_streams.agents.wires.openai_chat import OpenAIChatWire
from tests.patience import pause

if TYPE_CHECKING:
    from collections.abc import Mapping


def note(run: str) -> None:
    with Path(os.environ["TOOL_RUNS"]).open("a", encoding="utf-8") as runs:
        runs.write(f"{run}\n")


async def work(given: Mapping[str, Any]) -> object:
    note(given["run"])
    await pause(given["for_s"])
    return f"worked for {given['run']}"


def make() -> Agent:
    model = HttpModel(Upstream(os.environ["MODEL_URL"], "m"), OpenAIChatWire())
    return Agent(model, [Tool("work", work)])
