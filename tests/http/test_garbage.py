"""What a served request leaves behind: nothing that only a full garbage collection would find."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.http.conftest import Run

BODY_BYTES = 3_000_000


@pytest.mark.slow
@pytest.mark.parametrize("size", [1_000, BODY_BYTES])
async def test_bodies_go_when_they_are_answered_for(run: Run, lane: bool, size: int) -> None:  # noqa: FBT001
    async with run(engine="lmdb", lane=lane) as site:
        client = site.client
        await client.put("s")
        gc.collect()
        gc.disable()
        try:
            for number in range(5):
                assert (await client.post("s", b"%d" % number * size)).status == 204
                assert (await client.get("s", offset="-1")).status == 200
            await client.head("s")
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            held = [
                content
                for container in gc.garbage
                for content in gc.get_referents(container)
                if isinstance(content, bytes | bytearray) and len(content) >= size
            ]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

        assert [len(content) for content in held] == []
