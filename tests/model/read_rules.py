"""Rules that read: metadata, pages, `now`, the last N messages, long-polls, listings, and what is refused."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model.expected import PAGE_MAX_BYTES, refused
from tests.model.harness import Harness, Poll
from tests.model.refusals import REFUSALS, Refusal
from tests.model.strategies import PICKS, PLACES, bodies
from tests.model.wire import Request, Wire
from tests.model.write_rules import post

if TYPE_CHECKING:
    from typing import Any

    from tests.model.streams import Body, Stream

POLLS_MAX = 4


class ReadRules(Harness):
    """HEAD and GET."""

    @rule(place=PLACES)
    def head(self, *, place: int) -> None:
        path = self.path(place)
        self.ask(Request("HEAD", path), self.model.head(path))

    @rule(
        place=PLACES,
        pick=st.none() | PICKS,
        tag_pick=st.none() | PICKS,
        max_bytes=st.none() | st.integers(1, PAGE_MAX_BYTES),
    )
    def read(self, *, place: int, pick: int | None, tag_pick: int | None, max_bytes: int | None) -> None:
        """From a known offset, and again with an entity tag: 304 if it is this very answer's, else the answer."""
        path = self.path(place)
        position, query = self.start(path, pick)
        if max_bytes is not None:
            query = query | {"max-bytes": str(max_bytes)}
        reply = self.ask(Request("GET", path, query=query), self.model.read(path, position, max_bytes=max_bytes))
        stream = self.model.living(path)
        if stream is None or tag_pick is None:
            return
        tags = self.judge.tags_from(stream, position)
        tag = tags[tag_pick % len(tags)]
        current = reply.headers["etag"]
        again = self.run(self.server.wire.ask(Request("GET", path, {"If-None-Match": f'"x", {tag}'}, query=query)))
        assert (again.status, again.body) == ((304, b"") if tag == current else (200, reply.body))
        assert again.headers["etag"] == current

    def start(self, path: str, pick: int | None) -> tuple[int, dict[str, str]]:
        """A position the server has named, as a query; `None` for the beginning, said by silence or by `-1`."""
        stream = self.model.living(path)
        if stream is None or pick is None:
            return 0, {}
        known = sorted(stream.tokens.by_position.items())
        position, token = known[pick % len(known)]
        return (0, {"offset": "-1"}) if position == 0 and pick % 2 else (position, {"offset": token})

    @rule(place=PLACES)
    def read_all(self, *, place: int) -> None:
        path = self.path(place)
        self.read_to_the_end(path)

    @rule(place=PLACES)
    def read_now(self, *, place: int) -> None:
        path = self.path(place)
        self.ask(Request("GET", path, query={"offset": "now"}), self.model.read_now(path))

    @rule(place=PLACES, count=st.integers(0, 6))
    def read_last(self, *, place: int, count: int) -> None:
        self.read_the_last(self.path(place), count)

    @rule(place=PLACES, longer_place=PLACES)
    def read_past_the_tail(self, *, place: int, longer_place: int) -> None:
        path, longer = self.path(place), self.path(longer_place)
        stream, other = self.model.living(path), self.model.living(longer)
        if stream is None or other is None:
            return
        token = other.tokens.by_position[other.tail]
        if token > stream.tokens.by_position[stream.tail]:
            self.ask(Request("GET", path, query={"offset": token}), refused(400))
            stream.maybe_touched(self.model.now_ms)  # whether a refused read is a read, nobody says

    # --- long-poll ---

    @precondition(lambda self: len(self.polls) < POLLS_MAX)
    @rule(
        place=PLACES,
        pick=st.none() | PICKS,
        echo=st.sampled_from(["", "1", "interval", "own", "4000000000"]),
        then=st.none() | bodies(),
    )
    def poll(self, *, place: int, pick: int | None, echo: str, then: tuple[Body, Body] | None) -> None:
        """From a known offset, or, more often than not, from the tail, as `now` or by its token; `then` is appended."""
        path = self.path(place)
        stream = self.model.living(path)
        query = {"live": "long-poll"}
        if echo == "interval":
            echo = str((self.model.now_ms // 1000 - 1_728_432_000) // 20)
        elif echo == "own":
            echo = (stream and stream.cursor) or ""
        if echo:
            query["cursor"] = echo
        if stream is None:
            self.ask(Request("GET", path, query=query | {"offset": "now"}), self.model.absent(path) or refused())
            return
        if pick is None or pick % 2:
            tail = stream.tokens.by_position[stream.tail]
            position, at = stream.tail, {"offset": "now" if pick is None else tail}
        else:
            position, at = self.start(path, pick)
            at = at or {"offset": "-1"}
        stream.read(self.model.now_ms)
        self._poll(Request("GET", path, query=query | at), stream, position, echo)
        if then is not None and not stream.closed:
            body, content_type = self.fitting(path, then)
            self.ask(post(path, body, content_type), self.model.append(path, body, content_type))
            self.wake(stream)

    def _poll(self, request: Request, stream: Stream, position: int, echo: str) -> None:  # noqa: PLR0917 - one poll
        relative = request.query["offset"] == "now"
        if position < stream.tail:
            self.ask(request, self.model.poll_brings(stream, position, echo, relative=relative))
        elif stream.closed or not self.patient:
            self.ask(request, self.model.poll_ends_empty(stream, echo))
        else:
            wire = self.run(Wire.open(self.server.port))
            self.run(self._send(wire, request))
            self.wait_with(Poll(wire, stream, position, echo, relative))

    async def _send(self, wire: Wire, request: Request) -> None:
        wire.send(request)

    # --- listings ---

    @rule(
        prefix=st.sampled_from(["", "", "b/", "é", "z"]),
        after=st.sampled_from(["", "a", "b/c"]),
        limit=st.integers(1, 3),
    )
    def list_streams(self, *, prefix: str, after: str, limit: int) -> None:
        """An extension: all streams in path order, by pages."""
        listed = []
        query = {"prefix": prefix, "after": after, "limit": str(limit)}
        while True:
            reply = self.run(self.server.wire.ask(Request("GET", "__ds/streams", query=query)))
            assert reply.status == 200
            page = json.loads(reply.body)
            listed += [self._read_listed(one) for one in page["streams"]]
            if page["next_after"] is None:
                break
            query["after"] = page["next_after"]
        living = {unquote(stream.path): stream for stream in self.model.streams.values() if not stream.soft_deleted}
        paths = sorted(path for path in living if path.startswith(prefix) and path > after)
        assert listed == [_described(living[path]) for path in paths]

    def _read_listed(self, listed: dict[str, Any]) -> dict[str, Any]:
        """Turn offsets and timestamps into what they stand for."""
        stream = self.model.living(quote(listed["path"]))
        assert stream is not None, listed
        stream.tokens.learn(stream.tail, listed.pop("next_offset"))
        if stream.fork_of is not None:
            stream.tokens.learn(stream.base, listed.pop("fork_offset"))
        if "expires_at" in listed:
            listed["expires_at"] = datetime.fromisoformat(listed["expires_at"]).timestamp() * 1000
        return listed

    # --- refusals ---

    @rule(place=PLACES, refusal=st.sampled_from(REFUSALS))
    def ask_nonsense(self, *, place: int, refusal: Refusal) -> None:
        """Refused with 400 whatever the stream holds, and, as all that follows shows, nothing has changed."""
        path = self.path(place)
        stream = self.model.living(path)
        if stream is None or stream.closed or (refusal.json_only and not stream.is_json):
            return
        headers = dict(refusal.headers)
        if refusal.body and "Content-Type" not in headers and not refusal.untyped:
            headers["Content-Type"] = stream.content_type
        request = Request(refusal.method, path, headers, refusal.body, refusal.query)
        self.ask(request, refused(400))


def _described(stream: Stream) -> dict[str, object]:
    described: dict[str, object] = {
        "path": unquote(stream.path),
        "content_type": stream.content_type,
        "closed": stream.closed,
    }
    if stream.lifetime.ttl_s is not None:
        described["ttl_s"] = stream.lifetime.ttl_s
    if stream.lifetime.expires_at_ms is not None:
        described["expires_at"] = stream.lifetime.expires_at_ms
    if stream.asked.fork is not None:
        described["forked_from"] = unquote(stream.asked.fork.source)
    return described
