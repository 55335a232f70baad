"""Write fencing by claim: whoever lost the lease cannot write either."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.subscriptions.api import LEASE_MS, Api, tails

if TYPE_CHECKING:
    from tests.http.site import Site
    from tests.http.wire import Reply


@pytest.fixture
async def claim(site: Site, api: Api) -> dict[str, Any]:
    """A claim over a fenced stream ``jobs/a`` and another stream, with work pending."""
    await site.client.put("jobs/a", body=b"1", stream_write_fence="true")
    await api.create_pull(pattern="jobs/*", lease_ttl_ms=LEASE_MS)
    await site.client.put("jobs/in", body=b"work")
    return await api.claimed()


async def write(site: Site, token: str | None, path: str = "jobs/a", **fields: str) -> Reply:
    if token is not None:
        fields["stream_write_token"] = token
    return await site.client.post(path, b"x", **fields)


def producer(epoch: int, seq: int, name: str = "p") -> dict[str, str]:
    return {"producer_id": name, "producer_epoch": str(epoch), "producer_seq": str(seq)}


async def test_a_fenced_stream_takes_writes_of_the_claimant_only(site: Site, claim: dict[str, Any]) -> None:
    assert (await write(site, claim["write_token"])).status == 204
    for token in (None, "nonsense", claim["token"]):
        refused = await write(site, token)
        assert (refused.status, refused.code) == (403, "write-fenced")
    assert (await site.client.head("jobs/a")).headers["stream-write-fence"] == "true"
    assert (await site.client.get("jobs/a", offset=-1)).body == b"1x"


async def test_a_lost_lease_ends_the_right_to_write(site: Site, api: Api, claim: dict[str, Any]) -> None:
    site.clock.advance_ms(LEASE_MS)
    assert (await write(site, claim["write_token"])).code == "write-fenced", "at once"
    second = await api.claimed("second")
    assert (await write(site, claim["write_token"])).code == "write-fenced"
    assert (await write(site, second["write_token"])).status == 204
    await api.ack(second, acks=tails(await api.show() | {"streams": second["streams"]}), done=True)
    assert (await write(site, second["write_token"])).code == "write-fenced", "given back"


async def test_a_token_is_for_the_subscription_s_own_streams(site: Site, api: Api, claim: dict[str, Any]) -> None:
    await site.client.put("far", stream_write_fence="true")
    await site.client.put("jobs/new", stream_write_fence="true")

    assert (await write(site, claim["write_token"], "far")).code == "write-fenced"
    assert (await write(site, claim["write_token"], "jobs/new")).status == 204
    await api.ask("POST", "/s/streams", {"streams": ["far"]})
    assert (await write(site, claim["write_token"], "far")).status == 204


async def test_a_token_dies_with_its_subscription(site: Site, api: Api, claim: dict[str, Any]) -> None:
    await api.ask("DELETE", "/s")
    assert (await write(site, claim["write_token"])).code == "write-fenced"
    await api.create_pull(pattern="jobs/*")
    await site.client.post("jobs/in", b"more")
    await api.claimed()
    assert (await write(site, claim["write_token"])).code == "write-fenced"


async def test_a_producer_let_in_goes_on_in_its_epoch(site: Site, api: Api, claim: dict[str, Any]) -> None:
    first = claim["write_token"]
    assert (await write(site, None, **producer(1, 0))).code == "write-fenced"
    assert (await write(site, first, **producer(1, 0))).status == 200
    assert (await write(site, None, **producer(1, 1))).status == 200
    assert (await write(site, None, **producer(2, 0))).code == "write-fenced", "a new epoch needs the token"
    assert (await write(site, None, **producer(1, 0, "q"))).code == "write-fenced", "so does another producer"

    site.clock.advance_ms(LEASE_MS)
    second = (await api.claimed("second"))["write_token"]
    assert (await write(site, second, **producer(2, 0))).status == 200
    late = await write(site, None, **producer(1, 2))
    assert (late.status, late.code) == (403, "stale-epoch")
    assert (await write(site, first, **producer(2, 1))).code == "write-fenced", "an old token is worse than none"
    assert (await write(site, first, **producer(2, 0))).status == 204, "what was written is said to be, to anybody"


async def test_a_fenced_stream_is_closed_by_the_claimant_only(site: Site, claim: dict[str, Any]) -> None:
    refused = await site.client.finish("jobs/a")
    assert refused.code == "write-fenced"
    closing = {"Stream-Closed": "true", "Stream-Write-Token": claim["write_token"]}
    assert (await site.client.send("POST", site.client.target("jobs/a"), closing)).status == 204


async def test_every_way_to_append_honours_the_token(site: Site, claim: dict[str, Any]) -> None:
    """An upload, and a line of a batch: with the token they are let in, with another they are not."""
    for token, statuses in ((claim["write_token"], (204, 204)), ("nonsense", (403, 403)), (None, (403, 403))):
        upload = await write(site, token, stream_append_mode="stream")
        line = {"path": "jobs/a", "content_type": "text/plain", "body": "y", "write_token": token}
        batch = await site.client.send("POST", site.client.target("__ds/batch"), {}, json.dumps(line).encode())
        outcome = json.loads(batch.body)
        assert (upload.status, outcome["status"]) == statuses
        if statuses == (403, 403):
            assert (upload.code, outcome["code"]) == ("write-fenced", "write-fenced")
    assert (await site.client.get("jobs/a", offset=-1)).body == b"1xy"


async def test_a_producer_let_in_by_one_way_goes_on_by_another(site: Site, claim: dict[str, Any]) -> None:
    token = claim["write_token"]
    assert (await write(site, token, stream_append_mode="stream", **producer(1, 0))).status == 200
    line = {"path": "jobs/a", "content_type": "text/plain", "body": "y", "producer": ["p", 1, 1]}
    batch = await site.client.send("POST", site.client.target("__ds/batch"), {}, json.dumps(line).encode())
    assert json.loads(batch.body)["status"] == 200
    assert (await write(site, None, stream_append_mode="stream", **producer(1, 2))).status == 200


async def test_without_any_subscription_nobody_is_let_in(site: Site) -> None:
    await site.client.put("alone", stream_write_fence="true")

    assert (await write(site, "token", "alone")).code == "write-fenced"


async def test_a_required_producer_cannot_be_left_out(site: Site) -> None:
    await site.client.put("strict", stream_producer_required="true")

    for reply in (await site.client.post("strict", b"x"), await site.client.finish("strict")):
        assert (reply.status, reply.code) == (400, "producer-required")
    assert (await site.client.post("strict", b"x", **producer(0, 0))).status == 200
    assert (await site.client.head("strict")).headers["stream-producer-required"] == "true"


async def test_restrictions_are_part_of_a_stream_s_configuration(site: Site) -> None:
    await site.client.put("strict", stream_producer_required="true")

    assert (await site.client.put("strict", stream_producer_required="true")).status == 200
    assert (await site.client.put("strict")).status == 409
    assert (await site.client.put("other", stream_write_fence="yes")).status == 400
    await site.client.fork("fork", "strict")
    assert (await site.client.post("fork", b"x")).code == "producer-required"
    assert (await site.client.fork("fork", "strict")).status == 200


async def test_both_restrictions_work_behind_either_front(site: Site, claim: dict[str, Any]) -> None:
    """A header that only one front knows of would be a hole in the other."""
    target, body = site.client.target("jobs/a"), b"x"
    headers = {"Content-Type": "text/plain", "Stream-Write-Token": claim["write_token"]}
    for extra in ({}, {"Connection": "close"}):  # the second is not the lane's
        assert (await site.client.send("POST", target, {**headers, **extra}, body)).status == 204
    headers["Stream-Write-Token"] = "forged"
    for extra in ({}, {"Connection": "close"}):
        assert (await site.client.send("POST", target, {**headers, **extra}, body)).status == 403
