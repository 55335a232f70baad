"""``BatchAppender``: the appends of many writers to many streams, in few requests.

Theory. A request costs a client as much as twenty appends do once they are in it, and the server one commit. So appends
under producer triples, which can be repeated without harm, gather here: the first leaves at once, from then on one
request leaves every ``GATHER_S`` with all that has come. Each append's outcome comes back on a line of its own.
Whatever an outcome says other than "stored", and whatever became of the request as a whole if the server refused it,
the append is handed back to be made alone, under the same triple: what comes of it then is what counts. So a refusal
costs one more request and has every header it should have, and a server without the extension is served all the same.
Invariant: an append whose answer was lost is repeated with the same bytes; nobody's cancellation touches the others'.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Context
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from durable_streams.client.batch_lines import NDJSON, Outcome, line_of, outcomes_of
from durable_streams.client.endpoint import Endpoint
from durable_streams.client.errors import DurableStreamError
from durable_streams.client.retry import RETRY_STATUSES, Interrupted, RetryPolicy, retrying

if TYPE_CHECKING:
    import aiohttp

    from durable_streams.client.batch_lines import SharedAppend
    from durable_streams.client.values import HeadersLike, ParamsLike

GATHER_S: Final = 0.005
"""Shortest time between two requests."""
IN_FLIGHT_MAX: Final = 16
"""Requests on their way at once; several, so that one that hangs does not hold up the rest."""
LINES_MAX: Final = 1024
BATCH_BYTES: Final = 256 * 1024
"""A request is closed once it has reached so many bytes."""
LINE_MAX_BYTES: Final = 64 * 1024
"""A larger append travels alone."""
ASK_AGAIN_S: Final = 60.0
"""A server that has no such resource is asked again after so long: it may have been replaced."""
_OUR_FAULT: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})
"""Refusals that say something of one request, not of the next."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of an append that was to travel with others.

    Attributes:
        outcome: what was stored, or ``None``: make it alone.
        in_doubt: a request's answer was lost, so a duplicate may be this append's own.
    """

    outcome: Outcome | None
    in_doubt: bool = False


ALONE: Final = Carried(None)


@dataclass(eq=False, slots=True)
class _Line:
    raw: bytes
    settled: asyncio.Future[Carried]


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
        # Whoever happens to be the first in a request must not be the one whose task it is: it outlives him.
        self._context = Context()
        self._waiting: deque[_Line] = deque()
        self._posts: set[asyncio.Task[None]] = set()
        self._kick: asyncio.Handle | None = None
        self._next_s = 0.0
        self._absent_until_s = 0.0

    async def append(self, url: str, append: SharedAppend) -> Carried:
        """Carry one append, and return when its outcome is known.

        Raises:
            FetchError: no answer within the policy; repeating the call settles it.
            DurableStreamError: the server was not able to for so long, or this was closed.

        Cancellation: an append that has left stays in its request, and may be stored.
        """
        raw = line_of(url[len(self._prefix) :], append) if self._takes(url, append) else None
        if raw is None:
            return ALONE
        line = _Line(raw, self._loop.create_future())
        self._waiting.append(line)
        self._arrange()
        return await line.settled

    async def aclose(self) -> None:
        """Give up what is not acknowledged, and close the session unless it was handed in."""
        if self._kick is not None:
            self._kick.cancel()
            self._kick = None
        lost = DurableStreamError("the appender was closed; this may or may not be written", code="ABORTED")
        waiting, self._waiting = list(self._waiting), deque()
        _fail(waiting, lost)
        posts = list(self._posts)
        for post in posts:
            post.cancel()
        await asyncio.gather(*posts, return_exceptions=True)
        await self._endpoint.aclose()

    def _takes(self, url: str, append: SharedAppend) -> bool:
        return (
            url.startswith(self._prefix)
            and "?" not in url
            and len(append.body) <= LINE_MAX_BYTES
            and self._absent_until_s <= self._loop.time()
        )

    def _arrange(self) -> None:
        """See to it that what waits leaves; what comes in this turn of the loop travels together."""
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
            carried = await self._carry(lines)
        except asyncio.CancelledError:
            _fail(lines, DurableStreamError("the appender was closed; this may or may not be written", code="ABORTED"))
            raise
        except Exception as error:  # noqa: BLE001 whatever it is, all who wait are told
            _fail(lines, error)
        else:
            for line, one in zip(lines, carried, strict=True):
                if not line.settled.done():
                    line.settled.set_result(one)
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._posts.discard(task)
            self._arrange()

    async def _carry(self, lines: list[_Line]) -> list[Carried]:
        """Make the request, again while there is no answer, and return what became of each line."""
        body = b"\n".join([line.raw for line in lines])
        in_doubt = False

        def repeat_if(interruption: Interrupted) -> bool:
            nonlocal in_doubt
            in_doubt = in_doubt or interruption.may_be_applied
            return True

        try:
            answer = await retrying(
                self._retry,
                lambda: self._endpoint.send("POST", headers={"Content-Type": NDJSON}, body=body),
                repeat_if=repeat_if,
            )
            outcomes = outcomes_of(answer.body, len(lines))
        except DurableStreamError as refusal:
            if refusal.status in RETRY_STATUSES:
                raise
            self._refused(refusal.status)
            return [Carried(None, in_doubt)] * len(lines)
        except ValueError:
            # A 2xx from something else than this resource: nobody knows what it has done.
            self._refused(HTTPStatus.NOT_FOUND)
            return [Carried(None, in_doubt=True)] * len(lines)
        return [_carried(outcome, in_doubt=in_doubt) for outcome in outcomes]

    def _refused(self, status: int | None) -> None:
        if status not in _OUR_FAULT:
            self._absent_until_s = self._loop.time() + ASK_AGAIN_S


def _carried(outcome: Outcome, *, in_doubt: bool) -> Carried:
    if outcome.accepted:
        return Carried(outcome, in_doubt)
    # A store that fails may have stored it; what is refused for good was not.
    return Carried(None, in_doubt or outcome.status in RETRY_STATUSES)


def _fail(lines: list[_Line], error: Exception) -> None:
    for line in lines:
        if not line.settled.done():
            line.settled.set_exception(error)
