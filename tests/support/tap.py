"""Listens on the line between a client and the sandbox: keeps each request's bytes, and repeats the answer to equal ones."""

import contextlib
import re
import socket
import struct
from typing import Any

from raw_server import RawServer, read_request

_BOUNDARY = re.compile(rb"boundary=(\w+)")


class Tap(RawServer):
    """A relay to another address on loopback; a context manager.

    Equal requests get the very same answer, and only the first of them reaches the other side: what differs between
    two callers is then the callers' own. Only a question for a new message id has another answer each time.

    Args:
        url: Where requests go on to, `http://127.0.0.1:port`.

    Attributes:
        requests: What came in, as bytes, the boundaries of multipart bodies made equal.
    """

    def __init__(self, url: str) -> None:
        super().__init__(self._relay)
        host, _, port = url.removeprefix("http://").partition(":")
        self._address = (host, int(port))
        self._answers: dict[bytes, bytes] = {}

    def _relay(self, connection: socket.socket) -> None:
        sent = self.requests[-1]
        self.requests[-1] = request = _without_boundary(sent)
        if request not in self._answers or b"/new-message-id " in request:
            self._answers[request] = self._asked(sent)
        if answer := self._answers[request]:
            connection.sendall(answer)
        else:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    def _asked(self, request: bytes) -> bytes:
        with socket.create_connection(self._address, timeout=10) as upstream:
            upstream.sendall(request)
            with contextlib.suppress(OSError):  # a reset is an answer too: none
                head, _, body = read_request(upstream).partition(b"\r\n\r\n")
                return head + b"\r\nConnection: close\r\n\r\n" + body if head else b""
        return b""

    def taken(self) -> list[bytes]:
        """What came in since the last call."""
        taken, self.requests = self.requests, []
        return taken


def _without_boundary(request: bytes) -> bytes:
    found = _BOUNDARY.search(request)
    return request.replace(found[1], b"-" * len(found[1])) if found else request


def facts_of(outcome: Any) -> Any:
    """All that a caller can see of a receipt or an error, to compare."""
    if isinstance(outcome, BaseException):
        return type(outcome), str(outcome), vars(outcome)
    return outcome, getattr(outcome, "raw", None)
