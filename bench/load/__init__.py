"""Load generators: processes of their own, on uvloop and raw HTTP, so that they cost less than what they measure."""

from __future__ import annotations

from typing import Any

from bench.load.appenders import AppendLoad
from bench.load.followers import FollowLoad
from bench.load.page_readers import PageLoad
from bench.load.pollers import PollLoad
from bench.load.streamers import BatchLoad, StreamingLoad
from bench.load.writers import PacedWriter

KINDS: dict[str, Any] = {
    "append": AppendLoad,
    "batch": BatchLoad,
    "follow": FollowLoad,
    "pages": PageLoad,
    "poll": PollLoad,
    "stream": StreamingLoad,
    "write": PacedWriter,
}
"""By the name that a task is sent under."""
