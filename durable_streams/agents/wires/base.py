"""What every wire format offers.

Owns: the interface, and the shape of a history's message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable_streams.agents.tools import Tool
    from durable_streams.agents.wires.decoders.base import Decoder

UIMessage: TypeAlias = "dict[str, Any]"
"""An AI SDK ``UIMessage``: ``id``, ``role``, ``parts``, ``metadata``."""


class Wire(Protocol):
    """One wire format."""

    @property
    def path(self) -> str:
        """Where requests go, below the provider's base URL."""

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Return the headers that authenticate."""

    def request(self, model: str, messages: Sequence[UIMessage], tools: Sequence[Tool]) -> dict[str, Any]:
        """Return the request's body, asking for a stream."""

    def decoder(self, prefix: str) -> Decoder:
        """Return a decoder whose parts' names begin with ``prefix``, so that they are unique within a message."""
