"""§12.8: what webhooks must not reach, by URL and by the address at connect time."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.delivery.guard import ForbiddenAddressError, check_url, guarded_socket, is_public
from durable_streams.delivery.webhooks import WebhookClient
from durable_streams.protocol.subscription import Event, Phase, Subscription
from durable_streams.protocol.subscription_config import Config, Kind
from durable_streams.protocol.subscription_errors import WebhookUrlRejectedError
from durable_streams.runtime.clock import ManualClock
from durable_streams.subscriptions.keys import Keyring
from durable_streams.subscriptions.wake_commands import Attempt

if TYPE_CHECKING:
    from tests.subscriptions.receiver import Receiver

PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",  # noqa: S104 to be refused
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001:0:7f00:1::1",
    "2001:db8::1",
    "64:ff9b:1::7f00:1",
    "::ffff:0:7f00:1",
    "fec0::1",
    "5f00::1",
    "3fff::1",
    "192.0.0.8",
    "192.88.99.1",
]
PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101"]


def host_of(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused_in_urls_and_when_connecting(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    with pytest.raises(WebhookUrlRejectedError):
        check_url(f"https://{host_of(address)}/hook", allow_local=False)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(ForbiddenAddressError):
        guarded_socket(allow_local=False)((family, socket.SOCK_STREAM, 6, "", (address, 443)))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    check_url(f"https://{host_of(address)}/hook", allow_local=False)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    guarded_socket(allow_local=False)((family, socket.SOCK_STREAM, 6, "", (address, 443))).close()


@given(st.ip_addresses(v=4))
def test_an_address_is_as_private_in_any_disguise(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    disguises = [
        ipaddress.IPv6Address(0xFFFF << 32 | number),
        ipaddress.IPv6Address((0x64FF9B << 96) | number),
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80)),
    ]
    if not is_public(address):
        assert not any(map(is_public, disguises))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "//example.com/",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "https://example.com/#fragment",
        "https://example.com:port/",
        "https://example.com:99999/",
        "https://exa mple.com/",
        "https://example.com\\@10.0.0.1/",
        "https://exämple.com/",
        "https://[::1/",
        "https://localhost/",
        "https://localhost./",
        "https://a.localhost/",
        "https://metadata.google.internal/",
        "https://printer.local/",
        "https://intranet/",
        "https://127.1/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://1.0x7f/",
        "https://example.com/\r\nX: y",
    ],
)
def test_what_is_no_public_https_url(url: str) -> None:
    with pytest.raises(WebhookUrlRejectedError):
        check_url(url, allow_local=False)


@pytest.mark.parametrize("url", ["https://hooks.example.com/a?b=c", "https://example.com:8443/"])
def test_what_is_one(url: str) -> None:
    check_url(url, allow_local=False)


@pytest.mark.parametrize(
    ("url", "passes"),
    [
        ("http://localhost:8080/", True),
        ("http://127.0.0.5/", True),
        ("https://127.0.0.1/", True),
        ("http://[::1]/", True),
        ("http://10.0.0.1/", False),
        ("https://10.0.0.1/", False),
        ("http://example.com/", False),
        ("https://169.254.169.254/", False),
        ("https://a.localhost/", False),
        ("https://[::ffff:10.0.0.1]/", False),
    ],
)
def test_for_development_loopback_is_allowed_and_nothing_else(url: str, *, passes: bool) -> None:
    if passes:
        check_url(url, allow_local=True)
        return
    with pytest.raises(WebhookUrlRejectedError):
        check_url(url, allow_local=True)


async def sent(url: str, *, allow_local: bool) -> Event:
    """Deliver to a URL that was never checked, as of a name that has come to mean something else."""
    client = WebhookClient(Keyring(None, ManualClock()), allow_local=allow_local)
    config = Config(Kind.WEBHOOK, "a/*", url, None, 5_000, None)
    try:
        subscription = Subscription(config, "", "http://x", 0, Phase.WAKING, 1)
        return await client.send("s", subscription, Attempt(1, 1, "w", (), "token"))
    finally:
        await client.close()


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f000001"])
async def test_an_address_in_an_odd_form_leads_nowhere(receiver: Receiver, host: str) -> None:
    assert await sent(f"http://{host}:{receiver.port}/hook", allow_local=False) is Event.FAILED
    assert receiver.connections == 0


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_name_that_leads_home_is_not_connected_to(receiver: Receiver, host: str) -> None:
    url = f"http://{host}:{receiver.port}/hook"

    assert await sent(url, allow_local=True) is Event.DELIVERED, "it does lead there"
    assert receiver.connections == 1
    assert await sent(url, allow_local=False) is Event.FAILED
    assert receiver.connections == 1


async def test_a_redirect_home_is_not_followed(receiver: Receiver) -> None:
    from tests.subscriptions.receiver import Receiver as Other  # noqa: PLC0415 a second one
    from tests.subscriptions.receiver import answer  # noqa: PLC0415

    async with Other() as inner:
        receiver.behave = answer(307, Location=inner.url)
        assert await sent(receiver.url, allow_local=True) is Event.FAILED
        assert (receiver.connections, inner.connections) == (1, 0)
