"""Chat clients from npm, unmodified, in Node, against the real adapter and the real server."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.agents.serving import AdapterProcess
from tests.agents.upstream import Script, ScriptedUpstream
from tests.agents.wire_bytes import Said, Text, ToolUse
from tests.patience import HANG_S
from tests.serving import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.serving import ServerProcess

JS = REPOSITORY / "tests" / "js-agents"
WORDS: list[Said] = [Text(f"w{n} ") for n in range(60)]
WHOLE = "".join(f"w{n} " for n in range(60))
ENDLESS: list[Said] = [Text(f"w{n} ") for n in range(20_000)]
"""More than is said before somebody stops it, however long everybody takes."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (JS / "node_modules").exists(), reason="npm packages of the agent tests are missing: run `make environment`"
    ),
]


@pytest.fixture
def adapter(server: ServerProcess, upstream: ScriptedUpstream) -> Iterator[AdapterProcess]:
    upstream.scripts = {
        "words": Script(WORDS, delay_s=0.02),
        "gated": Script(WORDS, gate_after=9),
        "endless": Script(ENDLESS, delay_s=0.02),
        "quick": Script(),
        "silence": Script(hang_after=0),
        "call": Script([ToolUse("c1", "weather", ('{"ci', 'ty":"Oslo"}'))], then=Script()),
        "half a call": Script([ToolUse("c1", "weather", ('{"ci', 'ty":'))], hang_after=3),
        "broken": Script(error_after=3),
    }
    arguments = ["--base-url", f"{upstream.base_url}/v1", "--model", "m"]
    with AdapterProcess(server.stream_url("").rstrip("/"), arguments) as running:
        yield running
    print(running.log)  # noqa: T201 - shown when the test fails


def is_part(text: str) -> bool:
    """Whether this is how the endless answer begins, and not all of it."""
    words = text.split()
    return len(words) < len(ENDLESS) and words == [f"w{n}" for n in range(len(words))]


async def node(script: str, *arguments: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        "node",
        str(JS / script),
        *arguments,
        cwd=JS,
        env=os.environ | {"NO_COLOR": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), HANG_S)
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
        message = f"{script} did not end\n{out.decode()}\n{err.decode()}"
        raise AssertionError(message) from None
    assert process.returncode == 0, err.decode()
    result: dict[str, Any] = json.loads(out)
    return result


@pytest.mark.parametrize("transport", ["durable", "plain"])
@pytest.mark.parametrize("sdk", ["ai5", "ai", "ai7"])
async def test_the_ai_sdk(adapter: AdapterProcess, upstream: ScriptedUpstream, *, sdk: str, transport: str) -> None:
    results = await node("aisdk.mjs", transport, adapter.url, sdk, upstream.base_url)
    for name, tabs in results.items():
        assert isinstance(tabs, list), f"{name}: {tabs}"

    [submitted] = results["submit"]
    assert (submitted["status"], submitted["text"], submitted["count"]) == ("ready", "Hello world", 4)
    assert submitted["metadata"]["ending"] == "finished"
    for name in ("lateJoin", "reloadMidAnswer"):
        assert [(tab["status"], tab["text"], tab["count"]) for tab in results[name]] == [
            ("ready", WHOLE, 2) for _ in results[name]
        ], name
    assert len({tab["id"] for tab in results["lateJoin"]}) == 1
    gone, tab = results["reloadAfterEnd"]
    assert (tab["text"], tab["id"], tab["count"], tab["status"]) == ("Hello world", gone["id"], 2, "ready")
    before, after, stored = results["regenerate"]
    assert (after["text"], after["count"]) == ("Hello world", 2)
    assert after["id"] != before["id"]
    assert stored["stored"][1:] == [after["id"]]

    first, second, stopped = results["stopByThirdParty"]
    assert (stopped["status"], stopped["stopped"], stopped["by"]) == (200, True, "eve")
    assert first == second
    assert first["status"] == "ready"
    assert is_part(first["text"])
    assert "w3" in first["text"]
    assert {name: first["metadata"][name] for name in ("aborted", "by", "reason")} == {
        "aborted": True,
        "by": "eve",
        "reason": "enough",
    }
    tab, stopped = results["stopBeforeFirstToken"]
    assert (tab["status"], tab["text"], tab["metadata"]["by"], stopped["stopped"]) == ("ready", "", "eve", True)
    tab, stopped = results["stopAfterEnd"]
    assert (tab["text"], stopped["stopped"], stopped["why"]) == ("Hello world", False, "finished")
    [tab] = results["stopDuringTool"]
    assert (tab["status"], tab["tools"]) == ("ready", [["output-error", "interrupted"]])
    [tab] = results["upstreamFails"]
    assert tab["status"] == "error"
    assert "the model's provider reported an error (error " in tab["error"]
    first, second = results["busy"]
    assert is_part(first["text"])
    assert "w1" in first["text"]
    assert second["status"] == "error"
    assert "an answer is being written" in second["error"]


