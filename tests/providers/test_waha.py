"""WAHA: this message gives this request, this answer gives this result."""

import json
from typing import Any

import httpx
import pytest
from prefect_whatsapp.models import Contact, ContactEmail, Recipient
from prefect_whatsapp.models.errors import (
    AccountError,
    OutcomeUnknownError,
    ProviderError,
    RetryLaterError,
    UnsupportedError,
)
from prefect_whatsapp.providers.dialect import Attachment
from prefect_whatsapp.providers.http_types import Exchange
from prefect_whatsapp.providers.transport import Client
from prefect_whatsapp.providers.waha import NumberCheck, Waha
from provider_accounts import INLINE, MESSAGE_ID, Answer, Driver, Recorder, both, drive

ACCEPTED = Answer(201, {"id": MESSAGE_ID})
PERSON = Recipient(to="+16505550123")
ADA = Contact(name="Ada Byron", phone="+16505550199", organisation="Engines Ltd")
WITH_MAIL = ADA.model_copy(update={"emails": (ContactEmail(email="ada@example.org"),)})
DOWN = Answer(
    422,
    {
        "error": "Session status is not as expected. Try again later or restart the session",
        "session": "default",
        "status": "FAILED",
        "expected": ["WORKING"],
    },
)


def waha(**settings: Any) -> Waha:
    return Waha(api_key="k3y", base_url="http://waha.test:3000/", **settings)


WAHA = waha()


def sent(dialect: Waha, exchange: Exchange[Any], answer: Answer = ACCEPTED) -> tuple[str, str, Any]:
    """Run an exchange; the method, path and JSON body that went out."""
    recorder = Recorder(answer)
    with Client(dialect, transport=recorder) as client:
        client.run(exchange)
    request = recorder.requests[-1]
    assert request.headers["X-Api-Key"] == "k3y"
    return request.method, request.url.path, recorder.body if request.content else None


def test_a_voice_note_goes_inline_with_the_exact_type() -> None:
    assert sent(WAHA, WAHA.send_audio(INLINE, PERSON)) == (
        "POST",
        "/api/sendVoice",
        {
            "session": "default",
            "chatId": "16505550123@c.us",
            "file": {"mimetype": "audio/ogg; codecs=opus", "filename": "voice.ogg", "data": "T2dnUw=="},
            "convert": False,
        },
    )


def test_a_voice_note_goes_by_link_also_within_the_own_network() -> None:
    link = "http://minio:9000/bucket/voice.ogg"
    file = sent(WAHA, WAHA.send_audio(Attachment(link=link), PERSON))[2]["file"]
    assert file == {"mimetype": "audio/ogg; codecs=opus", "filename": "voice.ogg", "url": link}


def test_convert_stands_at_the_top() -> None:
    audio = Attachment(base64="SUQz", mime_type="audio/mpeg", filename="weekly.mp3", convert=True)
    body = sent(WAHA, WAHA.send_audio(audio, PERSON))[2]
    assert body["convert"] is True
    assert body["file"] == {"mimetype": "audio/mpeg", "filename": "weekly.mp3", "data": "SUQz"}


@pytest.mark.parametrize("to", ["120363000000001234@g.us", "120363000000001234@newsletter", "120363000000001234@lid"])
def test_groups_newsletters_and_lids_are_reached(to: str) -> None:
    assert sent(WAHA, WAHA.send_audio(INLINE, Recipient(to=to)))[2]["chatId"] == to


def test_nobody_is_sent_to_at_s_whatsapp_net() -> None:
    to = Recipient(to="16505550123@s.whatsapp.net")
    assert sent(WAHA, WAHA.send_audio(INLINE, to))[2]["chatId"] == "16505550123@c.us"


def test_a_reply_quotes_a_message() -> None:
    to = Recipient(to="+16505550123", reply_to="false_16505550123@c.us_AAAA")
    assert sent(WAHA, WAHA.send_audio(INLINE, to))[2]["reply_to"] == to.reply_to
    assert sent(WAHA, WAHA.send_contacts([ADA], to))[2]["reply_to"] == to.reply_to


