"""One conversation with a provider, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from tests.agents.wire_bytes import WIRES, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

Events: TypeAlias = "Sequence[dict[str, Any] | bytes | str]"
"""What one answer sends: events, or, as bytes, the very writes."""

HUGE = 12345678901234567890123


@dataclass(frozen=True)
class Case:
    """One conversation with a provider, and what must come of it.

    Attributes:
        name: who sends it and what is special.
        wire: which of the three it is of.
        steps: what the model's server sends, request by request.
        runs: the calls that run, in order, with their inputs; each is durable before it does.
        text: of the answer.
        reasoning: of the answer.
        finish: our word for why it ended; ``None``: it failed.
        raw: the provider's word, if another one.
        error: what a failed one says.
        shown: must be in the second request.
        rejected: calls that did not run, as the stored message has them: a part of what is said of each.
        content_type: of the answers.
        stays_open: the connection does, after an answer's last byte.
    """

    name: str
    wire: str
    steps: Sequence[Events]
    runs: Sequence[tuple[str, dict[str, Any]]] = ()
    text: str = ""
    reasoning: str = ""
    finish: str | None = "stop"
    raw: str | None = None
    error: str = ""
    shown: Sequence[str] = ()
    rejected: Sequence[str] = ()
    content_type: str = "text/event-stream"
    stays_open: bool = False


def sse(event: dict[str, Any] | bytes | str) -> bytes:
    """Return an event as it is sent; bytes are sent as they are."""
    if isinstance(event, bytes):
        return event
    return b"data: " + (event.encode() if isinstance(event, str) else orjson.dumps(event)) + b"\n\n"


def read(p: str) -> tuple[str, dict[str, Any]]:
    return "read", {"p": p}


def charge(cents: object) -> tuple[str, dict[str, Any]]:
    return "charge", {"cents": cents}


OK = {wire: WIRES[wire]([Text("ok")]) for wire in WIRES}
"""A well-formed closing answer of each wire."""
