"""Wawp: this message gives this request, this answer gives this result."""

import datetime
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from prefect_whatsapp.blocks import WawpCredentials
from prefect_whatsapp.models import Contact, ContactEmail, ContactPhone, Recipient
from prefect_whatsapp.models.errors import (
    AccountError,
    OutcomeUnknownError,
    ProviderError,
    RecipientRefusedError,
    RequestRefusedError,
    UnsupportedError,
)
from prefect_whatsapp.providers.dialect import Attachment
from prefect_whatsapp.providers.http_types import Exchange
from prefect_whatsapp.providers.transport import AsyncClient, Client
from prefect_whatsapp.providers.wawp import Wawp
from provider_accounts import INLINE, LINK, MESSAGE_ID, Answer, Driver, Recorder, both, drive
from pydantic import SecretStr

WAWP = Wawp(instance_id="ABC123", access_token="t0k3n")
ACCEPTED = Answer(200, {"id": {"_serialized": MESSAGE_ID}, "ack": 0})
PERSON = Recipient(to="+16505550123")
ADA = Contact(name="Ada Byron", phone="+16505550199", organisation="Engines Ltd")


def sent(exchange: Exchange[Any], answer: Answer = ACCEPTED) -> tuple[str, str, Any]:
    """Run an exchange; the method, path and JSON body that went out."""
    recorder = Recorder(answer)
    with Client(WAWP, transport=recorder) as client:
        client.run(exchange)
    request = recorder.requests[-1]
    body = recorder.body
    assert not request.url.params
    assert (body.pop("instance_id"), body.pop("access_token")) == ("ABC123", "t0k3n")
    return request.method, request.url.path, body


def test_a_voice_note_goes_by_link_in_flat_keys() -> None:
    assert sent(WAWP.send_audio(LINK, PERSON)) == (
        "POST",
        "/v2/send/voice",
        {
            "chatId": "16505550123@c.us",
            "file[url]": LINK.link,
            "file[filename]": "voice.ogg",
            "file[mimetype]": "audio/ogg; codecs=opus",
            "convert": False,
        },
    )


def test_audio_to_convert_keeps_its_own_type() -> None:
    audio = Attachment(link=LINK.link, mime_type="audio/mpeg", filename="weekly.mp3", convert=True)
    body = sent(WAWP.send_audio(audio, PERSON))[2]
    assert (body["file[mimetype]"], body["file[filename]"], body["convert"]) == ("audio/mpeg", "weekly.mp3", True)


@pytest.mark.parametrize("to", ["120363000000001234@g.us", "120363000000001234@newsletter"])
def test_groups_and_newsletters_are_reached(to: str) -> None:
    assert sent(WAWP.send_audio(LINK, Recipient(to=to)))[2]["chatId"] == to


def test_a_reply_quotes_a_message() -> None:
    to = Recipient(to="+16505550123", reply_to="false_16505550123@c.us_DF38")
    assert sent(WAWP.send_audio(LINK, to))[2]["reply_to"] == to.reply_to
    assert sent(WAWP.send_contacts([ADA], to))[2]["reply_to"] == to.reply_to


def test_contacts_go_in_one_bubble() -> None:
    bob = Contact(first_name="Bob", last_name="Roe", phones=(ContactPhone(phone="020 7946 0000"),))
    assert sent(WAWP.send_contacts([ADA, bob], PERSON)) == (
        "POST",
        "/v2/send/contact",
        {
            "chatId": "16505550123@c.us",
            "contacts": [
                {
                    "fullName": "Ada Byron",
                    "organization": "Engines Ltd",
                    "phoneNumber": "+16505550199",
                    "whatsappId": "16505550199",
                },
                {"fullName": "Bob Roe", "phoneNumber": "020 7946 0000"},
            ],
        },
    )