def test_a_server_without_a_key_gets_none() -> None:
    recorder, dialect = Recorder(ACCEPTED), Waha(api_key="", base_url="http://waha.test:3000", session="team a/b")
    with Client(dialect, transport=recorder) as client:
        client.run(dialect.send_audio(INLINE, PERSON))
        assert recorder.body["session"] == "team a/b"
        assert "x-api-key" not in recorder.requests[0].headers
        client.run(dialect.check())
    assert recorder.requests[1].url.raw_path == b"/api/sessions/team%20a%2Fb"


def test_a_card_goes_as_a_vcard() -> None:
    """WAHA's own objects lose the name's parts and break on `,` `;` and line ends."""
    assert sent(WAHA, WAHA.send_contacts([ADA, WITH_MAIL], PERSON)) == (
        "POST",
        "/api/sendContactVcard",
        {
            "session": "default",
            "chatId": "16505550123@c.us",
            "contacts": [{"vcard": ADA.vcard()}, {"vcard": WITH_MAIL.vcard()}],
        },
    )


def test_the_form_of_a_card_is_a_setting() -> None:
    dialect = waha(contact_form="auto")
    cards = [ADA, WITH_MAIL, Contact(name="Byron, Ada", phone="+16505550199")]
    assert sent(dialect, dialect.send_contacts(cards, PERSON))[2]["contacts"] == [
        {
            "fullName": "Ada Byron",
            "organization": "Engines Ltd",
            "phoneNumber": "+16505550199",
            "whatsappId": "16505550199",
        },
        {"vcard": WITH_MAIL.vcard()},
        {"vcard": cards[2].vcard()},  # the object would cut the name at its comma
    ]
    with pytest.raises(UnsupportedError, match="emails"):
        waha(contact_form="object").send_contacts([WITH_MAIL], PERSON)


