"""Why models say they ended, in every provider's words.

One table for all wires, as relays mix them. A word that means that the answer was broken off is an error: what there is
of it is not an answer. A word that nobody knows is ``other``, and kept as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from durable_streams.agents.errors import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from durable_streams.agents.events import FinishReason

_WORDS: Final[Mapping[FinishReason, str]] = {
    "stop": "stop end_turn stop_sequence eos eos_token end completed",
    "length": "length max_tokens max_output_tokens model_length model_context_window_exceeded",
    "tool-calls": "tool_calls tool_use tool_call function_call",
    "content-filter": (
        "content_filter refusal sensitive safety recitation blocklist prohibited_content spii image_safety"
        " guardrail_intervened"
    ),
}
REASONS: Final[Mapping[str, FinishReason]] = {word: ours for ours, words in _WORDS.items() for word in words.split()}
"""A provider's word → ours."""
BROKEN_OFF: Final = frozenset(
    {
        *("error", "failed", "timeout", "network_error", "insufficient_system_resource"),
        *("abort", "aborted", "cancel", "cancelled", "canceled"),
        *("malformed_function_call", "malformed_response", "unexpected_tool_call"),
    }
)
"""Words for an answer that the provider did not finish."""
CUT: Final[frozenset[FinishReason]] = frozenset({"length", "content-filter"})
"""Reasons for which an answer is not all that the model would have said."""


def reason_of(said: str) -> FinishReason:
    """Return our word for a provider's.

    Raises:
        UpstreamError: it says that the answer was broken off.
    """
    # Gemini's compatible end says `function_call_filter: MALFORMED_FUNCTION_CALL`.
    word = said.strip().lower().rpartition(": ")[2]
    if word in BROKEN_OFF:
        raise UpstreamError(f"the model's side broke the answer off: {said}")
    return REASONS.get(word, "other")
