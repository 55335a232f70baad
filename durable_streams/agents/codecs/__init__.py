"""From events to what is stored: AI SDK UI message chunks, AG-UI events, raw text."""

from __future__ import annotations

from durable_streams.agents.codecs.agui import AguiEvents
from durable_streams.agents.codecs.base import Codec, Identity
from durable_streams.agents.codecs.raw_text import RawText
from durable_streams.agents.codecs.ui_chunks import UiChunks

__all__ = ["AguiEvents", "Codec", "Identity", "RawText", "UiChunks"]