REFUSED = {
    "a media id": (lambda: WAHA.send_audio(Attachment(media_id="1"), PERSON), "media_id"),
    "basic audio": (lambda: WAHA.send_audio(Attachment(base64="T", voice=False), PERSON), "voice"),
    "mp3": (lambda: WAHA.send_audio(Attachment(base64="T", mime_type="audio/mpeg"), PERSON), "voice"),
    "s3": (lambda: WAHA.send_audio(Attachment(link="s3://bucket/v.ogg"), PERSON), "link"),
    "a user id": (lambda: WAHA.send_audio(INLINE, Recipient(to="US.13491208655302741918")), "to"),
    "no card": (lambda: WAHA.send_contacts([], PERSON), "contacts"),
    "a nameless card": (lambda: WAHA.send_contacts([Contact(phone="+16505550199")], PERSON), "contacts"),
    "a card without number": (lambda: WAHA.send_contacts([Contact(name="Ada")], PERSON), "contacts"),
    "a group's number": (lambda: WAHA.check_number(Recipient(to="120363000000001234@g.us")), "to"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_documents_lack_is_refused_before_the_request(what: str) -> None:
    call, parameter = REFUSED[what]
    with pytest.raises(UnsupportedError) as refused:
        call()
    assert (refused.value.provider, refused.value.parameter) == ("waha", parameter)


async def send(answer: Answer) -> Any:
    return await both(WAHA, lambda: WAHA.send_audio(INLINE, PERSON), answer)


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize(
    "body",
    [{"id": MESSAGE_ID}, {"id": {"_serialized": MESSAGE_ID}}, {"_data": {"id": {"_serialized": MESSAGE_ID}}}],
)
async def test_the_id_is_read_in_each_engine_s_shape(status: int, body: Any) -> None:
    receipt = await send(Answer(status, body))
    assert (receipt.status, receipt.message_id, receipt.raw) == ("accepted", MESSAGE_ID, body)


async def test_created_is_success_where_the_body_has_no_id() -> None:
    """The body of a card's 201 is not documented; a 200 without an id says nothing."""
    receipt = await both(WAHA, lambda: WAHA.send_contacts([ADA], PERSON), Answer(201, {"ok": 1}))
    assert (receipt.status, receipt.message_id) == ("accepted", "")
    assert isinstance(await send(Answer(200, {"ok": 1})), OutcomeUnknownError)


@pytest.mark.parametrize("body", [b"", b"  "])
async def test_created_with_an_empty_body_was_sent(body: bytes) -> None:
    """devlikeapro/waha#1083 and #1087 (WEBJS), #721 (a NOWEB card)."""
    receipt = await send(Answer(201, body))
    assert (receipt.status, receipt.message_id) == ("accepted", "")
    receipt = await both(WAHA, lambda: WAHA.send_contacts([ADA], PERSON), Answer(201, body))
    assert (receipt.status, receipt.message_id) == ("accepted", "")


# devlikeapro/waha, src/core/exceptions.ts and manager.core.ts, before 2026.6.1.
ONLY_DEFAULT = "WAHA Core support only 'default' session. You tried to access 'office' session (base64: b2ZmaWNl)."
ONLY_PLUS = "The feature is available only in Plus version. Check this out: https://waha.devlike.pro/"


@pytest.mark.parametrize("words", [ONLY_DEFAULT, ONLY_PLUS])
async def test_an_edition_that_can_not_do_it_says_so(words: str) -> None:
    refused = await send(Answer(422, {"message": words, "error": "Unprocessable Entity", "statusCode": 422}))
    assert isinstance(refused, AccountError)
    assert refused.kind == "account"
    assert "2026.6.1" in str(refused)


async def test_a_refused_key_says_where_the_key_stands() -> None:
    refused = await send(Answer(401, {"message": "Unauthorized", "statusCode": 401}))
    assert isinstance(refused, AccountError)
    assert "WAHA_API_KEY" in str(refused)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("server returned error 463", "restricted"),
        ("No LID for user", "recipient"),
        ("ffmpeg exited with code 1: Invalid data", "media"),
        ("Failed to fetch stream from https://bucket.test/voice.ogg", "media"),  # NOWEB, 2026.2.1
        ("fetch failed", "media"),  # NOWEB
        ("AxiosError: Request failed with status code 401", "media"),  # GOWS
        ("AxiosError: connect ECONNREFUSED 127.0.0.1:9", "media"),  # GOWS
        ("FetchError: request to https://bucket.test/voice.ogg failed", "media"),  # WEBJS
        ("sendVoice is available only in Plus version for 'NOWEB' engine", "account"),  # Core before 2026.6.1
    ],
)
async def test_a_500_that_says_why_is_no_riddle(message: str, kind: str) -> None:
    name, _, words = message.rpartition("Error: ")
    message = words if name in ("Axios", "Fetch") else message
    name = f"{name}Error" if name in ("Axios", "Fetch") else "Error"
    exception = {"message": message, "name": name, "stack": "Error: token limit\n at trial"}
    refused = await send(Answer(500, {"statusCode": 500, "exception": exception, "request": {"path": "/"}}))
    assert isinstance(refused, ProviderError)
    assert refused.kind == kind
    assert message in str(refused)
    assert "stack" not in str(refused)


@pytest.mark.parametrize(
    "message",
    [
        "Evaluation failed: Timeout",
        "14 UNAVAILABLE: No connection established. Last error: connect ECONNREFUSED 127.0.0.1:6000",
        "Failed to download file from url",
        "timed out",
        "boom",
        "Unexpected token < in JSON",
    ],
)
async def test_a_500_that_doesn_t_is_unknown(message: str) -> None:
    unknown = await send(Answer(500, {"statusCode": 500, "exception": {"message": message}}))
    assert isinstance(unknown, OutcomeUnknownError)
    assert message in str(unknown)


async def test_a_session_that_is_down_is_asked_for_afresh_and_stops_the_account() -> None:
    down = await send(DOWN)
    assert isinstance(down, AccountError)
    assert (down.kind, down.http_status) == ("session", 422)


