"""What providers send, where it is not what the specification of their wire says, and what must come of it.

Each case is named after who was seen to send it in that form; the bytes are our own. ``test_providers.py`` drives every
one through a real server; ``docs/providers.md`` is the same as a table.
"""

from __future__ import annotations

from tests.agents.provider_cases.anthropic import ANTHROPIC
from tests.agents.provider_cases.case import Case, sse
from tests.agents.provider_cases.chat_calls import CHAT_CALLS
from tests.agents.provider_cases.chat_endings import CHAT_ENDINGS
from tests.agents.provider_cases.responses import RESPONSES

__all__ = ["CASES", "Case", "sse"]

CASES = [*CHAT_CALLS, *CHAT_ENDINGS, *ANTHROPIC, *RESPONSES]
