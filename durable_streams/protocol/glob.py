"""Glob patterns over stream paths (§6.2): ``*`` is one segment, ``**`` zero or more.

Owns: which paths a pattern matches, and an index that finds all patterns matching one path without trying each.
Must not know: who holds a pattern. Invariant: the cost of a look-up depends on the path's depth and the wildcards on
its way, not on how many patterns there are.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from durable_streams.protocol.errors import InvalidPathError
from durable_streams.protocol.paths import PATH_MAX_BYTES, RESERVED

K = TypeVar("K")

ONE: Final = "*"
MANY: Final = "**"
SEGMENTS_MAX: Final = 64
"""Most segments in a pattern: bounds the depth of the index."""


def normalize_pattern(pattern: str) -> str:
    """Return a pattern without slashes at its ends.

    Raises:
        InvalidPathError: too long, an empty, ``.`` or ``..`` segment, a control character, a segment that holds ``*``
            beside other characters, or nothing but reserved paths to match.
    """
    text = pattern.strip("/")
    segments = text.split("/")
    if len(text.encode("utf-8", "replace")) > PATH_MAX_BYTES or len(segments) > SEGMENTS_MAX:
        raise InvalidPathError(f"a pattern has at most {PATH_MAX_BYTES} bytes and {SEGMENTS_MAX} segments")
    if any(character < " " or character == "\x7f" for character in text):
        raise InvalidPathError("the pattern holds a control character")
    if any(segment in {"", ".", ".."} for segment in segments):
        raise InvalidPathError("the pattern has an empty, '.' or '..' segment")
    if any(ONE in segment and segment not in {ONE, MANY} for segment in segments):
        raise InvalidPathError("* and ** stand for whole segments")
    if segments[0] == RESERVED:
        raise InvalidPathError(f"paths under {RESERVED} are reserved")
    return text


def literal_prefix(pattern: str) -> str:
    """Return text that every matching path starts with; the more the pattern says at its start, the longer."""
    literal: list[str] = []
    for segment in pattern.split("/"):
        if segment in {ONE, MANY}:
            # ``a/**`` matches ``a`` itself, ``a/*`` does not.
            return "/".join(literal) + ("/" if literal and segment == ONE else "")
        literal.append(segment)
    return pattern


class _Node(Generic[K]):
    __slots__ = ("children", "keys", "many", "one")

    def __init__(self) -> None:
        self.children: dict[str, _Node[K]] = {}
        self.one: _Node[K] | None = None
        self.many: _Node[K] | None = None
        self.keys: set[K] = set()

    def step(self, segment: str) -> _Node[K]:
        if segment == ONE:
            self.one = self.one or _Node()
            return self.one
        if segment == MANY:
            self.many = self.many or _Node()
            return self.many
        return self.children.setdefault(segment, _Node())

    def is_bare(self) -> bool:
        return not (self.children or self.one or self.many or self.keys)

    def prune(self, segment: str) -> None:
        if segment == ONE:
            self.one = None
        elif segment == MANY:
            self.many = None
        else:
            del self.children[segment]


class GlobIndex(Generic[K]):
    """Patterns by key; finds the keys whose pattern matches a path."""

    def __init__(self) -> None:
        self._root: _Node[K] = _Node()

    def add(self, pattern: str, key: K) -> None:
        """Put a key under a pattern."""
        node = self._root
        for segment in pattern.split("/"):
            node = node.step(segment)
        node.keys.add(key)

    def discard(self, pattern: str, key: K) -> None:
        """Take a key away that was put under this very pattern."""
        segments = pattern.split("/")
        nodes = [self._root]
        for segment in segments:
            nodes.append(nodes[-1].step(segment))
        nodes[-1].keys.discard(key)
        for parent, segment, node in zip(nodes[-2::-1], reversed(segments), nodes[:0:-1], strict=True):
            if not node.is_bare():
                break
            parent.prune(segment)

    def match(self, path: str) -> set[K]:
        """Return the keys of all patterns that match ``path``."""
        segments = path.split("/")
        found: set[K] = set()
        # Every (node, position) once: without that, several ``**`` in one pattern would cost exponential time.
        seen: set[tuple[int, int]] = set()
        todo = [(self._root, 0, False)]
        while todo:
            node, at, swallows = todo.pop()
            if (id(node), at) in seen:
                continue
            seen.add((id(node), at))
            if node.many is not None:
                todo.append((node.many, at, True))
            if at == len(segments):
                found |= node.keys
                continue
            if swallows:
                todo.append((node, at + 1, True))
            if node.one is not None:
                todo.append((node.one, at + 1, False))
            child = node.children.get(segments[at])
            if child is not None:
                todo.append((child, at + 1, False))
        return found


def matches(pattern: str, path: str) -> bool:
    """Whether one pattern matches one path."""
    index: GlobIndex[bool] = GlobIndex()
    index.add(pattern, True)  # noqa: FBT003 any key will do
    return bool(index.match(path))
