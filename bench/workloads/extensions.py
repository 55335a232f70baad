"""Requests that carry many appends, which only our server has: batch append and streaming append."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.fleet import run_load
from bench.workloads.base import JSON, Measurement, Meter, Usual, create, fresh_name, measured, read_back

if TYPE_CHECKING:
    from bench.peers import Peer
    from bench.process import RunningServer

TOKEN_BYTES = 20


class BatchAppends(Usual):
    """1,000 streams, 8 connections; each request appends to each of its connection's 125 streams.

    Args:
        messages: how many tokens for each stream: one as text, more as JSON messages.
    """

    unit, family = "messages/s", "ours"

    def __init__(self, messages: int, *, quick: bool = False) -> None:
        self._messages, self.quick = messages, quick
        self.name = "batch-append" if messages == 1 else f"batch-append-{messages}"
        self.title = f"Batch append over 1,000 streams, 8 connections, tokens a line: {messages}"

    def suits(self, peer: Peer) -> bool:
        return peer.is_ours

    def run(self, server: RunningServer, *, quick: bool) -> Measurement:
        names = [fresh_name("x") for _ in range(1_000)]
        paths = create(server, *names, content_type="text/plain" if self._messages == 1 else JSON)
        task = {"port": server.port, "root": server.root, "paths": names, "connections": 8, "body_bytes": TOKEN_BYTES}
        meter = Meter(server)
        result = run_load("batch", {**task, "messages": self._messages, "seconds": 1.5 if quick else 3.0})
        measurement = measured(result, meter, result["count"] / result["elapsed_s"])
        token = "x" * TOKEN_BYTES if self._messages == 1 else '"' + "x" * (TOKEN_BYTES - 2) + '"'
        stored = read_back(server, paths, token)["count"]
        if stored != result["count"]:
            measurement.faults.append(f"{result['count']} tokens acknowledged, {stored} stored")
        return measurement


class StreamingAppends(Usual):
    """64 connections, each writing tokens into its own stream by one request.

    Args:
        lines: JSON messages as NDJSON; else text, a chunk each.
    """

    unit, family = "messages/s", "ours"

    def __init__(self, *, lines: bool, quick: bool = False) -> None:
        self._lines, self.quick = lines, quick
        self.name = "streaming-append-" + ("json" if lines else "text")
        self.title = f"Streaming append, 64 connections, {'NDJSON lines' if lines else 'text chunks'}"

    def suits(self, peer: Peer) -> bool:
        return peer.is_ours

    def run(self, server: RunningServer, *, quick: bool) -> Measurement:
        content_type = JSON if self._lines else "text/plain"
        paths = create(server, *(fresh_name("y") for _ in range(64)), content_type=content_type)
        task = {"port": server.port, "paths": paths, "connections": 64, "body_bytes": TOKEN_BYTES, "burst": 16}
        meter = Meter(server)
        result = run_load("stream", {**task, "each": 1_600 if quick else 6_400, "lines": self._lines})
        measurement = measured(result, meter, result["count"] / result["elapsed_s"])
        mark = '"' + "x" * (TOKEN_BYTES - 2) + '"' if self._lines else ""
        read = read_back(server, paths, mark)
        stored = read["count"] if self._lines else read["bytes"] // TOKEN_BYTES
        if stored != result["count"]:
            measurement.faults.append(f"{result['count']} acknowledged, {stored} stored")
        return measurement
