"""Who is measured. A new peer is one entry in ``PEERS``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
Command = Callable[[int, Path], list[str]]
"""From port and data dir to a command line."""


@dataclass(frozen=True)
class Peer:
    """One server.

    name: as in the tables. command: how it starts. keeps: whether its streams are there after a restart.
    synced: what an acknowledgement means, for the table. root: URL path of streams. installed: a file without which it
    is left out. can: workloads by family, empty for all but ``ours``; a floor answers a few requests and keeps nothing.
    """

    name: str
    command: Command
    keeps: bool = False
    synced: str = "nothing is kept"
    root: str = "/v1/stream"
    installed: Path | None = None
    can: frozenset[str] = field(default_factory=frozenset)
    is_ours: bool = False


def _ours(port: int, data_dir: Path) -> list[str]:
    serve = [sys.executable, "-m", "durable_streams", "serve", "--host", "127.0.0.1", "--port", str(port)]
    return [*serve, "--data-dir", str(data_dir)]


def _node(port: int, data_dir: Path) -> list[str]:
    data_dir.mkdir(parents=True, exist_ok=True)
    return ["node", str(HERE / "node" / "serve.mjs"), str(port), str(data_dir)]


def _node_memory(port: int, _data_dir: Path) -> list[str]:
    return ["node", str(HERE / "node" / "serve.mjs"), str(port)]


def _rakaia(port: int, data_dir: Path) -> list[str]:
    return [*_rakaia_memory(port, data_dir), str(data_dir)]


def _rakaia_memory(port: int, _data_dir: Path) -> list[str]:
    return [str(HERE / "python/venv/bin/python"), str(HERE / "python/serve_rakaia.py"), str(port)]


def _floor(module: str) -> Command:
    return lambda port, _data_dir: [sys.executable, "-m", f"bench.peers.{module}", str(port)]


_NODE = HERE / "node/node_modules/.installed"
_RAKAIA = HERE / "python/venv/.installed"

PEERS = (
    Peer("ours", _ours, keeps=True, synced="fsynced in one transaction", is_ours=True),
    Peer("Node, files", _node, keeps=True, synced="fdatasync of the log, then LMDB", installed=_NODE),
    Peer("Node, memory", _node_memory, installed=_NODE),
    Peer("Rakaia, JSONL", _rakaia, keeps=True, synced="fsync of the log", installed=_RAKAIA),
    Peer("Rakaia, memory", _rakaia_memory, installed=_RAKAIA),
    Peer("floor: asyncio", _floor("floor"), can=frozenset({"append", "lone", "sse", "idle"})),
    Peer("floor: aiohttp", _floor("noop_aiohttp"), can=frozenset({"append", "lone"})),
)
