"""``Worker``: takes a pull-wake subscription's work, one page of one stream at a time (§7.2).

Owns: when to claim, heartbeats, acks in order, what to do when the lease is lost. Must not know: what the work is.
Invariant: a page is acknowledged only after the caller has asked for the next one, so it is processed at least once;
pages of one stream are handed out, and acknowledged, in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import orjson

from durable_streams.client.astream import astream
from durable_streams.client.errors import DurableStreamError, FetchError
from durable_streams.client.subscription import AsyncSubscription, Claim, LinkedStream
from durable_streams.client.subscription_errors import AlreadyClaimedError, LeaseLostError, NoPendingWorkError
from durable_streams.protocol import content_types
from durable_streams.protocol.offsets import NOW

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import Self

    import aiohttp

    from durable_streams.client.response import AsyncStreamResponse
    from durable_streams.client.retry import RetryPolicy
    from durable_streams.client.values import HeadersLike, Offset

LOOK_S: Final = 30.0
"""A worker asks for work at least this often, should a wake event have passed it by."""
HEARTBEATS_PER_LEASE: Final = 3


@dataclass(slots=True)
class Work:
    """One page of one stream, to be processed.

    Attributes:
        path: the stream's path. url: its URL.
        payload: the bytes; of a JSON stream one array.
        offset: where the page begins. next_offset: where it ends, and what its ack says.
        generation: of the claim it belongs to; higher than that of every claim before.
        write_token: lets appends to write-fenced streams of this subscription pass, as ``Stream-Write-Token``.
        lost: set when the lease is found lost: stop, another worker will get this page.
    """

    path: str
    url: str
    payload: bytes
    offset: Offset
    next_offset: Offset
    content_type: str
    generation: int
    write_token: str
    lost: asyncio.Event = field(repr=False)

    @property
    def items(self) -> list[Any]:
        """The messages of a page of a JSON stream, parsed."""
        items: list[Any] = orjson.loads(self.payload)
        return items


class Worker:
    """Claims work and hands it out until it is closed.

    ``async with Worker(root_url, "jobs") as worker:`` ``async for work in worker:`` process ``work``. Going on to the
    next acknowledges it. Leaving the ``async with`` gives back what is not acknowledged, for other workers at once; a
    killed worker's lease runs out first. When the lease is lost meanwhile (the machine slept, the network was away),
    what was not acknowledged is not any more, and the iteration goes on with the next claim.

    Args:
        root_url: URL of the streams' root.
        subscription_id: a pull-wake subscription.
        name: shown to others that want the lease; host and process id by default.
        headers: sent with every request.
        client: session to use, left open; ``None`` opens one.
        retry: how long interruptions are borne.
    """

    def __init__(
        self,
        root_url: str,
        subscription_id: str,
        *,
        name: str | None = None,
        headers: HeadersLike | None = None,
        client: aiohttp.ClientSession | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        self.name = name or f"{socket.gethostname()}:{os.getpid()}"
        self._subscription = AsyncSubscription(root_url, subscription_id, headers=headers, client=client, retry=retry)
        self._headers, self._retry = headers, retry
        self._woken = asyncio.Event()
        self._claim: Claim | None = None
        self._lost = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None
        self._works: AsyncGenerator[Work, None] | None = None

    async def __aenter__(self) -> Self:
        """Find the subscription and begin to listen for its wakes.

        Raises:
            SubscriptionNotFoundError: no such subscription.
            StreamNotFoundError: its wake stream does not exist.
            ValueError: it is no pull-wake subscription.
        """
        try:
            response = await self._listen()
        except BaseException:
            await self._subscription.aclose()
            raise
        self._follower = asyncio.create_task(self._follow(response))
        return self

    async def _listen(self) -> AsyncStreamResponse:
        shown = await self._subscription.show()
        if shown["type"] != "pull-wake":
            raise ValueError(f"{self._subscription.id!r} is of type {shown['type']}: its wakes are delivered")
        return await self._open(shown["wake_stream"], NOW, live=True)

    async def __aexit__(self, *_exc: object) -> None:
        """Stop listening, and release an unfinished claim."""
        if self._works is not None:
            await self._works.aclose()
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.wait([self._follower])
        if self._claim is not None and not self._lost.is_set():
            with contextlib.suppress(DurableStreamError, FetchError):  # the lease runs out by itself
                await self._subscription.release(self._claim)
        await self._subscription.aclose()

    def __aiter__(self) -> AsyncGenerator[Work, None]:
        self._works = self._all()
        return self._works

    async def _all(self) -> AsyncGenerator[Work, None]:
        while True:
            self._woken.clear()
            try:
                claim = await self._subscription.claim(self.name)
            except (AlreadyClaimedError, NoPendingWorkError):
                await self._wait()
                continue
            self._claim, self._lost = claim, asyncio.Event()
            heart = asyncio.create_task(self._beat(claim, self._lost))
            try:
                async with contextlib.aclosing(self._of_claim(claim)) as works:
                    async for work in works:
                        yield work
            except LeaseLostError:
                self._lost.set()
            finally:
                heart.cancel()
                await asyncio.wait([heart])
            self._claim = None

    async def _of_claim(self, claim: Claim) -> AsyncGenerator[Work, None]:
        for linked in claim.streams:
            if linked.has_pending:
                async with contextlib.aclosing(self._of_stream(claim, linked)) as works:
                    async for work in works:
                        yield work
                        await self._ack(claim, {work.path: work.next_offset})
        await self._ack(claim, {}, done=True)

    async def _of_stream(self, claim: Claim, linked: LinkedStream) -> AsyncGenerator[Work, None]:
        """Yield the pages of one stream up to its tail."""
        response = await self._open(linked.path, linked.acked_offset, live=False)
        content_type, offset = response.content_type or "", linked.acked_offset
        mode: Any = "messages" if content_types.is_json(content_type) else "bytes"
        async with response:
            async for event in response.iter_events(mode):
                if event.data:
                    payload = event.data if mode == "bytes" else b"[" + b",".join(event.data) + b"]"
                    yield Work(
                        linked.path,
                        response.url,
                        payload,
                        offset,
                        event.next_offset,
                        content_type,
                        claim.generation,
                        claim.write_token,
                        self._lost,
                    )
                offset = event.next_offset

    async def _ack(self, claim: Claim, acks: dict[str, Offset], *, done: bool = False) -> None:
        if self._lost.is_set():
            raise LeaseLostError("the lease was lost", code="FENCED")
        await self._subscription.ack(claim, acks, done=done)

    async def _beat(self, claim: Claim, lost: asyncio.Event) -> None:
        """Extend the lease while work goes on."""
        while True:
            await asyncio.sleep(claim.lease_ttl_ms / 1000 / HEARTBEATS_PER_LEASE)
            try:
                await self._subscription.ack(claim, {})
            except LeaseLostError:
                lost.set()
                return
            except (DurableStreamError, FetchError):
                continue  # the next beat may get through; if none does, the ack of the work finds out

    async def _wait(self) -> None:
        """Return when a wake was announced, or after ``LOOK_S``; raise what ended the listening."""
        if self._follower is None:
            raise RuntimeError("a Worker works inside `async with`")
        woken = asyncio.create_task(self._woken.wait())
        try:
            await asyncio.wait([woken, self._follower], timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
        if self._follower.done():
            await self._follower

    async def _follow(self, response: AsyncStreamResponse) -> None:
        async with response:
            async for event in response.iter_json():
                if isinstance(event, dict) and event.get("subscription_id") == self._subscription.id:
                    self._woken.set()

    async def _open(self, path: str, offset: Offset, *, live: bool) -> AsyncStreamResponse:
        return await astream(
            f"{self._subscription.root_url}/{quote(path, safe='/')}",
            offset=offset,
            live=live,
            headers=self._headers,
            client=self._subscription.endpoint.session,
            retry=self._retry,
        )
