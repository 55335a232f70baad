"""What must hold when a round is over, read from the streams alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from durable_streams.client import astream
from tests.agents.conftest import stored, text_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agents.chaos.crowd import Told
    from tests.agents.chaos.fleet import Incarnation
    from tests.agents.chaos.prompts import Asked
    from tests.agents.upstream import ScriptedUpstream

ACTIVE = {"queued", "running"}
TERMINAL = {"finish": {"finished"}, "abort": {"aborted", "lost"}, "error": {"failed"}}
"""What a stream may end with, and the statuses of rows that agree with it."""


@dataclass(eq=False)
class Answer:
    """One attempt, as the log has it."""

    asked: Asked
    rows: list[dict[str, Any]]
    chunks: list[dict[str, Any]]
    is_closed: bool
    messages: list[dict[str, Any]]

    @property
    def gid(self) -> str:
        gid: str = self.rows[0]["id"]
        return gid

    @property
    def final(self) -> dict[str, Any]:
        return self.rows[-1]

    @property
    def status(self) -> str:
        status: str = self.final["status"]
        return status


async def attempts(root: str, session_id: str) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of each of a session's attempts, in their order."""
    rows: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in await stored(f"{root}/sessions/{session_id}"):
        if row["type"] == "generation":
            rows[row["key"]].append(row["value"])
    return rows


async def answers(root: str, asked: list[Asked]) -> list[Answer]:
    """Return everything that was made of the prompts."""
    of_message = {one.message_id: one for one in asked}
    found = []
    for session_id in sorted({one.session_id for one in asked}):
        rows = await stored(f"{root}/sessions/{session_id}")
        for gid, its in (await attempts(root, session_id)).items():
            messages = [row["value"] for row in rows if row["type"] == "message" and row["key"] == f"msg-{gid}"]
            async with astream(f"{root}/{its[0]['stream']}", live=False) as response:
                chunks = await response.read_json()
                is_closed = response.stream_closed
            found.append(Answer(of_message[its[0]["prompt_id"]], its, chunks, is_closed, messages))
    return found


def faults(found: list[Answer], told: Told, upstream: ScriptedUpstream) -> list[str]:
    """Return what does not hold, in words."""
    of_name = {one.rows[0]["owner"]: told.taken[one.gid][1] for one in found if one.gid in told.taken}
    wrong = []
    for one in found:
        wrong += [f"{one.asked.text} {one.gid} ({one.rows}): {what}" for what in _faults_of(one, told, of_name)]
    for asked in dict.fromkeys(one.asked for one in found):
        wrong += _prompt_faults([one for one in found if one.asked is asked], of_name, upstream)
    return wrong


def tool_faults(found: list[Answer], runs: Path) -> list[str]:
    """Return what was run more often than it was called, or without a record of the call."""
    ran = Counter(runs.read_text("utf-8").split() if runs.exists() else [])
    called = Counter(
        one.asked.text for one in found if any(chunk["type"] == "tool-input-available" for chunk in one.chunks)
    )
    return [
        f"the tool of {text} ran {count} times for {called[text]} calls"
        for text, count in ran.items()
        if count > called[text]
    ]


def reading_faults(found: list[Answer], told: Told, root: str) -> list[str]:
    """Return which reader has seen something else than what is stored."""
    kept = {f"{root}/{one.rows[0]['stream']}": one.chunks for one in found}
    return [
        f"{url} was read as {chunks}, and is {kept.get(url)}"
        for url, chunks in told.read.items()
        if chunks != kept.get(url)
    ]


def _prompt_faults(attempts: list[Answer], of_name: dict[str, Incarnation], upstream: ScriptedUpstream) -> list[str]:
    """Return what is wrong with all answers to a prompt: another attempt is made only after one that was lost."""
    asked, wrong = attempts[0].asked, []
    statuses = [one.status for one in attempts]
    if sum(status != "lost" for status in statuses) > 1:
        wrong.append(f"{asked.text} was answered more than once: {statuses}")
    requests = sum(_last_said(request.body) == asked.text for request in upstream.requests)
    if len(attempts) == 1 and _is_healthy(attempts[0], of_name) and requests > 1 + (asked.script.then is not None):
        wrong.append(f"{asked.text} was asked of the model {requests} times, though nothing happened to it")
    return wrong


def _faults_of(one: Answer, told: Told, of_name: dict[str, Incarnation]) -> list[str]:
    wrong = []
    endings = [row["status"] for row in one.rows if row["status"] not in ACTIVE]
    if len(endings) != 1 or one.status not in endings:
        wrong.append(f"rows with an ending: {endings}")
    kinds = [chunk["type"] for chunk in one.chunks]
    if not one.is_closed or [kind in TERMINAL for kind in kinds].count(True) != 1 or kinds[-1] not in TERMINAL:
        wrong.append(f"closed: {one.is_closed}, chunks {kinds[:2]} to {kinds[-5:]}")
    elif one.status not in TERMINAL[kinds[-1]]:
        wrong.append(f"the stream ends with {one.chunks[-1]}, the row with {one.status}")
    text = text_of(one.chunks)
    if one.status == "finished" and (text != one.asked.whole or one.asked.is_endless):
        wrong.append(f"finished with {text!r} of {one.asked.whole!r}")
    if not one.asked.whole.startswith(text):
        wrong.append(f"{text!r} is no part of {one.asked.whole!r}")
    shown = ["".join(part["text"] for part in message["parts"] if part["type"] == "text") for message in one.messages]
    if shown != [text]:
        wrong.append(f"messages {shown} for {text!r}")
    return [*wrong, *_ending_faults(one, told, of_name)]


def _ending_faults(one: Answer, told: Told, of_name: dict[str, Incarnation]) -> list[str]:
    wrong = []
    stopped_by = one.final["stopped_by"]
    if one.status == "failed":
        wrong.append(f"failed: {one.final['reason']}")
    if one.status == "aborted" and stopped_by not in told.asked_to_stop.get(one.gid, ()):
        wrong.append(f"stopped by {stopped_by}, who has not asked for it")
    if _is_healthy(one, of_name):
        if one.status not in {"finished", "aborted"} or one.final["epoch"] != 0:
            wrong.append("a healthy run was lost or taken away")
        if one.gid in told.stopped and one.status != "aborted":
            wrong.append("somebody was told that it was stopped")
    return wrong


def _is_healthy(one: Answer, of_name: dict[str, Incarnation]) -> bool:
    owner = of_name.get(one.rows[0]["owner"])
    return owner is not None and not owner.harmed


def _last_said(body: dict[str, Any]) -> str:
    said = [message["content"] for message in body["messages"] if message["role"] == "user"]
    return str(said[-1]) if said else ""