async def test_a_session_that_is_unknown_is_told_by_its_name(driver: Driver) -> None:
    def serve(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(404, json={"error": 'Session "office" does not exist', "session": "office"})
        return httpx.Response(404, json={"message": "Session not found", "error": "Not Found", "statusCode": 404})

    with pytest.raises(AccountError, match='Session "office" does not exist'):
        await drive(driver, WAHA, WAHA.send_audio(INLINE, PERSON), transport=httpx.MockTransport(serve))


@pytest.mark.parametrize(("state", "error"), [("WORKING", RetryLaterError), ("FAILED", AccountError)])
async def test_a_session_that_came_back_is_worth_another_try(
    driver: Driver, state: str, error: type[ProviderError]
) -> None:
    asked = []

    def serve(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path))
        return DOWN.response() if request.method == "POST" else httpx.Response(200, json={"status": state})

    with pytest.raises(error) as raised:
        await drive(driver, WAHA, WAHA.send_audio(INLINE, PERSON), transport=httpx.MockTransport(serve))
    assert asked == [("POST", "/api/sendVoice"), ("GET", "/api/sessions/default")]
    assert raised.value.kind == "session"
    assert raised.value.retry_after == (5.0 if state == "WORKING" else None)


async def test_the_session_s_state_and_owner_are_told() -> None:
    me = {"id": "16505550123@c.us", "pushName": "Ada"}
    status = await both(WAHA, WAHA.check, Answer(200, {"name": "default", "status": "WORKING", "me": me}))
    assert (status.ready, status.state, status.detail) == (True, "WORKING", "Ada …0123@c.us")
    assert status.phone == "16505550123"
    assert "16505550123" not in repr(status)


@pytest.mark.parametrize(
    ("own_id", "phone"),
    [
        ("16505550123:7@s.whatsapp.net", "16505550123"),
        ("123456789012345@lid", ""),
        ("", ""),
        (None, ""),
        ("a@c.us", ""),
    ],
)
async def test_the_number_that_is_logged_in_is_read_where_the_service_says_it(own_id: Any, phone: str) -> None:
    status = await both(WAHA, WAHA.check, Answer(200, {"status": "WORKING", "me": {"id": own_id}}))
    assert status.phone == phone


@pytest.mark.parametrize(
    ("state", "advice"),
    [
        ("STOPPED", "start the session"),
        ("STARTING", "try again in a few seconds"),
        ("SCAN_QR_CODE", "scan the session's QR code"),
        ("FAILED", "restart the session"),
        ("PASSKEY_REQUIRED", "asks for the account's passkey"),
        ("PASSKEY_CONFIRMATION_REQUIRED", "confirm the passkey on the phone"),
    ],
)
async def test_another_state_says_what_to_do(state: str, advice: str) -> None:
    status = await both(WAHA, WAHA.check, Answer(200, {"status": state, "me": None}))
    assert (status.ready, status.state) == (False, state)
    assert advice in status.detail


async def test_a_state_that_nobody_knows_yet_is_not_ready() -> None:
    status = await both(WAHA, WAHA.check, Answer(200, {"status": "NEXT_YEAR", "me": None}))
    assert (status.ready, status.state) == (False, "NEXT_YEAR")


@pytest.mark.parametrize(
    ("body", "check"),
    [
        ({"numberExists": True, "chatId": "5511955550123@c.us"}, NumberCheck(True, "5511955550123@c.us")),
        ({"numberExists": False, "chatId": None}, NumberCheck(False)),
    ],
)
async def test_a_number_is_checked(body: dict[str, Any], check: NumberCheck) -> None:
    assert await both(WAHA, lambda: WAHA.check_number(PERSON), Answer(200, body)) == check


async def test_a_number_check_without_an_answer_is_no_no() -> None:
    unclear = await both(WAHA, lambda: WAHA.check_number(PERSON), Answer(200, {}))
    assert isinstance(unclear, RetryLaterError)


def test_a_message_s_json_has_no_null() -> None:
    recorder = Recorder(ACCEPTED)
    with Client(WAHA, transport=recorder) as client:
        client.run(WAHA.send_audio(INLINE, PERSON))
    assert None not in json.loads(recorder.requests[0].content).values()
