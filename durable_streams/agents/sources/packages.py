"""Vendors' packages, which may be absent: loading them, and raising their exceptions as ours."""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from durable_streams.agents.errors import MissingExtraError, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def translated(*packages: str) -> Iterator[None]:
    """Raise exceptions that come from the named packages, or from the HTTP ones below them, as ``UpstreamError``."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in {*packages, "httpx", "httpx2", "httpcore", "httpcore2"}:
            raise
        status = getattr(error, "status_code", None)
        raise UpstreamError(
            str(error) or type(error).__name__, status=status if isinstance(status, int) else None
        ) from error


def optional(module: str, *, extra: str) -> Any:  # noqa: ANN401 whatever it has
    """Return a module of an optional package.

    Raises:
        MissingExtraError: it is not installed; ``extra`` brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as missing:
        raise MissingExtraError(extra) from missing
