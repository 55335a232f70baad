"""Anthropic Messages: what is sent.

Thinking goes back as it came, with its signature, also when nothing was thought aloud; so do the calls and results of
tools that the provider runs itself, and the citations of a text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from durable_streams.agents.wires.decoders.anthropic import AnthropicDecoder
from durable_streams.agents.wires.files import inlined, user_content
from durable_streams.agents.wires.history import Answered, Ids, Taste, conversation
from durable_streams.agents.wires.keepers.anthropic import AnthropicKeeper
from durable_streams.agents.wires.options import InvalidOptionsError
from durable_streams.agents.wires.parts import Call, Kept, Text, Thought

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from durable_streams.agents.attachments import File
    from durable_streams.agents.tools import Tool
    from durable_streams.agents.wires.base import UIMessage
    from durable_streams.agents.wires.decoders.base import Decoder
    from durable_streams.agents.wires.history import Turn
    from durable_streams.agents.wires.options import Options
    from durable_streams.agents.wires.parts import Part

API_VERSION: Final = "2023-06-01"
ID_MAX_CHARS: Final = 64
PICTURES: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
BUDGETS: Final[Mapping[str, int]] = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768}
"""Effort → tokens that may be thought."""
BEGINNING: Final = "(The conversation begins.)"
"""Said before an answer that nobody asked for: this API wants a user first."""
OPTIONAL: Final[Mapping[str, tuple[str, ...]]] = {"thinking": ("thinking.type.enabled", "budget_tokens", "adaptive")}
_THOUGHTS: Final = frozenset({"thinking", "redacted_thinking"})
SAID: Final = frozenset({"text", "thinking", "redacted_thinking", "tool_use", "tool_result"})
"""Blocks whose content is in parts of its own."""
_SERVER_CALLS: Final = frozenset({"server_tool_use", "mcp_tool_use"})


class AnthropicWire:
    """``POST /v1/messages``.

    Args:
        max_tokens: bound of an answer, which this API wants to be told.
    """

    name = "anthropic"
    path = "/v1/messages"
    takes = "PNG, JPEG, WebP and GIF images, PDF and text files"
    optional = OPTIONAL

    def __init__(self, max_tokens: int = 4096) -> None:
        self._max_tokens = max_tokens

    def forgo(self, body: dict[str, Any], name: str) -> bool:
        """Say how long to think by an effort, as newer models want it; see ``Wire``."""
        thinking = body.get(name)
        if not isinstance(thinking, dict) or thinking.get("type") != "enabled":
            return False
        budget = thinking.get("budget_tokens")
        effort = next((effort for effort, tokens in BUDGETS.items() if tokens == budget), "high")
        body[name] = {"type": "adaptive"}
        body["output_config"] = {**body.get("output_config", {}), "effort": "low" if effort == "minimal" else effort}
        return True

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Return key and version."""
        version = {"anthropic-version": API_VERSION}
        return version if api_key is None else {**version, "x-api-key": api_key}

    def request(self, model: str, messages: Sequence[UIMessage], tools: Sequence[Tool]) -> dict[str, Any]:
        """Return the body; see ``Wire``."""
        said = conversation(messages, Ids(ID_MAX_CHARS), Taste(_speaks, _keeps))
        body: dict[str, Any] = {
            "model": model,
            "max_tokens": self._max_tokens,
            "messages": _alternating(self._messages(said.turns)),
            "stream": True,
        }
        if said.system:
            body["system"] = said.system
        if tools:
            body["tools"] = [
                {"name": tool.name, "description": tool.description, "input_schema": tool.parameters} for tool in tools
            ]
        elif used := {call.tool for turn in said.turns if isinstance(turn, Answered) for call in turn.calls}:
            # A history with calls is refused without tools; these are told, and not to be called.
            body["tools"] = [{"name": name, "input_schema": {"type": "object"}} for name in sorted(used)]
            body["tool_choice"] = {"type": "none"}
        return body

    def options(self, options: Options) -> dict[str, Any]:
        """Return the fields; see ``Wire``. Thinking takes no temperature, and its tokens are part of the answer's."""
        fields: dict[str, Any] = {
            "temperature": options.temperature,
            "max_tokens": options.max_tokens,
            "stop_sequences": list(options.stop) or None,
        }
        budget = BUDGETS.get(options.reasoning_effort or "none")
        if budget is not None:
            if options.temperature is not None:
                raise InvalidOptionsError("Anthropic takes no temperature with reasoning_effort")
            fields["thinking"] = {"type": "enabled", "budget_tokens": budget}
            fields["max_tokens"] = max(options.max_tokens or self._max_tokens, budget + 1024)
        return {name: value for name, value in fields.items() if value is not None}

    def attached(self, file: File) -> dict[str, Any] | None:
        """Return an image, PDF or text; see ``Wire``."""
        kind = "image" if file.media_type in PICTURES else "document"
        if file.media_type not in PICTURES and file.media_type != "application/pdf":
            return inlined(file, "text")
        if file.inline is None:
            return {"type": kind, "source": {"type": "url", "url": file.url}}
        return {"type": kind, "source": {"type": "base64", "media_type": file.media_type, "data": file.inline}}

    def decoder(self, prefix: str) -> Decoder:
        """Return a decoder of one response."""
        return AnthropicKeeper(AnthropicDecoder(prefix), prefix)

    def _messages(self, turns: Sequence[Turn]) -> Iterator[dict[str, Any]]:
        called, answered = _server_ids(turns)
        for turn in turns:
            if not isinstance(turn, Answered):
                yield {"role": "user", "content": list(user_content(turn.parts, self.attached, "text"))}
                continue
            # A server's call without a result was stopped, unless it is what the model is to go on from.
            paired = called if turn is turns[-1] else called & answered
            blocks = [block for part in turn.parts for block in _blocks(part)]
            kept = [block for block in blocks if _server_id(block) in {None, *paired}]
            kept.sort(key=lambda block: block["type"] == "tool_use")  # results follow at once
            while kept and kept[-1]["type"] in _THOUGHTS:
                kept.pop()
            yield {"role": "assistant", "content": kept}
            if turn.calls:
                yield {"role": "user", "content": [_result(call) for call in turn.calls]}


