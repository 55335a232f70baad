"""What a posted prompt asks for: which rows it adds, what is answered, and which posts are the same prompt.

Pure. A prompt is told by its last message of a user and its trigger, so a post repeated by an impatient person or an
automatic retry is the same prompt.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from durable_streams.agents.attachments import InvalidAttachmentError, attached, check_sizes
from durable_streams.agents.errors import AgentError
from durable_streams.agents.sessions.editing import answers_to, kept_as_version
from durable_streams.agents.sessions.rows import MESSAGE, deletion, message_row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from durable_streams.agents.sessions.state import SessionState

Trigger: TypeAlias = Literal["submit-message", "regenerate-message"]

TITLE_CHARS: Final = 80


class InvalidPromptError(AgentError):
    """A body that asks for nothing that could be answered."""

    public = True


class PromptGoneError(AgentError):
    """An earlier message was edited while a prompt waited for its turn, and that took the prompt away."""

    public = True

    def __init__(self) -> None:
        super().__init__("the prompt was taken away by an edit while it waited")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A post to a session.

    Attributes:
        messages: the sender's view of the conversation; AI SDK ``UIMessage`` objects, at least the new one.
        trigger: a new message, or another answer to the last one.
        message_id: the message that is edited, or whose answer is wanted anew.
        by: who asks.
        txid: echoed in the rows, so that a client can tell its own.
        agui: tell the answer in the session's AG-UI stream too.
        again: a submitted message that has its answer asks for another; clients of AG-UI have no other word for it.
        run_id: the asker's own name for the run; two posts with the same are one.
        request: the rest of the body, for the source.
    """

    messages: Sequence[dict[str, Any]]
    trigger: Trigger = "submit-message"
    message_id: str | None = None
    by: str | None = None
    txid: str | None = None
    agui: bool = False
    again: bool = False
    run_id: str | None = None
    request: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a prompt amounts to in a session's present state.

    Attributes:
        key: equal for posts of the same prompt.
        prompt_id: id of the user's message to answer.
        rows: what to append to the session.
        title: the beginning of that message.
        gone: ids of the messages that it takes away, or makes versions.
    """

    key: str
    prompt_id: str
    rows: tuple[bytes, ...]
    title: str
    gone: frozenset[str] = frozenset()


def plan(state: SessionState, prompt: Prompt) -> Plan:
    """Return what to do about a prompt.

    Raises:
        InvalidPromptError: no message of a user to answer.
    """
    known = list(state.messages.values())
    if prompt.again and _has_answer(state, prompt):
        prompt = replace(prompt, trigger="regenerate-message", message_id=_last_of_user(prompt.messages)["id"])
    if prompt.trigger == "regenerate-message":
        kept = _cut_for_reattempt(known or list(prompt.messages), prompt.message_id)
        added = kept if not known else []
    else:
        new = _last_of_user(prompt.messages)
        edits = {prompt.message_id, new["id"]}
        kept = _before(known, edits)
        # A session that this server has not seen yet brings its history along.
        earlier = [] if known else list(prompt.messages[: prompt.messages.index(new)])
        added = [*earlier, _signed(new, prompt.by)]
    added = [{**message, "order": _order(state, len(added) - 1 - n)} for n, message in enumerate(added)]
    asked = _last_of_user([*kept, *added])
    kept_ids = {message["id"] for message in [*kept, *added]}
    # What answers the same message anew is another version of its answer; what came after it is gone.
    versions = answers_to(known, asked["id"]) if prompt.trigger == "regenerate-message" else []
    rows = [event for message in versions for event in kept_as_version(message, asked["id"])]
    ids_of_versions = {message["id"] for message in versions}
    gone = {message["id"] for message in known} - kept_ids - ids_of_versions
    rows += [deletion(MESSAGE, message["id"]) for message in known if message["id"] in gone]
    rows += [message_row(message, prompt.txid) for message in added]
    key = f"{prompt.trigger}:{asked['id']}:{prompt.message_id or ''}"
    return Plan(key, asked["id"], tuple(rows), text_of_message(asked)[:TITLE_CHARS], frozenset(gone | ids_of_versions))


def resubmitted(prompt: Prompt) -> dict[str, Any] | None:
    """Return the answer that a client sends back, perhaps with what it has added; ``None``: it asks something new.

    So do clients that send by themselves when the calls of an answer are complete.
    """
    last = prompt.messages[-1] if prompt.messages else None
    is_answer = prompt.trigger == "submit-message" and not prompt.again and last is not None
    return last if is_answer and last is not None and last["role"] == "assistant" else None


def new_message(prompt: Prompt) -> dict[str, Any] | None:
    """Return the message that a prompt adds; ``None`` if it wants another answer to one that is there.

    Raises:
        InvalidPromptError: there is none to add.
    """
    return _last_of_user(prompt.messages) if prompt.trigger == "submit-message" else None


def rewrites(key: str) -> bool:
    """Return whether a prompt, by its key, has taken messages of the session away: another answer, or an edit."""
    return not (key.startswith("submit-message:") and key.endswith(":"))


def history(state: SessionState, prompt_id: str) -> list[dict[str, Any]]:
    """Return the messages up to and with the prompt, as far as the session has them by now.

    Take it when the prompt's turn has come: the answers to earlier prompts are in it then.

    Raises:
        PromptGoneError: the prompt is not there any more.
    """
    messages = [{k: v for k, v in message.items() if k != "order"} for message in state.messages.values()]
    ids = [message["id"] for message in messages]
    if prompt_id not in ids:
        raise PromptGoneError
    return messages[: ids.index(prompt_id) + 1]


def text_of_message(message: dict[str, Any]) -> str:
    """Return a message's text."""
    return "".join(part.get("text", "") for part in message["parts"] if part.get("type") == "text")


