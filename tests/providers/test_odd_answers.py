"""Answers as no service should give them: nobody is sent to twice for one, and none makes the report say what isn't so."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import raw_server
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect_whatsapp.models import Receipt
from prefect_whatsapp.models.errors import (
    OutcomeUnknownError,
    ProviderError,
    RetryLaterError,
    WhatsAppError,
)
from prefect_whatsapp.providers.answer_body import AnswerTooLargeError, BoundedBody
from prefect_whatsapp.providers.chat_api import ChatApi
from prefect_whatsapp.providers.dialect import AccountStatus
from prefect_whatsapp.providers.http_types import Response
from prefect_whatsapp.providers.transport import AsyncClient, Client
from provider_accounts import ACCOUNTS, CANARY, TO, Account, Answer, Driver, both, drive
from raw_server import RawServer

LIMIT = 300_000


def head(status: str, *lines: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines]).encode("latin-1") + b"\r\n\r\n"


# What httpx calls an InvalidURL, and so a request that never left, though the service may have carried it out.
@pytest.mark.parametrize(
    "location", ["localhost:3000/done", "mailto:ada@example.org", "https:///x", "http://[", "\x07:"]
)
async def test_a_redirection_to_nowhere_is_unknown_and_never_not_sent(driver: Driver, location: str) -> None:
    account = ACCOUNTS["waha"]
    with RawServer(raw_server.redirect_to(location)) as server:
        dialect = account.dialect(server.url)
        with pytest.raises(OutcomeUnknownError):
            await drive(driver, dialect, account.voice(dialect))
    assert len(server.requests) == 1


ENDLESS: dict[str, tuple[str, bytes]] = {
    "a body without length": ("HTTP/1.1 200 OK\r\n\r\n", b" " * 65_536),
    "a chunked body": ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65_536 + b"\r\n"),
    "a body of a refusal": ("HTTP/1.1 400 Bad\r\n\r\n", b" " * 65_536),
    "a body of a throttle": ("HTTP/1.1 429 Slow\r\n\r\n", b" " * 65_536),
    "a compressed body": (
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n",
        gzip.compress(b" " * 40_000_000),
    ),
    "headers": ("HTTP/1.1 200 OK\r\n", b"X-Padding: " + b"x" * 4_000 + b"\r\n"),
    "one header": ("HTTP/1.1 200 OK\r\nX-Padding: ", b"x" * 65_536),
    "a chunk's extension": ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=", b"x" * 65_536),
    "interim answers": ("", b"HTTP/1.1 102 Processing\r\n\r\n" * 100),
}


@pytest.mark.parametrize("what", ENDLESS)
async def test_an_endless_answer_ends_as_unknown(what: str, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect_whatsapp.providers.transport.MAX_ANSWER_BYTES", LIMIT)
    monkeypatch.setattr("prefect_whatsapp.providers.transport.CONNECT_TIMEOUT", 0.5)
    sent: list[int] = []
    opening, piece = ENDLESS[what]
    account = ACCOUNTS["waha"]
    with RawServer(raw_server.going_on_and_on(opening, piece, sent)) as server:
        dialect = account.dialect(server.url)
        with pytest.raises(OutcomeUnknownError, match="the message may have been accepted"):
            await drive(driver, dialect, account.voice(dialect), timeout=0.5)
    if what not in ("interim answers", "a chunk's extension"):  # those are thrown away as they come
        assert sum(sent) < 30_000_000, "what the two sockets hold, not what a second brings"


async def test_an_endless_answer_to_a_question_is_asked_for_again(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefect_whatsapp.providers.transport.MAX_ANSWER_BYTES", LIMIT)
    account = ACCOUNTS["waha"]
    with RawServer(raw_server.going_on_and_on(*ENDLESS["a body without length"])) as server:
        dialect = account.dialect(server.url)
        with pytest.raises(RetryLaterError, match="more than"):
            await drive(driver, dialect, account.check(dialect))


def test_a_few_bytes_that_unpack_to_gigabytes_are_never_unpacked() -> None:
    bomb = zlib.compress(b" " * 200_000_000)
    given: list[int] = []
    with pytest.raises(AnswerTooLargeError):
        given += [len(part) for part in BoundedBody(httpx.ByteStream(bomb), encoding="deflate", limit=LIMIT)]
    assert sum(given) <= LIMIT


async def test_what_a_500_repeats_of_a_large_request_is_read(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """WAHA repeats the whole request, audio included, beside its reason."""
    monkeypatch.setattr("prefect_whatsapp.providers.transport.MAX_ANSWER_BYTES", 10_000)
    account = ACCOUNTS["waha"]
    audio = account.audio.__class__(base64="T" * LIMIT)
    body = {"exception": {"message": "No LID for user"}, "request": {"body": {"file": {"data": "T" * LIMIT}}}}
    with RawServer(raw_server.answering(500, json.dumps(body).encode())) as server:
        dialect = account.dialect(server.url)
        with pytest.raises(ProviderError) as refused:
            await drive(driver, dialect, dialect.send_audio(audio, TO))
    assert refused.value.kind == "recipient"


ACCEPTED_ALL_THE_SAME: dict[str, Callable[[Account], bytes]] = {
    "HTTP/1.0, closed after the body": lambda a: b"HTTP/1.0 %d OK\r\n\r\n" % a.accepted.status + a.accepted.content,
    "interim answers first": lambda a: (
        head("100 Continue") + head("103 Early Hints", "Link: </x>") + whole(a, str(a.accepted.status))
    ),
    "a reason in Latin letters": lambda a: whole(a, f"{a.accepted.status} Cr\xe9\xe9"),
    "no reason": lambda a: whole(a, f"{a.accepted.status} "),
    "a header of 20 kB": lambda a: whole(a, f"{a.accepted.status} OK", "X-Policy: " + "x" * 20_000),
    "a header in Latin letters": lambda a: whole(a, f"{a.accepted.status} OK", "X-Name: Ren\xe9e"),
    "another content type": lambda a: whole(a, f"{a.accepted.status} OK", "Content-Type: text/html; charset=nonsense"),
    "gzip": lambda a: whole(a, f"{a.accepted.status} OK", "Content-Encoding: gzip", body=gzip.compress(a.accepted.content)),
    "deflate": lambda a: whole(a, f"{a.accepted.status} OK", "Content-Encoding: deflate", body=zlib.compress(a.accepted.content)),
    "with a mark of the byte order": lambda a: whole(a, f"{a.accepted.status} OK", body=b"\xef\xbb\xbf" + a.accepted.content),
    "a byte in each chunk": lambda a: (
        head(f"{a.accepted.status} OK", "Transfer-Encoding: chunked")
        + b"".join(b"1\r\n%c\r\n" % byte for byte in a.accepted.content)
        + b"0\r\n\r\n"
    ),
}  # fmt: skip


def whole(account: Account, status: str, *lines: str, body: bytes | None = None) -> bytes:
    body = account.accepted.content if body is None else body
    return head(status, f"Content-Length: {len(body)}", *lines) + body


@pytest.mark.parametrize("how", ACCEPTED_ALL_THE_SAME)
async def test_an_accepted_message_is_accepted_however_it_is_told(account: Account, driver: Driver, how: str) -> None:
    with RawServer(raw_server.word_for_word(ACCEPTED_ALL_THE_SAME[how](account))) as server:
        dialect = account.dialect(server.url)
        receipt = await drive(driver, dialect, account.voice(dialect))
    assert (receipt.status, bool(receipt.message_id)) == ("accepted", True)


BROKEN: dict[str, bytes] = {
    "two lengths": head("200 OK", "Content-Length: 2", "Content-Length: 200") + b"{}",
    "a length that is no number": head("200 OK", "Content-Length: many") + b"{}",
    "a length shorter than the body": head("201 OK", "Content-Length: 5") + b'{"id": "true_1@c.us_3EB0"}',
    "a chunk that is no chunk": head("200 OK", "Transfer-Encoding: chunked") + b'{"sent": true}',
    "a chunk that ends early": head("201 OK", "Transfer-Encoding: chunked") + b"ff\r\n{",
    "an encoding that nobody asked for": head("200 OK", "Content-Length: 3", "Content-Encoding: br") + b"\x0b\x01\x80",
    "HTTP/0.9": b'{"sent": true, "id": "true_1@c.us_3EB0"}',
    "HTTP/7": b"HTTP/7.0 200 OK\r\n\r\n{}",
    "a change of protocols": head("101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"),
    "interim answers alone": head("102 Processing"),
    "204 with a body": head("204 No Content", "Content-Length: 2") + b"{}",
    "a NUL in a header": head("200 OK", "X: a\0b") + b"{}",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n{}",
}


@pytest.mark.parametrize("how", BROKEN)
async def test_a_broken_answer_is_unknown(driver: Driver, how: str) -> None:
    account = ACCOUNTS["chat-api"]
    with RawServer(raw_server.word_for_word(BROKEN[how])) as server:
        dialect = account.dialect(server.url)
        with pytest.raises(OutcomeUnknownError):
            await drive(driver, dialect, account.voice(dialect), timeout=1)
    assert len(server.requests) == 1


REFUSED = head("400 Bad Request", "Content-Length: 2") + b"{}"


async def send_twice(driver: Driver, account: Account, url: str, *, pause: float = 0.0) -> list[str]:
    dialect = account.dialect(url)
    told: list[str] = []
    if driver == "sync":
        with Client(dialect, timeout=30) as client:
            for _ in range(2):
                try:
                    told.append(client.run(account.voice(dialect)).status)
                except WhatsAppError as error:
                    told.append(type(error).__name__)
                await asyncio.sleep(pause)
    else:
        async with AsyncClient(dialect, timeout=30) as aclient:
            for _ in range(2):
                try:
                    told.append((await aclient.run(account.voice(dialect))).status)
                except WhatsAppError as error:
                    told.append(type(error).__name__)
                await asyncio.sleep(pause)
    return told


@pytest.mark.parametrize("between", [b"", b"<later>"])
async def test_an_answer_that_nobody_asked_for_is_not_the_next_message_s(driver: Driver, between: bytes) -> None:
    """Two answers come to one request. What is left over must not stand for what is sent next, and was refused."""
    account = ACCOUNTS["waha"]
    accepted = whole(account, f"{account.accepted.status} OK")
    answers = raw_server.one_after_another(accepted + between + accepted, REFUSED, pause=0.05)
    with RawServer(answers) as server:
        told = await send_twice(driver, account, server.url, pause=0.15)
    assert told[0] == "accepted"
    assert told[1] != "accepted"


async def test_a_cookie_is_not_carried_to_the_next_message(driver: Driver) -> None:
    account = ACCOUNTS["waha"]
    accepted = whole(account, f"{account.accepted.status} OK", "Set-Cookie: session=1; Path=/", "Connection: close")
    with RawServer(raw_server.word_for_word(accepted)) as server:
        assert await send_twice(driver, account, server.url) == ["accepted", "accepted"]
    assert not any(b"cookie" in request.lower() for request in server.requests)


async def test_an_id_beside_a_refusal_is_unknown_whatever_the_status(account: Account) -> None:
    """A 429 is sent again by its name; one that names the message that it took must not be."""
    dialect = account.dialect()
    accepted = json.loads(account.accepted.content)
    for status in (400, 403, 404, 422, 429):
        came = await both(dialect, lambda: account.voice(dialect), Answer(status, accepted))
        if account.name == "chat-api":  # `sent` is true, whatever the status
            assert came.status == "accepted"
        else:
            assert isinstance(came, OutcomeUnknownError), status


@pytest.mark.parametrize("body", [{"code": 202, "message": "taken, it will be sent"}, {"code": 202, "error": "later"}])
async def test_a_code_of_202_is_no_refusal(account: Account, body: dict[str, object]) -> None:
    dialect = account.dialect()
    for status in (200, 201, 202, 500):
        came = await both(dialect, lambda: account.voice(dialect), Answer(status, body))
        assert isinstance(came, OutcomeUnknownError) or came.status == "accepted", status


async def test_a_throttle_that_says_that_the_message_was_sent_is_unknown() -> None:
    answer = Answer(429, {"message": "The message was sent; slow down, too many requests"})
    for name in ("chat-api", "wawp", "waha"):
        account = ACCOUNTS[name]
        dialect = account.dialect()
        assert isinstance(await both(dialect, lambda d=dialect, a=account: a.voice(d), answer), OutcomeUnknownError)


async def test_of_several_answers_in_one_none_is_picked() -> None:
    """One may refuse while another was sent."""
    several = [{"error": "Wrong chatId format"}, {"id": "true_1@c.us_3EB0"}]
    for name in ("chat-api", "wawp", "waha"):
        account = ACCOUNTS[name]
        dialect = account.dialect()
        came = await both(dialect, lambda d=dialect, a=account: a.voice(d), Answer(200, several))
        assert isinstance(came, OutcomeUnknownError)


@pytest.mark.parametrize("regain", ["NaN", "Infinity", "-Infinity", "1e999", "-5", '"nan"'])
async def test_a_wait_that_is_no_number_is_none(regain: str) -> None:
    usage = f'{{"1":[{{"estimated_time_to_regain_access":{regain}}}]}}'
    body = {"error": {"code": 130429, "message": "(#130429) Rate limit hit"}}
    answer = Answer(400, body, {"x-business-use-case-usage": usage})
    account = ACCOUNTS["graph"]
    dialect = account.dialect()
    later = await both(dialect, lambda: account.voice(dialect), answer)
    assert isinstance(later, RetryLaterError)
    assert later.retry_after is None


async def test_a_queue_of_endless_length_is_read() -> None:
    dialect = ChatApi(instance_id="12345", token="t0k3n", base_url="https://api.example.com")
    answer = Answer(200, b'{"totalMessages": 1e999, "first100": [{"id": NaN, "last_try": 1e999}]}')
    assert (await both(dialect, dialect.queue, answer)).total == 1


@pytest.mark.parametrize("text", [r'"\ud800"', r'"a\udfffb"', '"\xed\xa0\x80"'])
async def test_half_a_character_is_replaced(text: str) -> None:
    """Neither pydantic nor a database takes one, after the message was taken."""
    account = ACCOUNTS["graph"]
    dialect = account.dialect()
    body = b'{"messages": [{"id": %s}]}' % text.encode("latin-1")
    receipt = await both(dialect, lambda: account.voice(dialect), Answer(200, body))
    assert receipt.message_id.encode().decode() == receipt.message_id
    assert Response(200, {}, rb'{"name": "\ud83d\ude00"}').json() == {"name": "\U0001f600"}


@pytest.mark.parametrize("depth", [65, 300, 900, 985, 990, 995])
async def test_an_answer_that_is_nested_too_deeply_says_nothing(account: Account, depth: int) -> None:
    """Close to the recursion limit json still reads what everything after it can't."""
    dialect = account.dialect()
    body = b'{"sent": %s%s, "id": "true_1@c.us_3EB0"}' % (b"[" * depth, b"]" * depth)
    assert isinstance(await both(dialect, lambda: account.voice(dialect), Answer(200, body)), OutcomeUnknownError)


