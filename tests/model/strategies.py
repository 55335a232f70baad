"""What the model test asks for: few paths and values, so that requests meet each other."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.model.streams import JSON, OCTETS, TEXT, Body, Stream, Triple

PATHS = ("a", "b", "b/c", "b/d%20e", "%C3%A9")
PLACES = st.integers(0, 23)
"""A path: nearly always one where something stands, or where nothing does. See `Harness.path`, `Harness.free_path`."""
RARELY = st.sampled_from([False] * 11 + [True])
CONTENT_TYPES = st.sampled_from([None, JSON, "application/json; charset=utf-8", TEXT, OCTETS])
PRODUCERS = st.sampled_from(["p", "q/é"])
STREAM_SEQS = st.sampled_from(["1", "10", "2", "a", "~"])
PICK_MAX = 40
PICKS = st.integers(0, PICK_MAX)
LIFETIMES = st.sampled_from([*[None] * 8, ("ttl", 2), ("ttl", 64), ("ttl", 3600), ("at", 3), ("at", 600)])
FIRST_TYPES = st.sampled_from([JSON, JSON, TEXT, OCTETS])

_MESSAGES = st.sampled_from(
    [
        b"1",
        b"12345678901234567890",
        b"1.0",
        b"1e5",
        b"null",
        b'""',
        b'"],["',
        b'"\\u00e9\\ud83d\\ude00 \\"quoted\\""',
        '"é—𝄞"'.encode(),
        b'{"a":1,"a":2}',
        b'{ "b" : [ 1 , [2] ] , "a" : {} }',
        b'{"k":"' + b"x" * 90 + b'"}',
    ]
)
_BYTES = st.sampled_from([b"x", b"\r\n", b"\x00\xff", "é𝄞".encode(), b"0123456789" * 5, b"abc" * 60])


@st.composite
def bodies(draw: st.DrawFn, *, empty: bool = False) -> tuple[Body, Body]:
    """A JSON body and one of plain bytes: the machine sends the one that fits the stream."""
    if empty and draw(st.integers(0, 11)) == 11:
        return Body(), Body()
    messages = draw(st.lists(_MESSAGES, min_size=1, max_size=4))
    if len(messages) == 1 and draw(st.booleans()):
        raw = b" " + messages[0] + b"\n"
    else:
        raw = draw(st.sampled_from([b"[%s]", b" [ %s\r\n] "])) % draw(st.sampled_from([b",", b" ,\t"])).join(messages)
    return Body(raw, tuple(messages)), Body(draw(_BYTES))


def next_triple(stream: Stream | None, producer_id: str, move: str) -> Triple:
    """Turn a move into a triple: what this producer does next, seen from what the stream holds of it."""
    epoch, seq = (stream.producers if stream else {}).get(producer_id, (0, -1))
    moves = {
        "next": (epoch, seq + 1),
        "again": (epoch, max(seq, 0)),
        "older": (epoch, max(seq - 1, 0)),
        "gap": (epoch, seq + 3),
        "restart": (epoch + 1, 0),
        "restart late": (epoch + 1, 2),
        "zombie": (max(epoch - 1, 0), seq + 1),
    }
    return Triple(producer_id, *moves[move])


MOVES = st.lists(
    st.sampled_from(["next"] * 3 + ["again", "older", "gap", "restart", "restart late", "zombie"]),
    min_size=1,
    max_size=5,
)
