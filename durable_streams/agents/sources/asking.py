"""What every source that speaks a wire format itself does around a request, whoever carries it.

Invariant: what goes out is what the wire made of a history that this provider may see, and has something to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from durable_streams.agents.errors import UpstreamError
from durable_streams.agents.wires.files import refusal_of
from durable_streams.agents.wires.options import InvalidOptionsError, Options
from durable_streams.agents.wires.provider import named, provider_name, with_own

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from durable_streams.agents.events import Event
    from durable_streams.agents.tools import Tool
    from durable_streams.agents.wires.base import UIMessage, Wire

T = TypeVar("T")

FIELD_STATUSES: Final = frozenset({400, 422})
"""How a field that a server does not know is refused."""
_HISTORIES: Final = ("messages", "input")


class NothingToSayError(UpstreamError):
    """The history holds nothing that could be sent to a model."""

    def __init__(self) -> None:
        super().__init__("there is nothing to say to the model: the history is empty or blank")


@dataclass(frozen=True, slots=True)
class Asking:
    """How one provider is asked.

    Attributes:
        wire: the format.
        base_url: where the provider is.
        model: its model, unless options name another.
        options: of every call.
        allowed: names of options that a request may set.
        without: fields of the wire's own that this provider refuses; those that it refuses by name are added.
    """

    wire: Wire
    base_url: str
    model: str
    options: Options = field(default_factory=Options)
    allowed: frozenset[str] = frozenset()
    without: set[str] = field(default_factory=set)

    def provider(self, options: Options | None = None) -> str:
        """Return the provider's name, under which is kept what it wants back."""
        model = (options or self.options).model or self.model
        return provider_name(self.wire.name, self.base_url, model)

    def body(
        self,
        messages: Sequence[UIMessage],
        tools: Sequence[Tool],
        *,
        options: Options | None = None,
    ) -> dict[str, Any]:
        """Return a request's body.

        Raises:
            NothingToSayError: there would be no message in it.
            InvalidOptionsError: the format has no such option.
        """
        options = options or self.options
        body = self.wire.request(options.model or self.model, with_own(messages, self.provider(options)), tools)
        if not any(one.get("role") != "system" for name in _HISTORIES for one in body.get(name, ())):
            raise NothingToSayError
        body |= self.wire.options(options)
        for name in self.without:
            self.wire.forgo(body, name)
        return body | dict(options.body)

    def forgo(self, body: dict[str, Any], status: int | None, said: str) -> bool:
        """Leave out a field that a refusal names, here and from now on; return whether there was one."""
        if status not in FIELD_STATUSES:
            return False
        for name, words in self.wire.optional.items():
            if name in body and any(word in said.lower() for word in words) and self.wire.forgo(body, name):
                self.without.add(name)
                return True
        return False

    async def created(self, create: Callable[..., Awaitable[T]], body: dict[str, Any]) -> T:
        """Return what a package's ``create`` makes of a body, asking again without fields that are refused by name."""
        while True:
            try:
                return await create(**body)
            except Exception as error:
                if not self.forgo(body, getattr(error, "status_code", None), str(error)):
                    raise

    def naming(self, options: Options | None = None) -> Callable[[Event], Event]:
        """Return what puts the provider's name on what it wants back, for the events of one response."""
        return partial(named, provider=self.provider(options))

    def chosen(self, request: Mapping[str, Any]) -> Options:
        """Return the options of one request.

        Raises:
            InvalidOptionsError: it asks for what it may not, or for what there is not.
        """
        return self.options.changed_by(request, self.allowed)

    def refusal(self, message: UIMessage | None, request: Mapping[str, Any]) -> str | None:
        """Return why a prompt cannot be sent; see ``Choosy``."""
        try:
            self.wire.options(self.chosen(request))
        except InvalidOptionsError as error:
            return str(error)
        return None if message is None else refusal_of(self.wire, message)
