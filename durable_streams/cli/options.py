"""Options, all made alike: a ``DS_*`` variable each, units last in the name, unit and default in the help."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
R = TypeVar("R")
FC = TypeVar("FC", bound="Callable[..., Any] | click.Command")

UNITS: Final = {
    "ms": "MILLISECONDS",
    "s": "SECONDS",
    "bytes": "BYTES",
    "count": "COUNT",
    "commands": "COUNT",
    "tokens": "TOKENS",
}
"""Last word of an option's name → what its value is called in the help."""

_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e]*)")
"""Token and printable ASCII (RFC 9110 §5)."""
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://[^/\s]+:[0-9]+", re.ASCII)
_IGNORED: Final = "durable_streams.cli.options.ignored"
_SIZE = re.compile(r"([0-9]+)\s*([kmgt]i?b?)?", re.IGNORECASE | re.ASCII)
_SHIFTS: Final = {"k": 10, "m": 20, "g": 30, "t": 40}


class Size(click.ParamType):  # type: ignore[type-arg] # generic in the newest click alone
    """A number of bytes, plain or with KiB, MiB, GiB, TiB (also k, m, g, t), all powers of 1024.

    Args:
        minimum, maximum: the range in bytes, inclusive.
    """

    name = "bytes"

    def __init__(self, minimum: int = 1, maximum: int = 1 << 46) -> None:
        self._minimum, self._maximum = minimum, maximum

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes."""
        if isinstance(value, int):
            return value
        found = _SIZE.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is not a number of bytes such as 65536 or 64KiB", param, ctx)
        size = int(found[1]) << _SHIFTS.get((found[2] or "b")[0].lower(), 0)
        if not self._minimum <= size <= self._maximum:
            limits = f"{in_units(self._minimum)} to {in_units(self._maximum)}"
            self.fail(f"{value} is not in the range of {limits}", param, ctx)
        return size


class Header(click.ParamType):  # type: ignore[type-arg] # generic in the newest click alone
    """A request header, ``Name: value``; in the variable one per line."""

    name = "header"
    envvar_list_splitter = "\n"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return name and value."""
        if isinstance(value, tuple):
            return value
        found = _HEADER.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is not of the form 'Name: value'", param, ctx)
        return found[1], found[2].strip()


class Whole(click.IntRange):
    """A whole number in a range, inclusive, of which a refusal says what it is."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        try:
            return int(super().convert(cast("Any", value), param, ctx))
        except click.BadParameter:
            limits = f"of at least {self.min}" if self.max is None else f"from {self.min} to {self.max}"
            self.fail(f"{value} is not a whole number {limits}", param, ctx)


class Names(click.ParamType):  # type: ignore[type-arg] # as above
    """Names with commas between them; empty ones are left out."""

    name = "names"

    def convert(
        self,
        value: object,
        param: click.Parameter | None,  # noqa: ARG002 click's signature
        ctx: click.Context | None,  # noqa: ARG002 same
    ) -> tuple[str, ...]:
        """Return the names."""
        if isinstance(value, tuple):
            return value
        return tuple(name for one in str(value).split(",") if (name := one.strip()))


def in_units(size_bytes: int) -> str:
    """Return a size as ``Size`` reads it, in the largest unit that keeps it whole."""
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size_bytes and size_bytes % (1 << shift) == 0:
            return f"{size_bytes >> shift}{unit}"
    return str(size_bytes)


class _Option(click.Option):
    """An option that does not take its variable from Kubernetes.

    A service named ``ds`` puts ``DS_PORT=tcp://10.0.0.1:4437`` into the environment of every pod of its namespace. No
    number, choice, flag or path is written like that, so it is as if it were not there; a text may be.

    Args:
        shown: returns the default that whoever takes the value has for ``None``; asked for by the help alone, as what
            it needs may take long to load.
    """

    def __init__(self, *names: Any, shown: Callable[[], object] | None = None, **settings: Any) -> None:  # noqa: ANN401 click's own
        super().__init__(*names, **settings)
        self._shown = shown

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        if self._shown is not None:
            self.default = self._shown()
        return super().get_help_record(ctx)

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        value = super().resolve_envvar_value(ctx)
        if value is None or isinstance(self.type, click.types.StringParamType) or not _SERVICE_LINK.fullmatch(value):
            return value
        ctx.meta.setdefault(_IGNORED, {})[str(self.envvar)] = value
        return None


def tell_of_ignored_variables() -> None:
    """Log which variables of the present command were taken for Kubernetes' own."""
    import structlog  # noqa: PLC0415 only services log

    log = structlog.get_logger(__name__)
    for variable, value in click.get_current_context().meta.get(_IGNORED, {}).items():
        log.info("variable ignored", variable=variable, value=value, why="a service link of Kubernetes")


def option(*names: str, **settings: Any) -> Callable[[FC], FC]:  # noqa: ANN401 click's own settings
    """Declare an option; settings are click's. The first name gives the variable: ``--data-dir`` is ``DS_DATA_DIR``."""
    words = names[0].partition("/")[0].removeprefix("--").split("-")
    default = settings.get("default")
    if isinstance(settings.get("type"), Size) and isinstance(default, int):
        settings["default"] = in_units(default)
    if not settings.get("is_flag") and (default is not None or "shown" in settings):
        settings.setdefault("show_default", True)
    if words[-1] in UNITS:
        settings.setdefault("metavar", UNITS[words[-1]])
    settings.setdefault("envvar", "_".join(["DS", *words]).upper())
    return click.option(*names, cls=_Option, show_envvar=True, **settings)


def gathered(kind: Callable[..., T]) -> Callable[[Callable[[T], R]], Callable[..., R]]:
    """Let a command take all its options and arguments as one value made by ``kind`` from them."""

    def decorate(command: Callable[[T], R]) -> Callable[..., R]:
        @functools.wraps(command)
        def run(**values: Any) -> R:  # noqa: ANN401 click's own values
            return command(kind(**values))

        return run

    return decorate


as_json = option("--json", "as_json", is_flag=True, help="Print JSON, one value per line, for scripts.")
