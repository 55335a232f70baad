"""The interface between events and stored messages.

Invariant of every codec: pure and deterministic; the same events give the same messages, byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from durable_streams.agents.codecs.chunk_names import DELTA, INPUT_DELTA

if TYPE_CHECKING:
    from durable_streams.agents.events import Ending, Event

Chunk: TypeAlias = "dict[str, object]"
"""One JSON object as it is stored."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What an answer is called.

    Attributes:
        message_id: of the assistant's message; the same for every reader.
        run_id: of this attempt.
        thread_id: of the session.
    """

    message_id: str
    run_id: str
    thread_id: str


class Codec(Protocol):
    """Turns one attempt's events into what its stream stores. Stateful; one for each attempt."""

    @property
    def content_type(self) -> str:
        """The stream's content type."""

    def begin(self, identity: Identity) -> list[Chunk]:
        """Return what comes first."""

    def feed(self, event: Event) -> list[Chunk]:
        """Return what one event adds: nothing, or a few chunks."""

    def end(self, ending: Ending) -> list[Chunk]:
        """Return what closes everything open, and last the one terminal record."""

    def merge(self, first: Chunk, second: Chunk) -> Chunk | None:
        """Return one chunk that says what two neighbours say, or ``None`` if there is none."""

    def encode(self, chunk: Chunk) -> bytes:
        """Return the chunk's bytes; in JSON mode one JSON text."""


def joined_deltas(first: Chunk, second: Chunk, *, kinds: frozenset[str], same: tuple[str, ...]) -> Chunk | None:
    """Return one delta for two neighbours of one kind that agree in the named fields.

    The text is in the field ``delta`` or, for a tool's input, ``inputTextDelta``.
    """
    kind = first["type"]
    if kind not in kinds or second["type"] != kind:
        return None
    for name in same:
        if first.get(name) != second.get(name):
            return None
    field = INPUT_DELTA if INPUT_DELTA in first else DELTA
    return {**first, field: f"{first[field]}{second[field]}"}
