"""Requests that no state of a stream makes valid (§4.1 to §5.7, §8, §9.1), one row each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PRODUCER = {"Producer-Id": "p", "Producer-Epoch": "0", "Producer-Seq": "0"}
TOO_DEEP = b"[" * 1001 + b"]" * 1001
BEYOND_2_53 = "9007199254740992"


@dataclass(frozen=True)
class Refusal:
    """A request to any open stream. `json_only`: to a JSON stream; `untyped`: its body comes without a content type."""

    method: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    query: Mapping[str, str] = field(default_factory=dict)
    json_only: bool = False
    untyped: bool = False


REFUSALS = [
    *(Refusal("GET", query={"offset": token}) for token in ("", "abc", "-2", "NOW", "1", "0,1", "0" * 300)),
    *(Refusal("GET", query={"tail": count}) for count in ("", "-1", "x", "10001", "1.0")),
    Refusal("GET", query={"tail": "1", "offset": "-1"}),
    *(Refusal("GET", query={"max-bytes": size}) for size in ("", "0", "-1", "x", "1.5", "0" * 17)),
    Refusal("GET", query={"live": "long-poll"}),
    Refusal("GET", query={"live": "sse"}),
    Refusal("GET", query={"live": "yes", "offset": "-1"}),
    Refusal("POST"),
    Refusal("POST", {"Stream-Closed": "1"}),
    Refusal("POST", body=b"1", untyped=True),
    *(Refusal("POST", {k: v for k, v in PRODUCER.items() if k != left_out}, b"1") for left_out in PRODUCER),
    Refusal("POST", PRODUCER | {"Producer-Id": ""}, b"1"),
    Refusal("POST", PRODUCER | {"Producer-Id": "x" * 401}, b"1"),
    *(
        Refusal("POST", PRODUCER | {name: value}, b"1")
        for name in ("Producer-Epoch", "Producer-Seq")
        for value in ("", "-1", "1.0", "1e2", "x", BEYOND_2_53)
    ),
    *(
        Refusal("POST", body=body, json_only=True)
        for body in (b"{", b"[]", b" [ ] ", b"NaN", b"[1,]", b"1 2", b'"\xff"', b"\xef\xbb\xbf1", TOO_DEEP)
    ),
    *(Refusal("PUT", {"Stream-TTL": ttl}) for ttl in ("", "-1", "+1", "01", "1.5", "1e3", "x")),
    *(Refusal("PUT", {"Stream-Expires-At": at}) for at in ("", "tomorrow", "2030-01-01", "2030-13-01T00:00:00Z")),
    Refusal("PUT", {"Stream-TTL": "60", "Stream-Expires-At": "2100-01-01T00:00:00Z"}),
    Refusal("PUT", {"Stream-Fork-Offset": "-1"}),
    Refusal("PUT", {"Stream-Fork-Sub-Offset": "1"}),
    *(
        Refusal("PUT", {"Stream-Forked-From": "/v1/stream/a", "Stream-Fork-Sub-Offset": count})
        for count in ("", "-1", "1.0", "x")
    ),
    Refusal("PUT", {"Stream-Forked-From": "/v1/stream/a", "Stream-Fork-Offset": "abc"}),
]
