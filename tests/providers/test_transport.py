"""Both drivers put the same bytes on the wire and bring the same back, and no secret comes to light on the way."""

import asyncio
import base64
import copy
import itertools
import json
import logging
import pickle
import re
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import raw_server
from hypothesis import given
from hypothesis import strategies as st
from prefect_whatsapp.models import Audio, Contact, Recipient
from prefect_whatsapp.models.errors import (
    InputError,
    NotSentError,
    OutcomeUnknownError,
    RetryLaterError,
    UnsupportedError,
    Verdict,
    WhatsAppError,
)
from prefect_whatsapp.providers.chat_api import ChatApi
from prefect_whatsapp.providers.dialect import Dialect
from prefect_whatsapp.providers.graph import Graph
from prefect_whatsapp.providers.http_types import Credential, Exchange, Request, Response
from prefect_whatsapp.providers.transport import AsyncClient, Client
from prefect_whatsapp.providers.waha import Waha
from provider_accounts import ACCOUNTS, CANARY, PHONE, TO, TOKEN, Account, Answer, Driver, Recorder, both, drive
from raw_server import RawServer, answering

CALLS: dict[str, Callable[[Account, Dialect], Exchange[Any]]] = {
    "voice": Account.voice,
    "card": Account.card,
    "check": Account.check,
}


async def attempt(driver: Driver, dialect: Dialect, exchange: Exchange[Any], timeout: float = 5.0) -> Any:
    try:
        return await drive(driver, dialect, exchange, timeout=timeout)
    except WhatsAppError as error:
        return error


@pytest.mark.parametrize("call", CALLS)
async def test_sync_and_async_put_the_same_bytes_on_the_wire(account: Account, call: str) -> None:
    with RawServer(answering(account.accepted.status, account.accepted.content)) as server:
        dialect = account.dialect(server.url)
        for driver in ("sync", "async"):
            await attempt(driver, dialect, CALLS[call](account, dialect))
    sync, aio = server.requests
    assert sync == aio


async def test_sync_and_async_upload_the_same_form() -> None:
    audio = Audio(
        **{"source": "x", "path": Path("x"), "container": "ogg", "codec": "opus", "channels": 1, "sample_rate": 48000},
        **{"duration": 1, "size": 4, "sha256": "0", "mime_type": "audio/ogg", "filename": "v.ogg", "voice_ready": True},
    )
    with RawServer(answering(200, b'{"id": "1"}')) as server:
        dialect = ACCOUNTS["graph"].dialect(server.url)
        ids = [await drive(driver, dialect, dialect.upload(audio, b"OggS")) for driver in ("sync", "async")]
    assert ids == ["1", "1"]
    boundaries = [re.search(rb"boundary=(\w+)", request) for request in server.requests]
    sync, aio = [r.replace(b[1], b"-") for r, b in zip(server.requests, boundaries, strict=True) if b]
    assert sync == aio


@pytest.mark.parametrize("call", ["voice", "card"])
async def test_sync_and_async_give_equal_receipts(account: Account, call: str) -> None:
    dialect = account.dialect()
    receipt = await both(dialect, lambda: CALLS[call](account, dialect), account.accepted)
    assert (receipt.provider, receipt.account, receipt.recipient) == (account.name, dialect.account, TO.to)
    assert receipt.status == "accepted"
    assert receipt.message_id
    assert receipt.raw == json.loads(account.accepted.content)


@given(secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4, max_size=40))
def test_a_token_of_any_characters_arrives_as_it_is(secret: str) -> None:
    dialect = ChatApi(instance_id="12345", token=secret, base_url="https://service.test/prefix/")
    recorder = Recorder(Answer(200, {"accountStatus": "authenticated"}))
    with Client(dialect, transport=recorder) as client:
        assert client.run(dialect.check()).ready
    url = recorder.requests[0].url
    assert url.path == "/prefix/instance12345/status"
    assert parse_qs(url.query.decode(), keep_blank_values=True) == {"token": [secret]}


