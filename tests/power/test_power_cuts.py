"""A power cut takes back nothing acknowledged, tears and doubles nothing, and leaves no directory that never starts."""

from __future__ import annotations

import os
import random
import sys
from typing import TYPE_CHECKING

import pytest

from tests.power.cuts import cut
from tests.power.disk import PAGE, File
from tests.power.recording import can_record, record

if TYPE_CHECKING:
    from tests.power.recording import Recording

IMAGES = int(os.environ.get("POWER_IMAGES", "300"))
SEED = 20_261_128

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("power"),  # one recording for all
    pytest.mark.skipif(sys.platform != "linux" or not can_record(), reason="needs a C compiler, and Linux"),
]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """What a real server did, from its very first start on."""
    return record(tmp_path_factory.mktemp("power"), SEED)


def test_the_recording_has_what_is_to_be_cut(recording: Recording) -> None:
    kinds = [op.kind for op in recording.ops]
    assert kinds[0] == "M"
    assert min(kinds.count("S"), kinds.count("D")) > 50
    assert all(len(stream.acks) == len(stream.sent) > 40 for stream in recording.streams)


def test_nothing_acknowledged_is_lost_whatever_reached_the_disk(recording: Recording) -> None:
    assert cut(recording, IMAGES, SEED) == []


@pytest.mark.parametrize(
    ("lies", "expected"),
    [("S", "does not start"), ("D", "were acknowledged"), ("Y", "is lost")],
    ids=["files are not synced", "meta pages are not synced", "directories are not synced"],
)
def test_a_sync_that_is_left_out_is_noticed(recording: Recording, lies: str, expected: str) -> None:
    """Each of them is needed, and what looks for its absence finds it."""
    found = cut(recording, 60, SEED, lies=lies)
    assert any(expected in line for line in found), found


def test_a_file_keeps_what_was_synced() -> None:
    """The simulation itself: pages synced stay, others come and go."""
    file = File()
    file.write(0, b"a" * 2 * PAGE)
    file.sync()
    file.write(PAGE, b"b" * PAGE)
    seen = {bytes(file.left(random.Random(seed), 0.5)) for seed in range(200)}
    assert all(image[:PAGE] == b"a" * PAGE and len(image) == 2 * PAGE for image in seen)
    assert {b"a" * 2 * PAGE, b"a" * PAGE + b"b" * PAGE} < seen
    file.sync()
    assert {bytes(file.left(random.Random(seed), 0.0)) for seed in range(9)} == {b"a" * PAGE + b"b" * PAGE}
