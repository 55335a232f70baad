"""What is to be recorded is recorded, however long the streams server is away: for as long as the process lives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from durable_streams.client import DurableStreamError, FetchError
from durable_streams.client.retry import RETRY_STATUSES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

AGAIN_S: Final = 1.0

log = structlog.get_logger(__name__)


async def until_answered(work: Callable[[], Awaitable[T]], what: str) -> T:
    """Return what the work does, which is repeated while the server is away or not able to.

    Args:
        work: changes nothing that it has done already.
        what: what it is, for the log.

    Raises:
        DurableStreamError: the server refused for good.
    """
    while True:
        try:
            return await work()
        except FetchError as error:
            log.warning("not_recorded_yet", what=what, error=str(error))
        except DurableStreamError as refusal:
            if refusal.status not in RETRY_STATUSES:
                raise
            log.warning("not_recorded_yet", what=what, error=str(refusal))
        await asyncio.sleep(AGAIN_S)
