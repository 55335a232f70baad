"""Start a streams server, the agent adapter and, without another model, a local one; print the address of the chat.

The one program behind ``make run``. Whatever ends, ends all: the adapter first, as it still has endings to write. What
was started does not outlive this program, where there is ``setpriv`` (Linux) not even if it is killed.
"""

# ruff: noqa: INP001 a script, not a package

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from durable_streams.agents.local_model import NAME, NotInstalledError, weights

if TYPE_CHECKING:
    from collections.abc import Sequence

READY_S = 60.0
STOP_S = 10.0
CONFIGURED = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL")
PYTHON = sys.executable
SETPRIV = shutil.which("setpriv") if sys.platform == "linux" else None
WITH_US = [SETPRIV, "--pdeathsig", "TERM", "--"] if SETPRIV else []
EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 compared with, not listened on
_URL = re.compile(r"https?://\S+")
Ends: TypeAlias = "SimpleQueue[str]"
"""Which program has ended by itself; empty: we were told to end."""


class StartError(Exception):
    """A program that ended, or said nothing, before it was ready."""


class EndedError(Exception):
    """A program that ended while it was needed."""


class Program:
    """A program of ours, in a process group of its own, so that ctrl-C reaches it through us and in order."""

    def __init__(self, name: str, arguments: Sequence[str], ends: Ends) -> None:
        self.name, self._ends = name, ends
        self._process = subprocess.Popen(  # noqa: S603 our own program
            [*WITH_US, PYTHON, "-m", *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._said: list[str] = []
        self._ready = threading.Event()
        self.url = ""
        threading.Thread(target=self._read, daemon=True).start()

    def wait_ready(self) -> str:
        """Wait for the address it prints, and return it."""
        if not self._ready.wait(READY_S) or not self.url:
            raise StartError(f"the {self.name} did not start\n{''.join(self._said)}".rstrip())
        return self.url

    def stop(self) -> None:
        """Ask it to end; insist after a while."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._said.append(line)
            found = _URL.search(line)
            if found and not self.url:
                self.url = found[0]
                self._ready.set()
        if self.url:
            self._ends.put(self.name)
        self._ready.set()


def model_arguments(asked: argparse.Namespace, start: ExitStack, ends: Ends) -> tuple[list[str], str]:
    """Return the adapter's arguments for the model, and a word on it; start a local one if none is configured."""
    chosen = ["--model", asked.model] if asked.model else []
    if asked.base_url:
        return ["--base-url", asked.base_url, *chosen], f"{asked.model or 'the default'} at {asked.base_url}"
    named = [name for name in CONFIGURED if os.environ.get(name)]
    if named:
        return chosen, f"{asked.model or 'the default'}, as {named[0]} says"
    try:
        weights()
        local = Program("local model", ["durable_streams.agents.local_model"], ends)
        start.callback(local.stop)
        url = local.wait_ready()
    except (NotInstalledError, StartError) as missing:
        return [], f"none, so no prompt will be answered: {missing}. Set OPENAI_API_KEY, ANTHROPIC_API_KEY or BASE_URL."
    return ["--base-url", f"{url}/v1", "--model", NAME], f"{NAME}, on this machine (small: expect nonsense)"


def run(asked: argparse.Namespace) -> None:
    """Start everything, print the address, and wait for the end.

    Raises:
        StartError: server or adapter did not start.
        EndedError: one of the programs ended by itself.
    """
    ends: Ends = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: ends.put(""))
    with ExitStack() as start:
        serving = ["durable_streams", "serve", "--host", asked.host, "--port", str(asked.port)]
        server = Program("server", [*serving, "--data-dir", str(asked.data_dir)], ends)
        start.callback(server.stop)
        port = int(re.search(r":(\d+)", server.wait_ready().partition("://")[2])[1])  # type: ignore[index]
        model, about = model_arguments(asked, start, ends)
        streams_url = f"http://{reached(asked.host)}:{port}/v1/stream"
        adapting = ["durable_streams", "agent", "serve", "--host", asked.host, "--port", str(asked.chat_port)]
        adapting += ["--drain-ms", "0"]  # whoever presses ctrl-C waits for it
        adapter = Program("adapter", [*adapting, "--streams-url", streams_url, *model], ends)
        start.callback(adapter.stop)
        chat_port = adapter.wait_ready().rpartition(":")[2].rstrip("/")
        host = socket.gethostname() if asked.host in EVERYWHERE else asked.host
        print(f"\n  Chat at http://{host}:{chat_port}/\n", flush=True)  # noqa: T201 the purpose
        print(f"  model    {about}\n  streams  port {port}; /_ui there shows them\n", flush=True)  # noqa: T201 same
        if ended := ends.get():
            raise EndedError(f"the {ended} has ended, so everything is")


def reached(host: str) -> str:
    """Return the address by which this machine reaches what listens on a host."""
    return "127.0.0.1" if host in EVERYWHERE else host


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=4437, help="the streams server's")
    parser.add_argument("--chat-port", type=int, default=4438, help="the chat's")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="where the streams are kept")
    parser.add_argument("--model", default="", help="the model's name")
    parser.add_argument("--base-url", default="", help="where an OpenAI-compatible model is")
    try:
        run(parser.parse_args())
    except (StartError, EndedError) as error:
        print(error, file=sys.stderr)  # noqa: T201 a program's last words
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
