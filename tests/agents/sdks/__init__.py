"""The vendors' packages and frameworks for real, with a scripted model: `make test-sdks` runs these.

Each module skips itself where its package is not installed. The examples are those that the frameworks' own pages begin
with, as far as they show another event than text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from durable_streams.agents import write
from tests.agents.conftest import stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable_streams.agents.sources.base import Source

Chunk = dict[str, Any]

SDK = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
"""Marks of every module here: the packages warn of their own use of one another."""


async def answer(root: str, source: Source, messages: str | Sequence[Chunk] = "go", *, name: str = "s") -> list[Chunk]:
    """Write one answer and return what is stored of it."""
    await write(source, to=f"{root}/{name}", messages=messages)
    return await stored(f"{root}/{name}")


def calls(chunks: list[Chunk]) -> list[tuple[str, object]]:
    """Return the calls, by tool and input."""
    return [(c["toolName"], c["input"]) for c in chunks if c["type"] == "tool-input-available"]


def results(chunks: list[Chunk]) -> list[object]:
    """Return the results of calls that succeeded."""
    return [c["output"] for c in chunks if c["type"] == "tool-output-available"]


def errors(chunks: list[Chunk]) -> list[str]:
    """Return everything that a reader would take for an error."""
    return [c["errorText"] for c in chunks if "error" in c["type"]]


def steps(chunks: list[Chunk]) -> int:
    """Return the number of steps, all of which have ended."""
    kinds = [c["type"] for c in chunks]
    assert kinds.count("start-step") == kinds.count("finish-step")
    return kinds.count("start-step")


def texts(chunks: list[Chunk]) -> list[str]:
    """Return the text of each part, in the order in which they begin; each has begun and ended once."""
    parts: dict[str, str] = {}
    ends: list[str] = []
    for chunk in chunks:
        if chunk["type"] == "text-start":
            assert chunk["id"] not in parts
            parts[chunk["id"]] = ""
        elif chunk["type"] == "text-delta":
            assert chunk["id"] not in ends
            parts[chunk["id"]] += chunk["delta"]
        elif chunk["type"] == "text-end":
            ends.append(chunk["id"])
    assert sorted(ends) == sorted(parts)
    return list(parts.values())


def waiting(chunks: list[Chunk]) -> list[Chunk]:
    """Return what the answer waits for; it has ended as finished."""
    assert chunks[-1]["type"] == "finish", chunks[-1]
    waits: list[Chunk] = chunks[-1]["messageMetadata"].get("waiting", [])
    assert (chunks[-1]["finishReason"] == "tool-calls") == bool(waits)
    return waits