REFUSED = {
    "inline bytes": (lambda: WAWP.send_audio(INLINE, PERSON), "audio"),
    "a media id": (lambda: WAWP.send_audio(Attachment(media_id="1"), PERSON), "media_id"),
    "plain http": (lambda: WAWP.send_audio(Attachment(link="http://bucket.test/v.ogg"), PERSON), "link"),
    "a path": (lambda: WAWP.send_audio(Attachment(link="/tmp/v.ogg"), PERSON), "link"),
    "basic audio": (lambda: WAWP.send_audio(Attachment(link=LINK.link, voice=False), PERSON), "voice"),
    "mp3": (lambda: WAWP.send_audio(Attachment(link=LINK.link, mime_type="audio/mpeg"), PERSON), "voice"),
    "a lid": (lambda: WAWP.send_audio(LINK, Recipient(to="120363000000001234@lid")), "to"),
    "a user id": (lambda: WAWP.send_contacts([ADA], Recipient(to="US.13491208655302741918")), "to"),
    "no card": (lambda: WAWP.send_contacts([], PERSON), "contacts"),
    "a nameless card": (lambda: WAWP.send_contacts([Contact(phone="+16505550199")], PERSON), "contacts"),
    "a card without number": (lambda: WAWP.send_contacts([Contact(name="Ada")], PERSON), "contacts"),
    "an e-mail": (
        lambda: WAWP.send_contacts([ADA.model_copy(update={"emails": (ContactEmail(email="a@b.c"),)})], PERSON),
        "contacts",
    ),
    "two numbers": (
        lambda: WAWP.send_contacts([ADA.model_copy(update={"phones": (ContactPhone(phone="1"),)})], PERSON),
        "contacts",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_documents_lack_is_refused_before_the_request(what: str) -> None:
    call, parameter = REFUSED[what]
    with pytest.raises(UnsupportedError) as refused:
        call()
    assert (refused.value.provider, refused.value.parameter) == ("wawp", parameter)


def test_loopback_may_be_loaded_from_without_tls() -> None:
    link = "http://127.0.0.1:9000/v.ogg"
    assert sent(WAWP.send_audio(Attachment(link=link), PERSON))[2]["file[url]"] == link


async def send(answer: Answer) -> Any:
    return await both(WAWP, lambda: WAWP.send_audio(LINK, PERSON), answer)


@pytest.mark.parametrize(
    ("body", "message_id"),
    [
        ({"_data": {"id": {"fromMe": True, "_serialized": MESSAGE_ID}, "ack": 0}, "ack": 0}, MESSAGE_ID),
        ({"id": {"fromMe": True, "remote": "1@c.us", "id": "3EB0", "_serialized": MESSAGE_ID}}, MESSAGE_ID),
        ({"id": {"fromMe": True, "remote": "1@c.us", "id": "3EB0"}}, "3EB0"),
        ({"id": MESSAGE_ID}, MESSAGE_ID),
        ({"key": {"remoteJid": "1@s.whatsapp.net", "fromMe": True, "id": "3EB0"}, "status": "PENDING"}, "3EB0"),
        ({"key": "3EB0"}, "3EB0"),
        ({"code": "success", "data": {"id": MESSAGE_ID}}, MESSAGE_ID),
        ({"data": {"id": {"_serialized": MESSAGE_ID}}}, MESSAGE_ID),
        ({"data": {"key": {"id": "3EB0"}}}, "3EB0"),
        ([{"id": MESSAGE_ID}], MESSAGE_ID),
        ({"result": True, "message_id": MESSAGE_ID}, MESSAGE_ID),  # the older answer
        ({"result": True, "message_id": 41}, "41"),
    ],
)
async def test_the_id_is_read_in_each_of_its_shapes(body: Any, message_id: str) -> None:
    receipt = await send(Answer(200, body))
    assert (receipt.status, receipt.message_id) == ("accepted", message_id)


@pytest.mark.parametrize(
    ("body", "words", "message_id"),
    [
        ({"status": "queued"}, "queued", ""),
        ({"status": "Scheduled", "message": "Will be sent later"}, "Will be sent later", ""),
        ({"status": "accepted"}, "accepted", ""),
        ({"status": "pending"}, "pending", ""),
        ({"code": "success", "job_id": "41", "message": "Added to the smart queue"}, "Added to the smart queue", ""),
        ({"code": "success", "data": {"job_id": 41, "status": "queued"}}, "queued", ""),
        ({"status": "queued", "id": MESSAGE_ID}, "queued", MESSAGE_ID),
    ],
)
async def test_a_message_that_the_service_holds_is_queued(body: Any, words: str, message_id: str) -> None:
    receipt = await send(Answer(200, body))
    assert (receipt.status, receipt.status_text, receipt.message_id) == ("queued", words, message_id)


@pytest.mark.parametrize("body", [{"result": False}, {"success": False}, {"status": "failed"}, {"status": "error"}])
async def test_no_without_a_reason_concerns_this_recipient(body: dict[str, Any]) -> None:
    refused = await send(Answer(200, body))
    assert isinstance(refused, RecipientRefusedError)
    assert refused.kind == "unexplained"


@pytest.mark.parametrize("status", [200, 502])
async def test_trouble_upstream_is_unknown(status: int) -> None:
    unknown = await send(Answer(status, {"code": "wawp_upstream_error", "message": "Upstream request failed"}))
    assert isinstance(unknown, OutcomeUnknownError)
    assert "Upstream request failed" in str(unknown)


@pytest.mark.parametrize(
    "body",
    [
        b"Missing Required Parameter(s): chatId",
        b"<?xml version='1.0'?><error><message>Missing Required Parameter(s)</message></error>",
    ],
)
async def test_a_missing_parameter_is_told_as_text_or_xml(body: bytes) -> None:
    refused = await send(Answer(400, body))
    assert isinstance(refused, RequestRefusedError)
    assert refused.kind == "request"
    assert "Missing Required Parameter" in str(refused)


async def test_an_empty_answer_is_no_receipt() -> None:
    """The recordings call it a failure; whether nothing was sent they don't say, so nobody is sent to twice."""
    assert isinstance(await send(Answer(200)), OutcomeUnknownError)


async def test_success_without_an_id_or_a_job_is_unknown() -> None:
    assert isinstance(await send(Answer(200, {"code": "success", "message": "done"})), OutcomeUnknownError)


@pytest.mark.parametrize("status", [200, 404])
async def test_a_closed_session_concerns_the_account(status: int) -> None:
    refused = await send(Answer(status, {"code": "invalid_session", "message": "Session closed"}))
    assert isinstance(refused, AccountError)
    assert (refused.code, refused.kind, refused.http_status) == ("invalid_session", "session", status)


@pytest.mark.parametrize(
    ("answer", "code", "kind"),
    [
        (Answer(400, {"code": "missing_param", "message": "Missing parameter: file[url]"}), "missing_param", "request"),
        (Answer(400, {"error": {"code": "bad_file", "message": "Invalid url"}}), "bad_file", "media"),
        (Answer(400, {"message": "You reached the limit"}), "400", "payment"),
        (Answer(429, {"code": "quota_reached", "message": "Monthly quota reached"}), "quota_reached", "payment"),
        (Answer(400, {"message": "Could not get the quoted message"}), "400", "quote"),
    ],
)
async def test_a_refusal_has_the_service_s_code(answer: Answer, code: str, kind: str) -> None:
    refused = await send(answer)
    assert isinstance(refused, ProviderError)
    assert (refused.code, refused.kind) == (code, kind)


@pytest.mark.parametrize(
    "place", [lambda s: {"status": s}, lambda s: {"data": {"status": s}}, lambda s: {"session": {"state": s}}]
)
@pytest.mark.parametrize("state", ["STOPPED", "STARTING", "SCAN_QR_CODE", "WORKING", "FAILED", "working"])
async def test_only_working_is_ready(state: str, place: Any) -> None:
    status = await both(WAWP, WAWP.check, Answer(200, place(state)))
    assert (status.ready, status.state) == (state.upper() == "WORKING", state.upper())
    assert status.ready or status.detail


def test_the_session_is_asked_for_by_post() -> None:
    assert sent(WAWP.check(), Answer(200, {"status": "WORKING"})) == ("POST", "/v2/session/info", {})


def test_convert_may_be_text() -> None:
    dialect = Wawp(instance_id="ABC123", access_token="t0k3n", convert_as="string")
    recorder = Recorder(ACCEPTED)
    with Client(dialect, transport=recorder) as client:
        client.run(dialect.send_audio(LINK, PERSON))
    assert recorder.body["convert"] == "false"


def test_the_file_may_be_nested() -> None:
    """As the vendor's MCP server and its WordPress plugin send it."""
    dialect = Wawp(instance_id="ABC123", access_token="t0k3n", file_as="nested")
    recorder = Recorder(ACCEPTED)
    with Client(dialect, transport=recorder) as client:
        client.run(dialect.send_audio(LINK, PERSON))
    assert recorder.body["file"] == {
        "url": LINK.link,
        "filename": "voice.ogg",
        "mimetype": "audio/ogg; codecs=opus",
    }
    assert not any(name.startswith("file[") for name in recorder.body)


def taken_in(place: str) -> Callable[[httpx.Request], httpx.Response]:
    """A service that looks for the credential in one place only."""

    def serve(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else {}
        found = {
            "body": body.get("access_token"),
            "query": request.url.params.get("access_token"),
            "header": request.headers.get("access-token"),
        }
        assert [value for value in found.values() if value] == ["t0k3n"], "it stands in one place at a time"
        if found[place] != "t0k3n":
            return httpx.Response(400, text="Missing Required Parameter(s): access_token")
        return httpx.Response(200, json={"status": "WORKING"} if "session" in request.url.path else ACCEPTED.body)

    return serve


@pytest.mark.parametrize("place", ["body", "query", "header"])
async def test_the_check_finds_where_the_credential_is_taken_and_it_is_remembered(driver: Driver, place: Any) -> None:
    block = WawpCredentials(instance_id="ABC123", access_token=SecretStr("t0k3n"))
    transport = httpx.MockTransport(taken_in(place))
    status = await drive(driver, block.dialect(), block.dialect().check(), transport=transport)
    assert (status.ready, status.credential_in) == (True, place)
    block.learn(status)
    again = block.dialect()
    assert (await drive(driver, again, again.send_audio(LINK, PERSON), transport=transport)).status == "accepted"
    fixed = Wawp(instance_id="ABC123", access_token="t0k3n", credential_in=place)
    assert (await drive(driver, fixed, fixed.check(), transport=transport)).ready


async def test_a_credential_that_is_taken_nowhere_is_told_by_the_first_refusal(driver: Driver) -> None:
    answers = iter([401, 400, 404])
    transport = httpx.MockTransport(lambda _: httpx.Response(next(answers), json={"message": "Invalid access token"}))
    with pytest.raises(AccountError) as refused:
        await drive(driver, WAWP, WAWP.check(), transport=transport)
    assert refused.value.http_status == 401
    assert next(answers, None) is None


@pytest.mark.parametrize(
    ("place", "where"), [("auto", "query"), ("body", "query"), ("query", "query"), ("header", "header")]
)
async def test_a_history_is_read_with_the_credential_outside_of_the_body_that_a_get_lacks(
    place: Any, where: str
) -> None:
    """Also after a check has found that the body is the place for everything else."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=[])

    dialect = Wawp(instance_id="ABC", access_token="token-1", base_url="http://wawp.test", credential_in=place)
    now = datetime.datetime.now(datetime.UTC)
    async with AsyncClient(dialect, transport=httpx.MockTransport(answer)) as client:
        await client.run(dialect.sent_messages(Recipient(to="+16505550123"), now, now))
    (request,) = asked
    assert request.url.params["instance_id"] == "ABC"
    assert (request.url.params.get("access_token"), request.headers.get("access-token")) == (
        ("token-1", None) if where == "query" else (None, "token-1")
    )
