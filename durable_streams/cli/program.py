"""The program: which commands there are and where they live."""

from __future__ import annotations

import importlib
from typing import Final

import click

from durable_streams import __version__
from durable_streams.cli.endings import dying_quietly

COMMANDS: Final = {
    "serve": "serve",
    "create": "streams",
    "append": "append",
    "read": "read",
    "tail": "read",
    "info": "streams",
    "close": "streams",
    "delete": "streams",
    "fork": "streams",
    "list": "streams",
    "subscriptions": "subscriptions",
    "check": "store",
    "backup": "store",
    "compact": "store",
    "agent": "agent",
}
"""Command → module of this package, which has it as ``<command>_command``."""

_CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 120}


class _Program(click.Group):
    """Imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 as above
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"durable_streams.cli.{COMMANDS[cmd_name]}")
        command = getattr(module, f"{cmd_name}_command")
        if not isinstance(command, click.Command):
            raise AssertionError(f"{cmd_name} is not a command")  # noqa: TRY004 COMMANDS is ours, not the caller's
        return command

    def invoke(self, ctx: click.Context) -> object:
        with dying_quietly():  # here, as click would turn both into exit status 1
            return super().invoke(ctx)


@click.group("durable-streams", cls=_Program, context_settings=_CONTEXT)
@click.version_option(__version__, message="%(prog)s %(version)s")
def program() -> None:
    """Durable Streams 1.0: a server, and what works with one.

    A STREAM is named by its URL, or by its path below --url. Every option can be set by the DS_* variable shown beside
    it; the command line wins.

    \b
    Exit status:
      0  done
      1  refused by the server or the store; damage found; the server cannot start
      2  wrong usage or input
      3  no such stream
      4  the stream is not as expected: exists differently, is closed, producer fenced
      5  the server cannot be reached
    """  # noqa: D301 click's own mark, not an escape to be shown
