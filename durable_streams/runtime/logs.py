"""Where log lines go and what they look like: one line per event on stderr, logfmt or JSON.

Owns: the format. Must not know: what is logged. Lines of the standard library's ``logging`` (asyncio, aiohttp) come out
the same way. There is no access log; what is logged are slow requests, faults, and the server's own life.
Invariant: logging never raises: a server outlives the reader of its stderr.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Final, Literal

import orjson
import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

LogFormat = Literal["logfmt", "json"]

_FIRST: Final = ["time", "level", "event"]


def configure_logs(log_format: LogFormat) -> None:
    """Send everything from level info on to stderr in the named format; a later call replaces an earlier one's format.

    Lines have ``time`` (RFC 3339, UTC), ``level``, ``event`` and ``logger``; a traceback is one field, ``exception``.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = _StderrHandler()
    handler.setFormatter(_formatter(log_format, shared))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.captureWarnings(capture=True)


class _StderrHandler(logging.Handler):
    """Writes to the present ``sys.stderr``."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 a line that cannot be rendered must not take its request down
            line = f"level=error event=unprintable logger={record.name}"
        # A closed pipe, a full disk, no stderr at all: nothing that becomes of a line is worth an end.
        with contextlib.suppress(Exception):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()


def _formatter(log_format: LogFormat, shared: list[Processor]) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _renderer(log_format),
        ],
    )


def _renderer(log_format: LogFormat) -> Processor:
    if log_format == "json":
        return _render_json
    return structlog.processors.LogfmtRenderer(key_order=_FIRST, drop_missing=True, bool_as_flag=False)


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    ordered = {**{key: event[key] for key in _FIRST if key in event}, **event}
    try:
        return orjson.dumps(ordered, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # a text with bytes that are not UTF-8: a file's name
        return orjson.dumps({str(key): _printable(value) for key, value in ordered.items()}).decode()


def _printable(value: object) -> object:
    if isinstance(value, bool | int | float) or value is None:
        return value
    return str(value).encode("utf-8", "backslashreplace").decode()
