"""The local model through the vendors' own packages; `agent serve --source tests.model_e2e.sources:NAME`."""

from __future__ import annotations

import os
from typing import Any

from durable_streams.agents import Agent
from durable_streams.agents.local_model import NAME
from durable_streams.agents.sources.anthropic import Anthropic
from durable_streams.agents.sources.openai import OpenAIChat, OpenAIResponses
from durable_streams.agents.sources.packages import optional

URL_VARIABLE = "LOCAL_MODEL_URL"
ENDLESS_VARIABLE = "LOCAL_MODEL_ENDLESS"
"""Set: the model goes on to its last token, so that a stop cannot come too late."""
KEY = "none"
TOKENS = 800


def _more() -> dict[str, Any]:
    return {"extra_body": {"temperature": 0, "ignore_eos": ENDLESS_VARIABLE in os.environ}}


def _openai() -> Any:  # noqa: ANN401 a package that may be absent
    return optional("openai", extra="openai").AsyncOpenAI(base_url=f"{os.environ[URL_VARIABLE]}/v1", api_key=KEY)


def openai_chat() -> Agent:
    return Agent(OpenAIChat(_openai(), NAME, max_tokens=TOKENS, **_more()))


def openai_responses() -> Agent:
    return Agent(OpenAIResponses(_openai(), NAME, max_output_tokens=TOKENS, **_more()))


def anthropic() -> Agent:
    client = optional("anthropic", extra="anthropic").AsyncAnthropic(base_url=os.environ[URL_VARIABLE], api_key=KEY)
    return Agent(Anthropic(client, NAME, max_tokens=TOKENS, **_more()))
