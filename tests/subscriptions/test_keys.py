"""Keys and tokens."""

from __future__ import annotations

import base64
import stat
from typing import TYPE_CHECKING

import orjson
import pytest

from durable_streams.engine.base import RefusedToStartError
from durable_streams.protocol.subscription_errors import TokenExpiredError, TokenInvalidError
from durable_streams.runtime.clock import ManualClock
from durable_streams.subscriptions.keys import KEY_FILE, LOOK_INTERVAL_MS, OVERLAP_MS, Keyring
from durable_streams.subscriptions.tokens import Grant, Tokens

if TYPE_CHECKING:
    from pathlib import Path


def published(keyring: Keyring) -> list[str]:
    return [key["kid"] for key in orjson.loads(keyring.jwks())["keys"]]


def opened(path: Path, clock: ManualClock) -> Keyring:
    keyring = Keyring(path / KEY_FILE, clock)
    keyring.open()
    return keyring


def test_keys_are_kept_readable_by_their_owner_only(tmp_path: Path) -> None:
    first = opened(tmp_path, ManualClock())

    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    again = opened(tmp_path, ManualClock())
    assert (again.kid, again.token_secret()) == (first.kid, first.token_secret())
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_a_rotated_key_overlaps_the_one_before(tmp_path: Path) -> None:
    clock = ManualClock()
    running, operator = opened(tmp_path, clock), opened(tmp_path, clock)
    old = running.kid
    new = operator.rotate()
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600

    clock.advance_ms(LOOK_INTERVAL_MS)
    assert running.kid == new != old
    assert running.signature(b"x").split(",")[1] == f"kid={new}"
    assert published(running) == [new, old]
    clock.advance_ms(OVERLAP_MS)
    assert published(running) == [new]
    newest = operator.rotate()
    assert published(operator) == [newest, new]
    assert running.token_secret() == operator.token_secret()


def test_keys_in_memory_stay_as_long_as_the_process() -> None:
    clock = ManualClock()
    keyring = Keyring(None, clock)
    keyring.open()
    kid = keyring.kid
    clock.advance_ms(10 * LOOK_INTERVAL_MS)

    assert keyring.kid == kid
    assert keyring.rotate() != kid


def test_a_running_server_writes_a_lost_file_again(tmp_path: Path) -> None:
    clock = ManualClock()
    keyring = opened(tmp_path, clock)
    kid = keyring.kid
    (tmp_path / KEY_FILE).unlink()
    clock.advance_ms(LOOK_INTERVAL_MS)

    assert keyring.kid == kid
    assert opened(tmp_path, clock).kid == kid


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"token_secret": "", "signing": []}'])
def test_a_broken_key_file_is_not_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / KEY_FILE).write_bytes(content)
    with pytest.raises(RefusedToStartError, match=KEY_FILE):
        opened(tmp_path, ManualClock())

    assert (tmp_path / KEY_FILE).read_bytes() == content


NOW_MS = 1_800_000_000_000
TOKENS = Tokens(lambda: b"k" * 32)
GRANT = Grant("s", 2**63 - 1, 7, NOW_MS + 1_000)


def test_a_token_says_what_was_granted() -> None:
    assert TOKENS.open_wake(TOKENS.make("claim", GRANT), "s", NOW_MS) == GRANT
    assert TOKENS.open_wake(TOKENS.make("callback", GRANT), "s", NOW_MS) == GRANT
    assert TOKENS.open_write(TOKENS.make("write", GRANT), NOW_MS) == GRANT


def test_a_token_ends() -> None:
    with pytest.raises(TokenExpiredError):
        TOKENS.open_wake(TOKENS.make("claim", GRANT), "s", NOW_MS + 1_000)


def test_a_token_is_for_one_use_and_subscription() -> None:
    with pytest.raises(TokenInvalidError):
        TOKENS.open_wake(TOKENS.make("claim", GRANT), "other", NOW_MS)
    with pytest.raises(TokenInvalidError):
        TOKENS.open_wake(TOKENS.make("write", GRANT), "s", NOW_MS)
    with pytest.raises(TokenInvalidError):
        TOKENS.open_write(TOKENS.make("claim", GRANT), NOW_MS)


def test_no_changed_character_goes_unnoticed() -> None:
    token = TOKENS.make("claim", GRANT)
    for position, character in enumerate(token):
        forged = token[:position] + ("A" if character != "A" else "B") + token[position + 1 :]
        with pytest.raises(TokenInvalidError):
            TOKENS.open_wake(forged, "s", NOW_MS)


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "é.b.c", "x" * 10_000])
def test_what_is_no_token(token: str) -> None:
    with pytest.raises(TokenInvalidError):
        TOKENS.open_wake(token, "s", NOW_MS)


def test_a_token_without_signature_or_by_another_key_is_forged() -> None:
    token = TOKENS.make("claim", GRANT)
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    for forged in (
        f"{none}.{token.split('.')[1]}.",
        Tokens(lambda: b"j" * 32).make("claim", GRANT),
        token.rpartition(".")[0] + ".",
    ):
        with pytest.raises(TokenInvalidError):
            TOKENS.open_wake(forged, "s", NOW_MS)
