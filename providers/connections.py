"""The connections below both drivers: httpcore's for the sync one, aiohttp's for the async one.

A connection is used again only where nothing is left of what the service said on it: an answer that nobody asked for would
be taken for the next message's, and the report would name a message as accepted that was refused.
"""

import asyncio
import functools
import ssl
from typing import Any, Self
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpcore
import httpx
from aiohttp.client_proto import ResponseHandler
from httpx_aiohttp import AiohttpTransport

from .deadline import DeadlineBackend

# Node, which WAHA runs on, closes an idle connection after 5 s. A request written into that closing is lost without an
# answer, so that its outcome is unknown: let go first.
IDLE_TIMEOUT = 4.0
# Of one line of an answer's head, as h11 allows below the sync driver; aiohttp's own bound is 8,190.
_LONGEST_LINE = 65_536


class _SyncTransport(httpx.HTTPTransport):
    # httpx has no argument for what is done here, and httpcore no public name (1.0.9): the tests of slow services and of
    # answers that nobody asked for fail where these names change.
    def __init__(self, *, connections: int, proxy: str | None) -> None:
        limits = httpx.Limits(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=IDLE_TIMEOUT
        )
        super().__init__(verify=_ssl_context(), limits=limits, proxy=proxy)
        self._pool._network_backend = DeadlineBackend()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        for connection in self._pool.connections:
            if connection.is_idle() and _has_something_left(connection):
                connection.close()
        return super().handle_request(request)


def _has_something_left(connection: httpcore.ConnectionInterface) -> bool:
    within = getattr(connection, "_connection", None)
    state = getattr(within, "_h11_state", None)
    return state is not None and bool(state.trailing_data[0])


class _CleanConnection(ResponseHandler):
    def is_connected(self) -> bool:
        return super().is_connected() and not self._buffer and not self._tail


class _Answer(aiohttp.ClientResponse):
    async def start(self, connection: aiohttp.connector.Connection) -> Self:
        await super().start(connection)
        self.reason = None  # httpx-aiohttp stumbles (0.2.0) over one that isn't UTF-8, and nobody reads it
        return self


def sync_transport(base_url: str, connections: int) -> httpx.BaseTransport:
    """Open the sync driver's connections.

    Args:
        base_url: Where they lead.
        connections: How many at once.
    """
    return _SyncTransport(connections=connections, proxy=proxy_for(base_url))


def async_transport(base_url: str, connections: int) -> httpx.AsyncBaseTransport:
    """Open the async driver's connections; arguments as for `sync_transport`."""
    ssl_context, proxy = _ssl_context(), proxy_for(base_url)

    # A factory, because aiohttp's session wants the loop that it runs in.
    def session() -> aiohttp.ClientSession:
        connector: Any = aiohttp.TCPConnector(limit=connections, keepalive_timeout=IDLE_TIMEOUT, ssl=ssl_context)
        connector._factory = functools.partial(
            _CleanConnection, loop=asyncio.get_running_loop()
        )  # no public name (3.14) either
        return aiohttp.ClientSession(
            connector=connector,
            response_class=_Answer,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=["Content-Type"],  # else a POST without a body claims application/octet-stream
        )

    return AiohttpTransport(verify=ssl_context, client=session, proxy=httpx.Proxy(proxy) if proxy else None)


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    """One for all clients: reading the certificates takes 30 ms."""
    return httpx.create_ssl_context()


def proxy_for(base_url: str) -> str | None:
    """The proxy that the environment names for this address; a transport of one's own makes httpx skip the look."""
    url = httpx.URL(base_url)
    if not url.host or proxy_bypass(url.host):
        return None
    return getproxies().get(url.scheme) or getproxies().get("all")
