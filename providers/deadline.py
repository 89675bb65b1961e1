"""A deadline around a whole call, which httpx lacks: its time limits begin anew with each byte that comes or goes.

The async driver has `asyncio.timeout`; this is the same for the sync one, between httpcore and the socket.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from ssl import SSLContext
from typing import Any

import httpcore

# A service that takes a body bit by bit is looked at after each so many bytes.
_WRITTEN_AT_ONCE = 16_384

_due: ContextVar[float | None] = ContextVar("due", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """End what this thread does on a connection from `DeadlineBackend` in so many seconds.

    Args:
        seconds: From now; what is not over then raises httpcore's timeout of what it was at.
    """
    token = _due.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _due.reset(token)


class DeadlineBackend(httpcore.NetworkBackend):
    """Opens connections that keep to the deadline."""

    def __init__(self) -> None:
        self._wrapped = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect."""
        left = _left(timeout, httpcore.ConnectTimeout)
        return _DeadlineStream(self._wrapped.connect_tcp(host, port, left, local_address, socket_options))


class _DeadlineStream(httpcore.NetworkStream):
    def __init__(self, wrapped: httpcore.NetworkStream) -> None:
        self._wrapped = wrapped

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._wrapped.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _WRITTEN_AT_ONCE):
            part = buffer[start : start + _WRITTEN_AT_ONCE]
            self._wrapped.write(part, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._wrapped.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _DeadlineStream(self._wrapped.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._wrapped.get_extra_info(info)


def _left(timeout: float | None, over: type[httpcore.TimeoutException]) -> float | None:
    due = _due.get()
    if due is None:
        return timeout
    if (left := due - time.monotonic()) <= 0:
        raise over("the call's time is up")
    return left if timeout is None else min(timeout, left)
