"""The subscription API in few words, over the client that sends bytes by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.http.wire import Client, Reply

WAKE_STREAM = "wake/pool"
LEASE_MS = 30_000


def code_of(reply: Reply) -> str:
    """Return the code of a refusal in the form of §7."""
    assert reply.headers["content-type"] == "application/json", reply
    return str(json.loads(reply.body)["error"]["code"])


class Api:
    """One server's subscriptions."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def ask(  # noqa: PLR0917 one request
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send one request; ``path`` is below ``__ds/subscriptions``, encoded."""
        raw = b"" if body is None else json.dumps(body).encode()
        target = self.client.target(f"__ds/subscriptions{path}")
        return await self.client.send(method, target, {"Content-Type": "application/json", **(headers or {})}, raw)

    async def create(self, name: str = "s", **fields: Any) -> Reply:  # noqa: ANN401 JSON
        return await self.ask("PUT", f"/{name}", fields)

    async def create_pull(self, name: str = "s", **fields: Any) -> Reply:  # noqa: ANN401 JSON
        """Create a pull-wake subscription, and its wake stream."""
        await self.client.put(fields.setdefault("wake_stream", WAKE_STREAM), "application/json")
        reply = await self.create(name, type="pull-wake", **fields)
        assert reply.status == 201, reply
        return reply

    async def create_webhook(self, url: str, name: str = "s", **fields: Any) -> Reply:  # noqa: ANN401 JSON
        reply = await self.create(name, type="webhook", webhook={"url": url}, **fields)
        assert reply.status == 201, reply
        return reply

    async def show(self, name: str = "s") -> dict[str, Any]:
        reply = await self.ask("GET", f"/{name}")
        assert reply.status == 200, reply
        shown: dict[str, Any] = json.loads(reply.body)
        return shown

    async def cursors(self, name: str = "s") -> dict[str, int]:
        """Return each linked stream's cursor."""
        return {link["path"]: int(link["acked_offset"]) for link in (await self.show(name))["streams"]}

    async def claim(self, worker: str = "w", name: str = "s") -> Reply:
        return await self.ask("POST", f"/{name}/claim", {"worker": worker})

    async def claimed(self, worker: str = "w", name: str = "s") -> dict[str, Any]:
        reply = await self.claim(worker, name)
        assert reply.status == 200, reply
        claim: dict[str, Any] = json.loads(reply.body)
        return claim

    async def act(self, action: str, claim: Mapping[str, Any], name: str = "s", **fields: Any) -> Reply:  # noqa: ANN401 JSON
        """Ack, call back or release by a claim, or by a webhook's wake."""
        token = claim.get("token") or claim["callback_token"]
        body = {"wake_id": claim["wake_id"], "generation": claim["generation"], **fields}
        return await self.ask("POST", f"/{name}/{action}", body, {"Authorization": f"Bearer {token}"})

    async def ack(self, claim: Mapping[str, Any], name: str = "s", **fields: Any) -> Reply:  # noqa: ANN401 JSON
        return await self.act("ack", claim, name, **fields)

    async def wakes(self, stream: str = WAKE_STREAM) -> list[tuple[str, str, int]]:
        """Return (subscription, stream, generation) of all wake events so far."""
        page = await self.client.get(stream, offset=-1)
        return [(wake["subscription_id"], wake["stream"], wake["generation"]) for wake in json.loads(page.body)]

    async def delete_link(self, stream: str, name: str = "s") -> Reply:
        return await self.ask("DELETE", f"/{name}/streams/{quote(stream, safe='')}")


def tails(claim: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return acks of everything that a claim or wake shows."""
    return [{"stream": link["path"], "offset": link["tail_offset"]} for link in claim["streams"]]


def pending(claim: Mapping[str, Any]) -> set[str]:
    """Return the streams that a claim or wake shows as pending."""
    return {link["path"] for link in claim["streams"] if link["has_pending"]}
