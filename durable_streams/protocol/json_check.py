"""Whether a body is one JSON text that every reader of the stream can parse (§9.1.4, RFC 8259).

Owns: what is refused. Must not know: what becomes of the text. Invariant: small and large bodies are judged alike; a
large one without an object being made of each of its values, which would take up to a tenth of a microsecond a byte.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

import msgspec
import orjson

from durable_streams.protocol.errors import InvalidJsonError
from durable_streams.protocol.json_scan import DEPTH_MAX, paired, skip

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
LARGE_BYTES: Final = 64 * 1024
"""From here on values are skipped, not made."""
_PARSER_DEPTH_MAX: Final = 1024
"""Deepest nesting that orjson accepts, more than ``DEPTH_MAX``; so its refusal tells where that much further is."""
_TOO_LARGE: Final = (b"e000", b"0" * 200)
"""One of these is in every text with a number beyond a double's range, once all its digits are noughts."""
_NOUGHTS: Final = bytes.maketrans(b"E123456789", b"e000000000")
_STRUCTURE: Final = b'[]{}"'
_NO_STRUCTURE: Final = bytes(set(range(256)) - set(_STRUCTURE))
_COLON_AS_COMMA: Final = bytes.maketrans(b":", b",")
_NO_SCALARS: Final = b"[]{} \t\n\r"
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
"""Brackets as what they add to the depth, in signed bytes."""
_UP: Final = 1
_RUN_COUNT: Final = 256
"""Brackets counted at once."""


def check(body: bytes) -> None:
    """Check a body.

    Raises:
        InvalidJsonError: not one JSON text in UTF-8, ``NaN`` or ``Infinity``, a number beyond the range of a double
            (RFC 8259 §6 lets us), or nested deeper than ``DEPTH_MAX``.
    """
    try:
        if len(body) < LARGE_BYTES:
            _check_small(body)
        else:
            _check_large(body)
    except (ValueError, msgspec.DecodeError) as refusal:  # those of the parsers and of UTF-8 among them
        _refuse(str(refusal))


def decoded(decode: Callable[[bytes], T], text: bytes) -> T:
    """Decode by a typed decoder of msgspec, which recurses as deep as the text is nested.

    Raises:
        InvalidJsonError: not of the decoder's form, or nested too deep.
    """
    try:
        return decode(text)
    except msgspec.MsgspecError as refusal:
        raise InvalidJsonError(str(refusal)) from None
    except RecursionError:
        _refuse_depth()


def _refuse(why: str) -> NoReturn:
    msg = f"the body is not valid JSON: {why}"
    raise InvalidJsonError(msg)


def _refuse_depth() -> NoReturn:
    _refuse(f"nested deeper than {DEPTH_MAX}")


def _check_small(body: bytes) -> None:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        # Lone surrogate escapes are JSON (RFC 8259 §8.2) and browsers send them; only the parser minds. With any other
        # escape in their place everything else is judged as ever.
        body = paired(body)
        orjson.loads(body)
    if body.count(b"[") + body.count(b"{") > DEPTH_MAX and _is_too_deep(body):
        _refuse_depth()


def _is_too_deep(body: bytes) -> bool:
    """Whether a valid text is deeper than ``DEPTH_MAX``: then the parser refuses it this much further down."""
    further = _PARSER_DEPTH_MAX - DEPTH_MAX
    try:
        orjson.loads(b"[" * further + body + b"]" * further)
    except orjson.JSONDecodeError:
        return True
    return False


def _check_large(body: bytes) -> None:
    """Leave to each what it does fast: depth (first: nothing deeper is skipped), structure, characters, numbers."""
    if body.count(b"[") + body.count(b"{") > DEPTH_MAX and _is_deeper(_steps(body)):
        _refuse_depth()
    skip(body)
    if not body.isascii():
        body.decode()
    digits = body.translate(_NOUGHTS, b"+")
    if any(sign in digits for sign in _TOO_LARGE):
        _check_scalars(body)


def _check_scalars(body: bytes) -> None:
    """Parse the numbers and strings of a valid text, as if all stood in one array. Strings may be altered by that."""
    flat = body.translate(_COLON_AS_COMMA, _NO_SCALARS)
    while b",," in flat:
        flat = flat.replace(b",,", b",")
    orjson.loads(b"[" + paired(flat).strip(b",") + b"]")


def _steps(body: bytes) -> bytes:
    """Return the brackets that stand outside strings: of a valid text, or of one up to where it is not."""
    if b"\\" in body:
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    steps = body.translate(_STEPS, _NO_STRUCTURE)
    if b'"' in steps:
        steps = b"".join(steps.replace(b'""', b"").split(b'"')[::2])  # every second part is inside a string
    return steps


def _is_deeper(steps: bytes) -> bool:
    depth = 0
    for start in range(0, len(steps), _RUN_COUNT):
        run = steps[start : start + _RUN_COUNT]
        ups = run.count(_UP)
        if depth + ups > DEPTH_MAX and max(accumulate(memoryview(run).cast("b"), initial=depth)) > DEPTH_MAX:
            return True
        depth += 2 * ups - len(run)
    return False
