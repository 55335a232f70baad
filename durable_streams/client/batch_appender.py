"""``BatchAppender``: the appends of many writers to many streams, in few requests.

Owns: which appends share a request, when it leaves, and who is told what became of it. Must not know: what is appended.

A request costs a client as much as twenty appends inside it, and costs the server one commit. So appends wait here for
each other. The first leaves at once; from then on one request leaves every ``GATHER_S``, with all that has come. Every
append has a producer triple, so repeating it does no harm.

The answer has one verdict a line. An append that was stored is settled by its line. Any other is made again alone, as a
POST of its own under the same triple, and that result counts: a refusal costs one more request, and comes with every
header field it should have. If the server refuses the request as a whole, all its appends are made alone; so a server
without the extension is served too.
Invariant: an append whose answer was lost is repeated with the same bytes; nobody's cancellation touches the others'.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Context
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from durable_streams.client.appending import Doubt, acknowledged, noting
from durable_streams.client.batch_lines import NDJSON, line_of, verdicts_of
from durable_streams.client.endpoint import Endpoint
from durable_streams.client.errors import DurableStreamError
from durable_streams.client.retry import RETRY_STATUSES, RetryPolicy, retrying

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import aiohttp

    from durable_streams.client.appending import IdempotentAppend
    from durable_streams.client.batch_lines import Verdict
    from durable_streams.client.values import HeadersLike, IdempotentAppendResult, ParamsLike

GATHER_S: Final = 0.005
"""Shortest time between two requests."""
IN_FLIGHT_MAX: Final = 16
"""Requests under way at once. One that hangs does not hold up the rest."""
LINES_MAX: Final = 1024
"""Appends in one request."""
BATCH_BYTES: Final = 256 * 1024
"""A request takes no further append once it has this many bytes."""
LINE_MAX_BYTES: Final = 64 * 1024
"""A larger append is made alone."""
ASK_AGAIN_S: Final = 60.0
"""How long no request is tried on a server that refused one. It may be replaced by a server with the extension."""
_OUR_FAULT: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})
"""Refusals of one request that say nothing about the next one."""


@dataclass(eq=False, slots=True)
class _Line:
    """One append. ``alone`` makes it by itself, told whether an earlier attempt may have stored it."""

    append: IdempotentAppend
    raw: bytes
    alone: Callable[[bool], Coroutine[None, None, IdempotentAppendResult]]
    settled: asyncio.Future[IdempotentAppendResult]


class BatchAppender:
    """Carries appends to the streams below one root; hand it to ``AsyncDurableStream`` as ``appender``.

    Needs a running event loop; not thread-safe.

    Args:
        root_url: the server's root, without a query.
        headers: sent with every request; they, not those of the streams' handles, travel with what is gathered.
        params: added to every request, as ``headers``.
        client: session to use, left open; ``None`` opens one, which ``aclose`` closes.
        timeout: seconds without progress before a request is repeated; 30 by default.
        retry: how long interruptions are borne; 30 s by default.
    """

    def __init__(
        self,
        root_url: str,
        *,
        headers: HeadersLike | None = None,
        params: ParamsLike | None = None,
        client: aiohttp.ClientSession | None = None,
        timeout: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._prefix = root_url.rstrip("/") + "/"
        url = f"{self._prefix}__ds/batch"
        self._endpoint = Endpoint(url, headers=headers, params=params, client=client, timeout=timeout)
        self._retry = retry or RetryPolicy()
        self._loop = asyncio.get_running_loop()
        # A context of its own: a request outlives the task whose append happens to be its first.
        self._context = Context()
        self._waiting: deque[_Line] = deque()
        self._posts: set[asyncio.Task[None]] = set()
        self._alone: set[asyncio.Task[None]] = set()
        self._kick: asyncio.Handle | None = None
        self._next_s = 0.0
        self._absent_until_s = 0.0

    def append(
        self, url: str, append: IdempotentAppend, alone: Callable[[bool], Coroutine[None, None, IdempotentAppendResult]]
    ) -> asyncio.Future[IdempotentAppendResult]:
        """Take an append and return at once what will be its result; cancelling that is forgetting it.

        An append that has left when it is forgotten may be stored.

        Args:
            url: the stream's.
            append: what to write there.
            alone: makes it by itself, and is told whether an earlier attempt may have stored it.

        The result's exceptions:
            FetchError: no answer within the policy; repeating the call settles it.
            DurableStreamError: the server was not able to for so long, or this was closed.
            Exception: what ``alone`` raises.
        """
        raw = line_of(url[len(self._prefix) :], append) if self._takes(url, append) else None
        line = _Line(append, raw or b"", alone, self._loop.create_future())
        if raw is None:
            self._send_alone(line, in_doubt=False)
        else:
            self._waiting.append(line)
            self._arrange()
        return line.settled

    async def aclose(self) -> None:
        """Give up what is not acknowledged, and close the session unless it was handed in."""
        if self._kick is not None:
            self._kick.cancel()
            self._kick = None
        waiting, self._waiting = list(self._waiting), deque()
        _fail(waiting, _closed())
        tasks = [*self._posts, *self._alone]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._endpoint.aclose()

    def _takes(self, url: str, append: IdempotentAppend) -> bool:
        return (
            url.startswith(self._prefix)
            and "?" not in url
            and len(append.body) <= LINE_MAX_BYTES
            and self._absent_until_s <= self._loop.time()
        )

    def _arrange(self) -> None:
        """Have the next request leave when it may. Appends that come in one turn of the loop share it."""
        if self._kick is not None or not self._waiting or len(self._posts) >= IN_FLIGHT_MAX:
            return
        if self._next_s > self._loop.time():
            self._kick = self._loop.call_at(self._next_s, self._leave, context=self._context)
        else:
            self._kick = self._loop.call_soon(self._leave, context=self._context)

    def _leave(self) -> None:
        self._kick = None
        while self._waiting and len(self._posts) < IN_FLIGHT_MAX:
            lines = self._take()
            if lines:
                self._next_s = self._loop.time() + GATHER_S
                self._posts.add(self._loop.create_task(self._post(lines), context=self._context))

    def _take(self) -> list[_Line]:
        lines: list[_Line] = []
        size_bytes = 0
        while self._waiting and len(lines) < LINES_MAX and size_bytes < BATCH_BYTES:
            line = self._waiting.popleft()
            if not line.settled.cancelled():
                lines.append(line)
                size_bytes += len(line.raw)
        return lines

    async def _post(self, lines: list[_Line]) -> None:
        try:
            await self._carry(lines)
        except asyncio.CancelledError:
            _fail(lines, _closed())
            raise
        except Exception as error:  # noqa: BLE001 whatever it is, all who wait are told
            _fail(lines, error)
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._posts.discard(task)
            self._arrange()

    async def _carry(self, lines: list[_Line]) -> None:
        """Make the request, repeat it while it is not answered, and settle each line."""
        body = b"\n".join([line.raw for line in lines])
        doubt = Doubt()
        try:
            answer = await retrying(
                self._retry,
                lambda: self._endpoint.send("POST", headers={"Content-Type": NDJSON}, body=body),
                repeat_if=noting(doubt),
            )
            verdicts = verdicts_of(answer.body, len(lines))
        except DurableStreamError as refusal:
            if refusal.status in RETRY_STATUSES:
                raise
            self._refused(refusal.status)
            self._return(lines, in_doubt=doubt.in_doubt)
        except ValueError:
            # A 2xx that is not this resource's answer. It may have stored something.
            self._refused(HTTPStatus.NOT_FOUND)
            self._return(lines, in_doubt=True)
        else:
            self._tell(lines, verdicts, in_doubt=doubt.in_doubt)

    def _tell(self, lines: list[_Line], verdicts: list[Verdict], *, in_doubt: bool) -> None:
        for line, verdict in zip(lines, verdicts, strict=True):
            if not verdict.accepted:
                # A status to retry may come from a store that failed after it had stored; other refusals store nothing.
                self._return([line], in_doubt=in_doubt or verdict.status in RETRY_STATUSES)
            elif not line.settled.done():
                said = acknowledged(verdict.status, verdict.next_offset, line.append, in_doubt=in_doubt)
                line.settled.set_result(said)

    def _return(self, lines: list[_Line], *, in_doubt: bool) -> None:
        for line in lines:
            if not line.settled.done():
                self._send_alone(line, in_doubt=in_doubt)

    def _send_alone(self, line: _Line, *, in_doubt: bool) -> None:
        task = self._loop.create_task(_settle(line, in_doubt=in_doubt), context=self._context)
        self._alone.add(task)
        task.add_done_callback(self._alone.discard)

    def _refused(self, status: int | None) -> None:
        if status not in _OUR_FAULT:
            self._absent_until_s = self._loop.time() + ASK_AGAIN_S


async def _settle(line: _Line, *, in_doubt: bool) -> None:
    try:
        result = await line.alone(in_doubt)
    except asyncio.CancelledError:
        _fail([line], _closed())
        raise
    except Exception as error:  # noqa: BLE001 the one who waits gets to see it
        _fail([line], error)
    else:
        if not line.settled.done():
            line.settled.set_result(result)


def _closed() -> DurableStreamError:
    return DurableStreamError("the appender was closed; this may or may not be written", code="ABORTED")


def _fail(lines: list[_Line], error: Exception) -> None:
    for line in lines:
        if not line.settled.done():
            line.settled.set_exception(error)
