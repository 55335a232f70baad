"""Unmodified AI SDK clients that answer what a run waits for, in Node; and an adapter that dies while one waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.agents.serving import AdapterProcess
from tests.agents.test_clients import JS, node
from tests.agents.upstream import Script, ScriptedUpstream
from tests.agents.wire_bytes import Text, ToolUse
from tests.patience import comes_true

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.serving import ServerProcess

WORDS = [Text(f"w{n} ") for n in range(10)]
CHARGED = ToolUse("c2", "charge", ('{"cents":5}',))

pytestmark = pytest.mark.slow


def process(server: ServerProcess, upstream: ScriptedUpstream, charges: Path) -> AdapterProcess:
    upstream.scripts = {
        "look": Script([ToolUse("c1", "look", ("{}",))], then=Script([Text("Done.")])),
        "charge": Script([CHARGED], then=Script([Text("Done.")])),
        "gated charge": Script([CHARGED], then=Script(WORDS, gate_after=6)),
        "nod": Script([ToolUse("c3", "nod", ("{}",))]),
        "hi": Script(),
    }
    environment = {"MODEL_URL": f"{upstream.base_url}/v1", "CHARGES": str(charges)}
    arguments = ["--source", "tests.agents.waiting_source:make"]
    return AdapterProcess(server.stream_url("").rstrip("/"), arguments, environment=environment)


@pytest.fixture
def charges(tmp_path: Path) -> Path:
    return tmp_path / "charges"


@pytest.fixture
def adapter(server: ServerProcess, upstream: ScriptedUpstream, charges: Path) -> Iterator[AdapterProcess]:
    with process(server, upstream, charges) as running:
        yield running
    print(running.log)  # noqa: T201 - shown when the test fails


def charged_cents(charges: Path) -> list[str]:
    return charges.read_text().split()


def asked(upstream: ScriptedUpstream) -> dict[str, int]:
    """How often the model was called for each text of the user."""
    texts = [
        next(one["content"] for one in reversed(request.body["messages"]) if one["role"] == "user")
        for request in upstream.requests
    ]
    return {text: texts.count(text) for text in texts}


@pytest.mark.skipif(
    not (JS / "node_modules").exists(), reason="npm packages of the agent tests are missing: run `make environment`"
)
@pytest.mark.parametrize("transport", ["durable", "plain"])
@pytest.mark.parametrize("sdk", ["ai5", "ai", "ai7"])
async def test_the_ai_sdk_answers(
    adapter: AdapterProcess, upstream: ScriptedUpstream, charges: Path, *, sdk: str, transport: str
) -> None:
    results = await node("waiting.mjs", transport, adapter.url, sdk, upstream.base_url)
    looked = [["tool-look", "output-available", {"seen": 7}]]
    tab, stored = results["clientTool"]
    assert (tab["status"], tab["text"], tab["tools"], tab["count"]) == ("ready", "Done.", looked, 2)
    assert stored["stored"][1] == [tab["id"], ["step-start", "tool-look", "step-start", "text"]]
    first, second = results["bothAtOnce"]
    assert first == second, "whoever was second shows what was decided"
    assert first["text"] == "Done."
    approving = sdk != "ai5"
    if approving:
        before, other, late = results["approval"]
        assert before["tools"] == [["tool-charge", "approval-requested", None]]
        charged = [["tool-charge", "output-available", "charged"]]
        for tab in (other, late):
            assert (tab["status"], tab.get("error")) == ("ready", None)
            assert (tab["text"], tab["tools"], tab["id"]) == ("".join(w.text for w in WORDS), charged, before["id"])
        [denied] = results["denial"]
        assert (denied["text"], denied["tools"]) == ("Done.", [["tool-charge", "output-denied", None]])
        assert charged_cents(charges) == ["5"]
    [complete] = results["complete"]
    assert complete["status"] == "ready"
    assert [tool[1] for tool in complete["tools"]] == ["output-available", "output-error"]
    [always] = results["always"]
    assert "again and again" in always["error"]
    counts = {"look": 4, "nod": 2, "hi": 1} | ({"gated charge": 2, "charge": 2} if approving else {})
    assert asked(upstream) == counts, "each call of the model has its reason"


async def test_a_run_that_waits_outlives_its_process(
    server: ServerProcess, upstream: ScriptedUpstream, charges: Path
) -> None:
    async with aiohttp.ClientSession() as session:

        async def call(adapter: AdapterProcess, path: str, body: object = None) -> Any:  # noqa: ANN401 JSON
            method = "GET" if body is None else "POST"
            async with session.request(method, adapter.url + path, json=body) as answer:
                return {"status": answer.status, **await answer.json()}

        async def statuses(adapter: AdapterProcess) -> list[str]:
            return [one["status"] for one in (await call(adapter, "/api/sessions/s1"))["generations"]]

        prompt = {"id": "s1", "messages": [{"id": "u1", "role": "user", "content": "charge"}]}
        with process(server, upstream, charges) as first:
            await call(first, "/api/chat", prompt)
            await comes_true(lambda: _is(statuses(first), ["waiting"]))
            first.kill()
        with process(server, upstream, charges) as second:
            approval = {"toolCallId": "c2", "approved": True, "by": "ann"}
            answered = await call(second, "/api/sessions/s1/answers", approval)
            assert (answered["status"], answered["waiting"]) == (200, [])
            await comes_true(lambda: _is(statuses(second), ["finished", "finished"]))
            again = await call(second, "/api/chat/s1/answers", approval)
            assert again["continuation"]["generationId"] == answered["continuation"]["generationId"]
            refused = await call(second, "/api/sessions/s1/answers", {**approval, "approved": False})
            assert (refused["status"], refused["code"], refused["answer"]["by"]) == (409, "answered", "ann")
    assert charged_cents(charges) == ["5"]
    assert len(upstream.requests) == 2


async def _is(coming: Any, wanted: list[str]) -> bool:  # noqa: ANN401 a coroutine of statuses
    return bool(await coming == wanted)
