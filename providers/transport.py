"""The one place where bytes leave: a sync and an async driver that run the same exchanges.

Which layer owns which retry: **none here**. The dispatcher retries what surely was not accepted; the connection pool
retries nothing. The drivers hand each request to httpx's transport without a client of httpx above it, which would log
its address, and which took a tenth of a second of CPU for a thousand sends: addresses, headers and cookies merged anew
for each. So no redirect is followed and no cookie is kept.
"""

import asyncio
import logging
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import httpx
import yarl

from ..models.errors import ErrorKind, NotSentError, OutcomeUnknownError, RetryLaterError
from .answer_body import MAX_ANSWER_BYTES, AnswerTooLargeError, BoundedBody
from .connections import async_transport, sync_transport
from .deadline import deadline
from .dialect import Dialect
from .http_types import HIDDEN, Credential, Exchange, Request, Response, T

CONNECT_TIMEOUT = 10.0
ANSWER_TIMEOUT = 60.0

_ADDRESSES_KEPT = 16
_ANSWERED = "%s: %s %s answered HTTP %d"  # without the query, which may hold a number
_logger = logging.getLogger(__name__)

# Raised before the first byte of the request is written.
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.ProxyError,
    httpx.InvalidURL,
)
# httpx-aiohttp calls a connection that the server dropped *after* the request a ConnectTimeout (0.2.0, AIOHTTP_EXC_MAP:
# ClientConnectionError), so with aiohttp below only its own word counts.
_NOT_SENT_AIOHTTP = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
)
# httpx-aiohttp lets through what its map lacks, such as the ClientResponseError of an answer that is not HTTP; and a
# library that stumbles over an odd answer raises a ValueError of some kind.
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, ValueError, LookupError)


class _Wire:
    """Writes an account's requests as httpx's transports take them, the credential on.

    Raises:
        InputError: The credential holds what can't be sent, such as a line break.
    """

    def __init__(self, dialect: Dialect) -> None:
        dialect.credential.validate()
        self._base, self._credential = dialect.base_url.rstrip("/"), dialect.credential
        with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(204))) as client:
            self._headers = {name.lower(): value for name, value in client.headers.items()}
        self._headers["accept-encoding"] = "gzip"  # what `BoundedBody` unpacks, whatever else httpx finds installed
        self._addresses: dict[str, httpx.URL] = {}  # by path; parsing one takes longer than writing the rest

    def request(self, request: Request, timeout: float) -> httpx.Request:
        """Write one request.

        Raises:
            httpx.InvalidURL: The address is none.
        """
        credential = request.credential or self._credential
        arguments: dict[str, Any] = {}
        in_body = credential.body if request.method == "POST" else {}
        if request.json is not None or in_body:
            arguments["json"] = {**(request.json or {}), **in_body}
        if request.files:
            arguments["data"] = dict(request.form)
            arguments["files"] = {k: (f.filename, f.content, f.mime_type) for k, f in request.files.items()}
        return httpx.Request(
            request.method,
            self._address(request, credential),
            headers={**self._headers, **{name.lower(): value for name, value in credential.headers.items()}},
            extensions={"timeout": _timeout(request.timeout or timeout).as_dict()},
            **arguments,
        )

    def _address(self, request: Request, credential: Credential) -> httpx.URL:
        address = self._addresses.get(request.path)
        if address is None:
            address = httpx.URL(self._base + request.path)
            if not request.hidden_part and len(self._addresses) < _ADDRESSES_KEPT:
                self._addresses[request.path] = address
        if query := {**request.query, **request.hidden_query, **credential.query}:
            address = address.copy_merge_params(query)
        if request.hidden_part:
            part = quote(request.hidden_part, safe="@").encode()
            address = address.copy_with(raw_path=address.raw_path.replace(HIDDEN.encode(), part, 1))
        # aiohttp spells a query its own way (`,` for `%2C`): both drivers put the same bytes on the wire.
        return httpx.URL(str(yarl.URL(str(address)))) if address.query else address


def _bounded(response: httpx.Response, request: httpx.Request) -> httpx.Response:
    """An answer whose body ends; what a 500 repeats of a large request is read too."""
    limit = MAX_ANSWER_BYTES + 2 * int(request.headers.get("content-length") or 0)
    encoding = response.headers.get("content-encoding", "")
    response.stream = BoundedBody(response.stream, encoding=encoding, limit=limit)
    if encoding:
        del response.headers["content-encoding"]  # it is unpacked already
    return response


def _answer(response: httpx.Response) -> Response:
    return Response(response.status_code, {k.lower(): v for k, v in response.headers.items()}, response.content)


def _not_sent(failure: Exception) -> bool:
    original = failure if isinstance(failure, aiohttp.ClientError) else failure.__cause__
    if isinstance(original, aiohttp.ClientError | TimeoutError):
        return isinstance(original, _NOT_SENT_AIOHTTP)
    return isinstance(failure, _NOT_SENT)


