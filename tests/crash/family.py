"""Writers who create, fork, close and delete: each has a tree of streams, and knows what must come of everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.crash.actor import AGAIN, APPENDED, CLOSING, CREATED, DUPLICATE, Actor, Session
from tests.crash.ledger import Op
from tests.crash.model import LIVE, Status, Stream
from tests.crash.payloads import CONTENT_TYPES, JSON, TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.crash.actor import Stage

ROOT = "/v1/stream/"
SLOTS = 7


class Member:
    """One stream of a family. ``forks``: those that name it as their source."""

    def __init__(self, actor: Actor, stream: Stream, parent: Member | None = None) -> None:
        """Not created yet."""
        self.stream, self.parent = stream, parent
        self.session = Session(actor, stream)
        self.forks: set[Member] = set()


class Family(Actor):
    """Grows and prunes one tree of forks."""

    def __init__(self, stage: Stage, name: str) -> None:
        """Begin with nothing."""
        super().__init__(stage, name)
        self.members: dict[str, Member] = {}
        self.paths = [f"family/{name}/{slot}" for slot in range(SLOTS)]

    async def turn(self) -> None:
        """Do one thing to one path."""
        path = self.rng.choice(self.paths)
        status = self.status(path)
        if status is Status.ABSENT:
            await self._put(path)
        elif status is Status.SOFT_DELETED:
            await self._refuse_soft_deleted(path)
        elif self.rng.random() < 0.2:
            await self._delete(self.members[path])
        elif self.rng.random() < 0.1:
            await self._refuse_fork(self.members[path])
        elif status is Status.CLOSED:
            await self._refuse_closed(self.members[path])
        elif self.rng.random() < 0.15:
            await self._close(self.members[path])
        else:
            await self._append(self.members[path])

    def status(self, path: str) -> Status:
        """Return what stands at a path."""
        return self.ledger.world.get(path, Status.ABSENT)

    # creating

    async def _put(self, path: str) -> None:
        sources = [member for member in self.members.values() if self.status(member.stream.path) in LIVE]
        if sources and self.rng.random() < 0.8:
            await self._fork(path, self.rng.choice(sources))
            return
        stream = Stream(path, self.rng.choice(CONTENT_TYPES), self.rng.choice((None, 86_400)))
        closed = self.rng.random() < 0.1
        await self.act(self.creation(stream, with_body=self.rng.random() < 0.5, closed=closed))
        self.members[path] = Member(self, stream)

    async def _fork(self, path: str, source: Member) -> None:
        parent = source.stream
        stream = Stream(path, parent.content_type, parent.ttl_s)
        fields, length = self._place(parent)
        stream.inherit(parent, length)
        self.ledger.streams[path] = stream
        write = self.next_write(stream, self.message_count(stream)) if self.rng.random() < 0.3 else None
        if write is not None:
            fields["Content-Type"] = stream.content_type
        op = Op(
            "PUT",
            path,
            {"Stream-Forked-From": ROOT + parent.path, **fields},
            write.payload.body if write else None,
            fresh=CREATED,
            again=AGAIN,
            after={path: Status.OPEN},
            write=write,
        )
        await self.act(op)
        member = self.members[path] = Member(self, stream, source)
        source.forks.add(member)

    def _place(self, source: Stream) -> tuple[dict[str, str], int]:
        """Return the headers that say where to fork, and the position they mean."""
        tail = len(source.content())
        if self.rng.random() < 0.2:
            return {}, tail
        if source.content_type == JSON:
            ends = source.boundaries()
            anchor = self.rng.randrange(len(ends))
            beyond = self.rng.randint(0, min(5, len(ends) - 1 - anchor))
            start, position = ends[anchor], ends[anchor + beyond]
        else:
            start = self.rng.randint(0, tail)
            beyond = self.rng.randint(0, min(50, tail - start))
            position = start + beyond
        fields = {"Stream-Fork-Offset": f"{start:016d}"}
        if beyond or self.rng.random() < 0.5:
            fields["Stream-Fork-Sub-Offset"] = str(beyond)
        return fields, position

    # writing

    async def _append(self, member: Member) -> None:
        await self.act(self.append(member.stream) if self.rng.random() < 0.5 else member.session.append())

    async def _close(self, member: Member) -> None:
        stream = member.stream
        way = self.rng.choice(("bare", "with append", "by producer", "by producer with append"))
        if way == "by producer with append":
            closing = member.session.append(close=True)
        else:
            closing = self._bare_close(member, produced=way == "by producer")
            if way == "with append":
                write = closing.write = self.next_write(stream)
                closing.body, closing.again = write.payload.body, 409
                closing.headers = {**closing.headers, "Content-Type": stream.content_type}
        await self.act(closing)

    def _bare_close(self, member: Member, *, produced: bool) -> Op:
        path = member.stream.path
        headers = (member.session.triple() if produced else {}) | CLOSING
        return Op(
            "POST",
            path,
            headers,
            fresh=APPENDED,
            again=DUPLICATE,
            after={path: Status.CLOSED},
            closes=member.stream,
        )

    # deleting

    async def _delete(self, member: Member) -> None:
        path = member.stream.path
        soft = bool(member.forks)
        after = {path: Status.SOFT_DELETED} if soft else dict.fromkeys(self._ends_with(member), Status.ABSENT)
        await self.act(Op("DELETE", path, {}, fresh=frozenset({204}), again=410 if soft else 404, after=after))
        if soft:
            return
        for gone in after:
            ended = self.members.pop(gone)
            if ended.parent is not None:
                ended.parent.forks.discard(ended)

    def _ends_with(self, member: Member) -> list[str]:
        """Return the paths that a member without forks takes along: itself, and sources kept for it alone."""
        paths = [member.stream.path]
        while (
            (parent := member.parent) is not None
            and self.status(parent.stream.path) is Status.SOFT_DELETED
            and parent.forks == {member}
        ):
            paths.append(parent.stream.path)
            member = parent
        return paths

    # what must be refused, and leave nothing behind

    async def _refuse_fork(self, source: Member) -> None:
        stream = source.stream
        taken = self.rng.choice(self.paths)
        if self.status(taken) is not Status.ABSENT:
            return
        other_type = TEXT if stream.content_type == JSON else JSON
        beyond = f"{len(stream.content()) + 1:016d}"
        fields, status = self.rng.choice(
            (
                ({"Content-Type": other_type}, 409),
                ({"Stream-Fork-Offset": beyond}, 400),
                ({"Stream-Fork-Offset": f"{0:016d}", "Stream-Fork-Sub-Offset": "99999999"}, 400),
            )
        )
        await self._refused("PUT", taken, {"Stream-Forked-From": ROOT + stream.path, **fields}, status=status)

    async def _refuse_closed(self, member: Member) -> None:
        op = self.append(member.stream)
        op.fresh = frozenset({409})
        await self.act(op)

    async def _refuse_soft_deleted(self, path: str) -> None:
        method, status = self.rng.choice((("PUT", 409), ("DELETE", 410), ("POST", 410)))
        if method != "POST":
            await self._refused(method, path, {}, status=status)
            return
        op = self.append(self.members[path].stream)
        op.fresh = frozenset({status})
        await self.act(op)

    async def _refused(self, method: str, path: str, headers: Mapping[str, str], *, status: int) -> None:
        await self.act(Op(method, path, headers, fresh=frozenset({status})))


class HotForker(Actor):
    """Forks a stream that many write to, in the same commits, and deletes the fork again."""

    def __init__(self, stage: Stage, name: str, source: Stream) -> None:
        """``source`` exists and stays open."""
        super().__init__(stage, name)
        self.source = source
        self.path = f"hotfork/{name}"

    async def turn(self) -> None:
        """Fork where one of this writer's own appends ended, write to the fork, delete it."""
        answer = await self.act(self.append(self.source))
        if answer is None:
            return
        fork = Stream(self.path, self.source.content_type)
        fork.base = await self._start_of_source(self.rng.randint(0, min(answer.next_offset, 100_000)))
        self.ledger.streams[self.path] = fork
        offset = f"{len(fork.base):016d}"
        headers = {"Stream-Forked-From": ROOT + self.source.path, "Stream-Fork-Offset": offset}
        await self.act(Op("PUT", self.path, headers, fresh=CREATED, again=AGAIN, after={self.path: Status.OPEN}))
        for _ in range(self.rng.randrange(5)):
            await self.act(self.append(fork))
        await self.act(self.deletion(fork))

    async def _start_of_source(self, length: int) -> bytes:
        """Return acknowledged bytes: they are the same for ever."""
        content = b""
        while len(content) < length:
            op = Op("GET", f"{self.source.path}?offset={len(content):016d}", {}, fresh=frozenset({200}), again=200)
            page = await self.act(op)
            if page is None:
                raise AssertionError("a read is sent again")
            content += page.body
        return content[:length]
