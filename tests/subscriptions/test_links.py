"""Links in the store: what their rows say, and committed ones together with what a batch has changed."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from durable_streams.engine.base import ProducerRow
from durable_streams.engine.memory import MemoryEngine
from durable_streams.subscriptions.links import PAGE, LinkRow, decode_link, encode_link, load_links
from durable_streams.subscriptions.matcher import EXPLICIT, GLOB
from tests.engine.heads import create, head

SID = 7
MANY = {f"m{number:04}": LinkRow(GLOB, number) for number in range(PAGE + 1)}
"""More than the store gives at once; the last of the first lot is ``m0999``."""

rows = st.builds(LinkRow, st.sampled_from([GLOB, EXPLICIT, GLOB | EXPLICIT]), st.integers(0, 2**63 - 1))
paths = st.text(st.sampled_from("ab/é\U0001f600"), min_size=1, max_size=3)


@pytest.mark.slow
@given(rows)
def test_a_row_says_what_was_put_into_it(row: LinkRow) -> None:
    """As a batch has it, and as the store gives it."""
    numbers = encode_link(row)
    assert decode_link(numbers) == row
    assert decode_link(ProducerRow("a", *numbers)) == row
    assert row.is_explicit == (row.bits != GLOB)


@pytest.mark.slow
@given(st.dictionaries(paths, rows), st.dictionaries(paths, st.none() | rows), st.just("") | paths)
@example(MANY, {"m0999": None, "m0999/": LinkRow(EXPLICIT, 1), "m1000": LinkRow(EXPLICIT, 2), "n": MANY["m0001"]}, "")
@example(MANY, {"m0000": None, "m0999": LinkRow(EXPLICIT, 1), "m1000": None}, "m0000")
def test_changed_links_take_the_place_of_committed_ones(
    committed: dict[str, LinkRow], changed: dict[str, LinkRow | None], after: str
) -> None:
    engine = MemoryEngine()
    producers = [ProducerRow(path, *encode_link(row)) for path, row in committed.items()]
    engine.commit([[create(head("s", SID), producers=producers)]])
    overlay = {path: None if row is None else encode_link(row) for path, row in changed.items()}
    standing = {path: row for path, row in {**committed, **changed}.items() if row is not None}
    shown = sorted((path for path in standing if path.encode() > after.encode()), key=str.encode)

    loaded = list(load_links(engine, SID, overlay, after=after))

    assert [(link.path, LinkRow(link.bits, link.acked)) for link in loaded] == [
        (path, standing[path]) for path in shown
    ]
