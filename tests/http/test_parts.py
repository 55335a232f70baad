"""Parts that are joined once."""

from __future__ import annotations

from durable_streams.http.parts import PARTS_MAX, Parts


def test_however_small_they_are_they_come_out_as_one() -> None:
    parts = Parts()
    sent = bytes(number % 251 for number in range(3 * PARTS_MAX + 7))
    for byte in sent:
        parts.add(bytes([byte]))
    parts.add(b"")
    assert parts.size_bytes == len(sent)
    assert len(parts._loose) + len(parts._joined) <= 7 + 3
    assert parts.take() == sent
    assert (parts.size_bytes, parts.take()) == (0, b"")


def test_a_single_part_is_not_copied() -> None:
    parts, part = Parts(), bytes(100)
    parts.add(part)
    assert parts.take() is part