SITUATIONS: dict[str, tuple[raw_server.Behaviour | None, type[WhatsAppError] | None]] = {
    "accepted": (None, None),
    "refused, with secret and number repeated": (
        answering(
            400,
            json.dumps(
                {"error": {"message": f"no {TOKEN} to +{PHONE}", "code": 100}, "message": f"{TOKEN} {PHONE}"}
            ).encode(),
        ),
        WhatsAppError,
    ),
    "trouble, with the URL repeated": (
        answering(500, json.dumps({"message": f"/x?token=CANARYsecret%2B%2F%3D%26%2541%27~&phone={PHONE}"}).encode()),
        OutcomeUnknownError,
    ),
    "HTML with the URL": (answering(502, f"<p>GET /?token={TOKEN}</p>".encode()), OutcomeUnknownError),
    "hung up": (raw_server.hang_up, OutcomeUnknownError),
    "no HTTP": (raw_server.speak_no_http, OutcomeUnknownError),
    "silence": (raw_server.stay_silent, OutcomeUnknownError),
}


@pytest.mark.parametrize("situation", SITUATIONS)
async def test_no_secret_and_no_whole_number_comes_to_light(
    account: Account, driver: Driver, situation: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    behaviour, expected = SITUATIONS[situation]
    shown = []
    with RawServer(behaviour or answering(account.accepted.status, account.accepted.content)) as server:
        dialect = account.dialect(server.url)
        for call in ("voice", "card"):
            timeout = 0.3 if behaviour is raw_server.stay_silent else 30
            came = await attempt(driver, dialect, CALLS[call](account, dialect), timeout=timeout)
            assert isinstance(came, expected) if expected else not isinstance(came, WhatsAppError)
            shown += [repr(came), str(came), repr(pickle.dumps(came))]
            if isinstance(came, WhatsAppError):
                shown += [repr(vars(came)), *traceback.format_exception(came)]
                assert came.__context__ is None
                assert came.__cause__ is None
            else:
                shown.append(came.model_dump_json())
        shown += [repr(dialect), str(dialect), repr(dialect.credential)]
    assert CANARY.encode() in b"".join(server.requests), "the secret was sent"
    text = caplog.text + "".join(shown)
    assert {record.name.partition(".")[0] for record in caplog.records} <= {
        "httpx",
        "httpcore",
        "asyncio",
        "prefect_whatsapp",
    }
    assert CANARY not in text
    assert PHONE not in text


@pytest.mark.parametrize("length", range(280, 305, 4))
async def test_a_long_answer_is_cut_without_leaving_part_of_a_secret(account: Account, length: int) -> None:
    dialect = account.dialect()
    message = "x" * length + f" {TOKEN} {PHONE} {TOKEN}"
    answer = Answer(400, {"error": {"message": message, "code": 100}})
    error = await both(dialect, lambda: account.voice(dialect), answer)
    assert CANARY[:4] not in str(error)
    assert PHONE[:5] not in str(error)


async def test_a_number_in_a_query_is_sent_and_not_logged(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with RawServer(answering(200, b'{"numberExists": true}')) as server:
        dialect = Waha(api_key=TOKEN, base_url=server.url)
        assert (await drive(driver, dialect, dialect.check_number(TO))).exists
    assert f"phone={PHONE}".encode() in server.requests[0]
    assert "/api/contacts/check-exists answered HTTP 200" in caplog.text
    assert PHONE not in caplog.text


def test_a_dialect_is_not_pickled_with_its_secret(account: Account) -> None:
    dialect = account.dialect()
    with pytest.raises(TypeError, match="not pickled") as refused:
        pickle.dumps(dialect)
    assert CANARY not in str(refused.value)
    assert copy.deepcopy(dialect) == dialect


@pytest.mark.parametrize("token", ["two\nlines", "blank at the end ", "tab\there", "schlüssel"])
async def test_a_token_that_was_copied_badly_is_refused_without_showing_it(driver: Driver, token: str) -> None:
    dialects = (Waha(api_key=token, base_url="https://service.test"), Graph(phone_number_id="1", access_token=token))
    for dialect in dialects:
        with pytest.raises(InputError, match="copy it again") as refused:
            await drive(driver, dialect, dialect.check(), transport=httpx.MockTransport(lambda _: httpx.Response(200)))
        assert token not in str(refused.value)


async def test_accept_then_close_is_unknown_and_a_refused_connection_is_not_sent(driver: Driver) -> None:
    """httpx-aiohttp calls both a connect time-out; only one of them may be sent again."""
    account = ACCOUNTS["graph"]
    with RawServer(raw_server.hang_up) as server:
        dialect = account.dialect(server.url)
        with pytest.raises(OutcomeUnknownError):
            await drive(driver, dialect, account.voice(dialect))
    with raw_server.refusing() as url:
        dialect = account.dialect(url)
        with pytest.raises(NotSentError, match=r"is base_url right and reachable\?"):
            await drive(driver, dialect, account.voice(dialect))


async def test_a_lost_answer_to_a_question_may_be_asked_again(account: Account, driver: Driver) -> None:
    with RawServer(raw_server.hang_up) as server:
        dialect = account.dialect(server.url)
        with pytest.raises(RetryLaterError) as raised:
            await drive(driver, dialect, dialect.check())
    assert raised.value.kind == "transient"


async def test_a_request_s_own_time_limit_goes_before_the_client_s(driver: Driver) -> None:
    def ask() -> Exchange[Response]:
        return (yield Request("GET", "/slow", timeout=0.2, repeatable=True))

    with RawServer(raw_server.stay_silent) as server, pytest.raises(RetryLaterError):
        await drive(driver, ACCOUNTS["waha"].dialect(server.url), ask(), timeout=60)


async def test_an_answer_of_a_byte_at_a_time_ends_as_unknown(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte begins the wait for an answer anew: only a deadline around the whole call ends it."""
    monkeypatch.setattr("prefect_whatsapp.providers.transport.CONNECT_TIMEOUT", 0.5)
    account = ACCOUNTS["waha"]
    with RawServer(raw_server.a_byte_at_a_time(0.05)) as server:
        dialect = account.dialect(server.url)
        with pytest.raises(OutcomeUnknownError, match="timed out"):
            await asyncio.wait_for(drive(driver, dialect, account.voice(dialect), timeout=0.5), 20)


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@pytest.mark.parametrize("bytes_a_second", [0, 200_000])
async def test_a_service_that_does_not_read_a_large_body_in_time_ends_as_unknown(
    driver: Driver, bytes_a_second: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefect_whatsapp.providers.transport.CONNECT_TIMEOUT", 0.5)

    def send() -> Exchange[Response]:
        return (yield Request("POST", "/api/sendVoice", json={"data": "x" * 7_000_000}))

    with raw_server.reading_slowly(bytes_a_second) as url, pytest.raises(OutcomeUnknownError, match="timed out"):
        await asyncio.wait_for(drive(driver, ACCOUNTS["waha"].dialect(url), send(), timeout=0.5), 20)


async def test_a_connection_serves_many_requests(driver: Driver) -> None:
    account, opened = ACCOUNTS["waha"], itertools.count()

    def serve(connection: Any) -> None:
        next(opened)
        answer = f"HTTP/1.1 201 X\r\nContent-Length: {len(account.accepted.content)}\r\n\r\n".encode()
        while True:
            connection.sendall(answer + account.accepted.content)
            if not raw_server.read_request(connection):
                return

    with RawServer(serve) as server:
        dialect = account.dialect(server.url)
        if driver == "sync":
            with Client(dialect) as client:
                ids = {client.run(account.voice(dialect)).message_id for _ in range(5)}
        else:
            async with AsyncClient(dialect) as aclient:
                ids = {(await aclient.run(account.voice(dialect))).message_id for _ in range(5)}
    assert len(ids) == 1
    assert next(opened) == 1


async def test_an_exchange_of_several_requests_is_driven_to_its_end(driver: Driver) -> None:
    def talk() -> Exchange[list[int]]:
        first = yield Request("GET", "/one")
        second = yield Request("GET", "/two")
        return [first.status, second.status]

    transport = httpx.MockTransport(lambda request: httpx.Response(201 if request.url.path == "/one" else 202))
    assert await drive(driver, ACCOUNTS["waha"].dialect(), talk(), transport=transport) == [201, 202]


async def test_what_a_dialect_refuses_leaves_nothing_on_the_wire(account: Account) -> None:
    dialect, recorder = account.dialect(), Recorder(account.accepted)
    stranger = Recipient(to="120363000000001234@lid" if account.name != "waha" else "US.13491208655302741918")
    with Client(dialect, transport=recorder) as client, pytest.raises(UnsupportedError) as refused:
        client.run(dialect.send_contacts([Contact(name="Ada", phone="+442079460000")], stranger))
    assert (refused.value.provider, refused.value.parameter) == (account.name, "to")
    assert refused.value.reason
    assert recorder.requests == []


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60.0),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("٧", None),
        ("", None),
    ],
)
def test_retry_after_is_read_or_ignored(header: str, seconds: float | None) -> None:
    answer = Response(429, {"retry-after": header, "date": "Thu, 01 Jan 2026 00:00:00 GMT"})
    assert answer.retry_after() == seconds


def test_secrets_are_taken_out_of_words_in_each_spelling() -> None:
    credential = Credential(headers={"Authorization": "Bearer abc/def+1"}, query={"token": "x"})
    spelled = "abc/def+1 and abc%2Fdef%2B1 but x stays"
    assert credential.redact(spelled) == "[secret] and [secret] but x stays"


@pytest.mark.parametrize("around", [("", ""), ("a", "b"), ("ab", "cd"), ("user:", ""), ("", ":word")])
@pytest.mark.parametrize("secret", ["EAAcanary>>>???token", "EAAcanary>>>???token1", "EAAcanary>>>???token12"])
def test_secrets_are_taken_out_in_base64_and_hex(secret: str, around: tuple[str, str]) -> None:
    credential = Credential(headers={"Authorization": f"Bearer {secret}"})
    whole = secret.join(around).encode()
    core = secret.encode()
    spelled = [base64.b64encode(whole), base64.urlsafe_b64encode(whole), base64.b64encode(whole).rstrip(b"=")]
    spelled += [core.hex().encode(), core.hex().upper().encode()]
    for each in spelled:
        told = credential.redact(f"the login {each.decode()} is refused")
        assert "[secret]" in told
        assert len(told) <= len("the login [secret] is refused") + 10 * bool(around != ("", ""))
    assert credential.redact("nothing of it is here") == "nothing of it is here"


def test_whatever_a_dialect_says_of_an_answer_holds_no_secret(account: Account) -> None:
    dialect = account.dialect()
    for speak in (partial(dialect.raise_verdict, Verdict.ACCOUNT), dialect.raise_unknown):
        with pytest.raises(WhatsAppError) as raised:
            speak(f"it said {TOKEN}", Response(500))
        assert CANARY not in repr(raised.value)


def test_the_environment_s_proxy_is_used_and_loopback_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect_whatsapp.providers.connections import proxy_for

    monkeypatch.setenv("https_proxy", "http://proxy.test:3128")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    assert proxy_for("https://graph.facebook.com") == "http://proxy.test:3128"
    assert proxy_for("https://127.0.0.1:1") is None
    assert urlsplit(proxy_for("https://graph.facebook.com") or "").port == 3128
