"""What people do to what a session keeps: take a message out, choose another version of an answer, go on elsewhere.

Pure: from a session's state to the rows that change it.
An answer that was asked for anew is kept as a *version*: a row of its own, beside the message that took its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from durable_streams.agents.errors import AgentError
from durable_streams.agents.sessions.rows import MESSAGE, VERSION, deletion, message_row, place_of, row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable_streams.agents.sessions.state import SessionState

    Message = dict[str, Any]


class UnknownMessageError(AgentError):
    """No such message is kept; one that is still being written is not yet."""

    public = True

    def __init__(self, message_id: str) -> None:
        super().__init__(f"there is no message {message_id!r} in this session")


class UnknownSessionError(AgentError):
    """A session that nobody has begun."""

    public = True

    def __init__(self) -> None:
        super().__init__("there is no such session")


class SessionExistsError(AgentError):
    """The id that a fork is to have is taken."""

    public = True

    def __init__(self) -> None:
        super().__init__("there is a session of this id already")


class InvalidEditError(AgentError):
    """A body that says nothing that could be done."""

    public = True


@dataclass(frozen=True, slots=True)
class Page:
    """Some messages in a row, and the id to ask for what is before them with; ``None`` if nothing is."""

    messages: list[Message]
    before: str | None


@dataclass(frozen=True, slots=True)
class Version:
    """One answer to a prompt, and whether it is the one that is shown."""

    message: Message
    selected: bool


def in_order(state: SessionState) -> list[Message]:
    """Return the messages in the order of the conversation."""
    return sorted(state.messages.values(), key=place_of)


def page(state: SessionState, *, before: str | None, limit: int | None) -> Page:
    """Return the last messages, or those before one of them.

    Raises:
        UnknownMessageError: ``before`` is no message's id.
    """
    messages = in_order(state)
    if before is not None:
        messages = messages[: _place(messages, before)]
    shown = messages if limit is None else messages[-limit:]
    return Page(shown, shown[0]["id"] if shown and len(shown) < len(messages) else None)


def without(state: SessionState, message_id: str) -> list[bytes]:
    """Return the rows that take a message out, with the other versions of it if it is an answer.

    Raises:
        UnknownMessageError: there is none.
    """
    messages = in_order(state)
    gone = messages[_place(messages, message_id)]
    rows = [deletion(MESSAGE, message_id)]
    if gone["role"] == "assistant":
        prompt_id = prompt_of(messages, message_id)
        rows += [deletion(VERSION, key) for key, one in state.versions.items() if one["prompt_id"] == prompt_id]
    return rows


def versions(state: SessionState, message_id: str) -> list[Version]:
    """Return all answers to a prompt, oldest first.

    Args:
        state: of the session.
        message_id: any of them, or the prompt's own.

    Raises:
        UnknownMessageError: there is none.
    """
    prompt_id, shown = _prompt_and_answers(state, message_id)
    found = [Version(one, selected=True) for one in shown]
    found += [Version(one["message"], selected=False) for one in _kept(state, prompt_id)]
    return sorted(found, key=lambda one: place_of(one.message))


def selecting(state: SessionState, message_id: str) -> list[bytes]:
    """Return the rows that show another version in the place of the one that is shown; none if it is shown already.

    Raises:
        UnknownMessageError: it is no version.
    """
    prompt_id, shown = _prompt_and_answers(state, message_id)
    chosen = state.versions.get(message_id)
    if chosen is None:
        if message_id not in {one["id"] for one in shown}:
            raise UnknownMessageError(message_id)
        return []
    rows = [row for one in shown for row in kept_as_version(one, prompt_id)]
    return [*rows, deletion(VERSION, message_id), message_row(chosen["message"])]


def kept_as_version(message: Message, prompt_id: str) -> list[bytes]:
    """Return the rows that take an answer out of sight and keep it."""
    value = {"id": message["id"], "prompt_id": prompt_id, "message": message}
    return [row(VERSION, message["id"], value), deletion(MESSAGE, message["id"])]


def answers_to(messages: Sequence[Message], prompt_id: str) -> list[Message]:
    """Return what answers a user's message: what comes after it, up to the next one of a user."""
    answers: list[Message] = []
    ids = [one["id"] for one in messages]
    start = ids.index(prompt_id) + 1 if prompt_id in ids else len(messages)
    for message in messages[start:]:
        if message["role"] == "user":
            break
        if message["role"] == "assistant":
            answers.append(message)
    return answers


def prompt_of(messages: Sequence[Message], message_id: str) -> str:
    """Return the id of the user's message that a message answers; its own if there is none."""
    prompt_id = message_id
    for message in messages:
        if message["role"] == "user":
            prompt_id = message["id"]
        if message["id"] == message_id:
            break
    return prompt_id


def up_to(state: SessionState, message_id: str) -> list[Message]:
    """Return the messages up to and with one, as a new session has them: their places come before its first turn's.

    Raises:
        UnknownMessageError: there is none.
    """
    messages = in_order(state)
    taken = messages[: _place(messages, message_id) + 1]
    return [{**one, "order": n - len(taken)} for n, one in enumerate(taken)]


def _prompt_and_answers(state: SessionState, message_id: str) -> tuple[str, list[Message]]:
    messages = in_order(state)
    kept = state.versions.get(message_id)
    if kept is not None:
        prompt_id = kept["prompt_id"]
    elif message_id in state.messages:
        prompt_id = prompt_of(messages, message_id)
    else:
        raise UnknownMessageError(message_id)
    return prompt_id, answers_to(messages, prompt_id)


def _kept(state: SessionState, prompt_id: str) -> list[dict[str, Any]]:
    return [one for one in state.versions.values() if one["prompt_id"] == prompt_id]


def _place(messages: Sequence[Message], message_id: str) -> int:
    for place, message in enumerate(messages):
        if message["id"] == message_id:
            return place
    raise UnknownMessageError(message_id)
