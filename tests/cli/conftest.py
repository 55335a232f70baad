"""A server whose root the commands are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.serving import ServerProcess


@pytest.fixture
def url(server: ServerProcess) -> str:
    """The root of a running server on LMDB, for DS_URL."""
    return f"{server.url}/v1/stream"
