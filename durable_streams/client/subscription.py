"""``AsyncSubscription``: a handle to one subscription (§6, §7).

Owns: what each operation sends and what its answer means. Must not know: when to claim, what work is; ``worker`` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from durable_streams.client.endpoint import Endpoint
from durable_streams.client.errors import DurableStreamError
from durable_streams.client.retry import RetryPolicy, retrying
from durable_streams.client.subscription_errors import refusal_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from typing import Self

    import aiohttp

    from durable_streams.client.values import HeadersLike, Offset


@dataclass(frozen=True, slots=True)
class LinkedStream:
    """One stream of a claim: its path, how far it is acknowledged, and where it ended when it was claimed."""

    path: str
    acked_offset: Offset
    tail_offset: Offset
    has_pending: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim that won: what a worker needs to work, ack and write.

    Attributes:
        token: for ack and release. write_token: for appends to write-fenced streams.
        lease_ttl_ms: the lease ends this long after the claim or the last ack.
    """

    wake_id: str
    generation: int
    token: str
    write_token: str
    streams: tuple[LinkedStream, ...]
    lease_ttl_ms: int


class AsyncSubscription:
    """Controls one subscription. Building one makes no request.

    Args:
        root_url: URL of the streams' root, such as ``http://127.0.0.1:4437/v1/stream``.
        subscription_id: its id.
        headers: sent with every request.
        client: session to use, left open; ``None`` opens one, which ``aclose`` closes.
        timeout: seconds for a request; 30 by default.
        retry: how long interruptions are borne; 30 s by default.

    Every method raises ``SubscriptionNotFoundError`` if there is no such subscription, ``DurableStreamError`` for any
    other refusal, and ``FetchError`` for no answer.
    """

    def __init__(
        self,
        root_url: str,
        subscription_id: str,
        *,
        headers: HeadersLike | None = None,
        client: aiohttp.ClientSession | None = None,
        timeout: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        self.root_url, self.id = root_url.rstrip("/"), subscription_id
        self._collection = f"{self.root_url}/__ds/subscriptions"
        url = f"{self._collection}/{quote(subscription_id, safe='')}"
        self._endpoint = Endpoint(url, headers=headers, client=client, timeout=timeout)
        self._retry = retry or RetryPolicy()

    @property
    def endpoint(self) -> Endpoint:
        """The connection, for those that work beside this handle."""
        return self._endpoint

    async def aclose(self) -> None:
        """Close the session, unless it was handed in."""
        await self._endpoint.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()

    async def create(self, configuration: Mapping[str, Any]) -> dict[str, Any]:
        """Create or re-confirm the subscription; ``configuration`` has the fields of §6.2. Returns it as ``show``.

        Raises:
            SubscriptionExistsError: it has another configuration.
        """
        return await self._send("PUT", body=configuration)

    async def show(self) -> dict[str, Any]:
        """Return its configuration, links and state (§6.3)."""
        return await self._send("GET")

    async def delete(self) -> None:
        """Delete it; no error if there is none."""
        await self._send("DELETE")

    async def add_streams(self, streams: Sequence[str]) -> None:
        """Link streams by path, at their tails (§6.4)."""
        await self._send("POST", "streams", body={"streams": [*streams]})

    async def remove_stream(self, stream: str) -> None:
        """Remove a link made by path (§6.4)."""
        await self._send("DELETE", f"streams/{quote(stream, safe='')}")

    async def wake(self) -> None:
        """Wake now, whether or not work is pending.

        Raises:
            AlreadyClaimedError: somebody holds the lease.
        """
        await self._send("POST", "wake", body={})

    async def claim(self, worker: str) -> Claim:
        """Claim the present wake under a name (§7.2).

        Raises:
            AlreadyClaimedError: another worker has it; or this one has, by a request whose answer was lost.
            NoPendingWorkError: there is none.
        """
        answer = await self._send("POST", "claim", body={"worker": worker})
        streams = tuple(
            LinkedStream(link["path"], link["acked_offset"], link["tail_offset"], link["has_pending"])
            for link in answer["streams"]
        )
        return Claim(
            answer["wake_id"],
            answer["generation"],
            answer["token"],
            answer.get("write_token", ""),
            streams,
            answer["lease_ttl_ms"],
        )

    async def ack(self, claim: Claim, acks: Mapping[str, Offset], *, done: bool = False) -> bool:
        """Move cursors and extend the lease, or give it back with ``done``; returns whether another wake follows.

        Raises:
            LeaseLostError: the wake is over. After an interruption it may be over because the request had arrived.
        """
        body = {**_wake(claim), "acks": [{"stream": path, "offset": offset} for path, offset in acks.items()]}
        answer = await self._send("POST", "ack", body={**body, "done": done}, token=claim.token)
        return bool(answer["next_wake"])

    async def release(self, claim: Claim) -> None:
        """Give a claim back without acking.

        Raises:
            LeaseLostError: the wake is over already.
        """
        await self._send("POST", "release", body=_wake(claim), token=claim.token)

    async def _send(
        self, method: str, action: str = "", *, body: Mapping[str, Any] | None = None, token: str | None = None
    ) -> dict[str, Any]:
        endpoint = self._endpoint.at(f"{self._endpoint.url}/{action}") if action else self._endpoint
        return await _sent(endpoint, self._retry, method, body=body, token=token)


async def list_subscriptions(
    root_url: str,
    *,
    headers: HeadersLike | None = None,
    client: aiohttp.ClientSession | None = None,
    retry: RetryPolicy | None = None,
) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the subscriptions under a root in order of id, as ``AsyncSubscription.show`` without links.

    Raises:
        DurableStreamError: a refusal, such as by a server without this extension.
        FetchError: no answer within the policy.
    """
    endpoint = Endpoint(f"{root_url.rstrip('/')}/__ds/subscriptions", headers=headers, client=client)
    params: dict[str, str] = {}
    try:
        while True:
            page = await _sent(endpoint, retry or RetryPolicy(), "GET", params=params)
            for entry in page["subscriptions"]:
                yield entry
            if page.get("next_after") is None:
                return
            params = {"after": page["next_after"]}
    finally:
        await endpoint.aclose()


def _wake(claim: Claim) -> dict[str, Any]:
    return {"wake_id": claim.wake_id, "generation": claim.generation}


async def _sent(
    endpoint: Endpoint,
    retry: RetryPolicy,
    method: str,
    *,
    body: Mapping[str, Any] | None = None,
    token: str | None = None,
    params: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Send until there is an answer: every operation may be repeated (see ``ack`` and ``claim``)."""
    headers = {} if body is None else {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    encoded = None if body is None else orjson.dumps(body)
    try:
        answer = await retrying(retry, lambda: endpoint.send(method, headers=headers, params=params, body=encoded))
    except DurableStreamError as error:
        raise refusal_of(error) from error
    parsed: dict[str, Any] = orjson.loads(answer.body) if answer.body else {}
    return parsed
