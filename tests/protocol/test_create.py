from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.protocol.create import (
    FORK_DEPTH_MAX,
    Create,
    Created,
    ForkRequest,
    check_source,
    decide_delete,
    fork_record,
    lineage_up_to,
    match_existing,
    new_record,
    release,
    start,
)
from durable_streams.protocol.errors import (
    AlreadyExistsError,
    ContentTypeMismatchError,
    ForkTooDeepError,
    GoneError,
    InvalidHeaderError,
    OffsetBeyondTailError,
    PathBlockedError,
    SourceGoneError,
    StreamError,
    StreamExistsError,
)
from durable_streams.protocol.head import CLOSED, SOFT_DELETED, Closer, Record, Segment
from tests.protocol.drafts import NOW_MS, draft

if TYPE_CHECKING:
    from random import Random

    from durable_streams.protocol.draft import Draft

SOURCE_TAIL = 10
OF_TAIL = ForkRequest("source", None, 0)


def source(**record: object) -> Draft:
    fields = {"content_type": "text/plain"} | record
    return draft("source", Record(**fields), sid=7, tail=SOURCE_TAIL)  # type: ignore[arg-type] # as the case has them


def fork_of(parent: Draft, request: Create, sub_offset: int = 0) -> Record:
    anchor = check_source(parent, request)
    return fork_record(parent, request, anchor=anchor, base=anchor + sub_offset)


class TestNew:
    def test_what_was_asked_is_recorded(self) -> None:
        assert new_record(Create("text/plain; charset=utf-8", b"", ttl_s=5)) == Record("text/plain; charset=utf-8", 5)
        assert new_record(Create("a/b", b"", expires_at_ms=6)) == Record("a/b", None, 6)

    def test_the_content_type_has_a_default(self) -> None:
        assert new_record(Create(None, b"")).content_type == "application/octet-stream"

    def test_a_content_type_that_is_none_is_refused(self) -> None:
        with pytest.raises(InvalidHeaderError):
            new_record(Create("text/\udcff", b""))

    @pytest.mark.parametrize("closed", [False, True])
    @pytest.mark.parametrize(("base", "payload", "tail"), [(0, b"", 0), (0, b"abc", 3), (5, b"abc", 8)])
    def test_the_first_bytes_stand_at_the_base(self, base: int, payload: bytes, tail: int, *, closed: bool) -> None:
        stream = draft()

        assert start(stream, base, payload, closed=closed) == Created(True, "text/plain", tail, closed)  # noqa: FBT003
        assert (stream.tail, stream.closed) == (tail, closed)


class TestForkExpiry:
    """The table of §4.2, line by line."""

    @pytest.mark.parametrize(
        ("held", "asked", "gets"),
        [
            ((None, None), (None, None), (None, None)),
            ((None, None), (5, None), (5, None)),
            ((None, None), (None, 6), (None, 6)),
            ((3, None), (None, None), (3, None)),
            ((3, None), (5, None), (5, None)),
            ((3, None), (None, 6), (None, 6)),
            ((None, 4), (None, None), (None, 4)),
            ((None, 4), (5, None), (5, None)),
            ((None, 4), (None, 6), (None, 6)),
        ],
    )
    def test_table(
        self,
        held: tuple[int | None, int | None],
        asked: tuple[int | None, int | None],
        gets: tuple[int | None, int | None],
    ) -> None:
        parent = source(ttl_s=held[0], expires_at_ms=held[1])
        record = fork_of(parent, Create(None, b"", False, *asked, OF_TAIL))  # noqa: FBT003

        assert (record.ttl_s, record.expires_at_ms) == gets
        assert record.fork is not None
        assert record.fork.inherited_expiry is (asked == (None, None))