def _name_of(failure: Exception) -> str:
    """Name the trouble alike for both drivers: httpx and aiohttp have different names for the same one."""
    if isinstance(failure, AnswerTooLargeError):
        return str(failure)
    original = failure if isinstance(failure, aiohttp.ClientError) else failure.__cause__
    if isinstance(original, aiohttp.ClientError | TimeoutError):
        return "timed out" if isinstance(original, TimeoutError) else "connection lost"
    return "timed out" if isinstance(failure, httpx.TimeoutException) else "connection lost"


def _error_of(failure: Exception, dialect: Dialect, request: Request) -> Exception:
    """Say what a failed call means; the original's text is left out, because it may hold the whole URL."""
    call = f"{dialect.name}: {request.method} to {httpx.URL(dialect.base_url).host}"
    trouble = _name_of(failure)
    if _not_sent(failure):
        why = "timed out" if trouble == "timed out" else "no connection"
        return NotSentError(f"{call} was not sent ({why}); is base_url right and reachable?", provider=dialect.name)
    if request.repeatable:
        return RetryLaterError(
            f"{call} got no usable answer ({trouble})", provider=dialect.name, code=trouble, kind=ErrorKind.TRANSIENT
        )
    return OutcomeUnknownError(
        f"{call} got no usable answer ({trouble}): the message may have been accepted", provider=dialect.name
    )


class Client:
    """Sync driver of one account's exchanges; a context manager.

    Args:
        dialect: What is spoken.
        connections: How many at once.
        timeout: Seconds to wait for an answer; the whole call may take twice as long, and 10 s more to connect.
        transport: Another httpx transport, for tests.

    Raises:
        InputError: The credential holds what can't be sent, such as a line break.

    Example:
        >>> from prefect_whatsapp.blocks import GraphCredentials
        >>> with GraphCredentials(access_token="…", phone_number_id="1").get_client() as client:  # doctest: +SKIP
        ...     status = client.run(client.dialect.check())
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        connections: int = 16,
        timeout: float = ANSWER_TIMEOUT,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.dialect, self._timeout, self._wire = dialect, timeout, _Wire(dialect)
        self._transport = transport or sync_transport(dialect.base_url, connections)

    def run(self, exchange: Exchange[T]) -> T:
        """Drive an exchange to its end.

        Raises:
            WhatsAppError: Whatever the exchange or the network raises; see `providers.errors`.
        """
        try:
            request = next(exchange)
            while True:
                request = exchange.send(self._call(request))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # StopIteration.value is Any: the exchange's own return

    def _call(self, request: Request) -> Response:
        failure: Exception
        try:
            with deadline(_whole_call(request.timeout or self._timeout)):
                written = self._wire.request(request, self._timeout)
                # As aiohttp writes them: both drivers put the same bytes on the wire.
                written.headers = httpx.Headers([(name.lower(), value) for name, value in written.headers.raw])
                response = _bounded(self._transport.handle_request(written), written)
                try:
                    response.read()
                finally:
                    response.close()
                _logger.debug(_ANSWERED, self.dialect.name, request.method, request.path, response.status_code)
                return _answer(response)
        except _FAILURES as raised:
            failure = _error_of(raised, self.dialect, request)
        raise failure  # outside the handler: the original, which may hold the URL, is not even its context

    def __enter__(self) -> Self:
        self._transport.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.__exit__(kind, error, trace)


class AsyncClient:
    """Async driver of one account's exchanges; an async context manager. Arguments as for `Client`.

    It runs httpx over aiohttp's connections: httpx's own async pool slows down as its connections grow.
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        connections: int = 16,
        timeout: float = ANSWER_TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.dialect, self._timeout, self._wire = dialect, timeout, _Wire(dialect)
        self._transport = transport or async_transport(dialect.base_url, connections)

    async def run(self, exchange: Exchange[T]) -> T:
        """Drive an exchange to its end.

        Raises:
            WhatsAppError: Whatever the exchange or the network raises; see `providers.errors`.
        """
        try:
            request = next(exchange)
            while True:
                request = exchange.send(await self._call(request))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # StopIteration.value is Any: the exchange's own return

    async def _call(self, request: Request) -> Response:
        failure: Exception
        try:
            async with asyncio.timeout(_whole_call(request.timeout or self._timeout)):
                written = self._wire.request(request, self._timeout)
                response = _bounded(await self._transport.handle_async_request(written), written)
                try:
                    await response.aread()
                finally:
                    await response.aclose()
                _logger.debug(_ANSWERED, self.dialect.name, request.method, request.path, response.status_code)
                return _answer(response)
        except TimeoutError:
            failure = _error_of(httpx.ReadTimeout("the call's time is up"), self.dialect, request)
        except _FAILURES as raised:
            failure = _error_of(raised, self.dialect, request)
        raise failure  # outside the handler: the original, which may hold the URL, is not even its context

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)


def _whole_call(timeout: float) -> float:
    """Seconds for a whole call, whatever comes or goes meanwhile: to connect, to send a large body, and to be answered.

    httpx's and aiohttp's own limits begin anew with each byte, so that an answer of one byte a second outlives them.
    """
    return CONNECT_TIMEOUT + 2 * timeout


def _timeout(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=CONNECT_TIMEOUT, pool=None)
