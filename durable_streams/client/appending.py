"""One append under a producer triple (§5.2.1): what is sent, what a lost answer leaves open, what a 2xx says.

Owns: the headers, the doubt and the result, however the append travels. Must not know: who numbers appends, or gathers
them.
Invariant: an attempt without an answer is repeated with the same triple and the same bytes until there is one: 200
means written, 204 that it was written already.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from durable_streams.client.errors import DurableStreamError
from durable_streams.client.framing import checked, joined
from durable_streams.client.retry import retrying
from durable_streams.client.values import IdempotentAppendResult
from durable_streams.protocol import headers as names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durable_streams.client.answers import Answer
    from durable_streams.client.endpoint import Endpoint
    from durable_streams.client.retry import Interrupted, RetryPolicy
    from durable_streams.protocol.producer import ProducerTriple


@dataclass(frozen=True, slots=True)
class IdempotentAppend:
    """An append that can be repeated without harm, and so may travel with others.

    Attributes:
        body: all of it; in JSON mode an array. Empty only together with ``close``.
        content_type: of the body; of no account without one.
        triple: what makes a repetition harmless.
        close: close the stream behind it.
    """

    body: bytes
    content_type: str
    triple: ProducerTriple
    close: bool = False


class Doubted(Protocol):
    """Whatever an attempt of which the answer was lost may have brought about."""

    in_doubt: bool


@dataclass(slots=True)
class Doubt:
    """Whether the server may have carried out an attempt whose answer was lost."""

    in_doubt: bool = False


def noting(doubted: Doubted) -> Callable[[Interrupted], bool]:
    """Return what repeats whatever happened, and notes where that leaves a doubt."""

    def repeat_if(interruption: Interrupted) -> bool:
        doubted.in_doubt = doubted.in_doubt or interruption.may_be_applied
        return True

    return repeat_if


def idempotent_append(
    triple: ProducerTriple, messages: Sequence[bytes], content_type: str, *, close: bool
) -> IdempotentAppend:
    """Return messages as one append. Raises ``DurableStreamError`` for one that is none."""
    body = joined([checked(message, content_type) for message in messages], content_type) if messages else b""
    return IdempotentAppend(body, content_type, triple, close)


async def post(endpoint: Endpoint, append: IdempotentAppend, *, retry: RetryPolicy, doubted: Doubted) -> Answer:
    """Make an append, again while there is no answer, and return the 2xx; what is lost meanwhile is noted.

    Raises:
        DurableStreamError: a refusal for good.
        FetchError: no answer within the policy.
    """
    sent, body = _headers(append), append.body or None
    return await retrying(retry, lambda: endpoint.send("POST", headers=sent, body=body), repeat_if=noting(doubted))


def acknowledgement(answer: Answer, append: IdempotentAppend, *, in_doubt: bool) -> IdempotentAppendResult:
    """Return what a 2xx says of an append.

    Raises:
        DurableStreamError: it acknowledges nothing, as one from something else than a stream.
    """
    offset = answer.headers.get(names.STREAM_NEXT_OFFSET)
    if offset is None and names.PRODUCER_EPOCH not in answer.headers and not answer.closed:
        raise DurableStreamError("a 2xx that acknowledges nothing; is this a stream?", status=answer.status)
    return acknowledged(answer.status, offset or "", append, in_doubt=in_doubt)


def acknowledged(status: int, offset: str, append: IdempotentAppend, *, in_doubt: bool) -> IdempotentAppendResult:
    """Return the result of an append that was answered by this status, alone or among others."""
    # A close without a body is answered with 204 whether it is new or not.
    duplicate = status == HTTPStatus.NO_CONTENT and bool(append.body)
    return IdempotentAppendResult(offset, duplicate=duplicate, in_doubt=in_doubt)


def _headers(append: IdempotentAppend) -> dict[str, str]:
    triple = append.triple
    sent = {
        names.PRODUCER_ID: triple.producer_id,
        names.PRODUCER_EPOCH: str(triple.epoch),
        names.PRODUCER_SEQ: str(triple.seq),
    }
    if append.body:
        sent["Content-Type"] = append.content_type
    if append.close:
        sent[names.STREAM_CLOSED] = "true"
    return sent
