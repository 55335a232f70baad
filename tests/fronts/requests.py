"""Generated requests: the usual, the odd and the wrong, as raw bytes."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field, replace

PATHS = [
    "a",
    "b",
    "c/d",
    "json",
    "json2",
    "bin",
    "%61",
    "sp%20ace",
    "%C3%BC",
    "a/",
    "..",
    "%2E%2E/x",
    "__ds/x",
    "__ds",
    "%00",
]
CONTENT_TYPES = ["text/plain", "application/json", "Application/JSON; charset=utf-8", "application/octet-stream", ""]
OFFSETS = [
    *("-1", "now", "0" * 16, "0" * 15 + "3", "9" * 16, "", "1", "%31", "-1&offset=now"),
    *("0" * 16 + "_" + "0" * 16, "0" * 16 + "_" + "0" * 15 + "3", "0" * 15 + "1_" + "0" * 16),
]
JSON_BODIES = [b'{"a":1}', b"[1,2,3]", b"[]", b"null", b' [ 1.0 , {"x":[1e5]} ] ', b"{", b"NaN", b"1 2", b'"\\ud800"']
FORK_SOURCES = ["/v1/stream/a", "/v1/stream/json", "/v1/stream/none", "a", "/other/a", "/v1/stream/../a"]
ODD_FIELDS = [
    ("Expect", "100-continue"),
    ("Expect", "something"),
    ("Connection", "close"),
    ("Connection", "keep-alive"),
    ("Connection", "Upgrade"),
    ("Upgrade", "h2c"),
    ("Accept-Encoding", "gzip, br"),
    ("X-Anything", "ü"),
    ("X-Anything", "\udcff"),
    ("Producer-Id", "\udcff"),
    ("Producer-Id", "ü"),
    ("Stream-Seq", "7"),
    ("stream-seq", "\udcfc"),
    ("If-None-Match", '"x", *'),
    ("If-None-Match", "*"),
    ("Stream-Closed", ""),
    ("STREAM-CLOSED", "true"),
    ("X-Folded", "a\r\n b"),
    ("Stream-Seq", "8\r\n\t9"),
    ("Cookie", "a=b"),
    ("Host", "second"),
    ("Content-Length", "3"),
    ("Content-Length", "-1"),
    ("Content-Length", "0003"),
    ("Content-Length", "0" * 5000 + "3"),
    ("Content-Length", "4x"),
    ("Content-Encoding", "identity"),
    ("TE", "trailers"),
    ("Producer-Id", "again"),
    ("content-TYPE", "text/html"),
    ("X-Empty", ""),
    ("Bad Name", "x"),
    ("X-Nul", "a\0b"),
    ("X-Long", "y" * 9000),
]


BLANKS = ["", " ", " ", "\t", "  ", " \t", "\t \t"]
"""What may stand on either side of a value, and is no part of it."""


@dataclass
class Raw:
    """One request as bytes. ``method`` tells the reader whether the answer has a body.

    blanks: before and after the values, of one field after another and again from the first.
    """

    method: str
    target: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    version: str = "HTTP/1.1"
    line_end: str = "\r\n"
    blanks: tuple[tuple[str, str], ...] = ((" ", ""),)
    bytes: bytes = field(init=False)

    def __post_init__(self) -> None:
        around = zip(self.fields, itertools.cycle(self.blanks), strict=False)
        lines = [f"{name}:{before}{value}{after}" for (name, value), (before, after) in around]
        head = self.line_end.join([f"{self.method} {self.target} {self.version}", *lines, "", ""])
        self.bytes = head.encode("utf-8", "surrogateescape") + self.body


class Maker:
    """Makes requests from one seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def usual(self) -> Raw:
        """Return a request that nothing is odd about, whatever it asks for."""
        return self._blanked(self._random.choices([self._append, self._get, self._put], [5, 5, 3])[0]())

    def request(self) -> Raw:
        """Return the next request: mostly usual, sometimes with something odd about it."""
        raw = self._random.choices([self._append, self._get, self._put, self._other], [5, 5, 3, 2])[0]()
        if self._chance(0.12):
            raw = self._odd(raw)
        return self._blanked(raw)

    def _blanked(self, raw: Raw) -> Raw:
        """Return the request with blanks of all kinds around half of the values or more, or as it is."""
        if self._chance(0.5):
            return raw
        pairs = [(self._random.choice(BLANKS), self._random.choice(BLANKS)) for _ in raw.fields]
        return replace(raw, blanks=tuple(pairs) or raw.blanks)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _target(self) -> str:
        path = self._random.choice(PATHS[:6] if self._chance(0.85) else PATHS)
        return f"/v1/stream/{path}"

    def _append(self) -> Raw:
        kind = self._random.choice(CONTENT_TYPES)
        json = "json" in kind.lower()
        body = self._random.choice(JSON_BODIES) if json else self._random.randbytes(self._random.choice([0, 1, 5, 300]))
        fields = [("Host", "h"), *([("Content-Type", kind)] if kind else [])]
        if self._chance(0.3):
            epoch, seq = self._random.choice(["0", "0", "1", "x"]), self._random.choice(["0", "1", "2", "3", "-1"])
            fields += [("Producer-Id", self._random.choice("pq")), ("Producer-Epoch", epoch), ("Producer-Seq", seq)]
            if self._chance(0.2):
                fields.pop()
        if self._chance(0.1):
            fields.append(("Stream-Seq", self._random.choice(["1", "2", "10", "", "é"])))
        if self._chance(0.06):
            fields.append(("Stream-Closed", self._random.choice(["true", "TRUE", "yes"])))
        return Raw("POST", self._target(), self._sized(fields, body), body)

    def _put(self) -> Raw:
        fields = [("Host", "h")]
        if self._chance(0.8):
            fields.append(("Content-Type", self._random.choice(CONTENT_TYPES)))
        if self._chance(0.2):
            fields.append(("Stream-TTL", self._random.choice(["60", "060", "0.5", "9" * 16])))
        if self._chance(0.1):
            fields.append(("Stream-Expires-At", self._random.choice(["2100-01-01T00:00:00Z", "soon"])))
        if self._chance(0.1):
            fields.append(("Stream-Closed", "true"))
        if self._chance(0.2):
            fields.append(("Stream-Forked-From", self._random.choice(FORK_SOURCES)))
            if self._chance(0.5):
                fields.append(("Stream-Fork-Offset", self._random.choice(OFFSETS)))
            if self._chance(0.3):
                fields.append(("Stream-Fork-Sub-Offset", self._random.choice(["0", "1", "9", "x"])))
        body = self._random.choice([b"", b"", b"[1]", b"text"])
        return Raw("PUT", self._target(), self._sized(fields, body), body)

    def _get(self) -> Raw:
        query = []
        if self._chance(0.7):
            query.append(f"offset={self._random.choice(OFFSETS)}")
        if self._chance(0.2):
            query.append(f"live={self._random.choice(['long-poll', 'long-poll', 'x', ''])}")
        if self._chance(0.15):
            query.append(f"tail={self._random.choice(['0', '1', '5', '-1', '99999'])}")
        if self._chance(0.15):
            query.append(f"max-bytes={self._random.choice(['1', '7', '100', '99999', '0', 'x', ''])}")
        if self._chance(0.1):
            query.append(self._random.choice(["cursor=5", "unknown=1", "a+b=c", "x", "=", "cursor=%35", "offset"]))
        fields = [("Host", "h")]
        if self._chance(0.1):
            fields.append(("If-None-Match", self._random.choice(["*", '"x"', 'W/"1:0:0"'])))
        return Raw("GET", self._target() + ("?" + "&".join(query) if query else ""), fields)

    def _other(self) -> Raw:
        method = self._random.choice(["HEAD", "HEAD", "HEAD", "DELETE", "OPTIONS", "PATCH", "TRACE", "get"])
        target = self._random.choice([self._target()] * 4 + ["/healthz", "/readyz", "/", "/v1/stream", "/v1/stream/"])
        if self._chance(0.2):
            limit, prefix = self._random.choice(["2", "0", "x"]), self._random.choice("aj")
            method, target = "GET", f"/v1/stream/__ds/streams?limit={limit}&prefix={prefix}"
        return Raw(method, target, [("Host", "h")])

    def _odd(self, raw: Raw) -> Raw:
        match self._random.randrange(8):
            case 0:
                return Raw(raw.method, raw.target, raw.fields, raw.body, version="HTTP/1.0")
            case 1:
                return Raw(raw.method, raw.target, raw.fields[1:], raw.body)
            case 2:
                return Raw(raw.method, "http://h" + raw.target, raw.fields, raw.body)
            case 3 if raw.method in {"POST", "PUT"}:
                chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (raw.body[:3], raw.body[3:]) if part)
                kept = [pair for pair in raw.fields if pair[0] != "Content-Length"]
                return Raw(raw.method, raw.target, [*kept, ("Transfer-Encoding", "chunked")], chunked + b"0\r\n\r\n")
            case 4:
                return Raw(raw.method, raw.target + "#frag", raw.fields, raw.body)
            case _:
                at, added = self._random.randrange(len(raw.fields) + 1), self._random.choice(ODD_FIELDS)
                fields = [*raw.fields[:at], added, *raw.fields[at:]]
                # A length without a body would have both fronts wait for it.
                body = raw.body or (b"abc" if added[0] == "Content-Length" else b"")
                return Raw(raw.method, raw.target, fields, body)

    @staticmethod
    def _sized(fields: list[tuple[str, str]], body: bytes) -> list[tuple[str, str]]:
        return [*fields, ("Content-Length", str(len(body)))]
