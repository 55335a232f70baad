"""What is asked for in a round: answers of many shapes, each with words of its own.

Owns: what each answer must come to if it is whole. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.agents.upstream import Script
from tests.agents.wire_bytes import Text, ToolUse

if TYPE_CHECKING:
    import random

SLOW_WORDS = 20
SECOND = 4
"""Of five prompts, the last two share a session."""


@dataclass(frozen=True, eq=False)
class Asked:
    """One prompt.

    Attributes:
        session_id: where.
        text: what the person says, which is what the model is scripted by.
        script: what the model says.
        whole: the text of all of it; of one that never ends, how it begins.
        is_endless: it ends by a stop alone.
    """

    session_id: str
    text: str
    script: Script
    whole: str
    is_endless: bool

    @property
    def message_id(self) -> str:
        """The person's message."""
        return f"u-{self.text}"


def prompts(chance: random.Random, runs: int) -> list[Asked]:
    """Return so many prompts, some of them two to a session."""
    asked: list[Asked] = []
    for number in range(runs):
        # The second of a session waits for the first.
        is_second = number % 5 == SECOND
        session_id = f"s{number - 1 if is_second else number}"
        # The model's script knows by a result in the history that its tool has run: one with a tool is alone.
        is_alone = number % 5 not in {SECOND - 1, SECOND}
        asked.append(_prompt(chance, session_id, f"p{number}", may_call=is_alone))
    return asked


def _prompt(chance: random.Random, session_id: str, text: str, *, may_call: bool) -> Asked:
    kind = chance.choices(["plain", "slow", "tool", "hangs"], [5, 2, 4 * may_call, 3])[0]
    count, delay_s = chance.randrange(20, 90), chance.uniform(0.04, 0.15)
    words = [f"{text}.{n} " for n in range(count)]
    said = [Text(word) for word in words]
    whole = "".join(words)
    if kind == "hangs":
        # The first event has no text.
        spoken = chance.randrange(count)
        script = Script(said, delay_s=delay_s, hang_after=spoken + 1)
        return Asked(session_id, text, script, "".join(words[:spoken]), is_endless=True)
    if kind == "tool":
        given = f'{{"run":"{text}","for_s":{chance.uniform(0, 3):.2f}}}'
        half = count // 2
        last = Script(said[half:], delay_s=delay_s)
        script = Script([*said[:half], ToolUse(f"c-{text}", "work", (given,))], delay_s=delay_s, then=last)
        return Asked(session_id, text, script, whole, is_endless=False)
    if kind == "slow":
        script = Script(said[:SLOW_WORDS], delay_s=chance.uniform(0.3, 0.6))
        return Asked(session_id, text, script, "".join(words[:SLOW_WORDS]), is_endless=False)
    return Asked(session_id, text, Script(said, delay_s=delay_s), whole, is_endless=False)
