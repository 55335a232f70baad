"""Whether a body is one JSON text that every reader of the stream can parse (§9.1.4, RFC 8259).

Owns: what is refused. Must not know: what becomes of the text.
Invariant: whether a text is refused does not depend on its size.

A small body is parsed, and its value thrown away. For a large one that would be too slow, up to 0.1 µs a byte, because
a parser makes an object of every value. It is checked in four passes instead, each made of a few calls that run at the
speed of memory: depth, structure, UTF-8, numbers. ``msgspec`` checks the structure while it skips values.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

import msgspec
import orjson

from durable_streams.protocol.errors import InvalidJsonError
from durable_streams.protocol.json_scan import DEPTH_MAX, paired, skip

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

T = TypeVar("T")
LARGE_BYTES: Final = 64 * 1024
"""Bodies of this size and more are checked without making their values."""
_PARSER_DEPTH_MAX: Final = 1024
"""The deepest nesting that orjson accepts. It is more than ``DEPTH_MAX``; see ``_is_too_deep``."""
_TOO_LARGE: Final = (b"e000", b"0" * 200)
"""Signs of a number beyond a double's range. A text with such a number has at least one of them once every digit is
replaced by 0: an exponent of three digits, or 200 digits in a row."""
_NOUGHTS: Final = bytes.maketrans(b"E123456789", b"e000000000")
_STRUCTURE: Final = b'[]{}"'
_NO_STRUCTURE: Final = bytes(set(range(256)) - set(_STRUCTURE))
_COLON_AS_COMMA: Final = bytes.maketrans(b":", b",")
_NO_SCALARS: Final = b"[]{} \t\n\r"
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
"""Each bracket as what it adds to the depth: a signed byte, +1 or -1."""
_UP: Final = 1
_RUN_COUNT: Final = 256
"""Brackets in one step of ``_check_depth``."""
_PASS_COUNT: Final = 1024 * 1024
"""Brackets in one of its passes."""


def check(body: bytes) -> None:
    """Check a body: "Servers MUST validate that appended data is valid JSON" (§9.1.4).

    Args:
        body: of any size.

    Raises:
        InvalidJsonError: not one JSON text in UTF-8; ``NaN`` or ``Infinity``; a number beyond the range of a double
            (RFC 8259 §6 lets a receiver set limits); or nested deeper than ``DEPTH_MAX``.
    """
    try:
        if len(body) < LARGE_BYTES:
            _check_small(body)
        else:
            for _ in _passes(body):
                pass
    except (ValueError, msgspec.DecodeError) as refusal:  # those of the parsers and of UTF-8 among them
        _refuse(str(refusal))


def check_by_passes(body: bytes) -> Generator[None, None, None]:
    """Check a body as ``check`` does, and stop between the passes over a large one: each takes milliseconds.

    Raises:
        InvalidJsonError: as ``check``.
    """
    if len(body) < LARGE_BYTES:
        check(body)
        return
    try:
        yield from _passes(body)
    except (ValueError, msgspec.DecodeError) as refusal:
        _refuse(str(refusal))


def decoded(decode: Callable[[bytes], T], text: bytes) -> T:
    """Decode a text by a typed decoder of msgspec.

    Such a decoder calls itself for each level of nesting, so a deep text can exhaust the stack.

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
        # Escapes of lone surrogates are JSON (RFC 8259 §8.2), and browsers send them. orjson refuses them. With others
        # in their place the rest of the text is judged as usual.
        body = paired(body)
        orjson.loads(body)
    if body.count(b"[") + body.count(b"{") > DEPTH_MAX and _is_too_deep(body):
        _refuse_depth()


def _is_too_deep(body: bytes) -> bool:
    """Whether a valid text is nested deeper than ``DEPTH_MAX``.

    The parser has a limit of its own, which is higher. The text is wrapped in as many arrays as the two limits differ
    by; then the parser refuses it exactly if it is too deep.
    """
    further = _PARSER_DEPTH_MAX - DEPTH_MAX
    try:
        orjson.loads(b"[" * further + body + b"]" * further)
    except orjson.JSONDecodeError:
        return True
    return False


def _passes(body: bytes) -> Generator[None, None, None]:
    """Check depth, structure, UTF-8 and numbers, in this order: ``skip`` must not meet a text that is too deep."""
    bracket_count = body.count(b"[") + body.count(b"{")
    yield
    if bracket_count > DEPTH_MAX:
        steps = _steps(body)
        yield
        yield from _check_depth(steps)
    yield
    skip(body)
    yield
    if not body.isascii():
        body.decode()
    yield
    digits = body.translate(_NOUGHTS, b"+")
    yield
    if any(sign in digits for sign in _TOO_LARGE):
        _check_scalars(body)


def _check_scalars(body: bytes) -> None:
    """Parse the numbers and strings of a valid text as one flat array.

    Colons become commas, and brackets and blanks go, inside strings too. That alters strings but no number, and numbers
    are what is looked for.
    """
    flat = body.translate(_COLON_AS_COMMA, _NO_SCALARS)
    while b",," in flat:
        flat = flat.replace(b",,", b",")
    orjson.loads(b"[" + paired(flat).strip(b",") + b"]")


def _steps(body: bytes) -> bytes:
    """Return the brackets outside strings as steps of depth. Of a text that is not valid: those before the fault."""
    if b"\\" in body:
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    steps = body.translate(_STEPS, _NO_STRUCTURE)
    if b'"' in steps:
        steps = b"".join(steps.replace(b'""', b"").split(b'"')[::2])  # every second part is inside a string
    return steps


def _check_depth(steps: bytes) -> Generator[None, None, None]:
    depth = 0
    for start in range(0, len(steps), _RUN_COUNT):
        if start and start % _PASS_COUNT == 0:
            yield
        run = steps[start : start + _RUN_COUNT]
        ups = run.count(_UP)
        if depth + ups > DEPTH_MAX and max(accumulate(memoryview(run).cast("b"), initial=depth)) > DEPTH_MAX:
            _refuse_depth()
        depth += 2 * ups - len(run)