@pytest.mark.parametrize("client", ["@ag-ui/client", "agui0"])
async def test_agui(adapter: AdapterProcess, upstream: ScriptedUpstream, client: str) -> None:
    results = await node("agui.mjs", adapter.url, upstream.base_url, client)
    for name, clients in results.items():
        assert isinstance(clients, list), f"{name}: {clients}"
    [answer] = results["answer"]
    one = [
        {"role": "user", "content": "quick", "calls": []},
        {"role": "assistant", "content": "Hello world", "calls": []},
    ]
    assert (answer["messages"], answer["errors"]) == ([*one, *one], [])
    assert (answer["kinds"][0], answer["last"]["type"]) == ("RUN_STARTED", "RUN_FINISHED")
    assert (answer["last"]["runId"], answer["last"]["outcome"]) == ("run-2", {"type": "success"})
    [tool] = results["tool"]
    _, called, returned, said = tool["messages"]
    assert called["calls"] == [["weather", '{"city":"Oslo"}']]
    assert (returned["role"], returned["content"]) == ("tool", "there is no tool 'weather'")
    assert (said["role"], said["content"], tool["errors"]) == ("assistant", "Hello world", [])
    back, attempts = results["comesBack"]
    assert (back["messages"][-1]["content"], back["errors"]) == (WHOLE, [])
    assert [one["status"] for one in attempts] == ["finished"]
    [stopped] = results["stopped"]
    assert stopped["last"]["result"]["by"] == "eve"
    assert stopped["last"].get("outcome") == (None if client == "agui0" else {"type": "cancelled"})
    assert is_part(stopped["messages"][-1]["content"])
    assert stopped["errors"] == []
    [broken] = results["broken"]
    assert broken["last"]["type"] == "RUN_ERROR"
    [[message, code], *_] = broken["errors"]
    assert (message.partition(" (")[0], code) == ("the model's provider reported an error", "failed")


async def test_the_state_client(adapter: AdapterProcess) -> None:
    result = await node("state.mjs", adapter.url)
    assert result["early"] == result["late"]
    assert result["statuses"] == ["running", "aborted"]
    assert result["late"]["generations"] == [["aborted", "eve"]]
    assert result["late"]["presence"] == [["tab-1", "Ann"]]
    [asked, answer] = result["late"]["messages"]
    assert asked == ["user", "endless", "Ann"]
    assert (answer[0], answer[2]) == ("assistant", "eve")
    assert is_part(answer[1])


async def test_tanstack(adapter: AdapterProcess) -> None:
    result = await node("tanstack.mjs", adapter.url)
    one = [["user", "quick"], ["assistant", "Hello world"]]
    assert result["afterOne"] == [one, one]
    assert result["reloaded"] == {"first": one, "second": one, "late": one, "kept": True, "fresh": True}
    assert result["first"] == result["second"] == result["late"]
    assert result["first"][:3] == [*one, ["user", "endless"]]
    role, text = result["first"][3]
    assert role == "assistant"
    assert is_part(text)
    assert "w3" in text
    assert result["error"] == ""
