"""Which addresses a host means: bound for real, and reached."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from durable_streams.cli.serve import startup_text
from durable_streams.runtime.config import ServerConfig
from durable_streams.runtime.listening import bind, first_of, local_url
from tests.http.site import running
from tests.http.wire import request_bytes
from tests.ports import free_port
from tests.serving import ServerProcess

if TYPE_CHECKING:
    from pathlib import Path


def has_ipv6() -> bool:
    try:
        bind("::1", 0)[0].close()
    except OSError:
        return False
    return True


BOTH = ["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"]
ipv6 = pytest.mark.skipif("::1" not in BOTH, reason="this machine has no IPv6")


def reached(bound: list[socket.socket]) -> set[str]:
    """Return on which of the loopback addresses the sockets take connections, and close them."""
    port, found = bound[0].getsockname()[1], set()
    for one in bound:
        one.listen()
    for address in BOTH:
        try:
            socket.create_connection((address, port)).close()
        except ConnectionRefusedError:
            continue
        found.add(address)
    for one in bound:
        one.close()
    return found


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("::", set(BOTH)),
        ("", set(BOTH)),
        ("0.0.0.0", {"127.0.0.1"}),  # noqa: S104 for a moment
        ("127.0.0.1", {"127.0.0.1"}),
        pytest.param("::1", {"::1"}, marks=ipv6),
    ],
)
def test_a_host_means_these_addresses(host: str, addresses: set[str]) -> None:
    assert reached(bind(host, 0)) == addresses
    assert reached(bind(host, free_port())) == addresses


def test_a_name_is_one_port_on_all_its_addresses() -> None:
    places = {place[4][0] for place in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    bound = bind("localhost", 0)

    assert len({one.getsockname()[1] for one in bound}) == 1
    assert reached(bound) == places & set(BOTH)


def test_a_machine_without_a_family_serves_the_other() -> None:
    absent = next(family for family in (socket.AF_APPLETALK, socket.AF_IRDA, socket.AF_X25) if not there(family))

    with closing(first_of([(absent, "::"), (socket.AF_INET, "127.0.0.1")], 0)) as bound:
        assert bound.getsockname()[0] == "127.0.0.1"
    with pytest.raises(OSError, match="not supported"):
        first_of([(absent, "::")], 0)


def there(family: socket.AddressFamily) -> bool:
    try:
        socket.socket(family, socket.SOCK_STREAM).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("taken_at", BOTH)
@pytest.mark.parametrize("host", ["::", "", "localhost"])
def test_a_port_taken_on_one_address_is_taken(host: str, taken_at: str) -> None:
    if host == "localhost" and taken_at not in {place[4][0] for place in socket.getaddrinfo(host, 0)}:
        pytest.skip("this machine's localhost has one address")
    family = socket.AF_INET6 if ":" in taken_at else socket.AF_INET
    with socket.create_server((taken_at, 0), family=family) as taken, pytest.raises(OSError, match="in use"):
        bind(host, taken.getsockname()[1])


def test_what_is_not_here_is_refused() -> None:
    with pytest.raises(OSError, match="assign"):
        bind("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("::", "http://127.0.0.1:{}"),
        ("", "http://127.0.0.1:{}"),
        ("0.0.0.0", "http://127.0.0.1:{}"),  # noqa: S104 as above
        pytest.param("::1", "http://[::1]:{}", marks=ipv6),
        ("localhost", "http://localhost:{}"),
    ],
)
def test_the_url_is_one_that_works(host: str, url: str) -> None:
    bound = bind(host, 0)
    assert local_url(host, bound[0]) == url.format(bound[0].getsockname()[1])
    for one in bound:
        one.close()


@ipv6
def test_a_zone_is_written_as_urls_have_it() -> None:
    with closing(bind("::1", 0)[0]) as bound:
        assert local_url("fe80::1%eth0", bound) == f"http://[fe80::1%25eth0]:{bound.getsockname()[1]}"


@ipv6
def test_one_family_alone_has_its_own_loopback() -> None:
    with closing(bind("::1", 0)[0]) as bound:
        assert local_url("::", bound) == f"http://[::1]:{bound.getsockname()[1]}"


@pytest.mark.parametrize(("host", "reach"), [("::", "all addresses"), ("0.0.0.0", "all IPv4 addresses")])  # noqa: S104
def test_the_startup_text_says_how_far_it_is_heard(host: str, reach: str) -> None:
    text = startup_text("http://127.0.0.1:1/", ServerConfig(host=host), durable=True)
    assert f"\n  listens on  {reach}\n" in text
    assert "listens on" not in startup_text("http://127.0.0.1:1/", ServerConfig(), durable=True)


@pytest.mark.parametrize("lane", [True, False])
@pytest.mark.parametrize("host", ["::", "localhost"])
async def test_the_server_answers_on_all_of_them(tmp_path: Path, host: str, *, lane: bool) -> None:
    local = {str(place[4][0]) for place in socket.getaddrinfo("localhost", 0)}
    addresses = local & set(BOTH) if host == "localhost" else set(BOTH)
    async with running(tmp_path, host=host, lane=lane) as site:
        port = int(site.client.origin.rpartition(":")[2])
        for address in addresses:
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(request_bytes("GET", "/healthz"))
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            writer.close()
        assert (await site.client.send("GET", "/healthz")).status == 200, "the URL that it says works"


@pytest.mark.slow
def test_serve_prints_a_url_that_works(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, engine="memory", arguments=["--host", "::"])
    with server:
        assert server.stdout.startswith(f"Durable Streams at http://127.0.0.1:{server.port}/v1/stream\n")
        for address in BOTH:
            socket.create_connection((address, server.port)).close()
