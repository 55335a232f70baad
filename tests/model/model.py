"""The protocol as a machine of its own, written from the specification: what each request must be answered, and leaves.

Every method takes what a request says, changes the model, and returns the answer to expect. It knows nothing of how the
server works; where the specification leaves a choice, the comment says which one the server's documentation makes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.model.expected import PAGE_MAX_BYTES, Expected, refused
from tests.model.streams import OCTETS, Body, Creation, Life, Lifetime, Stream, Tokens, Triple, media_type
from tests.model.wire import HOST

if TYPE_CHECKING:
    from durable_streams.runtime.clock import ManualClock

CLOSED = {"stream-closed": "true"}


class Model:
    """All streams of one server."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.streams: dict[str, Stream] = {}

    @property
    def now_ms(self) -> int:
        return self._clock.now_ms()

    def living(self, path: str) -> Stream | None:
        stream = self.streams.get(path)
        return None if stream is None or stream.soft_deleted else stream

    def absent(self, path: str) -> Expected | None:
        """What any request but PUT gets where no stream can be used: 404, or 410 for a soft-deleted one (§4.2)."""
        if path not in self.streams:
            return refused(404)
        return refused(410) if self.streams[path].soft_deleted else None

    # --- PUT (§5.1, §4.2) ---

    def create(self, path: str, ask: Creation) -> Expected:
        if path in self.streams:
            return self._confirm(self.streams[path], ask)
        made = self._fork(path, ask) if ask.fork else self._make(path, ask)
        if isinstance(made, Expected):
            return made
        made.closed = ask.closed
        self.streams[path] = made
        return replace(self._created(made, 201), location=f"http://{HOST}/v1/stream/{path}")

    @staticmethod
    def _created(stream: Stream, status: int) -> Expected:
        fields = dict(CLOSED) if stream.closed else {}
        return Expected((status,), fields, (stream, stream.tail), stream.content_type)

    def _make(self, path: str, ask: Creation) -> Stream:
        content_type = ask.content_type or OCTETS  # §5.1: may default
        return Stream(path, ask, content_type, ask.lifetime, self.now_ms, ask.body.units(content_type))

    def _confirm(self, stream: Stream, ask: Creation) -> Expected:
        """The same configuration again is success, anything else a conflict, and so is a blocked path."""
        same = (
            not stream.soft_deleted
            and self._same_type(stream, ask)
            and ask.lifetime in {stream.asked.lifetime, stream.lifetime}  # a fork may have inherited the second
            and ask.closed == stream.closed
            and self._same_fork(stream, ask)
        )
        return self._created(stream, 200) if same else refused(409)

    @staticmethod
    def _same_type(stream: Stream, ask: Creation) -> bool:
        if ask.content_type is None and ask.fork is not None:
            return True
        return media_type(ask.content_type or OCTETS) == media_type(stream.content_type)

    @staticmethod
    def _same_fork(stream: Stream, ask: Creation) -> bool:
        """A named offset matches the one that was meant, named or not; none matches only a fork that named none."""
        first, again = stream.asked.fork, ask.fork
        if first is None or again is None:
            return first is again
        if (first.source, first.sub_offset) != (again.source, again.sub_offset):
            return False
        if again.offset is None:
            return first.offset is None
        return stream.tokens.position(again.offset) == stream.base - first.sub_offset

    def _fork(self, path: str, ask: Creation) -> Stream | Expected:
        assert ask.fork is not None
        source = self.streams.get(ask.fork.source)
        if source is None:
            return refused(404)
        if source.soft_deleted:
            return refused(409)
        wrong_type = ask.content_type is not None and media_type(ask.content_type) != media_type(source.content_type)
        base = self._fork_base(source, ask)
        if wrong_type or base is None:
            # No precedence is given between the two.
            return refused(*([409] if wrong_type else []), *([400] if base is None else []))
        fork = Stream(path, ask, source.content_type, self._fork_lifetime(source, ask.lifetime), self.now_ms)
        fork.units = source.units[:base] + ask.body.units(source.content_type)
        fork.tokens = Tokens(source.tokens.up_to(base))  # §8: the same offset space
        fork.fork_of, fork.base = source, base
        source.forks.add(fork)
        source.maybe_touched(self.now_ms)
        return fork

    @staticmethod
    def _fork_base(source: Stream, ask: Creation) -> int | None:
        assert ask.fork is not None
        anchor = source.tail if ask.fork.offset is None else source.tokens.position(ask.fork.offset)
        if anchor is None or anchor + ask.fork.sub_offset > source.tail:
            return None
        return anchor + ask.fork.sub_offset

    @staticmethod
    def _fork_lifetime(source: Stream, asked: Lifetime) -> Lifetime:
        """The table of §4.2: what is asked for, else what the source has."""
        return source.lifetime if asked == Lifetime() else asked

    # --- POST (§5.2, §5.3) ---

    def append(
        self,
        path: str,
        body: Body,
        content_type: str,
        *,
        close: bool = False,
        triple: Triple | None = None,
        stream_seq: str | None = None,
    ) -> Expected:
        """The order of the checks is the documented precedence: gone, closed, content type, producer, Stream-Seq."""
        stream = self.living(path)
        if stream is None:
            return self.absent(path) or refused()
        if stream.closed:
            return self._append_to_closed(stream, body, close=close, triple=triple)
        if body.raw and media_type(content_type) != media_type(stream.content_type):
            return refused(409)
        judged = self._judge_triple(stream, triple) if triple else None
        if judged is not None:
            return judged
        if stream_seq is not None:
            if stream.stream_seq is not None and stream_seq.encode() <= stream.stream_seq.encode():
                return refused(409)
            stream.stream_seq = stream_seq
        stream.units += body.units(stream.content_type)
        stream.closed = close
        stream.write(self.now_ms)
        fields = dict(CLOSED) if close else {}
        if triple is not None:
            stream.producers[triple.producer_id] = (triple.epoch, triple.seq)
            stream.closer = triple if close else None
            fields |= _producer_fields(triple.epoch, triple.seq)
        status = 200 if triple is not None and body.raw else 204
        return Expected((status,), fields, (stream, stream.tail))

    def _append_to_closed(self, stream: Stream, body: Body, *, close: bool, triple: Triple | None) -> Expected:
        """§5.2.1: only the closing request again, or a bare close (§5.3), is a success."""
        end = (stream, stream.tail)
        if triple is not None and triple == stream.closer:
            fields = CLOSED | _producer_fields(*stream.producers[triple.producer_id])
            return Expected((204,), fields, end)
        if triple is None and close and not body.raw:
            return Expected((204,), dict(CLOSED), end)
        return replace(refused(409, stream_closed="true"), at=end)

    @staticmethod
    def _judge_triple(stream: Stream, triple: Triple) -> Expected | None:
        """The validation logic of §5.2.1; `None` to accept."""
        epoch, last_seq = stream.producers.get(triple.producer_id, (triple.epoch, -1))
        if triple.epoch < epoch:
            return refused(403, producer_epoch=str(epoch))
        if triple.epoch > epoch:
            return None if triple.seq == 0 else refused(400)
        if triple.seq <= last_seq:
            return Expected((204,), _producer_fields(epoch, last_seq), (stream, stream.tail))
        if triple.seq > last_seq + 1:
            return refused(409, producer_expected_seq=str(last_seq + 1), producer_received_seq=str(triple.seq))
        return None

    # --- DELETE, expiry (§5.4, §4.2) ---

    def delete(self, path: str) -> Expected:
        stream = self.living(path)
        if stream is None:
            return self.absent(path) or refused()
        self.remove(stream)
        return Expected((204,))

    def remove(self, stream: Stream) -> None:
        """Delete, or keep for its forks only; then let go of the source, up the chain."""
        if stream.forks:
            stream.soft_deleted = True
            return
        del self.streams[stream.path]
        source = stream.fork_of
        if source is not None:
            source.forks.discard(stream)
            if source.soft_deleted and not source.forks:
                self.remove(source)

    def life(self, stream: Stream) -> Life:
        return stream.life(self.now_ms)

    # --- HEAD, GET (§5.5, §5.6) ---

    def head(self, path: str) -> Expected:
        stream = self.living(path)
        if stream is None:
            return self.absent(path) or refused()
        fields = dict(CLOSED) if stream.closed else {}
        if stream.lifetime.ttl_s is not None:
            fields["stream-ttl"] = str(stream.lifetime.ttl_s)
        return Expected(
            (200,),
            fields,
            (stream, stream.tail),
            stream.content_type,
            cache_control="no-store",
            expires_at_ms=stream.lifetime.expires_at_ms,
        )

    def read(self, path: str, position: int, *, relative: bool = False, max_bytes: int | None = None) -> Expected:
        """Everything, or a page; `relative` if the URL counts from the tail, so that no cache may keep the answer."""
        stream = self.living(path)
        if stream is None:
            return self.absent(path) or refused()
        stream.read(self.now_ms)
        return Expected(
            (200,),
            at=(stream, position),
            page_from=position,
            page_max_bytes=max_bytes,
            cache_control="no-store" if relative else None,
        )

    def read_now(self, path: str) -> Expected:
        """§8: nothing but the tail, never stored."""
        stream = self.living(path)
        if stream is None:
            return self.absent(path) or refused()
        stream.read(self.now_ms)
        fields = {"stream-up-to-date": "true"} | (CLOSED if stream.closed else {})
        return Expected(
            (200,),
            fields,
            (stream, stream.tail),
            stream.content_type,
            cache_control="no-store",
            body=b"[]" if stream.is_json else b"",
        )

    # --- long-poll (§5.7) ---

    @staticmethod
    def poll_ends_empty(stream: Stream, echoed: str) -> Expected:
        """204: the time is up, or the stream was closed. The cursor may be left out once it is closed."""
        fields = {"stream-up-to-date": "true"} | (CLOSED if stream.closed else {})
        return Expected((204,), fields, (stream, stream.tail), cache_control="no-store", echoed=echoed)

    @staticmethod
    def poll_brings(stream: Stream, position: int, echoed: str, *, relative: bool) -> Expected:
        return Expected(
            (200,),
            at=(stream, position),
            cache_control="no-store" if relative else None,
            echoed=echoed,
            page_from=position,
            page_max_bytes=PAGE_MAX_BYTES,
        )


def _producer_fields(epoch: int, seq: int) -> dict[str, str]:
    return {"producer-epoch": str(epoch), "producer-seq": str(seq)}
