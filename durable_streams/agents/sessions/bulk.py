"""Large values of messages, kept beside their session so that its rows stay small.

A row is read by everybody who opens the session, again and again, and a server takes appends up to a limit. So the
largest values of a message, such as a tool's output, go into a stream of their own, and the row shows how each begins
and where the whole is: ``part["kept"][field] = {"stream", "id", "bytes"}``.

Items of such a stream are ``{"id", "value"}``; texts that are longer than an item go on in the items that follow with
the same id. The stream is named after its attempt and lives as long as the session.
Invariant: the same message is always parted alike, so whoever comes second stores nothing twice.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import orjson

from durable_streams.agents.codecs import chunk_names as names
from durable_streams.agents.plain import encoded
from durable_streams.agents.sessions.places import JSON, attempt_path
from durable_streams.client import ProducerTriple, StreamNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from durable_streams.agents.sessions.places import Places

ROW_MAX_BYTES: Final = 256 * 1024
"""Of a message in a session's rows."""
STAYS_BYTES: Final = 4 * 1024
"""A value that is not larger stays in its row."""
SHOWN_CHARS: Final = 1_000
"""How much of a kept value its row shows."""
ITEM_CHARS: Final = 2**20
"""A longer text is kept in several items."""
RESTORED_BYTES: Final = 4 * 2**20
"""How much is brought back for a model, newest first; of the rest it sees how it begins."""
ASKED_BYTES: Final = 16 * 2**20
"""The same of the prompt that is to be answered, which is brought back whole."""
_FIELDS: Final = ("output", "input", "text", "data", "url", "errorText", names.METADATA, names.CALL_METADATA)

Message = dict[str, Any]


def kept_path(attempt_path: str) -> str:
    """Return the path of the stream for an attempt's large values."""
    return f"{attempt_path}/kept"


def parted(message: Message, path: str, max_bytes: int = ROW_MAX_BYTES) -> tuple[Message, list[bytes]]:
    """Return the message small enough for a row, and the items to keep at ``path``.

    The largest values go first. A message that is too large without them, as it has so many parts, loses the last ones:
    ``metadata.cut`` says how many.
    """
    parts = [dict(part) for part in message["parts"]]
    size_bytes = len(encoded(message))
    items: list[bytes] = []
    for number, (part_bytes, index, field) in enumerate(_largest_first(parts)):
        if size_bytes <= max_bytes:
            break
        items += _items_of(number, parts[index][field])
        parts[index] = _shown(parts[index], field, {"stream": path, "id": number, "bytes": part_bytes})
        size_bytes = len(encoded({**message, "parts": parts}))
    small = {**message, "parts": parts}
    return (small, items) if size_bytes <= max_bytes else (_cut(small, max_bytes), items)


def unkept(message: Message) -> Message:
    """Return a message whose large values are nowhere: it shows how they begin."""
    return {**message, "parts": [_without_kept(part) for part in message["parts"]]}


async def keep(places: Places, path: str, items: Sequence[bytes]) -> None:
    """Store the items, once however often this is done.

    Raises:
        DurableStreamError, FetchError: the server refused or cannot be reached.
    """
    stream = places.stream(path)
    await stream.create_stream(content_type=JSON)
    for number, item in enumerate(items):
        await stream.append_as(ProducerTriple("kept", 0, number), [item])


async def keep_asked(places: Places, attempt: str, rows: Sequence[bytes]) -> list[bytes]:
    """Return the rows of a prompt small enough to be read again and again, its files kept below its attempt.

    Raises:
        DurableStreamError, FetchError: the server refused or cannot be reached.
    """
    small: list[bytes] = []
    for number, row in enumerate(rows):
        if len(row) <= ROW_MAX_BYTES:
            small.append(row)
            continue
        event = orjson.loads(row)
        path = f"{kept_path(attempt)}/asked-{number}"
        message, items = parted(event["value"], path)
        await keep(places, path, items)
        small.append(encoded({**event, "value": message}))
    return small


async def forget_asked(places: Places, attempt: str, rows: Sequence[bytes]) -> None:
    """Delete what ``keep_asked`` has kept for a prompt that did not come to its turn."""
    for number, row in enumerate(rows):
        if len(row) > ROW_MAX_BYTES:
            await places.stream(f"{kept_path(attempt)}/asked-{number}").delete()


