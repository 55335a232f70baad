"""Contents as messages have them: a text, or a list of parts of which some are text and some are thoughts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind: TypeAlias = Literal["text", "reasoning"]


def pieces(content: object, kind: Kind = "text") -> Iterator[tuple[Kind, str]]:
    """Yield the texts in a content, each with what it is; parts that have no text are passed over."""
    if isinstance(content, str):
        yield kind, content
    elif isinstance(content, list):
        for part in content:
            yield from pieces(part, kind)
    elif isinstance(content, dict):
        yield from _of_part(content, kind)


def _of_part(part: dict[str, object], kind: Kind) -> Iterator[tuple[Kind, str]]:
    if part.get("thinking") is not None:  # Mistral: a list of texts in a part of that type
        yield from pieces(part["thinking"], "reasoning")
        return
    inner: Kind = "reasoning" if part.get("type") in {"reasoning", "thinking"} else kind
    for name in ("text", "refusal", "content"):
        if part.get(name) is not None:
            yield from pieces(part[name], inner)
            return
