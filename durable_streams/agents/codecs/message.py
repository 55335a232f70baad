"""The message that stored UI chunks amount to, as a client shows it: an AI SDK ``UIMessage``.

Pure; the same chunks give the same message, so that whoever comes first may record it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.codecs import chunk_names as names
from durable_streams.agents.codecs.continued import continued

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_UNCALLED: Final = frozenset({"input-streaming", "input-available"})
"""States of a call of which nobody has said anything yet; what goes on tells of its calls once more."""


def message_of(chunks: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the message: ``id``, ``role``, ``parts``, ``metadata``; of one that goes on, its ``order``.

    Never fails, as a session is read by it again and again: chunks of unknown types are skipped, and how many others
    could not be made sense of is in the metadata, as ``unread``.
    """
    folding = _Folding()
    unread = 0
    for chunk in chunks:
        try:
            folding.feed(chunk)
        except (LookupError, TypeError, AttributeError):
            unread += 1
    if unread:
        folding.message["metadata"]["unread"] = unread
    return folding.message


class _Folding:
    def __init__(self) -> None:
        self.message: dict[str, Any] = {"id": "", "role": "assistant", "parts": [], "metadata": {}}
        self._open: dict[str, dict[str, Any]] = {}
        self._calls: dict[str, dict[str, Any]] = {}
        self._handlers: Mapping[str, Callable[[dict[str, Any]], None]] = {
            names.START: self._start,
            names.START_STEP: self._step,
            names.TEXT_START: self._part_start,
            names.REASONING_START: self._part_start,
            names.TEXT_DELTA: self._part_delta,
            names.REASONING_DELTA: self._part_delta,
            names.TEXT_END: self._part_end,
            names.REASONING_END: self._part_end,
            names.TOOL_INPUT_START: self._call_start,
            names.TOOL_INPUT_AVAILABLE: self._call_input,
            names.TOOL_INPUT_ERROR: self._call_error,
            names.TOOL_OUTPUT_AVAILABLE: self._call_output,
            names.TOOL_OUTPUT_ERROR: self._call_error,
            names.TOOL_OUTPUT_DENIED: self._call_denied,
            names.TOOL_APPROVAL_REQUEST: self._approval_request,
            names.CONTINUES: self._continue,
            names.SOURCE_URL: self._source,
            names.FILE: self._source,
            names.MESSAGE_METADATA: self._metadata,
            names.FINISH: self._metadata,
        }

    def feed(self, chunk: dict[str, Any]) -> None:
        kind = chunk["type"]
        handler = self._handlers.get(kind)
        if handler is not None:
            handler(chunk)
        elif kind.startswith(names.DATA_PREFIX) and not chunk.get("transient"):
            self._custom(chunk)

    def _add(self, part: dict[str, Any]) -> dict[str, Any]:
        self.message["parts"].append(part)
        return part

    def _step(self, _chunk: dict[str, Any]) -> None:
        self._add({"type": "step-start"})

    def _start(self, chunk: dict[str, Any]) -> None:
        self.message["id"] = str(chunk.get("messageId", self.message["id"]))
        self._metadata(chunk)

    def _metadata(self, chunk: dict[str, Any]) -> None:
        _merge(self.message["metadata"], chunk.get("messageMetadata") or {})

    def _part_start(self, chunk: dict[str, Any]) -> None:
        kind = names.PART_KINDS[chunk["type"]]
        self._open[chunk["id"]] = self._add({"type": kind, "text": "", "state": "streaming"})

    def _part_delta(self, chunk: dict[str, Any]) -> None:
        self._open[chunk["id"]]["text"] += chunk[names.DELTA]

    def _part_end(self, chunk: dict[str, Any]) -> None:
        part = self._open.pop(chunk["id"])
        part["state"] = "done"
        if names.METADATA in chunk:
            part[names.METADATA] = chunk[names.METADATA]

    def _call_start(self, chunk: dict[str, Any]) -> None:
        call_id, tool = chunk["toolCallId"], chunk["toolName"]
        part = {"type": f"tool-{tool}", "toolCallId": call_id, "state": "input-streaming"}
        self._calls[call_id] = self._add(part)

    def _call_input(self, chunk: dict[str, Any]) -> None:
        if chunk["toolCallId"] not in self._calls:
            self._call_start(chunk)
        if self._calls[chunk["toolCallId"]]["state"] in _UNCALLED:
            self._calls[chunk["toolCallId"]].update(state="input-available", input=chunk["input"], **_of_call(chunk))

    def _call_output(self, chunk: dict[str, Any]) -> None:
        self._calls[chunk["toolCallId"]].update(state="output-available", output=chunk["output"])

    def _call_error(self, chunk: dict[str, Any]) -> None:
        if chunk["toolCallId"] not in self._calls:
            self._call_start(chunk)
        self._calls[chunk["toolCallId"]].update(state="output-error", errorText=chunk["errorText"], **_of_call(chunk))
        if "input" in chunk:
            self._calls[chunk["toolCallId"]]["input"] = chunk["input"]

    def _call_denied(self, chunk: dict[str, Any]) -> None:
        self._calls[chunk["toolCallId"]].update(state="output-denied")

    def _approval_request(self, chunk: dict[str, Any]) -> None:
        asked = {"id": chunk["approvalId"]}
        self._calls[chunk["toolCallId"]].update(state="approval-requested", approval=asked)

    def _continue(self, chunk: dict[str, Any]) -> None:
        earlier = continued([chunk])
        if earlier is None:
            raise LookupError(names.CONTINUES)
        self.message["parts"] = [dict(part) for part in earlier.parts]
        self._calls = {part["toolCallId"]: part for part in self.message["parts"] if "toolCallId" in part}
        if earlier.order is not None:
            self.message["order"] = earlier.order

    def _source(self, chunk: dict[str, Any]) -> None:
        self._add(dict(chunk))

    def _custom(self, chunk: dict[str, Any]) -> None:
        key = chunk.get("id")
        for part in self.message["parts"]:
            if key is not None and part["type"] == chunk["type"] and part.get("id") == key:
                part["data"] = chunk["data"]
                return
        self._add(dict(chunk))


def _of_call(chunk: dict[str, Any]) -> dict[str, Any]:
    return {names.CALL_METADATA: chunk[names.METADATA]} if names.METADATA in chunk else {}


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value
