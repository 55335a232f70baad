"""docs/adapters.md: each file on the page runs in the library that it is for, against the real server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.agents.test_clients import node, pytestmark
from tests.serving import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.serving import ServerProcess

PAGE = REPOSITORY / "docs" / "adapters.md"
FILES = dict(re.findall(r"```js\n// file: (\S+)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))

__all__ = ["pytestmark"]


@pytest.fixture
def file(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the path of a file that was taken from the page."""
    path = tmp_path / request.param
    path.write_text(FILES[request.param], encoding="utf-8")
    return str(path)


def test_the_page_has_both_files_and_they_import_nothing() -> None:
    assert set(FILES) == {"tanstack-durability.mjs", "assistant-ui-store.mjs"}
    for text in FILES.values():
        assert "import " not in text
        assert "require(" not in text


@pytest.mark.parametrize("file", ["tanstack-durability.mjs"], indirect=True)
async def test_tanstack_resumes_from_it(server: ServerProcess, file: str) -> None:
    result = await node("tanstack-durability.mjs", file, server.stream_url("tanstack"))
    words = "".join(f"w{n} " for n in range(12))
    assert result["whole"] == words
    assert result["before"] + result["resumed"] == words
    assert result["before"].endswith("w4 ")
    assert (result["kinds"][0], result["kinds"][-1]) == ("RUN_STARTED", "RUN_FINISHED")
    assert (result["empty"], result["open"], result["closed"]) == ([], [0, 1, 2], [1, 2])
    assert (result["behind"], result["distinct"]) == ([[1, 2], [2], []], 3)


@pytest.mark.parametrize("file", ["assistant-ui-store.mjs"], indirect=True)
async def test_assistant_ui_resumes_from_it(server: ServerProcess, file: str) -> None:
    result = await node("assistant-ui-store.mjs", file, server.stream_url("assistant-ui"))
    whole = "one \N{GRINNING FACE}\0\N{REPLACEMENT CHARACTER} two"
    assert (result["made"], result["first"], result["all"], result["late"]) == (1, whole[:5], whole, whole)
    assert (result["during"], result["after"], result["broken"]) == ("streaming", "done", "error")
    assert result["failed"] == "inside"
    assert result["missing"] == ["missing", None]
    assert result["roles"] == ["consumer"] * 7 + ["producer"]
    assert (result["behind"], result["aborted"], result["refused"], result["gone"]) == (
        "b",
        "over",
        "refused",
        "missing",
    )
