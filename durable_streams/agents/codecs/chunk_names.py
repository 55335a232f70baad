"""The words of AI SDK UI message chunks: the values of ``type``, and which of them belong together.

Owns: every such word that is written, read back or folded. Must not know: what a chunk says.
"""

from __future__ import annotations

from typing import Final

START: Final = "start"
START_STEP: Final = "start-step"
FINISH_STEP: Final = "finish-step"
TEXT_START: Final = "text-start"
TEXT_DELTA: Final = "text-delta"
TEXT_END: Final = "text-end"
REASONING_START: Final = "reasoning-start"
REASONING_DELTA: Final = "reasoning-delta"
REASONING_END: Final = "reasoning-end"
TOOL_INPUT_START: Final = "tool-input-start"
TOOL_INPUT_DELTA: Final = "tool-input-delta"
TOOL_INPUT_AVAILABLE: Final = "tool-input-available"
TOOL_INPUT_ERROR: Final = "tool-input-error"
TOOL_OUTPUT_AVAILABLE: Final = "tool-output-available"
TOOL_OUTPUT_ERROR: Final = "tool-output-error"
TOOL_OUTPUT_DENIED: Final = "tool-output-denied"
TOOL_APPROVAL_REQUEST: Final = "tool-approval-request"
SOURCE_URL: Final = "source-url"
FILE: Final = "file"
MESSAGE_METADATA: Final = "message-metadata"
FINISH: Final = "finish"
ABORT: Final = "abort"
ERROR: Final = "error"
DATA_PREFIX: Final = "data-"
"""Begins the type of an application's own chunk; its name follows."""
KEPT: Final = "data-kept"
"""Shows nothing: what a provider wants to see again at this place."""
CONTINUES: Final = "data-continues"
"""No part of the message: what the stream of an earlier attempt has of it, and how somebody has answered that."""
PAUSED: Final = "data-paused"
"""No part of the message: what its source needs to go on when somebody has answered."""
METADATA: Final = "providerMetadata"
CALL_METADATA: Final = "callProviderMetadata"
"""The fields of what a provider wants back; the second is that of a call in a message."""

PART_KINDS: Final = {TEXT_START: "text", REASONING_START: "reasoning"}
"""What a chunk opens, as the part's type in a message."""
PART_ENDS: Final = {"text": TEXT_END, "reasoning": REASONING_END}
"""What closes a part of a type."""
DELTAS: Final = frozenset({TEXT_DELTA, REASONING_DELTA, TOOL_INPUT_DELTA})
TERMINAL: Final = frozenset({FINISH, ABORT, ERROR})
"""The last chunk of every message that has ended."""

DELTA: Final = "delta"
INPUT_DELTA: Final = "inputTextDelta"
"""The fields that hold a delta's text; the second is a tool input's."""
