from __future__ import annotations

from durable_streams.protocol import headers
from durable_streams.protocol.response_fields import EXPOSED, OF_THE_BROWSER, OF_THE_CONNECTION, SAFELISTED, SENT


def test_a_field_is_sent_for_one_reader() -> None:
    """For scripts, anyway or because they are allowed to; for hops; or for the browser itself."""
    assert len({name.lower() for name in SENT}) == len(SENT)
    assert sorted(SENT) == sorted([*EXPOSED, *SAFELISTED, *OF_THE_CONNECTION, *OF_THE_BROWSER])


def test_what_the_protocol_sends_is_exposed() -> None:
    """§12.7: a script gets to read the protocol's own fields."""
    assert {name for name in SENT if name.startswith(("Stream-", "Producer-"))} <= set(EXPOSED)
    assert headers.STREAM_NEXT_OFFSET in EXPOSED
