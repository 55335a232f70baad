"""What every wire format offers.

Owns: the interface, and the shape of a history's message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from durable_streams.agents.attachments import File
    from durable_streams.agents.tools import Tool
    from durable_streams.agents.wires.decoders.base import Decoder
    from durable_streams.agents.wires.options import Options

UIMessage: TypeAlias = "dict[str, Any]"
"""An AI SDK ``UIMessage``: ``id``, ``role``, ``parts``, ``metadata``."""


class Wire(Protocol):
    """One wire format."""

    @property
    def name(self) -> str:
        """Its name, as providers are told apart by it."""

    @property
    def path(self) -> str:
        """Where requests go, below the provider's base URL."""

    @property
    def optional(self) -> Mapping[str, tuple[str, ...]]:
        """Fields of a request that a server of this format may refuse, and how its refusal names each."""

    def forgo(self, body: dict[str, Any], name: str) -> bool:
        """Do without a field that is optional, or say it otherwise; return whether that has changed the body."""

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Return the headers that authenticate."""

    def request(self, model: str, messages: Sequence[UIMessage], tools: Sequence[Tool]) -> dict[str, Any]:
        """Return the request's body, asking for a stream.

        Whatever is stored makes a body that is not refused for its form. Parts that the provider has said itself have
        what it wants back in ``own``; see ``wires.provider``.
        """

    def options(self, options: Options) -> dict[str, Any]:
        """Return the fields of the body that say the options.

        Raises:
            InvalidOptionsError: the format has no such option.
        """

    @property
    def takes(self) -> str:
        """The files it can send, for people."""

    def attached(self, file: File) -> dict[str, Any] | None:
        """Return how a user's file is sent; ``None`` if this format cannot."""

    def decoder(self, prefix: str) -> Decoder:
        """Return a decoder whose parts' names begin with ``prefix``, so that they are unique within a message."""
