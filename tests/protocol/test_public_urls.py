from __future__ import annotations

import pytest

from durable_streams.protocol.errors import InvalidHeaderError
from durable_streams.protocol.public_urls import (
    Forwarded,
    check_authority,
    parse_forwarded,
    parse_public_url,
    parse_x_forwarded,
)

HOSTS = [
    "h",
    "h:",
    "[::1]:",
    "a%20b",
    "h:65535",
    "example.org",
    "example.org:443",
    "my_service:4437",
    "1.2.3.4",
    "[::1]",
    "[::1]:80",
    "[fe80::1%25eth0]:1",
]
NO_HOSTS = ["a b", "h/x", "h\\x", "h:x", "h:123456", "u@h", "ü", "[::1", "::1", "h?x", "h#x", ":80", "h\n", '"h"', "h<"]


@pytest.mark.parametrize("host", [*HOSTS, ""])
def test_a_host(host: str) -> None:
    assert check_authority(host) == host


@pytest.mark.parametrize("host", [*NO_HOSTS, "a:65536", "[::1]:99999", "%zz", "a%4", "[1]", "[:::1]", "[fe80:%eth0]"])
def test_no_host(host: str) -> None:
    with pytest.raises(InvalidHeaderError) as refused:
        check_authority(host)
    assert refused.value.name == "Host"


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("path", ["", "/", "/prefix", "/a/b-c/", "/%C3%BC", "/..a"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_public_url_ends_without_a_slash(scheme: str, host: str, path: str) -> None:
    assert parse_public_url(f"{scheme}://{host}{path}") == f"{scheme}://{host}{path.rstrip('/')}"


@pytest.mark.parametrize(
    "url",
    [
        "example.org",
        "ftp://example.org",
        "https://",
        "https:///a",
        "https://h//",
        "https://h//a",
        "https://h/a?b",
        "https://h/a#b",
        "https://h/../a",
        "https://h/a/.",
        "https://u:p@h",
        "https://h/a b",
        "",
        *(f"https://{host}" for host in NO_HOSTS if host != "h/x"),
    ],
)
def test_no_public_url(url: str) -> None:
    with pytest.raises(ValueError, match="is not of the form"):
        parse_public_url(url)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", Forwarded()),
        (" , ", Forwarded()),
        ("for=1.2.3.4", Forwarded()),
        ("proto=https", Forwarded("https")),
        ("Proto=HTTPS ; HOST=example.org;by=_x", Forwarded("https", "example.org")),
        ('host="example.org:8443"', Forwarded(None, "example.org:8443")),
        ('host="exam\\ple.org"', Forwarded(None, "example.org")),
        ('for="a,b;c\\"d";host=h', Forwarded(None, "h")),
        ("host=evil;proto=http, host=good", Forwarded(None, "good")),
        ("host=good, ", Forwarded(None, "good")),
        (";host=good;", Forwarded(None, "good")),
        ('host=""', Forwarded()),
    ],
)
def test_the_nearest_proxy_is_believed(value: str, said: Forwarded) -> None:
    assert parse_forwarded({"Forwarded": value}) == said
    assert parse_forwarded({}) == Forwarded()


@pytest.mark.parametrize(
    "value",
    [
        "https",
        "proto=",
        "proto=ftp",
        "host=a b",
        "host=h/x",
        "host=example.org:80",
        'host="h',
        'host="u@h"',
        "host=a;host=b",
        "host=a;Host=a",
        "=x",
        "a b=c",
        'x="a"b',
        "host=ü",
        "host=h\n",
        "proto=javascript",
    ],
)
def test_a_malformed_word_of_a_proxy_is_refused(value: str) -> None:
    with pytest.raises(InvalidHeaderError) as refused:
        parse_forwarded({"Forwarded": value})
    assert refused.value.name == "Forwarded"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, Forwarded()),
        ({"Proto": "https"}, Forwarded("https")),
        ({"Proto": "http, HTTPS", "Host": "evil, h:1", "Prefix": "/evil,\t/a/b/"}, Forwarded("https", "h:1", "/a/b")),
        ({"Proto": "", "Host": "", "Prefix": ""}, Forwarded()),
        ({"Prefix": "/"}, Forwarded()),
        ({"Host": "evil, "}, Forwarded()),
    ],
)
def test_what_the_other_family_says(fields: dict[str, str], said: Forwarded) -> None:
    assert parse_x_forwarded({f"X-Forwarded-{name}": value for name, value in fields.items()}) == said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Proto", "ftp"),
        ("Proto", "https://"),
        ("Host", "a b"),
        ("Host", "h/x"),
        ("Host", "u@h"),
        ("Prefix", "a"),
        ("Prefix", "//evil.example"),
        ("Prefix", "/a/../b"),
        ("Prefix", "/a?b"),
        ("Prefix", "https://h/a"),
        ("Prefix", "/a b"),
    ],
)
def test_the_other_family_malformed(name: str, value: str) -> None:
    with pytest.raises(InvalidHeaderError) as refused:
        parse_x_forwarded({f"X-Forwarded-{name}": value})
    assert refused.value.name == f"X-Forwarded-{name}"
