"""Any value that a source may give, as one that JSON has.

Owns: which form a value takes. Must not know: events, streams.

=================================  =========================================================
none, boolean, text, number        itself; a number that is not finite is null
whole number beyond 64 bits        its digits, as text: no reader of JSON keeps them otherwise
half of a surrogate pair           joined with its other half, else U+FFFD
dictionary                         an object; a key that is no text is written as JSON writes it
list, tuple, set                   a list
dataclass, pydantic model          an object of its fields
enumeration                        its value
date, time, UUID, path, decimal    as text, dates as ISO 8601 has them
bytes                              base64
=================================  =========================================================

Nothing else has a form, nor has what is nested deeper than ``DEPTH_MAX``. What is stored has a largest size as well.
"""

from __future__ import annotations

import base64
import datetime as dt
import enum
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from decimal import Decimal
from pathlib import PurePath
from typing import Any, Final, TypeAlias
from uuid import UUID

import orjson

from durable_streams.agents.errors import AgentError

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"

DEPTH_MAX: Final = 64
VALUE_MAX_BYTES: Final = 4 * 2**20
"""Of a value as JSON. It is appended in one piece, and once more as text inside JSON, which may double it."""
_WHOLE: Final = range(-(2**63), 2**64)
_KEYS: Final = {None: "null", True: "true", False: "false"}


class NoFormError(AgentError):
    """A value that cannot be written as JSON, or is too large to be stored in one piece."""

    public = True


def storable(value: object) -> Plain:
    """Return the value in its form, which is not above ``VALUE_MAX_BYTES``.

    Raises:
        NoFormError: it has none, or is larger.
    """
    form = plain(value)
    size_bytes = len(orjson.dumps(form))
    if size_bytes > VALUE_MAX_BYTES:
        raise NoFormError(f"it has {size_bytes} bytes as JSON, and {VALUE_MAX_BYTES} are the most")
    return form


def plain(value: object) -> Plain:
    """Return the value in its form; the module has the table.

    Raises:
        NoFormError: it has none.
    """
    return _plain(value, 0)


def shown(value: object) -> Plain:
    """Return the value in its form, or the name of its type in brackets if it has none: for what has to be said."""
    try:
        return plain(value)
    except NoFormError:
        return f"[{type(value).__name__}]"


def encoded(fields: Mapping[str, object]) -> bytes:
    """Return compact JSON, whatever is in it: an ending that cannot be written would leave a run open."""
    try:
        return orjson.dumps(fields)
    except TypeError:
        return orjson.dumps({name: shown(value) for name, value in fields.items()})


def whole(text: str) -> str:
    """Return a text that is valid Unicode: surrogates are joined where two make a character, else replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _plain(value: object, depth: int) -> Plain:
    if depth > DEPTH_MAX:
        raise NoFormError(f"a value is nested deeper than {DEPTH_MAX} levels")
    if isinstance(value, enum.Enum):
        return _plain(value.value, depth + 1)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, int):
        return int(value) if value in _WHOLE else str(value)
    return _of_parts(value, depth + 1)


def _of_parts(value: object, depth: int) -> Plain:
    if isinstance(value, Mapping):
        return {_key(key): _plain(one, depth) for key, one in value.items()}
    if isinstance(value, list | tuple | AbstractSet):
        return [_plain(one, depth) for one in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name), depth) for field in fields(value)}
    dump: Any = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        return _plain(dump(), depth)
    return _of_text(value)


def _of_text(value: object) -> str:
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, UUID | PurePath | Decimal):
        return whole(str(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    raise NoFormError(f"a value of type {type(value).__name__} cannot be written as JSON")


def _key(key: object) -> str:
    if isinstance(key, str):
        return whole(key)
    if key is None or isinstance(key, bool):
        return _KEYS[key]
    if isinstance(key, int | float):
        return repr(key)
    return _of_text(key)
