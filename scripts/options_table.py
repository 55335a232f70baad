# ruff: noqa: INP001 a program, not a package
"""Write docs/configuration.md from the options of `durable-streams serve`; a test fails where the two differ.

.venv/bin/python scripts/options_table.py
"""

from __future__ import annotations

from pathlib import Path

import click

from durable_streams.cli.serve import serve_command

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
HEAD = """# Configuration

The options of `durable-streams serve`. The command line wins over the variable, the variable over the default. Sizes
are bytes or `64KiB`, `16MiB`, `1GiB`; times are milliseconds. A variable that Kubernetes makes of a service named `ds`
(`DS_PORT=tcp://10.0.0.1:4437`) is no option: it is ignored, with a line in the log.

| option | variable | default | what it says |
|---|---|---|---|
"""


def rows() -> list[tuple[str, str, str, str]]:
    """Return option, variable, default and help text of every option, in the order of ``--help``."""
    options = [parameter for parameter in serve_command.params if isinstance(parameter, click.Option)]
    context = click.Context(serve_command)
    return [_row(option, context) for option in options]


def _row(option: click.Option, context: click.Context) -> tuple[str, str, str, str]:
    names = "/".join(f"`{name}`" for name in (*option.opts[:1], *option.secondary_opts))
    default = option.get_default(context)
    if isinstance(default, bool):
        shown = "on" if default else "off"
    else:
        shown = f"`{default}`" if isinstance(default, (str, int, Path)) else ""
    return names, f"`{option.envvar}`", shown, option.help or ""


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
