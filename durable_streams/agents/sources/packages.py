"""Vendors' packages, which may be absent: loading them, telling their objects, raising their exceptions as ours."""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from durable_streams.agents.errors import MissingExtraError, UnusableError, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def translated(*packages: str) -> Iterator[None]:
    """Raise exceptions that come from the named packages, or from the HTTP ones below them, as ``UpstreamError``."""
    try:
        yield
    except Exception as error:
        if package_of(error) not in {*packages, "httpx", "httpx2", "httpcore", "httpcore2"}:
            raise
        status = getattr(error, "status_code", None)
        # An error in the middle of a stream has the status with which that began, which is no refusal.
        refused = isinstance(status, int) and status >= HTTPStatus.BAD_REQUEST
        raise UpstreamError(str(error) or type(error).__name__, status=status if refused else None) from error


def package_of(given: object) -> str:
    """Return the package whose object this is."""
    return type(given).__module__.partition(".")[0]


def kinds_of(given: object) -> set[str]:
    """Return the names of an object's class and of those it derives from."""
    return {kind.__name__ for kind in type(given).__mro__}


def refuse_blocking(client: object) -> None:
    """Refuse a vendor's client that would hold up every run of this process.

    Raises:
        UnusableError: it is one.
    """
    if "SyncAPIClient" in kinds_of(client):
        name = type(client).__name__
        raise UnusableError(f"{name}() holds up everything while it waits for the model: use Async{name}()")


def optional(module: str, *, extra: str) -> Any:  # noqa: ANN401 whatever it has
    """Return a module of an optional package.

    Raises:
        MissingExtraError: it is not installed; ``extra`` brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as missing:
        raise MissingExtraError(extra) from missing
