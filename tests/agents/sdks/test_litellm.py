"""LiteLLM's chunks, with tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from durable_streams.agents import Agent, Tool
from durable_streams.agents.sources.litellm import LiteLLM
from tests.agents.sdks import SDK, answer, calls, errors, results, steps, texts
from tests.agents.upstream import Script, ScriptedUpstream
from tests.agents.wire_bytes import Text, Thought, ToolUse

if TYPE_CHECKING:
    from collections.abc import Mapping

pytest.importorskip("litellm")

pytestmark = SDK


async def double(given: Mapping[str, Any]) -> object:
    return given["n"] * 2


async def test_calls_side_by_side(root: str, upstream: ScriptedUpstream) -> None:
    uses = [ToolUse("c1", "double", ('{"n"', ":2}")), ToolUse("c2", "double", ('{"n"', ":3}"))]
    upstream.scripts["go"] = Script([Thought("hm"), Text("Well. "), *uses], then=Script([Text("Done.")]))
    model = LiteLLM("openai/m", base_url=f"{upstream.base_url}/v1", api_key="none")
    chunks = await answer(root, Agent(model, [Tool("double", double)]))
    assert calls(chunks) == [("double", {"n": 2}), ("double", {"n": 3})]
    assert sorted(map(str, results(chunks))) == ["4", "6"], "they run side by side"
    assert (texts(chunks), steps(chunks), errors(chunks)) == (["Well. ", "Done."], 2, [])
    assert "".join(c["delta"] for c in chunks if c["type"] == "reasoning-delta") == "hm"
    assert chunks[-1]["finishReason"] == "stop"


async def test_its_own_scripted_answers(root: str) -> None:
    """What the package itself offers for tests: no server at all."""
    chunks = await answer(root, Agent(LiteLLM("gpt-5-mini", mock_response="Hello there")))
    assert (texts(chunks), errors(chunks)) == (["Hello there"], [])