async def restored(places: Places, session_id: str, messages: Sequence[Message]) -> list[Message]:
    """Return the messages with their large values in place: the last one's, and of the others the newest.

    Those of the last are the prompt's, up to ``ASKED_BYTES``; of the others as many as ``RESTORED_BYTES`` hold.

    Raises:
        DurableStreamError, FetchError: the server refused or cannot be reached.
    """
    asked, shelf = (_Shelf(places, attempt_path(session_id, ""), left) for left in (ASKED_BYTES, RESTORED_BYTES))
    last = [await asked.whole(message) for message in messages[-1:]]
    return [*[await shelf.whole(message) for message in reversed(messages[:-1])][::-1], *last]


class _Shelf:
    """Brings values back from the streams of one session; rows that name another's are left as they are."""

    def __init__(self, places: Places, prefix: str, left_bytes: int) -> None:
        self._places, self._prefix, self._left_bytes = places, prefix, left_bytes
        self._read: dict[str, dict[Any, list[Any]]] = {}

    async def whole(self, message: Message) -> Message:
        if not any("kept" in part for part in message["parts"]):
            return message
        return {**message, "parts": [await self._whole_part(part) for part in message["parts"]]}

    async def _whole_part(self, part: Message) -> Message:
        whole = _without_kept(part)
        kept = part.get("kept")
        for field, where in kept.items() if isinstance(kept, dict) else ():
            if field in _FIELDS and isinstance(where, dict) and self._may_take(where):
                values = (await self._items(where["stream"])).get(where.get("id"), [])
                if values:
                    whole[field] = "".join(values) if all(isinstance(one, str) for one in values) else values[0]
        return whole

    def _may_take(self, where: Message) -> bool:
        path, size_bytes = where.get("stream"), where.get("bytes")
        if not isinstance(path, str) or not path.startswith(self._prefix) or not isinstance(size_bytes, int):
            return False
        if size_bytes > self._left_bytes:
            return False
        self._left_bytes -= size_bytes
        return True

    async def _items(self, path: str) -> dict[Any, list[Any]]:
        if path not in self._read:
            found: defaultdict[Any, list[Any]] = defaultdict(list)
            with contextlib.suppress(StreamNotFoundError):
                for item in await self._places.items(path):
                    found[item["id"]].append(item["value"])
            self._read[path] = found
        return self._read[path]


def _largest_first(parts: Sequence[Message]) -> list[tuple[int, int, str]]:
    sizes = [
        (len(encoded({"": part[field]})), index, field)
        for index, part in enumerate(parts)
        for field in _FIELDS
        if field in part
    ]
    return sorted((one for one in sizes if one[0] > STAYS_BYTES), key=lambda one: (-one[0], one[1], one[2]))


def _items_of(number: int, value: object) -> Iterator[bytes]:
    if not isinstance(value, str):
        yield encoded({"id": number, "value": value})
        return
    for begin in range(0, len(value), ITEM_CHARS):
        yield encoded({"id": number, "value": value[begin : begin + ITEM_CHARS]})


def _shown(part: Message, field: str, where: Message) -> Message:
    kept = {**part.get("kept", {}), field: where}
    value = part[field]
    if field == "url":
        return {**part, field: "data:,", "kept": kept}  # half an image would show as a broken one
    if isinstance(value, str):
        return {**part, field: f"{value[:SHOWN_CHARS]}…", "kept": kept}
    begins = encoded({"": value})[4:].decode("utf-8", "replace")[:SHOWN_CHARS]
    return {**part, field: {"begins": f"{begins}…", "bytes": where["bytes"]}, "kept": kept}


def _cut(message: Message, max_bytes: int) -> Message:
    kept: list[Message] = []
    left_bytes = max_bytes - len(encoded({**message, "parts": []}))
    for part in message["parts"]:
        left_bytes -= len(encoded(part)) + 1
        if left_bytes < 0:
            break
        kept.append(part)
    cut = {**message.get("metadata", {}), "cut": len(message["parts"]) - len(kept)}
    return {**message, "parts": kept, "metadata": cut}


def _without_kept(part: Message) -> Message:
    return {name: value for name, value in part.items() if name != "kept"}
