from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from durable_streams.protocol.transfer import CHUNKED, UNTIL_CLOSE, as_is, chunk

pieces = st.lists(st.binary(max_size=300), max_size=6)


def bodies_of(stream: bytes) -> list[bytes]:
    """Return the chunks of a chunked body, which must end with the last one (RFC 9112 §7.1)."""
    found: list[bytes] = []
    while True:
        size, _, stream = stream.partition(b"\r\n")
        body, end, stream = stream[: int(size, 16)], stream[int(size, 16) :][:2], stream[int(size, 16) + 2 :]
        assert end == b"\r\n"
        if not body:
            assert stream == b""
            return found
        found.append(body)


@given(st.lists(pieces, max_size=5))
@example([[b"x" * 15], [b"x" * 16], [b"\r\n0\r\n\r\n"]])
@example([[], [b""], [b"", b"a", b""]])
def test_every_piece_is_one_chunk_and_nothing_is_none(written: list[list[bytes]]) -> None:
    """An empty chunk would end the body."""
    whole = b"".join(chunk(*parts) for parts in written) + CHUNKED.end

    assert bodies_of(whole) == [b"".join(parts) for parts in written if any(parts)]


@given(pieces)
def test_until_the_connection_closes_nothing_is_added(parts: list[bytes]) -> None:
    assert as_is(*parts) + UNTIL_CLOSE.end == b"".join(parts)


def test_the_connection_ends_with_the_body_in_either_case() -> None:
    assert (CHUNKED.framed, UNTIL_CLOSE.framed) == (chunk, as_is)
    assert dict(CHUNKED.fields) == {"Transfer-Encoding": "chunked", "Connection": "close"}
    assert dict(UNTIL_CLOSE.fields) == {"Connection": "close"}
