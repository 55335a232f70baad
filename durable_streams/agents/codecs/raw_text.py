"""Raw text: the answer's text and nothing else, for readers that are not chat clients.

An ordinary end adds nothing but the closing of the stream; every other ending, and an answer that a limit or a filter
cut off, is a last line in brackets, so that no reader takes half an answer for a whole one. Reasoning and tools do not
appear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable_streams.agents.events import TextDelta
from durable_streams.agents.plain import whole

if TYPE_CHECKING:
    from durable_streams.agents.codecs.base import Chunk, Identity
    from durable_streams.agents.events import Ending, Event


class RawText:
    """Text deltas as they are; stored as ``text/plain``."""

    @property
    def content_type(self) -> str:
        """Text."""
        return "text/plain; charset=utf-8"

    def begin(self, identity: Identity) -> list[Chunk]:  # noqa: ARG002 the protocol's signature
        """Return nothing."""
        return []

    def feed(self, event: Event) -> list[Chunk]:
        """Return the text of a text delta."""
        return [{"text": event.text}] if isinstance(event, TextDelta) and event.text else []

    def end(self, ending: Ending) -> list[Chunk]:
        """Return a line that tells of an ending other than the ordinary one."""
        if ending.how == "finished":
            return [] if ending.finish_reason == "stop" else [{"text": f"\n[ended: {ending.finish_reason}]\n"}]
        by = f" by {ending.by}" if ending.by else ""
        why = f": {ending.reason}" if ending.reason else ""
        return [{"text": f"\n[{ending.how}{by}{why}]\n"}]

    def merge(self, first: Chunk, second: Chunk) -> Chunk | None:
        """Join any two."""
        return {"text": f"{first['text']}{second['text']}"}

    def encode(self, chunk: Chunk) -> bytes:
        """Return the text in UTF-8."""
        return whole(str(chunk["text"])).encode()
