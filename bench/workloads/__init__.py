"""All workloads, in the order of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.workloads.appends import Appends, JsonBatches, LargeAppends, LoneAppend
from bench.workloads.catch_up import LargeBinary, SmallMessages
from bench.workloads.extensions import BatchAppends, StreamingAppends
from bench.workloads.fan_out import IdleReaders, LongPolls, SseFanOut, Tokens
from bench.workloads.mixed import AppendWhileRead
from bench.workloads.presence import Creates, MillionStreams

if TYPE_CHECKING:
    from bench.workloads.base import Workload

WORKLOADS: tuple[Workload, ...] = (
    LoneAppend(),
    Appends(16),
    Appends(64, quick=True),
    Appends(256, quick=True),
    Appends(64, 64),
    Appends(64, producers=True),
    JsonBatches(),
    LargeAppends(),
    BatchAppends(1, quick=True),
    BatchAppends(8),
    StreamingAppends(lines=True),
    StreamingAppends(lines=False),
    SmallMessages(1, packed=False),
    SmallMessages(1, packed=True),
    SmallMessages(16, packed=True),
    LargeBinary(1),
    LargeBinary(16),
    SseFanOut(100),
    SseFanOut(100, held=10_000),
    SseFanOut(1_000, quick=True),
    SseFanOut(5_000),
    LongPolls(),
    Tokens(),
    IdleReaders(),
    Creates(),
    MillionStreams(),
    AppendWhileRead(),
)
