"""Control requests under ``{root}/__ds`` (§6), and health."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson

from durable_streams.engine.base import EngineError
from durable_streams.http import answers
from durable_streams.http.errors import problem
from durable_streams.http.messages import Answer
from durable_streams.protocol.errors import InvalidQueryError
from durable_streams.protocol.expiry import format_expires_at
from durable_streams.protocol.head import decode_record
from durable_streams.protocol.offsets import format_offset
from durable_streams.protocol.response_fields import RETRY_AFTER

if TYPE_CHECKING:
    from durable_streams.commit.committer import Committer
    from durable_streams.engine.base import Engine
    from durable_streams.http.messages import Request
    from durable_streams.protocol.head import Head
    from durable_streams.streams.service import Streams

LIST_MAX = 1_000
LIST_DEFAULT = 100
_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)
_JSON = ("Content-Type", "application/json")


def list_streams(streams: Streams, request: Request) -> Answer:
    """``GET {root}/__ds/streams?prefix=&after=&limit=``: streams in path order with their metadata, paged.

    The body is ``{"streams": [...], "next_after": path or null}``; give ``next_after`` back as ``after`` for more.
    """
    query = dict(request.query)
    if len(query) < len(request.query):
        raise InvalidQueryError("limit", "prefix, after and limit must appear once")
    limit = query.get("limit", str(LIST_DEFAULT))
    if _COUNT.fullmatch(limit) is None or not 1 <= int(limit) <= LIST_MAX:
        raise InvalidQueryError("limit", f"must be a number from 1 to {LIST_MAX}")
    heads, next_after = streams.scan(query.get("prefix", ""), query.get("after", ""), int(limit))
    body = orjson.dumps({"streams": [_described(head) for head in heads], "next_after": next_after})
    return Answer(200, (_JSON, answers.NO_STORE), body)


def _described(head: Head) -> dict[str, object]:
    record = decode_record(head.record)
    described: dict[str, object] = {
        "path": head.path,
        "content_type": record.content_type,
        "next_offset": format_offset(head.tail),
        "closed": head.closed,
    }
    if record.ttl_s is not None:
        described["ttl_s"] = record.ttl_s
    if record.expires_at_ms is not None:
        described["expires_at"] = format_expires_at(record.expires_at_ms)
    if record.fork is not None:
        described["forked_from"] = record.fork.source_path
        described["fork_offset"] = format_offset(record.fork.base)
    return described


class Health:
    """``/healthz``: the process answers. ``/readyz``: the engine is open and takes writes."""

    def __init__(self, engine: Engine, committer: Committer) -> None:
        self._engine, self._committer = engine, committer

    def live(self) -> Answer:
        """Answer 200: the process is up."""
        return Answer(200, (_JSON, answers.NO_STORE), b'{"status":"ok"}')

    def ready(self) -> Answer:
        """Answer 200, or 503 with the reason: draining, full, or failed."""
        why = self._committer.unready()
        if why is None:
            try:
                self._engine.probe()
            except EngineError as failure:
                why = str(failure)
        if why is not None:
            return problem(503, "not-ready", why, extra=((RETRY_AFTER, "1"),))
        return Answer(200, (_JSON, answers.NO_STORE), b'{"status":"ready"}')
