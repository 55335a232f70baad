"""Every option of every command: its variable, its unit, its default, its place in the help."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from durable_streams.cli.options import UNITS, Size, in_units
from durable_streams.cli.program import COMMANDS, program
from durable_streams.cli.serve import server_config
from durable_streams.runtime.config import Bounds, ServerConfig
from tests.cli.running import run

if TYPE_CHECKING:
    from collections.abc import Iterator


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(program, info_name="durable-streams")
    for name in program.list_commands(context):
        command = program.get_command(context, name)
        assert command is not None
        yield name, command


OPTIONS = [
    pytest.param(command, parameter, id=f"{name} {parameter.opts[0]}")
    for name, command in commands()
    for parameter in command.params
    if isinstance(parameter, click.Option)
]


def test_the_commands_are_those_of_the_documentation() -> None:
    expected = "serve create append read tail info close delete fork list subscriptions check backup compact agent"
    assert list(COMMANDS) == expected.split()
    assert all(command.help and command.get_short_help_str() for _, command in commands())


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_an_option_has_its_variable_and_says_unit_and_default(command: click.Command, option: click.Option) -> None:
    long = option.opts[0]
    assert long.startswith("--")
    assert option.envvar == "DS_" + long[2:].replace("-", "_").upper()
    assert option.help
    assert option.help.endswith(".")
    context = click.Context(command, terminal_width=200)
    record = option.get_help_record(context)
    assert record is not None
    assert f"env var: {option.envvar}" in record[1]
    if not option.is_flag and isinstance(option.get_default(context), str | int | Path):
        assert "default: " in record[1]
    unit = UNITS.get(long.rpartition("-")[2])
    if unit is not None:
        assert unit in record[0]


@pytest.mark.parametrize(("_command", "option"), OPTIONS)
def test_numbers_say_what_they_count(_command: click.Command, option: click.Option) -> None:
    if isinstance(option.type, (click.types.IntParamType, Size)) and option.opts[0] != "--port":
        assert option.opts[0].rpartition("-")[2] in {*UNITS, "offset"}


def test_serve_offers_every_field_of_the_configuration_with_its_default() -> None:
    command = dict(commands())["serve"]
    context = command.make_context("serve", [])
    assert server_config(**context.params) == ServerConfig()
    offered = set(context.params)
    assert offered == {field.name for kind in (Bounds, ServerConfig) for field in fields(kind)} - {"bounds"}


def test_variables_reach_serve_and_arguments_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DS_PORT", "1")
    monkeypatch.setenv("DS_MAX_APPEND_BYTES", "2MiB")
    monkeypatch.setenv("DS_REQUEST_TIMEOUT_MS", "3")
    monkeypatch.setenv("DS_REQUIRE_STORE", "1")
    command = dict(commands())["serve"]

    config = server_config(**command.make_context("serve", ["--request-timeout", "4", "--root", "/"]).params)

    assert (config.port, config.require_store, config.root) == (1, True, "/")
    assert (config.bounds.max_append_bytes, config.bounds.request_timeout_ms) == (2 << 20, 4)


NO_TEXTS = [one for one in OPTIONS if not isinstance(one.values[1].type, click.types.StringParamType)]  # type: ignore[union-attr] # options all
"""A text can be a link, and no service has a name that makes one a text's variable."""
LINK = "tcp://10.0.0.1:4437"
KUBERNETES = {
    f"{prefix}_{name}": value
    for prefix in ("DS", "DS_AGENT")
    for name, value in {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "4437",
        "SERVICE_PORT_HTTP": "4437",
        "PORT": LINK,
        "PORT_4437_TCP": LINK,
        "PORT_4437_TCP_PROTO": "tcp",
        "PORT_4437_TCP_PORT": "4437",
        "PORT_4437_TCP_ADDR": "10.0.0.1",
    }.items()
}
"""What a pod finds in its environment where there are services named ``ds`` and ``ds-agent``."""


@pytest.mark.parametrize("link", [LINK, "udp://10.0.0.1:53", "tcp://[fd00::1]:4437"])
@pytest.mark.parametrize(("command", "option"), NO_TEXTS)
def test_a_service_link_is_as_good_as_no_variable(command: click.Command, option: click.Option, link: str) -> None:
    assert isinstance(option.envvar, str)
    with pytest.MonkeyPatch.context() as environment, click.Context(command) as context:
        environment.delenv(option.envvar, raising=False)
        without = option.consume_value(context, {})
        environment.setenv(option.envvar, link)
        assert option.consume_value(context, {}) == without


@pytest.mark.parametrize("value", ["http://10.0.0.1:80", "tcp://", "tcp://10.0.0.1", "10.0.0.1:4437", "x tcp://a:1"])
def test_another_value_is_refused_as_ever(value: str) -> None:
    finished = run("serve", more={"DS_PORT": value})
    assert finished.returncode == 2
    assert "'--port' (env var: 'DS_PORT')" in finished.stderr


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("1", 1), ("64KiB", 65536), ("64k", 65536), ("2 MB", 2 << 20), ("1GiB", 1 << 30), ("1t", 1 << 40)],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert Size().convert(text, None, None) == size_bytes


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "one", "1PiB", "10000TiB", "1b2", "\u0661"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Size().convert(text, None, None)


@pytest.mark.parametrize("size_bytes", [1, 1000, 1024, 1536, 1 << 20, 3 << 30, 1 << 40])
def test_a_size_is_shown_as_it_is_read(size_bytes: int) -> None:
    assert Size().convert(in_units(size_bytes), None, None) == size_bytes


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], *([name, "--help"] for name in COMMANDS)])
def test_help_and_version_come_on_stdout(arguments: list[str]) -> None:
    finished = run(*arguments)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.startswith("Usage: durable-streams")


def test_no_command_is_wrong_usage_but_helped() -> None:
    finished = run()
    assert finished.returncode == 2
    assert "Usage: durable-streams" in finished.stderr
