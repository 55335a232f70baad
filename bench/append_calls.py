"""Count the system calls of an append that is alone: ``python bench/append_calls.py``. Needs strace.

Prints calls per append, most frequent first, of a server process that is sent one append after the other.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.serving import HOST, ServerProcess

APPENDS = 200
TARGET = "/v1/stream/a"
TEXT = {"Content-Type": "text/plain"}


def main() -> None:
    """Start a server, trace it, print the table."""
    with tempfile.TemporaryDirectory() as directory, ServerProcess(Path(directory)) as server:
        connection = HTTPConnection(HOST, server.port)
        _ask(connection, "PUT", b"")
        for _ in range(20):
            _ask(connection, "POST", bytes(100))
        trace = Path(directory) / "trace"
        command = ["strace", "-f", "-o", str(trace), "-p", str(server.pid)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as watcher:
            if watcher.stderr is None or "attached" not in watcher.stderr.readline():
                raise SystemExit("strace may not attach here")
            for _ in range(APPENDS):
                _ask(connection, "POST", bytes(100))
            watcher.terminate()
        calls = Counter(re.findall(r"^\d+ +(\w+)\(", trace.read_text(encoding="utf-8"), re.MULTILINE))
    for name, count in calls.most_common():
        print(f"{name:16} {count / APPENDS:6.2f}")


def _ask(connection: HTTPConnection, method: str, body: bytes) -> None:
    connection.request(method, TARGET, body, TEXT)
    reply = connection.getresponse()
    reply.read()
    if reply.status not in {201, 204}:
        raise SystemExit(f"{method}: {reply.status}")


if __name__ == "__main__":
    main()
