"""The two extensions that carry many appends a request: batch append, and an append that arrives as it is written."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from bench.load.http import Answer, Client, request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.load.base import Task


class BatchLoad:
    """Batch appends over many streams.

    Task: port, root, paths, connections, seconds, body_bytes, messages. Each connection has its share of the paths; one
    request carries one line for each of these: a text, or as many JSON messages as ``messages`` says if more than one.
    """

    def __init__(self, task: Mapping[str, Any]) -> None:
        self._task = task

    def stop(self, order: Mapping[str, Any]) -> None:
        """Stop early."""

    async def prepare(self) -> Task:
        task = self._task
        self._clients = [await Client.connect(task["port"]) for _ in range(task["connections"])]
        text = "x" * task["body_bytes"]
        self._requests = []
        body = f'"body":"{text}","content_type":"text/plain"'
        if task["messages"] > 1:
            body = '"json":[' + ",".join([f'"{text[2:]}"'] * task["messages"]) + "]"
        for number in range(task["connections"]):
            mine = task["paths"][number :: task["connections"]]
            lines = "\n".join(f'{{"path":"{path}",{body}}}' for path in mine)
            self._requests.append(request("POST", f"{task['root']}/__ds/batch", lines.encode(), "application/x-ndjson"))
        return {}

    async def run(self) -> Task:
        start_s = time.perf_counter()
        until_s = start_s + self._task["seconds"]
        counts = await asyncio.gather(
            *(self._send(client, raw, until_s) for client, raw in zip(self._clients, self._requests, strict=True))
        )
        return {"count": sum(counts), "elapsed_s": time.perf_counter() - start_s}

    async def _send(self, client: Client, raw: bytes, until_s: float) -> int:
        count = 0
        while time.perf_counter() < until_s:
            answer = await client.expect(raw, 200)
            durable = answer.body.count(b'"status":204')
            if durable != answer.body.count(b"\n"):
                raise AssertionError(answer.body[:200])
            count += durable * self._task["messages"]
        return count


class StreamingLoad:
    """Streaming appends: each connection writes messages of one stream as chunks of one request.

    Task: port, paths, connections, each (messages of one connection), body_bytes, burst (messages a turn), lines
    (NDJSON, else text chunks). A number rather than a time: the socket buffers between hold millions of messages.
    """

    def __init__(self, task: Mapping[str, Any]) -> None:
        self._task = task

    def stop(self, order: Mapping[str, Any]) -> None:
        """Stop early."""

    async def prepare(self) -> Task:
        self._clients = [await Client.connect(self._task["port"]) for _ in range(self._task["connections"])]
        return {}

    async def run(self) -> Task:
        start_s = time.perf_counter()
        answers = await asyncio.gather(*(self._stream(number, client) for number, client in enumerate(self._clients)))
        elapsed_s = time.perf_counter() - start_s
        faults = [
            f"{sent} sent, {answer.status} {answer.body[:200]!r}"
            for sent, answer in answers
            if not _whole(sent, answer)
        ]
        return {"count": sum(sent for sent, _ in answers), "elapsed_s": elapsed_s, "faults": faults[:3]}

    async def _stream(self, number: int, client: Client) -> tuple[int, Answer]:
        task = self._task
        content_type = "application/json" if task["lines"] else "text/plain"
        path = task["paths"][number % len(task["paths"])]
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
            "Stream-Append-Mode: stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        text = "x" * task["body_bytes"]
        one = f'"{text[2:]}"\n' if task["lines"] else text
        if task["lines"]:
            burst = one * task["burst"]
            piece = f"{len(burst):x}\r\n{burst}\r\n".encode()
        else:
            piece = f"{len(one):x}\r\n{one}\r\n".encode() * task["burst"]
        answered = client.begin(head.encode())
        sent = 0
        while sent < task["each"] and not answered.done():
            await client.send_on(piece)
            sent += task["burst"]
        await client.send_on(b"0\r\n\r\n")
        return sent, await answered


def _whole(sent: int, answer: Answer) -> bool:
    return answer.status in {200, 204} and answer.fields.get("stream-append-count") == str(sent)