class TestForkSource:
    @pytest.mark.parametrize(("offset", "anchor"), [(None, SOURCE_TAIL), (0, 0), (4, 4), (SOURCE_TAIL, SOURCE_TAIL)])
    def test_the_anchor_is_what_was_asked_or_the_tail(self, offset: int | None, anchor: int) -> None:
        assert check_source(source(), Create(None, b"", fork=ForkRequest("source", offset, 0))) == anchor

    def test_an_offset_beyond_the_tail_is_refused(self) -> None:
        with pytest.raises(OffsetBeyondTailError) as refused:
            check_source(source(), Create(None, b"", fork=ForkRequest("source", SOURCE_TAIL + 1, 0)))
        assert (refused.value.offset, refused.value.tail) == (SOURCE_TAIL + 1, SOURCE_TAIL)

    def test_a_soft_deleted_source_is_refused_before_anything_else(self) -> None:
        gone = source()
        gone.state = SOFT_DELETED
        with pytest.raises(SourceGoneError):
            check_source(gone, Create("a/b", b"", fork=ForkRequest("source", 99, 0)))

    @pytest.mark.parametrize("content_type", [None, "text/plain", "TEXT/plain; charset=x"])
    def test_a_content_type_is_inherited(self, content_type: str | None) -> None:
        record = fork_of(source(content_type="text/plain; a=b"), Create(content_type, b"", fork=OF_TAIL))

        assert record.content_type == "text/plain; a=b"

    def test_another_content_type_is_refused(self) -> None:
        with pytest.raises(ContentTypeMismatchError) as refused:
            check_source(source(), Create("text/html", b"", fork=OF_TAIL))
        assert (refused.value.expected, refused.value.received) == ("text/plain", "text/html")

    def test_no_writer_state_is_inherited_nor_closure(self) -> None:
        """§4.2: a fork starts open, and its writers start anew."""
        parent = source(stream_seq="z", closer=Closer("p", 1, 2))
        parent.state = CLOSED
        record = fork_of(parent, Create(None, b"", fork=OF_TAIL))
        child = draft("fork", record)

        assert (record.stream_seq, record.closer) == (None, None)
        assert start(child, SOURCE_TAIL, b"", closed=False).closed is False
        assert not child.closed

    def test_what_was_asked_is_remembered(self) -> None:
        fork = fork_of(source(), Create(None, b"", fork=ForkRequest("source", 4, 2)), sub_offset=2).fork

        assert fork is not None
        assert fork.base == 6
        assert fork == ("source", 7, 4, 2, True, True, (Segment(7, 6),), 1)

    def test_a_creation_that_is_no_fork_has_no_source(self) -> None:
        with pytest.raises(AssertionError):
            check_source(source(), Create(None, b""))
        with pytest.raises(AssertionError):
            fork_record(source(), Create(None, b""), anchor=0, base=0)

    @pytest.mark.parametrize("offset", [None, 0])
    def test_a_chain_has_an_end(self, offset: int | None) -> None:
        """Counted by ancestors: forks at the tail, or of nothing, share one segment however many they are."""
        parent = source()
        for _ in range(FORK_DEPTH_MAX):
            record = fork_of(parent, Create(None, b"", fork=ForkRequest("source", offset, 0)))
            assert record.fork is not None
            assert len(record.fork.lineage) == 1
            parent = draft("source", record, sid=7, tail=record.fork.base)

        with pytest.raises(ForkTooDeepError) as refused:
            check_source(parent, Create(None, b"", fork=OF_TAIL))
        assert refused.value.limit == FORK_DEPTH_MAX == 64


class Bytes(NamedTuple):
    """One incarnation of a chain: its draft, and all bytes a reader of it must see."""

    stream: Draft
    content: bytes


@st.composite
def chains(draw: st.DrawFn) -> list[Bytes]:
    """A chain of forks, each taken anywhere in its source, then grown by bytes of its own."""
    chain: list[Bytes] = []
    for sid in range(draw(st.integers(2, 8))):
        if not chain:
            content, stream = b"", draft(sid=0)
        else:
            parent = chain[-1]
            base = draw(st.integers(0, len(parent.content)))
            request = Create(None, b"", fork=ForkRequest("source", base, 0))
            record = fork_record(parent.stream, request, anchor=base, base=base)
            content, stream = parent.content[:base], draft(record=record, sid=sid)
        content += bytes([65 + sid]) * draw(st.integers(0, 4))
        stream.tail = len(content)
        chain.append(Bytes(stream, content))
    return chain


@given(chains())
def test_a_lineage_leads_to_the_right_bytes(chain: list[Bytes]) -> None:
    """Segments cover ``[0, base)`` without gap, in strictly rising order, each within what its owner stores itself."""
    own = {link.stream.sid: link for link in chain}
    for depth, (stream, content) in enumerate(chain[1:], 1):
        fork = stream.record.fork
        assert fork is not None
        assert fork.depth == depth
        ends = [segment.end for segment in fork.lineage]
        assert ends == sorted(set(ends))
        assert fork.base == ends[-1] <= stream.tail
        stitched, at = b"", 0
        for sid, end in fork.lineage:
            stitched += own[sid].content[at:end]
            owner = own[sid].stream.record.fork
            assert at == end or (owner.base if owner else 0) <= at
            at = end
        assert stitched == content[: fork.base]


@given(chains(), st.data())
def test_a_lineage_reaches_any_base(chain: list[Bytes], data: st.DataObject) -> None:
    parent = chain[-1]
    base = data.draw(st.integers(0, len(parent.content)))

    assert lineage_up_to(parent.stream, base)[-1].end == base


# --- creating what exists already (§5.1, §4.2 Idempotent fork creation) ---

