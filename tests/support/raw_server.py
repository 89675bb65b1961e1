"""A server on loopback that misbehaves below HTTP: it runs in a thread, so that the sync driver can talk to it too."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

Behaviour = Callable[[socket.socket], None]


@dataclass
class RawServer:
    """Takes connections one by one, reads each request whole, and then does as it was told."""

    behaviour: Behaviour
    requests: list[bytes] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)
        for connection in self._open:
            connection.close()

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(connection)
            connection.settimeout(5)
            with contextlib.suppress(OSError):
                if request := read_request(connection):
                    self.requests.append(request)
                self.behaviour(connection)


def read_request(connection: socket.socket) -> bytes:
    """Read one request: its head, and as much body as Content-Length says."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (chunk := connection.recv(65536)):
            return data
        data += chunk
        if data[:1] == b"\x16":  # a TLS greeting: not HTTP, and nothing more will come
            return data
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    while len(body) < length and (chunk := connection.recv(65536)):
        body += chunk
    return head + b"\r\n\r\n" + body


def answering(status: int, body: bytes, *headers: str) -> Behaviour:
    """Answer properly and close."""

    def behave(connection: socket.socket) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *headers]
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        connection.close()

    return behave


def hang_up(connection: socket.socket) -> None:
    """Close without an answer."""
    connection.close()


def reset(connection: socket.socket) -> None:
    """Reset the connection after the request was read."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def stay_silent(connection: socket.socket) -> None:
    """Keep the connection open and say nothing."""


def half_an_answer(connection: socket.socket) -> None:
    """Promise 100 bytes, send a few, and close."""
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"sent": tr')
    connection.close()


def half_an_answer_then_silence(connection: socket.socket) -> None:
    """Promise 100 bytes, send a few, and keep the connection open."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")


def a_byte_at_a_time(seconds: float) -> Behaviour:
    """Answer properly, a byte every so many seconds."""

    def behave(connection: socket.socket) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Padding: " + b"x" * 5_000:
            connection.sendall(bytes([byte]))
            time.sleep(seconds)

    return behave


def half_a_head(connection: socket.socket) -> None:
    """Close in the middle of the headers."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Ty")
    connection.close()


def speak_no_http(connection: socket.socket) -> None:
    """Answer what is not HTTP."""
    connection.sendall(b"220 mail.example.com ESMTP\r\n\r\n")
    connection.close()


def answer_broken_gzip(connection: socket.socket) -> None:
    """Claim gzip and send something else."""
    answering(200, b"no gzip at all", "Content-Encoding: gzip")(connection)


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """A URL at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def reading_slowly(bytes_a_second: int) -> Iterator[str]:
    """A URL at which a connection is taken and what is sent is read slowly; 0 reads nothing at all."""
    done = threading.Event()

    def read() -> None:
        connection, _ = server.accept()
        with connection:
            while not done.wait(0.05):
                if bytes_a_second and not connection.recv(max(bytes_a_second // 20, 1)):
                    return

    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server.bind(("127.0.0.1", 0))
        server.listen()
        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        done.set()
        thread.join(5)


@contextlib.contextmanager
def never_accepting() -> Iterator[str]:
    """A URL whose host lets connections hang: its backlog is full (Linux drops further SYNs)."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def redirect_to(location: str, status: int = 302) -> Behaviour:
    """Send the client elsewhere."""
    return answering(status, b"{}", f"Location: {location}")


def going_on_and_on(head: str, piece: bytes, sent: list[int] | None = None) -> Behaviour:
    """Answer without end, until the client has had enough; `sent` counts the bytes."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(head.encode())
        while True:
            connection.sendall(piece)
            if sent is not None:
                sent.append(len(piece))

    return behave


def word_for_word(answer: bytes) -> Behaviour:
    """Send these bytes and close."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(answer)
        connection.close()

    return behave


def one_after_another(*answers: bytes, pause: float = 0.0) -> Behaviour:
    """Send these bytes, one after each request, on one connection or on several; what follows `<later>` after a pause."""
    remaining = iter(answers)

    def behave(connection: socket.socket) -> None:
        for answer in remaining:
            first, _, late = answer.partition(b"<later>")
            connection.sendall(first)
            if late:
                time.sleep(pause)
                connection.sendall(late)
            if not read_request(connection):
                return

    return behave