KEYS = ("id", "_serialized", "key", "sent", "Sent", "message", "Message", "error", "code", "status", "statusCode", "result",
        "success", "data", "_data", "messages", "message_id", "job_id", "exception", "error_data", "details", "error_subcode",
        "is_transient", "fbtrace_id", "message_status", "err", "reason", "name", "accountStatus", "statusData", "me", "session",
        "health_status", "entities", "errors", "can_send_message", "throughput", "level", "numberExists", "chatId")  # fmt: skip
WORDS = ("", "true", "false", "Wrong token", "too many requests", "Session closed", "queued", "BLOCKED", "failed", "\ud800",
         "true_1@c.us_3EB0", "CONNECTED", "TIER_2K", "message was sent", "quota", "timed out", "\0", "1" * 30)  # fmt: skip
leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=8)
    | st.sampled_from([100, 33, 190, 131047, 131056, 130429, 999999, 200, 429, 10**40])
)  # fmt: skip
answers = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=400)
@given(
    name=st.sampled_from(sorted(ACCOUNTS)),
    ask=st.sampled_from(["voice", "card", "check"]),
    status=st.sampled_from([200, 201, 202, 204, 301, 302, 400, 401, 402, 403, 404, 408, 422, 429, 500, 502, 503, 599]),
    answer=answers,
    more=st.dictionaries(
        st.sampled_from(["retry-after", "x-business-use-case-usage", "date", "content-type"]), st.text(max_size=12)
    ),
)
def test_any_answer_ends_in_a_receipt_or_in_one_of_our_errors(
    name: str, ask: str, status: int, answer: Any, more: dict[str, str]
) -> None:
    account = ACCOUNTS[name]
    dialect = account.dialect()
    exchange: Any = {"voice": account.voice, "card": account.card, "check": account.check}[ask](dialect)
    exchange.send(None)
    response = Response(status, more, json.dumps(answer).encode())
    came: Any = None
    try:
        for _ in range(4):  # a session that is down is asked for again, a credential tried elsewhere
            exchange.send(response)
    except StopIteration as end:
        came = end.value
    except WhatsAppError as error:
        came = error
    assert isinstance(came, WhatsAppError | (AccountStatus if ask == "check" else Receipt))
    assert ask != "check" or not isinstance(came, OutcomeUnknownError)
    told = came.message if isinstance(came, WhatsAppError) else getattr(came, "message_id", "")
    assert CANARY not in told.encode().decode()
