"""What an operator, or a request that may, wants of a model beside its answer.

Owns: the options that all wire formats share and who may set them. How a format names them is the wire's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from durable_streams.agents.errors import AgentError

REQUEST_FIELD: Final = "options"
"""The field of a prompt's body that holds the request's own options."""
EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh")
STOPS_MAX: Final = 16
"""Texts that end an answer."""


class InvalidOptionsError(AgentError):
    """An option that is not there, has no such value, or may not be set by a request."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of one call of a model; ``None`` leaves each to the provider.

    Attributes:
        model: another model's name.
        temperature: 0 to 2.
        max_tokens: bound of an answer, 1 or more.
        reasoning_effort: how long a model that reasons does so; one of ``EFFORTS``.
        stop: texts that end the answer.
        body: further fields of the request's body, as the provider has them; they win over all others.
    """

    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    reasoning_effort: str | None = None
    stop: tuple[str, ...] = ()
    body: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InvalidOptionsError: one of them is out of its range or of another type.
        """
        for name, (check, wanted) in _CHECKS.items():
            value = getattr(self, name)
            if value is not None and not check(value):
                raise InvalidOptionsError(f"{name} is {wanted}")

    def changed_by(self, request: Mapping[str, Any], allowed: frozenset[str]) -> Options:
        """Return the options with those of a request.

        Raises:
            InvalidOptionsError: an option that is not in ``allowed``, or none at all.
        """
        given = request.get(REQUEST_FIELD)
        if given is None:
            return self
        if not isinstance(given, Mapping):
            raise InvalidOptionsError(f"{REQUEST_FIELD} is an object")
        refused = sorted(set(given) - allowed)
        if refused:
            which = ", ".join(sorted(allowed)) or "none"
            raise InvalidOptionsError(f"a request may not set {', '.join(map(str, refused))}; it may set: {which}")
        told = {name: value for name, value in given.items() if value is not None}
        if "stop" in told:
            told["stop"] = _stops(told["stop"])
        if isinstance(told.get("body"), Mapping):
            told["body"] = {**self.body, **told["body"]}
        return replace(self, **told)


def _is_number(value: object, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def _stops(given: object) -> object:
    if isinstance(given, str):
        return (given,)
    return tuple(given) if isinstance(given, list) else given


def _are_stops(value: object) -> bool:
    return isinstance(value, tuple) and len(value) <= STOPS_MAX and all(isinstance(one, str) and one for one in value)


_CHECKS: Final[Mapping[str, Any]] = {
    "model": (lambda value: isinstance(value, str) and value != "", "a name"),
    "temperature": (lambda value: _is_number(value, 0, 2), "a number from 0 to 2"),
    "max_tokens": (lambda value: isinstance(value, int) and _is_number(value, 1, 2**31), "a whole number from 1"),
    "reasoning_effort": (lambda value: value in EFFORTS, f"one of {', '.join(EFFORTS)}"),
    "stop": (_are_stops, f"at most {STOPS_MAX} texts that are not empty"),
    "body": (lambda value: isinstance(value, Mapping), "an object"),
}
OPTION_NAMES: Final = frozenset(_CHECKS)