PARENT = {"ttl_s": 1}
REQUESTS = [
    Create(content_type, b"body", closed, *expiry, fork)
    for content_type, closed, expiry, fork in itertools.product(
        (None, "text/plain", "TEXT/Plain; charset=x", "application/octet-stream"),
        (False, True),
        ((None, None), (1, None), (2, None), (None, 5), (None, 6)),
        (
            None,
            OF_TAIL,
            ForkRequest("source", SOURCE_TAIL, 0),
            ForkRequest("source", 3, 0),
            ForkRequest("source", 3, 1),
        ),
    )
]


def made_by(request: Create) -> Draft | None:
    """Return the stream that a request leaves, or ``None`` if it is refused."""
    parent = source(**PARENT)
    try:
        sub_offset = request.fork.sub_offset if request.fork else 0
        record = fork_of(parent, request, sub_offset) if request.fork else new_record(request)
    except ContentTypeMismatchError:
        return None
    made = draft(record=record)
    start(made, record.fork.base if record.fork else 0, b"body", closed=request.closed)
    return made


class Configuration(NamedTuple):
    """What a request asks for, its defaults filled in."""

    media: str
    expiry: tuple[int | None, int | None]
    closed: bool
    fork: tuple[str, int, int] | None


def configuration(request: Create) -> Configuration:
    """By the book: a fork's defaults are its source's type, expiry and tail; any other's are octets and no expiry."""
    fork = request.fork
    media = (request.content_type or ("text/plain" if fork else "application/octet-stream")).split(";")[0].lower()
    expiry = (request.ttl_s, request.expires_at_ms)
    if fork and expiry == (None, None):
        expiry = (PARENT["ttl_s"], None)
    place = None
    if fork:
        place = (fork.source_path, SOURCE_TAIL if fork.offset is None else fork.offset, fork.sub_offset)
    return Configuration(media, expiry, request.closed, place)


def leaves_out_what_the_other_named(first: Create, again: Create) -> bool:
    """Whether the second leaves to the source, which may have moved since, what the first one fixed."""
    if first.fork is None or again.fork is None:
        return False
    named_offset = first.fork.offset is not None and again.fork.offset is None
    named_expiry = (first.ttl_s, first.expires_at_ms) != (None, None) == (again.ttl_s, again.expires_at_ms)
    return named_offset or named_expiry


def test_every_creation_against_every_stream_of_another() -> None:
    matched = 0
    for first, again in itertools.product(REQUESTS, REQUESTS):
        existing = made_by(first)
        if existing is None:
            continue
        before = existing.head(1)
        expected = configuration(first) == configuration(again) and not leaves_out_what_the_other_named(first, again)
        try:
            result = match_existing(existing, again)
        except StreamExistsError:
            assert not expected, (first, again)
        else:
            assert expected, (first, again)
            assert result == (False, existing.record.content_type, existing.tail, existing.closed)
            matched += 1
        assert existing.head(1) == before
    assert matched > len(REQUESTS)


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"content_type": "text/html"}, "content type"),
        ({"content_type": None}, "content type"),
        ({"ttl_s": None}, "TTL or expiry"),
        ({"ttl_s": 2}, "TTL or expiry"),
        ({"ttl_s": None, "expires_at_ms": 1}, "TTL or expiry"),
        ({"closed": True}, "closure status"),
        ({"fork": OF_TAIL}, "fork source"),
    ],
)
def test_a_conflict_names_what_differs(changed: dict[str, object], difference: str) -> None:
    request = Create("text/plain", b"", ttl_s=1)
    existing = draft("a/b", new_record(request))

    assert not match_existing(existing, request).fresh
    with pytest.raises(StreamExistsError) as refused:
        match_existing(existing, request._replace(**changed))  # type: ignore[arg-type] # as the case has them
    assert (refused.value.path, refused.value.difference) == ("a/b", difference)


@pytest.mark.parametrize(
    "other", [None, ForkRequest("elsewhere", 3, 1), ForkRequest("source", 4, 1), ForkRequest("source", 3, 2)]
)
def test_a_fork_of_something_else_conflicts(other: ForkRequest | None) -> None:
    request = Create("text/plain", b"", ttl_s=1, fork=ForkRequest("source", 3, 1))
    existing = draft(record=fork_of(source(), request, 1))

    assert not match_existing(existing, request).fresh
    with pytest.raises(StreamExistsError, match="fork source"):
        match_existing(existing, request._replace(fork=other))


def test_a_closed_stream_matches_only_a_creation_that_closes() -> None:
    """§5.1 Closure status matching: its present status, however it came by it."""
    stream = draft(state=CLOSED)

    assert match_existing(stream, Create("text/plain", b"", closed=True)).closed
    with pytest.raises(StreamExistsError, match="closure status"):
        match_existing(stream, Create("text/plain", b""))


def test_a_body_that_makes_no_sense_is_not_looked_at_where_a_stream_stands() -> None:
    assert match_existing(draft(tail=3), Create("text/plain", StreamError("torn"))).tail == 3