def checked_message(given: object) -> dict[str, Any]:
    """Return a ``UIMessage``; a ``content`` that is text, or a list of parts as AG-UI has them, is accepted too.

    A user's files are stored in one form, whichever the client's is; see ``agents.attachments``.

    Raises:
        InvalidPromptError: no id, no known role, no parts, or a file that could not be sent.
    """
    if not isinstance(given, dict):
        raise InvalidPromptError("a message is an object")
    message_id, role = given.get("id"), given.get("role")
    parts = given.get("parts")
    if parts is None:
        content = given.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(message_id, str) or not message_id or role not in {"user", "assistant", "system"}:
        raise InvalidPromptError("a message has an id and a role of user, assistant or system")
    if not isinstance(parts, list) or not all(
        isinstance(part, dict) and isinstance(part.get("type"), str) for part in parts
    ):
        raise InvalidPromptError("a message has parts, each an object with a type")
    checked = [_checked_part(part) for part in parts]
    if role == "user":
        checked = _with_files(checked)
    return {**{k: v for k, v in given.items() if k != "content"}, "parts": checked}


def _with_files(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    try:
        stored = [attached(part) for part in parts]
        check_sizes(stored)
    except InvalidAttachmentError as error:
        raise InvalidPromptError(str(error)) from error
    return stored


def _checked_part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] == "text" and "text" not in part:
        part = {"type": "text", "text": part.get("content", "")}
    if part["type"] == "text" and not isinstance(part["text"], str):
        raise InvalidPromptError("a part of type text has a text")
    return part


def _has_answer(state: SessionState, prompt: Prompt) -> bool:
    """Return whether a prompt's message is known, and what answered it has ended."""
    asked = _last_of_user(prompt.messages)["id"]
    answers = [one for one in state.attempts.values() if one.prompt_id == asked]
    return asked in state.messages and bool(answers) and not any(one.active for one in answers)


def _order(state: SessionState, places_before_last: int) -> int:
    """Return a message's place among all of the session, for readers that keep rows by key: a turn has two places."""
    return state.turn_count * 2 - places_before_last


def _last_of_user(messages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    asked = [message for message in messages if message["role"] == "user"]
    if not asked:
        raise InvalidPromptError("there is no message of a user to answer")
    return asked[-1]


def _signed(message: dict[str, Any], by: str | None) -> dict[str, Any]:
    if by is None:
        return message
    return {**message, "metadata": {**(message.get("metadata") or {}), "by": by}}


def _before(messages: list[dict[str, Any]], ids: set[str | None]) -> list[dict[str, Any]]:
    for index, message in enumerate(messages):
        if message["id"] in ids:
            return messages[:index]
    return messages


def _cut_for_reattempt(messages: list[dict[str, Any]], message_id: str | None) -> list[dict[str, Any]]:
    """Return the messages up to the user's one that is answered anew."""
    ids = [message["id"] for message in messages]
    end = ids.index(message_id) + 1 if message_id in ids else len(messages)
    while end and messages[end - 1]["role"] != "user":
        end -= 1
    return messages[:end]