def _speaks(part: Part) -> bool:
    return isinstance(part, Text | Call | Kept)


def _keeps(part: Part) -> bool:
    return not isinstance(part, Kept) or _kept_block(part) is not None


def _blocks(part: Part) -> Iterator[dict[str, Any]]:
    own = part.own or {}
    if isinstance(part, Text):
        cited = {"citations": own["citations"]} if own.get("citations") else {}
        yield {"type": "text", "text": part.text, **cited}
    elif isinstance(part, Call):
        yield {"type": "tool_use", "id": part.call_id, "name": part.tool, "input": part.input}
    elif isinstance(part, Thought) and "redacted" in own:
        yield {"type": "redacted_thinking", "data": own["redacted"]}
    elif isinstance(part, Thought) and own.get("signature"):  # without it the API refuses the block
        yield {"type": "thinking", "thinking": part.text, "signature": own["signature"]}
    elif isinstance(part, Kept) and (block := _kept_block(part)) is not None:
        yield block


def _result(call: Call) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call.call_id, "content": call.result, "is_error": call.failed}


def _server_ids(turns: Sequence[Turn]) -> tuple[set[str], set[str]]:
    """Return the ids of calls of the provider's own tools, and of their results."""
    parts = [part for turn in turns if isinstance(turn, Answered) for part in turn.parts]
    blocks = [block for part in parts if isinstance(part, Kept) and (block := _kept_block(part)) is not None]
    called = {str(block.get("id")) for block in blocks if block["type"] in _SERVER_CALLS}
    return called, {str(block["tool_use_id"]) for block in blocks if "tool_use_id" in block}


def _server_id(block: Mapping[str, Any]) -> str | None:
    """Return the id of a server's call or result; ``None`` for every other block."""
    if block["type"] in _SERVER_CALLS:
        return str(block.get("id"))
    return str(block["tool_use_id"]) if block["type"] != "tool_result" and "tool_use_id" in block else None


def _kept_block(part: Kept) -> dict[str, Any] | None:
    block = part.own.get("block")
    kind = block.get("type") if isinstance(block, dict) else None
    return dict(block) if isinstance(block, dict) and isinstance(kind, str) and kind not in SAID else None


def _alternating(messages: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join neighbours of one role, begin with a user, and end without the blanks that this API refuses at the end."""
    joined: list[dict[str, Any]] = []
    for message in messages:
        if not message["content"]:
            continue
        if joined and joined[-1]["role"] == message["role"]:
            joined[-1] = {**joined[-1], "content": [*joined[-1]["content"], *message["content"]]}
        else:
            joined.append(message)
    if joined and joined[0]["role"] == "assistant":
        joined.insert(0, {"role": "user", "content": [{"type": "text", "text": BEGINNING}]})
    if joined and joined[-1]["role"] == "assistant":
        last = joined[-1]["content"][-1]
        if last["type"] == "text":
            joined[-1]["content"][-1] = {**last, "text": last["text"].rstrip()}
    return joined
