"""``list_streams``: the streams under a root, page by page."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from durable_streams.client.endpoint import Endpoint
from durable_streams.client.errors import DurableStreamError
from durable_streams.client.retry import RetryPolicy, retrying
from durable_streams.client.values import StreamListing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import aiohttp

    from durable_streams.client.answers import Answer
    from durable_streams.client.values import HeadersLike


async def list_streams(  # noqa: PLR0913 what to list, and how to reach it
    root_url: str,
    *,
    prefix: str = "",
    after: str | None = None,
    page_size: int | None = None,
    headers: HeadersLike | None = None,
    client: aiohttp.ClientSession | None = None,
    timeout: float | None = None,  # noqa: ASYNC109 an option of the connection, not of this call
    retry: RetryPolicy | None = None,
) -> AsyncGenerator[StreamListing, None]:
    """Yield the streams under a root in order of path; pages are fetched as the iteration reaches them.

    Streams created or deleted meanwhile may or may not appear; every other one appears once.

    Args:
        root_url: URL of the streams' root, such as ``http://127.0.0.1:4437/v1/stream``.
        prefix: only paths that start with it.
        after: only paths behind it.
        page_size: entries per request; ``None`` leaves it to the server.
        headers: sent with every request.
        client: session to use, left open; ``None`` opens one and closes it at the end.
        timeout: seconds for a request; 30 by default.
        retry: how long interruptions are borne; 30 s by default.

    Raises:
        StreamNotFoundError: no such root, or a server without this extension.
        DurableStreamError: any other refusal.
        FetchError: no answer within the policy.
    """
    url = root_url.rstrip("/") + "/__ds/streams"
    endpoint = Endpoint(url, headers=headers, client=client, timeout=timeout)
    asked = {"prefix": prefix} if prefix else {}
    if page_size is not None:
        asked["limit"] = str(page_size)
    try:
        while True:
            params = asked if after is None else {**asked, "after": after}
            answer = await retrying(retry or RetryPolicy(), partial(endpoint.send, "GET", params=params))
            page = _page(answer)
            for entry in page["streams"]:
                yield _listing(entry)
            after = page.get("next_after")
            if after is None:
                return
    finally:
        await endpoint.aclose()


def _page(answer: Answer) -> dict[str, Any]:
    try:
        page = orjson.loads(answer.body)
    except orjson.JSONDecodeError as fault:
        raise DurableStreamError("the list is not JSON", status=answer.status, code="PARSE_ERROR") from fault
    if not isinstance(page, dict) or not isinstance(page.get("streams"), list):
        raise DurableStreamError("the answer is not a list of streams", status=answer.status, code="PARSE_ERROR")
    return page


def _listing(entry: dict[str, Any]) -> StreamListing:
    return StreamListing(
        path=entry["path"],
        content_type=entry["content_type"],
        next_offset=entry["next_offset"],
        closed=entry["closed"],
        ttl_s=entry.get("ttl_s"),
        expires_at=entry.get("expires_at"),
        forked_from=entry.get("forked_from"),
    )