@pytest.mark.parametrize("request_", REQUESTS[:3])
def test_a_soft_deleted_stream_blocks_its_path(request_: Create) -> None:
    with pytest.raises(PathBlockedError) as refused:
        match_existing(draft("a/b", state=SOFT_DELETED | CLOSED), request_)
    assert refused.value.path == "a/b"


@pytest.mark.parametrize("content_type", ["text/plain", "text/html"])
def test_a_creation_that_must_find_nothing_finds_a_stream(content_type: str) -> None:
    """RFC 9110 §13.1.2, whatever the configuration; a deleted stream blocks its path as always."""
    with pytest.raises(AlreadyExistsError) as refused:
        match_existing(draft("a/b", tail=3), Create(content_type, b"", must_not_exist=True))
    assert (refused.value.path, refused.value.tail) == ("a/b", 3)
    with pytest.raises(PathBlockedError):
        match_existing(draft("a/b", state=SOFT_DELETED), Create(content_type, b"", must_not_exist=True))


# --- deleting (§5.4, §4.2 Soft-delete and lifecycle) ---


def test_a_stream_without_forks_goes_at_once() -> None:
    assert decide_delete(draft())


def test_a_stream_with_forks_is_kept_for_them_and_never_expires() -> None:
    stream = draft(record=Record("text/plain", ttl_s=1), refs=1, state=CLOSED)

    assert stream.due_ms == NOW_MS + 1_000
    assert not decide_delete(stream)
    assert stream.soft_deleted
    assert stream.closed
    assert stream.due_ms == 0


def test_a_soft_deleted_stream_is_gone_already() -> None:
    with pytest.raises(GoneError):
        decide_delete(draft(refs=1, state=SOFT_DELETED))


def test_a_reference_that_nobody_holds_cannot_be_released() -> None:
    with pytest.raises(AssertionError):
        release(draft())


@given(st.lists(st.integers(0, 100), min_size=1, max_size=8), st.randoms())
def test_the_last_fork_takes_deleted_ancestors_along_and_nothing_else(parents: list[int], random: Random) -> None:
    """Against a plain rule: a stream is stored as long as it is not deleted or a fork of it is stored."""
    parent_of = {index: parent % index for index, parent in enumerate(parents, 1)}
    streams = {index: draft(str(index)) for index in range(len(parents) + 1)}
    for parent in parent_of.values():
        streams[parent].refs += 1
    stored, deleted = set(streams), set[int]()

    def is_needed(index: int) -> bool:
        return index not in deleted or any(is_needed(child) for child, parent in parent_of.items() if parent == index)

    order = list(streams)
    random.shuffle(order)
    for index in order:
        leaves = decide_delete(streams[index])
        deleted.add(index)
        removed: int | None = index
        while leaves and removed is not None:
            stored.remove(removed)
            removed = parent_of.get(removed)
            leaves = removed is not None and release(streams[removed])
        assert stored == {one for one in streams if is_needed(one)}
    assert not stored


# --- who may append: restrictions set at creation ---

RESTRICTIONS = list(itertools.product((False, True), (False, True)))


def restricted(restrictions: tuple[bool, bool], fork: ForkRequest | None = None) -> Create:
    required, fenced = restrictions
    return Create("text/plain", b"", fork=fork, producer_required=required, write_fenced=fenced)


@pytest.mark.parametrize("asked", RESTRICTIONS)
@pytest.mark.parametrize("held", RESTRICTIONS)
def test_a_fork_is_restricted_as_its_source_and_as_asked(held: tuple[bool, bool], asked: tuple[bool, bool]) -> None:
    record = fork_of(draft("source", new_record(restricted(held))), restricted(asked, OF_TAIL))

    assert (record.producer_required, record.write_fenced) == (held[0] or asked[0], held[1] or asked[1])


@pytest.mark.parametrize("asked", RESTRICTIONS)
@pytest.mark.parametrize("held", RESTRICTIONS)
@pytest.mark.parametrize("fork", [None, OF_TAIL])
def test_restrictions_are_part_of_the_configuration(
    held: tuple[bool, bool], asked: tuple[bool, bool], fork: ForkRequest | None
) -> None:
    """A fork may have inherited what is not asked for; nothing asked for may be missing."""
    record = new_record(restricted(held)) if fork is None else fork_of(source(), restricted(held, fork))
    missing = any(wanted and not stands for wanted, stands in zip(asked, held, strict=True))

    if missing or (fork is None and asked != held):
        with pytest.raises(StreamExistsError, match=r"producer requirement|write fence"):
            match_existing(draft(record=record), restricted(asked, fork))
    else:
        assert not match_existing(draft(record=record), restricted(asked, fork)).fresh
