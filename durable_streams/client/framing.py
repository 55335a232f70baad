"""How the caller's messages become request bodies.

Pure. Invariant: the caller's bytes are never re-serialised, and in JSON mode one append is one message: a body that the
server would take for none or for several is refused here, so that it cannot spoil the batch it travels in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from durable_streams.client.errors import DurableStreamError
from durable_streams.protocol import content_types
from durable_streams.protocol.errors import InvalidJsonError
from durable_streams.protocol.json_mode import flatten, flatten_initial

if TYPE_CHECKING:
    from collections.abc import Sequence

_NESTING_SUSPECT: Final = 400
"""Below so many brackets no message can be nested too deeply for the array around it."""


def encoded(body: bytes | str) -> bytes:
    """Return the body as bytes; text is UTF-8."""
    return body.encode("utf-8") if isinstance(body, str) else bytes(body)


def checked(message: bytes, content_type: str) -> bytes:
    """Return the message if it can be appended as one.

    Raises:
        DurableStreamError: empty, or, in JSON mode, not exactly one JSON text.
    """
    if not message:
        raise DurableStreamError("an append needs a body", code="EMPTY_BODY")
    if content_types.is_json(content_type):
        try:
            flatten_initial(message)
            if message.count(b"[") + message.count(b"{") > _NESTING_SUSPECT:
                flatten(joined([message], content_type))
        except InvalidJsonError as fault:
            raise DurableStreamError(str(fault), code="INVALID_JSON") from fault
    return message


def joined(messages: Sequence[bytes], content_type: str) -> bytes:
    """Return one body for several messages: an array in JSON mode, which the server flattens (§9.1.2), or all bytes."""
    if content_types.is_json(content_type):
        return b"[" + b",".join(messages) + b"]"
    return b"".join(messages)
