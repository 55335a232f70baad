"""What the real service asks its model, by its options, its variables, and the prompts that are posted to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from durable_streams.client import astream
from tests.agents.raw_model import RawModel
from tests.agents.serving import AdapterProcess
from tests.agents.test_kept import DONE_CHAT
from tests.agents.test_sessions import user

if TYPE_CHECKING:
    from tests.serving import ServerProcess

pytestmark = pytest.mark.slow

GIF = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
OPTIONS = ["--on-busy", "enqueue", "--temperature", "0.5", "--model-header", "X-Team: red", "--context-tokens", "25"]
VARIABLES = {"DS_MAX_TOKENS": "9", "DS_ALLOW_OPTION": "temperature stop", "DS_MODEL_BODY": '{"seed": 1}'}


async def test_what_the_service_asks_its_model(server: ServerProcess) -> None:
    async with RawModel(DONE_CHAT) as model, aiohttp.ClientSession() as session:
        arguments = ["--base-url", model.base_url, "--model", "m", *OPTIONS]
        root = server.stream_url("").rstrip("/")
        with AdapterProcess(root, arguments, environment=VARIABLES) as adapter:

            async def post(message: dict[str, Any], **more: object) -> tuple[int, dict[str, Any]]:
                body = {"id": "s1", "messages": [message], **more}
                async with session.post(f"{adapter.url}/api/chat", json=body) as answer:
                    return answer.status, await answer.json()

            film = {"type": "file", "mediaType": "video/mp4", "url": "https://a.example/film"}
            status, said = await post({"id": "u0", "role": "user", "parts": [film]})
            assert (status, "video/mp4" in str(said)) == (400, True)
            status, said = await post(user("u0"), options={"model": "dearer"})
            assert (status, "model" in str(said)) == (400, True)
            picture = {"type": "file", "mediaType": "image/gif", "url": GIF}
            urls = []
            for number, (more, parts) in enumerate([({"options": {"temperature": 1}}, []), ({}, []), ({}, [picture])]):
                message = user(f"u{number}", f"prompt {number}")
                status, said = await post({**message, "parts": [*message["parts"], *parts]}, **more)
                assert status == 201, said
                urls.append(said["streamUrl"])
            for url in urls:
                async with astream(url, live=True) as response:  # to its end, which comes after its turn
                    assert [chunk async for chunk in response.iter_json()][-1]["type"] == "finish"
            async with session.get(f"{adapter.url}/api/sessions/s1/usage") as answer:
                assert answer.status == 200
    first, second, third = model.asked
    assert first.headers["X-Team"] == "red"
    assert [one.body["temperature"] for one in model.asked] == [1, 0.5, 0.5]
    assert (first.body["max_tokens"], first.body["seed"]) == (9, 1)
    assert [one["content"] for one in second.body["messages"]] == ["prompt 0", "done", "prompt 1"]
    # The picture takes more than the budget, and the last turn is sent all the same.
    [only] = third.body["messages"]
    assert only["content"] == [{"type": "text", "text": "prompt 2"}, {"type": "image_url", "image_url": {"url": GIF}}]
