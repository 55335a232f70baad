"""One stream's URL and how to reach it: session, headers, parameters, timeouts.

Owns: everything aiohttp. Must not know: what the requests mean, how often they are repeated.
Invariant: every fault of the connection leaves here as ``Interrupted``, with whether the request may have
been carried out.
"""

from __future__ import annotations

import inspect
import io
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import aiohttp
from yarl import URL

from durable_streams.client.answers import Answer, refusal
from durable_streams.client.errors import FetchError
from durable_streams.client.retry import RETRY_STATUSES, Interrupted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from durable_streams.client.values import Amendment, HeadersLike, ParamsLike

TIMEOUT_S: Final = 30.0
"""Default bound of connecting, of a write, and of silence within a page."""
LIVE_SILENCE_S: Final = 90.0
"""A live answer silent for longer is taken for dead: servers end an event stream after about 60 s (§5.8)."""
_WARNS_ABOVE_BYTES: Final = 2**20

_HOPELESS = (
    aiohttp.InvalidURL,
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ClientSSLError,
    aiohttp.TooManyRedirects,
)
_TURNED_AWAY: Final = frozenset({408, 425, 429})
"""Did not arrive whole, came too early, were too many: in no case carried out."""
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_FAULTS = (aiohttp.ClientError, TimeoutError, OSError)


class Endpoint:
    """Sends requests to one URL.

    Args:
        url: the stream's URL; parameters in it are kept.
        headers: sent with every request.
        params: added to every request.
        client: session to use and leave open; ``None`` opens one with the first request, which ``aclose`` closes.
        timeout: seconds without progress before an attempt counts as interrupted.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: HeadersLike | None = None,
        params: ParamsLike | None = None,
        client: aiohttp.ClientSession | None = None,
        timeout: float | None = None,
    ) -> None:
        self.url = url
        self.headers: HeadersLike = dict(headers or {})
        self.params: ParamsLike = dict(params or {})
        self.timeout_s = TIMEOUT_S if timeout is None else timeout
        self._session = client
        self._owns_session = client is None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session, opened at first use because that needs a running event loop."""
        if self._session is None:
            # No limit of connections: every follower holds one, and a producer's requests must not queue behind them.
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit=0)
            )
        return self._session

    async def aclose(self) -> None:
        """Close the session if this endpoint opened it; a later request opens another."""
        if self._owns_session and self._session is not None:
            session, self._session = self._session, None
            await session.close()

    def at(self, url: str) -> Endpoint:
        """Return an endpoint for another URL that shares this one's session and settings."""
        return Endpoint(url, headers=self.headers, params=self.params, client=self.session, timeout=self.timeout_s)

    def amend(self, amendment: Amendment) -> None:
        """Lay headers and parameters over the present ones, for all further requests."""
        self.headers = {**self.headers, **amendment.get("headers", {})}
        self.params = {**self.params, **amendment.get("params", {})}

    async def send(
        self,
        method: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Make one attempt at a request and return its 2xx answer.

        Raises:
            Interrupted: no answer, or one of ``RETRY_STATUSES``.
            DurableStreamError: any other refusal.
        """
        async with self.open(method, headers=headers, params=params, body=body) as response:
            return Answer(response.status, response.headers, await response.read())

    @asynccontextmanager
    async def open(
        self,
        method: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: aiohttp.ClientTimeout | None = None,  # noqa: ASYNC109 as above
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Make one attempt and hand out the 2xx answer with its body unread; faults while it is read count too.

        Raises:
            Interrupted, DurableStreamError: as ``send``.
        """
        sent = {**await _resolved(self.headers), **(headers or {})}
        query = {**await _resolved(self.params), **(params or {})}
        response = None
        try:
            async with self.session.request(
                method,
                _with_query(self.url, query),
                headers=sent,
                data=_payload(body),
                # aiohttp's own guess would speak for the stream; a fork's type must match or be absent (§4.2).
                skip_auto_headers=("Content-Type",),
                timeout=timeout or aiohttp.ClientTimeout(total=self.timeout_s),
                # A POST that follows a 301 or 302 becomes a GET, and its 200 would pass for an acknowledgement.
                allow_redirects=method in {"GET", "HEAD"},
                raise_for_status=False,
            ) as response:
                if not 200 <= response.status < 300:  # noqa: PLR2004 2xx
                    await _refuse(response, self.url, method=method, sent=sent)
                yield response
        except _FAULTS as fault:
            raise _failure(fault, response, self.url) from fault


def _failure(fault: Exception, response: aiohttp.ClientResponse | None, url: str) -> FetchError | Interrupted:
    if isinstance(fault, _HOPELESS):
        return FetchError(_sentence(fault), url=url)
    error = FetchError(_sentence(fault), status=None if response is None else response.status, url=url)
    return Interrupted(error, may_be_applied=not isinstance(fault, _NOT_SENT))


async def _refuse(response: aiohttp.ClientResponse, url: str, *, method: str, sent: Mapping[str, str]) -> None:
    answer = Answer(response.status, response.headers, await response.read())
    error = refusal(answer, url, method=method, sent=sent)
    if answer.status not in RETRY_STATUSES:
        raise error
    # A bare 503 may come from a proxy whose server had the request already; a time to come back means turned away.
    retry_after_s = _seconds(answer.headers.get("Retry-After"))
    turned_away = answer.status in _TURNED_AWAY or (
        answer.status == HTTPStatus.SERVICE_UNAVAILABLE and retry_after_s is not None
    )
    raise Interrupted(error, may_be_applied=not turned_away, retry_after_s=retry_after_s)


def _seconds(value: str | None) -> float | None:
    """Return a ``Retry-After`` in seconds. Its form as a date is not used by streams servers and counts as absent."""
    return float(value) if value is not None and value.isascii() and value.isdigit() else None


def _with_query(url: str, query: Mapping[str, str]) -> URL:
    """Return the URL with its own parameters and ours, sorted by name as §10.1 asks for the sake of caches."""
    base = URL(url)
    if not query:
        return base
    return base.with_query(sorted([*((k, v) for k, v in base.query.items() if k not in query), *query.items()]))


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    return io.BytesIO(body) if body is not None and len(body) > _WARNS_ABOVE_BYTES else body


async def _resolved(
    values: Mapping[str, str | Callable[[], str | Awaitable[str]] | None],
) -> dict[str, str]:
    resolved = {}
    for name, value in values.items():
        given = value() if callable(value) else value
        if inspect.isawaitable(given):
            given = await given
        if given is not None:
            resolved[name] = given
    return resolved


def _sentence(fault: BaseException) -> str:
    return f"{type(fault).__name__}: {fault}" if str(fault) else type(fault).__name__
