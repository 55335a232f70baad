"""A parser of server-sent events, by the algorithm of the WHATWG HTML standard §9.2.6, for what servers send."""

from __future__ import annotations

import re


def parse_events(stream: bytes) -> list[tuple[str, str]]:
    """Return the (type, data) of every event that a browser would dispatch."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = re.split("\r\n|\r|\n", text)
    events: list[tuple[str, str]] = []
    event_type = data = ""
    for line in lines[:-1]:  # an unfinished last line is not looked at
        if not line:
            if data:
                events.append((event_type or "message", data.removesuffix("\n")))
            event_type = data = ""
            continue
        field, colon, value = line.partition(":")
        if colon and not field:
            continue  # a comment
        value = value.removeprefix(" ")
        if field == "event":
            event_type = value
        elif field == "data":
            data += value + "\n"
    return events
