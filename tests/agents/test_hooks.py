"""Who is told of endings, how tokens are kept account of, and what a process counts."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import orjson
import pytest
from aiohttp import web

from durable_streams.agents.events import Finished, TextDelta, Usage
from durable_streams.agents.sessions.adapter import Adapter
from durable_streams.agents.sessions.ledger import Limits
from durable_streams.agents.sessions.settings import Settings
from durable_streams.agents.sessions.webhook import InvalidWebhookError, Target, signature
from durable_streams.runtime.clock import ManualClock
from tests.agents.conftest import ended
from tests.agents.site import serving
from tests.agents.test_service import body

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from durable_streams.agents import Run
    from durable_streams.agents.events import Event
    from durable_streams.agents.sessions.ended import RunEnded
    from tests.agents.site import Site

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
DAY_MS = 24 * 3_600_000


class Spends:
    """Takes 7 tokens for each answer."""

    async def open(self, run: Run) -> AsyncGenerator[Event, None]:
        if run.messages[-1]["parts"][0]["text"] == "fail":
            raise ValueError("inside")
        yield TextDelta("t", "word")
        yield Finished("stop", Usage(5, 2))


async def answered(site: Site, text: str = "hi", session_id: str = "s1", **more: object) -> str:
    status, _, said = await site.call("POST", "/api/chat", body(text, session_id, f"u-{text}", **more))
    assert status == 201, said
    gid: str = orjson.loads(said)["generationId"]
    await ended(site.adapter, session_id, gid)
    return gid


class Receiver:
    """Takes webhooks, after it has refused as many as it is told to."""

    def __init__(self, refuses: int = 0) -> None:
        self.refuses = refuses
        self.taken: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        text = await request.read()
        if self.refuses:
            self.refuses -= 1
            return web.Response(status=503)
        self.taken.put_nowait((dict(request.headers), text))
        return web.Response(status=204)


@asynccontextmanager
async def receiving(refuses: int = 0) -> AsyncIterator[Receiver]:
    receiver = Receiver(refuses)
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


async def test_callbacks_are_told_of_every_ending_once(root: str) -> None:
    told: asyncio.Queue[RunEnded] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def coroutine(one: RunEnded) -> None:
        told.put_nowait(one)

    def function(one: RunEnded) -> None:
        loop.call_soon_threadsafe(told.put_nowait, one)

    def breaks(_one: RunEnded) -> None:
        raise ValueError("a hook's own")

    async with serving(Adapter(Settings(root), Spends(), on_finish=[breaks, coroutine, function])) as site:
        gid = await answered(site)
        both = [await told.get(), await told.get()]
        failed = await answered(site, "fail")
        others = [await told.get(), await told.get()]
    assert [(one.attempt.id, one.attempt.status, one.usage) for one in both] == [(gid, "finished", Usage(5, 2))] * 2
    assert [(one.attempt.id, one.attempt.status) for one in others] == [(failed, "failed")] * 2
    assert both[0].message["parts"][0]["text"] == "word"
    assert told.empty()


@pytest.mark.slow
async def test_a_webhook_is_signed_and_repeated_until_it_is_taken(root: str) -> None:
    async with receiving(refuses=1) as receiver:
        settings = Settings(root, webhook=Target.of(receiver.url, SECRET))
        async with serving(Adapter(settings, Spends())) as site:
            gid = await answered(site)
            headers, text = await receiver.taken.get()
            metrics = (await site.call("GET", "/metrics"))[2].decode()
    said = orjson.loads(text)
    assert (said["type"], said["session"], said["generation"]["id"]) == ("run.ended", "s1", gid)
    assert said["usage"] == {"inputTokens": 5, "outputTokens": 2}
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + text
    mac = base64.b64encode(hmac.digest(b"k" * 32, signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{mac}"
    assert headers["webhook-id"] == gid
    assert 'ds_agent_webhooks_total{outcome="failed"} 1' in metrics


@pytest.mark.slow
async def test_what_one_process_did_not_deliver_another_does(root: str) -> None:
    async with receiving(refuses=1_000_000) as receiver:
        settings = Settings(root, webhook=Target.of(receiver.url, "a secret"))
        async with serving(Adapter(settings, Spends())) as site:
            gid = await answered(site)
            assert (await site.call("GET", "/api/sessions/s1"))[0] == 200
        receiver.refuses = 0
        async with serving(Adapter(settings, Spends())):
            headers, _ = await receiver.taken.get()
    assert headers["webhook-id"] == gid


@pytest.mark.parametrize(
    ("url", "secret"),
    [("ftp://x", "s"), ("nothing", "s"), ("http://x", None), ("http://x", ""), ("http://x", "whsec_%")],
)
def test_a_webhook_that_cannot_be_used(url: str, secret: str | None) -> None:
    with pytest.raises(InvalidWebhookError):
        Target.of(url, secret)


def test_the_signature_is_that_of_standard_webhooks() -> None:
    # The example of the specification's own libraries.
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    text = b'{"test": 2432232314}'
    assert (
        signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", at_s=1614265330, body=text)
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


async def refused(site: Site, text: str, session_id: str, **more: object) -> tuple[int, str, str | None]:
    status, headers, said = await site.call("POST", "/api/chat", body(text, session_id, f"u-{text}", **more))
    return status, orjson.loads(said)["code"], headers.get("Retry-After")


async def test_a_session_takes_no_more_than_it_may(root: str) -> None:
    async with serving(Adapter(Settings(root, limits=Limits(session_tokens=8)), Spends())) as site:
        await answered(site, "one")
        await answered(site, "two")
        assert await refused(site, "three", "s1") == (402, "session-limit", None)
        await answered(site, "one", "s2")


async def test_a_person_takes_no_more_in_a_day_in_all_processes(root: str) -> None:
    clock = ManualClock(10 * DAY_MS + DAY_MS // 2)
    settings = Settings(root, limits=Limits(user_day_tokens=7))
    async with (
        serving(Adapter(settings, Spends(), clock=clock)) as site,
        serving(Adapter(settings, Spends(), clock=clock)) as other,
    ):
        await answered(site, "one", by="ann")
        assert await refused(other, "two", "s2", by="ann") == (429, "day-limit", str(12 * 3600))
        assert (await refused(site, "two", "s2", by="ann"))[0] == 429
        await answered(other, "three", "s3", by="bob")
        clock.advance_ms(DAY_MS)
        await answered(site, "four", "s4", by="ann")


async def test_everybody_takes_no_more_in_a_day(root: str) -> None:
    settings = Settings(root, limits=Limits(day_tokens=10))
    async with serving(Adapter(settings, Spends())) as site:
        await answered(site, "one", by="ann")
        await answered(site, "two", "s2", by="bob")
        assert (await refused(site, "three", "s3", by="eve"))[:2] == (429, "day-limit")
        # The same prompt as before costs nothing, and finds its answer.
        status, _, _ = await site.call("POST", "/api/chat", body("one", "s1", "u-one", by="ann"))
        assert status == 200
        metrics = (await site.call("GET", "/metrics"))[2].decode()
    assert 'ds_agent_prompts_refused_total{code="day-limit"} 1' in metrics


async def test_what_a_process_has_done_is_counted(root: str) -> None:
    async with serving(Adapter(Settings(root), Spends())) as site:
        await answered(site, "one")
        await answered(site, "fail")
        status, headers, text = await site.call("GET", "/metrics")
    lines = text.decode().splitlines()
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    for line in (
        "ds_agent_runs_started_total 2",
        'ds_agent_runs_ended_total{how="finished"} 1',
        'ds_agent_runs_ended_total{how="failed"} 1',
        "ds_agent_runs_running 0",
        'ds_agent_tokens_total{direction="input"} 5',
        'ds_agent_tokens_total{direction="output"} 2',
    ):
        assert line in lines
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
