"""Async client for Durable Streams servers, on aiohttp.

Names and arguments follow the official Python client where both offer the same. ``docs/client.md`` answers every
error. Never imports the server.

Read:    ``async with astream(url, live=False|True|"long-poll"|"sse", offset=…|"now", tail=N) as response:``
         ``async for item in response.iter_json()`` — or ``iter_messages`` (exact bytes of each JSON message),
         ``iter_bytes``, ``iter_text``, ``iter_json_batches``, ``iter_events(mode)``, ``await response.read_json()``
         and its kin; ``response.offset`` is where to resume.
Write:   ``stream = await AsyncDurableStream.create(url, content_type=…)``, then ``append``, ``close_stream``, ``head``,
         ``delete``, ``fork``, ``stream`` (reads); ``async with`` or ``await stream.aclose()``.
Produce: ``async with IdempotentProducer(url, producer_id, content_type=…) as producer:`` ``producer.append(body)``
         (its receipt: ``await receipt.durable()``),
         ``await producer.drain()`` now and then, ``await producer.flush()``, ``await producer.close_stream(final)``.
Share:   ``AsyncDurableStream(url, appender=BatchAppender(root_url))``: ``append_as`` of many handles in few requests.
List:    ``async for entry in list_streams(root_url, prefix=…)``.
Work:    ``async with Worker(root_url, subscription_id) as worker:`` ``async for work in worker:`` ``work.items``; the
         subscription itself by ``AsyncSubscription``, all of them by ``list_subscriptions(root_url)``.
"""

from __future__ import annotations

from durable_streams.client.astream import AsyncStreamSession, astream
from durable_streams.client.batch_appender import BatchAppender
from durable_streams.client.durable_stream import AsyncDurableStream
from durable_streams.client.errors import (
    DurableStreamError,
    FetchError,
    ProducerBufferFullError,
    RetentionGoneError,
    SeqConflictError,
    SequenceGapError,
    SSEBytesIterationError,
    SSEEncodingError,
    SSENotSupportedError,
    SSEReadAllError,
    StaleEpochError,
    StreamClosedError,
    StreamConsumedError,
    StreamExistsError,
    StreamNotFoundError,
    TailMovedError,
)
from durable_streams.client.listing import list_streams
from durable_streams.client.outbox import Receipt
from durable_streams.client.producer import IdempotentProducer
from durable_streams.client.response import AsyncStreamResponse
from durable_streams.client.retry import RetryPolicy
from durable_streams.client.subscription import AsyncSubscription, Claim, LinkedStream, list_subscriptions
from durable_streams.client.subscription_errors import (
    AlreadyClaimedError,
    LeaseLostError,
    NoPendingWorkError,
    SubscriptionError,
    SubscriptionExistsError,
    SubscriptionNotFoundError,
)
from durable_streams.client.values import (
    AppendResult,
    CloseResult,
    HeadersLike,
    HeadResult,
    IdempotentAppendResult,
    LiveMode,
    Offset,
    ParamsLike,
    StreamEvent,
    StreamListing,
)
from durable_streams.client.worker import Work, Worker
from durable_streams.protocol.producer import ProducerTriple

__all__ = [
    "AlreadyClaimedError",
    "AppendResult",
    "AsyncDurableStream",
    "AsyncStreamResponse",
    "AsyncStreamSession",
    "AsyncSubscription",
    "BatchAppender",
    "Claim",
    "CloseResult",
    "DurableStreamError",
    "FetchError",
    "HeadResult",
    "HeadersLike",
    "IdempotentAppendResult",
    "IdempotentProducer",
    "LeaseLostError",
    "LinkedStream",
    "LiveMode",
    "NoPendingWorkError",
    "Offset",
    "ParamsLike",
    "ProducerBufferFullError",
    "ProducerTriple",
    "Receipt",
    "RetentionGoneError",
    "RetryPolicy",
    "SSEBytesIterationError",
    "SSEEncodingError",
    "SSENotSupportedError",
    "SSEReadAllError",
    "SeqConflictError",
    "SequenceGapError",
    "StaleEpochError",
    "StreamClosedError",
    "StreamConsumedError",
    "StreamEvent",
    "StreamExistsError",
    "StreamListing",
    "StreamNotFoundError",
    "SubscriptionError",
    "SubscriptionExistsError",
    "SubscriptionNotFoundError",
    "TailMovedError",
    "Work",
    "Worker",
    "astream",
    "list_streams",
    "list_subscriptions",
]
