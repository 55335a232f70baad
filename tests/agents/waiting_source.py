"""A source with a tool of the client's, one that needs approval and leaves a line in a file, and one that just runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from durable_streams.agents import Agent, Tool
from durable_streams.agents.sources.http import HttpModel, Upstream
from durable_streams.agents.wires.openai_chat import OpenAIChatWire

if TYPE_CHECKING:
    from collections.abc import Mapping


async def charge(given: Mapping[str, Any]) -> object:
    with Path(os.environ["CHARGES"]).open("a", encoding="utf-8") as file:  # noqa: ASYNC230 a line in a test
        file.write(f"{given['cents']}\n")
    return "charged"


async def nod(_given: Mapping[str, Any]) -> object:
    return "nodded"


def make() -> Agent:
    model = HttpModel(Upstream(os.environ["MODEL_URL"], "m"), OpenAIChatWire())
    tools = [Tool("look", runs="client"), Tool("charge", charge, approval=True), Tool("nod", nod)]
    return Agent(model, tools, steps_max=2 if "STEPS" not in os.environ else int(os.environ["STEPS"]))
