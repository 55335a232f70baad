"""Agents: model output into durable streams, stoppable by anyone, readable by any chat client.

A program of its own that talks to the server over HTTP through ``durable_streams.client``; never imports the server.

    from durable_streams.agents import write
    from durable_streams.agents.sources.openai import OpenAIChat
    await write(OpenAIChat(client, "model"), to="http://127.0.0.1:4437/v1/stream/answer", messages="Hello!")

As a service: ``durable-streams agent serve``; ``docs/agents.md`` has its endpoints.
"""

from __future__ import annotations

from durable_streams.agents.codecs import AguiEvents, Codec, Identity, RawText, UiChunks
from durable_streams.agents.errors import (
    AgentError,
    AlreadyWrittenError,
    MissingExtraError,
    RunEndedError,
    ToolError,
    UnusableError,
    UpstreamCutError,
    UpstreamError,
)
from durable_streams.agents.runs.run import Run, current_run
from durable_streams.agents.runs.write import Written, write
from durable_streams.agents.runs.writer import Pace
from durable_streams.agents.sources.base import Model, Source
from durable_streams.agents.sources.loop import Agent
from durable_streams.agents.tools import Tool

__all__ = [
    "Agent",
    "AgentError",
    "AguiEvents",
    "AlreadyWrittenError",
    "Codec",
    "Identity",
    "MissingExtraError",
    "Model",
    "Pace",
    "RawText",
    "Run",
    "RunEndedError",
    "Source",
    "Tool",
    "ToolError",
    "UiChunks",
    "UnusableError",
    "UpstreamCutError",
    "UpstreamError",
    "Written",
    "current_run",
    "write",
]
