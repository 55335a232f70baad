"""A source with a tool whose effect the test can see: each call is a request to `TOOL_URL` that never answers.

And one that answers at once.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import aiohttp

from durable_streams.agents import Agent, Tool
from durable_streams.agents.sources.http import HttpModel, Upstream
from durable_streams.agents.wires.openai_chat import OpenAIChatWire

if TYPE_CHECKING:
    from collections.abc import Mapping


async def charge(given: Mapping[str, Any]) -> object:
    async with aiohttp.ClientSession() as session, session.post(os.environ["TOOL_URL"], json=dict(given)) as response:
        return await response.json()


async def add(given: Mapping[str, Any]) -> object:
    return given["n"] + 1


def make() -> Agent:
    model = HttpModel(Upstream(os.environ["MODEL_URL"], "m"), OpenAIChatWire())
    return Agent(model, [Tool("add", add), Tool("charge", charge)])
