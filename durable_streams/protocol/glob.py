"""Glob patterns over stream paths (§6.2): ``*`` is one segment, ``**`` zero or more.

Owns: which paths a pattern matches, and an index that finds all patterns matching one path without trying each.
Must not know: who holds a pattern. Invariant: a look-up costs at most the path's depth times the patterns' segments, in
bits; patterns that begin, or behind a ``**`` end, with other names than the path cost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

from durable_streams.protocol.errors import InvalidPathError
from durable_streams.protocol.paths import PATH_MAX_BYTES, RESERVED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

K = TypeVar("K")

ONE: Final = "*"
MANY: Final = "**"
SEGMENTS_MAX: Final = 64
"""Most segments in a pattern: bounds the depth of the index."""
BLOCK_COUNT: Final = 32
"""Patterns matched at once: keeps the integers short, of which each name in a pattern has one."""


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


class _Block(Generic[K]):
    """A few patterns, matched at once: a bit for each place in each of them, set while the path may have come so far.

    A segment of the path takes a handful of operations on one long integer, so ``**`` costs what a name does.
    """

    __slots__ = ("_ends", "_literals", "_many", "_one", "_starts", "keys", "stale")

    def __init__(self) -> None:
        self.keys: dict[str, set[K]] = {}
        self.stale = True

    def match(self, segments: Sequence[str]) -> Iterator[set[K]]:
        if self.stale:
            self._lay_out()
        one, many, literals = self._one, self._many, self._literals
        places = self._starts | (self._starts & many) << 1
        for segment in segments:
            places = (places & (literals.get(segment, 0) | one)) << 1 | places & many
            places |= (places & many) << 1
        return (keys for bit, keys in self._ends if places & bit)

    def _lay_out(self) -> None:
        """Give each pattern a bit for every segment, and one behind its last."""
        self._literals: dict[str, int] = {}
        self._ends: list[tuple[int, set[K]]] = []
        self._one = self._many = self._starts = 0
        bit = 1
        for pattern, keys in self.keys.items():
            self._starts |= bit
            before = ""
            for segment in pattern.split("/"):
                if segment == MANY and before == MANY:
                    continue  # twice says no more than once, and would need a second step in ``match``
                before = segment
                self._allow(segment, bit)
                bit <<= 1
            self._ends.append((bit, keys))
            bit <<= 1
        self.stale = False

    def _allow(self, segment: str, bit: int) -> None:
        if segment == MANY:
            self._many |= bit
        elif segment == ONE:
            self._one |= bit
        else:
            self._literals[segment] = self._literals.get(segment, 0) | bit


class _Tails(Generic[K]):
    """Ends of patterns from their first ``**`` on. Those that end in a name are looked at only for paths that do.

    Blocks of the same end are all full but the last.
    """

    __slots__ = ("_blocks", "_homes")

    def __init__(self) -> None:
        self._blocks: dict[str, list[_Block[K]]] = {}
        self._homes: dict[str, _Block[K]] = {}

    def is_bare(self) -> bool:
        return not self._homes

    def add(self, tail: str, key: K) -> None:
        if tail not in self._homes:
            blocks = self._blocks.setdefault(_last(tail), [])
            if not blocks or len(blocks[-1].keys) == BLOCK_COUNT:
                blocks.append(_Block())
            self._house(tail, set(), blocks[-1])
        self._homes[tail].keys[tail].add(key)

    def discard(self, tail: str, key: K) -> None:
        block = self._homes.get(tail)
        if block is None:
            return
        block.keys[tail].discard(key)
        if block.keys[tail]:
            return
        blocks = self._blocks[_last(tail)]
        del block.keys[tail], self._homes[tail]
        block.stale = blocks[-1].stale = True
        if block is not blocks[-1]:
            self._house(*blocks[-1].keys.popitem(), block)
        if not blocks[-1].keys:
            blocks.pop()
        if not blocks:
            del self._blocks[_last(tail)]

    def _house(self, tail: str, keys: set[K], block: _Block[K]) -> None:
        self._homes[tail] = block
        block.keys[tail] = keys
        block.stale = True

    def match(self, segments: Sequence[str]) -> set[K]:
        blocks = [*self._blocks.get("", ()), *self._blocks.get(segments[-1] if segments else "", ())]
        return {key for block in blocks for keys in block.match(segments) for key in keys}


def _last(tail: str) -> str:
    """Return the name that a tail ends in, empty if it ends in a wildcard."""
    last = tail.rpartition("/")[2]
    return "" if last in {ONE, MANY} else last


class _Node(Generic[K]):
    """A place in the patterns before their first ``**``."""

    __slots__ = ("children", "keys", "one", "tails")

    def __init__(self) -> None:
        self.children: dict[str, _Node[K]] = {}
        self.one: _Node[K] | None = None
        self.tails: _Tails[K] | None = None
        self.keys: set[K] = set()

    def step(self, segment: str) -> _Node[K]:
        if segment == ONE:
            self.one = self.one or _Node()
            return self.one
        return self.children.setdefault(segment, _Node())

    def is_bare(self) -> bool:
        return not (self.children or self.one or self.tails or self.keys)

    def discard(self, tail: str, key: K) -> None:
        if not tail:
            self.keys.discard(key)
        elif self.tails is not None:
            self.tails.discard(tail, key)
            if self.tails.is_bare():
                self.tails = None

    def prune(self, segment: str) -> None:
        if segment == ONE:
            self.one = None
        else:
            del self.children[segment]


class GlobIndex(Generic[K]):
    """Patterns by key; finds the keys whose pattern matches a path."""

    def __init__(self) -> None:
        self._root: _Node[K] = _Node()

    def add(self, pattern: str, key: K) -> None:
        """Put a key under a pattern."""
        before, tail = _parted(pattern)
        node = self._root
        for segment in before:
            node = node.step(segment)
        if tail:
            node.tails = node.tails or _Tails()
            node.tails.add(tail, key)
        else:
            node.keys.add(key)

    def discard(self, pattern: str, key: K) -> None:
        """Take a key away that was put under this very pattern."""
        segments, tail = _parted(pattern)
        nodes = [self._root]
        for segment in segments:
            nodes.append(nodes[-1].step(segment))
        nodes[-1].discard(tail, key)
        for parent, segment, node in zip(nodes[-2::-1], reversed(segments), nodes[:0:-1], strict=True):
            if not node.is_bare():
                break
            parent.prune(segment)

    def match(self, path: str) -> set[K]:
        """Return the keys of all patterns that match ``path``."""
        segments = path.split("/")
        found: set[K] = set()
        todo = [(self._root, 0)]
        while todo:
            node, at = todo.pop()
            if node.tails is not None:
                found |= node.tails.match(segments[at:])
            if at == len(segments):
                found |= node.keys
                continue
            if node.one is not None:
                todo.append((node.one, at + 1))
            child = node.children.get(segments[at])
            if child is not None:
                todo.append((child, at + 1))
        return found


def _parted(pattern: str) -> tuple[list[str], str]:
    """Return the segments before the first ``**``, and the rest from there on, empty if there is none."""
    segments = pattern.split("/")
    at = segments.index(MANY) if MANY in segments else len(segments)
    return segments[:at], "/".join(segments[at:])


def matches(pattern: str, path: str) -> bool:
    """Whether one pattern matches one path."""
    index: GlobIndex[bool] = GlobIndex()
    index.add(pattern, True)  # noqa: FBT003 any key will do
    return bool(index.match(path))
