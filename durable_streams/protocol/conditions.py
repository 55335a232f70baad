"""Conditions on writes: ``If-Match`` and ``If-None-Match`` (RFC 9110 §13), and the refusal of all others.

A stream's tag for a write is its tail: ``If-Match: "<Stream-Next-Offset>"`` compares and swaps.
Owns: how the fields are read, and when they hold. Must not know: what is done when they do.
Invariant: a condition on a write is evaluated, or the write is refused; it is never carried out as if there were none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from durable_streams.protocol import headers as names
from durable_streams.protocol.errors import InvalidHeaderError, InvalidOffsetError, TailMovedError
from durable_streams.protocol.offsets import parse_offset

if TYPE_CHECKING:
    from collections.abc import Mapping

IF_MATCH: Final = "If-Match"
IF_NONE_MATCH: Final = "If-None-Match"
CONDITIONS: Final = (IF_MATCH, IF_NONE_MATCH, "If-Modified-Since", "If-Unmodified-Since", "If-Range")
"""Every conditional field of RFC 9110."""
_CONDITIONS = frozenset(CONDITIONS)
ANY: Final = frozenset({"*"})
"""What ``If-Match: *`` asks for: that there is a stream, wherever its tail is."""

_ELEMENT = re.compile(r'[ \t,]*(W/)?"([^"\x00-\x20\x7f]*)"[ \t]*(?=,|$)')
_PRODUCER = (names.PRODUCER_ID, names.PRODUCER_EPOCH, names.PRODUCER_SEQ)


def refuse_conditions(headers: Mapping[str, str], *evaluated: str) -> None:
    """Refuse the conditions that this kind of write does not evaluate.

    Raises:
        InvalidHeaderError: one is there.
    """
    if _CONDITIONS.isdisjoint(headers):  # nearly every write, so in one step
        return
    for name in CONDITIONS:
        if name in headers and name not in evaluated:
            raise InvalidHeaderError(name, "is not evaluated for this request, so it is not carried out")


def parse_if_match(headers: Mapping[str, str]) -> frozenset[str] | None:
    """Return the tags that ``If-Match`` names, ``ANY`` for ``*``, or ``None`` without the field.

    Weak tags are left out: they never match (RFC 9110 §13.1.1).

    Raises:
        InvalidHeaderError: not a list of entity tags, or beside producer fields: the retry of an append succeeds by the
            one and fails by the other.
    """
    value = headers.get(IF_MATCH)
    if value is None:
        return None
    if any(name in headers for name in _PRODUCER):
        raise InvalidHeaderError(IF_MATCH, "cannot be used with a producer, whose retries succeed whatever the tail")
    return ANY if value.strip() == "*" else _parse_tags(IF_MATCH, value)


def parse_must_not_exist(headers: Mapping[str, str]) -> bool:
    """Return whether ``If-None-Match: *`` asks that there be no stream.

    Raises:
        InvalidHeaderError: any other value; a creation has no tag to compare.
    """
    value = headers.get(IF_NONE_MATCH)
    if value is not None and value.strip() != "*":
        raise InvalidHeaderError(IF_NONE_MATCH, "must be * here")
    return value is not None


def check_tail(tags: frozenset[str] | None, tail: int, *, closed: bool) -> None:
    """Check an ``If-Match`` against the stream's tail.

    Args:
        tags: as ``parse_if_match`` returned them; ``None`` without a condition.
        tail: the stream's.
        closed: whether it is closed; told to a client whose condition fails.

    Raises:
        TailMovedError: none of the tags is the tail.
    """
    if tags is not None and tags is not ANY and tail not in map(_position, tags):
        raise TailMovedError(tail, closed)


def _parse_tags(name: str, value: str) -> frozenset[str]:
    """Parse a list of entity tags, empty elements allowed (RFC 9110 §5.6.1); return the strong ones."""
    tags, position, weak_count = set[str](), 0, 0
    while found := _ELEMENT.match(value, position):
        position = found.end()
        if found[1]:
            weak_count += 1
        else:
            tags.add(found[2])
    if value[position:].strip(" \t,") or not (tags or weak_count):
        raise InvalidHeaderError(name, 'must be * or a list of tags in double quotes, such as "0000000000000042"')
    return frozenset(tags)


def _position(tag: str) -> int | None:
    try:
        return parse_offset(tag)
    except InvalidOffsetError:
        return None
