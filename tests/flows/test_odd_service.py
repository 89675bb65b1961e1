"""A broadcast against a service that takes every message and tells it oddly: nobody gets two, and the report says what is so."""

import contextlib
import gzip
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import raw_server
from prefect_whatsapp.blocks import Ledger, WahaCredentials
from prefect_whatsapp.flows import broadcast_contacts
from prefect_whatsapp.models import Contact, Report
from prefect_whatsapp.models.errors import BroadcastStoppedError
from prefect_whatsapp.sandbox.samples import sample_numbers

pytestmark = [pytest.mark.server, pytest.mark.ci, pytest.mark.usefixtures("prefect_api")]

TAKEN = b'{"id": "true_1@c.us_3EB0%d"}'
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"


def created(number: int) -> bytes:
    body = TAKEN % number
    return CREATED % (len(body), body)


# What is told of a message that was taken, and what the report may call it.
TOLD: list[tuple[str, Any]] = [
    ("unknown", raw_server.redirect_to("localhost:3000/done")),
    ("unknown", raw_server.redirect_to("mailto:ada@example.org", 303)),
    ("unknown", raw_server.half_an_answer),
    ("unknown", raw_server.half_a_head),
    ("unknown", raw_server.reset),
    ("unknown", raw_server.hang_up),
    ("unknown", raw_server.speak_no_http),
    ("unknown", raw_server.answering(200, b"")),
    ("unknown", raw_server.answering(429, TAKEN % 1)),
    ("unknown", raw_server.answering(429, b'{"message": "message sent, slow down"}')),
    ("unknown", raw_server.answering(201, gzip.compress(b" " * 60_000_000), "Content-Encoding: gzip")),
    ("unknown", raw_server.answering(200, b'[{"error": "no"}, {"id": "true_1@c.us_3EB0"}]')),
    ("unknown", raw_server.answering(502, b"<html>", "Retry-After: 1")),
    ("accepted", raw_server.answering(201, b"")),
    ("accepted", raw_server.answering(201, rb'{"id": "\ud800"}')),
    ("accepted", raw_server.word_for_word(b"HTTP/1.0 201 Cr\xe9\xe9\r\n\r\n" + TAKEN % 2)),
    ("accepted", raw_server.word_for_word(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + created(3))),
]


class OddService:
    """Takes a message from everybody; the numbers at even places are told of it oddly."""

    def __init__(self, numbers: list[str]) -> None:
        self.taken: Counter[str] = Counter()
        self._place = {number.removeprefix("+"): place for place, number in enumerate(numbers)}
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        with connection, contextlib.suppress(OSError):
            request = raw_server.read_request(connection)
            if not request.startswith(b"POST"):
                body = b"[]" if b"/chats/" in request else b'{"name": "default", "status": "WORKING"}'
                return raw_server.answering(200, body)(connection)
            person = json.loads(request.partition(b"\r\n\r\n")[2])["chatId"].partition("@")[0]
            self.taken[person] += 1
            place = self._place[person]
            odd = TOLD[place // 2][1] if place % 2 == 0 else raw_server.word_for_word(created(100 + place))
            odd(connection)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def numbers() -> list[str]:
    return [str(number) for number in sample_numbers(2 * len(TOLD))]


@pytest.fixture
def service(numbers: list[str]) -> Iterator[OddService]:
    running = OddService(numbers)
    yield running
    running.close()


async def test_nobody_gets_two_and_the_report_says_what_is_so(
    service: OddService, numbers: list[str], ledger: Ledger
) -> None:
    arguments: dict[str, Any] = {
        "broadcast": "odd",
        "sender": WahaCredentials(base_url=service.url, min_seconds_between=0, max_seconds_between=0),
        "contacts": [Contact(name="Ada Byron", phone="+442079460000")],
        "recipients": numbers,
        "ledger": ledger,
    }
    unknown = sum(state == "unknown" for state, _ in TOLD)
    report: Report | None = None
    for _ in range(8):  # so many lost answers stop a run; the next one goes on, and the last finds nothing left to send
        try:
            report = await broadcast_contacts(**arguments)
        except BroadcastStoppedError as stopped:
            report = stopped.report
        assert set(service.taken.values()) == {1}
        assert report is not None
        assert report.failed == report.skipped == 0
    assert report is not None
    assert (report.planned, report.unknown, report.accepted) == (len(numbers), unknown, len(numbers) - unknown)
    assert report.pending == 0
    assert len(service.taken) == len(numbers)
