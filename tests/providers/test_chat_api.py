"""Chat-API: this message gives this request, this answer gives this result."""

from pathlib import Path
from typing import Any

import pytest
from prefect_whatsapp.models import Audio, Contact, ContactEmail, Receipt, Recipient
from prefect_whatsapp.models.errors import AccountError, OutcomeUnknownError, RecipientRefusedError, UnsupportedError
from prefect_whatsapp.providers.chat_api import ChatApi, MessageQueue, QueuedMessage
from prefect_whatsapp.providers.dialect import Attachment
from prefect_whatsapp.providers.http_types import Exchange
from prefect_whatsapp.providers.transport import Client
from provider_accounts import INLINE, LINK, Answer, Recorder, both

ACCEPTED = Answer(
    200, {"sent": True, "message": "Sent to 16505550123@c.us", "id": "true_16505550123@c.us_3EB0", "queueNumber": 2223}
)
PERSON = Recipient(to="+16505550123")
GROUP = Recipient(to="16505550123-1479621234@g.us")
ADA = Contact(phone="+16505550199")
BOB = Contact(phone="+16505550198")
NAMED = Contact(name="Ada Byron", phone="+16505550199")
QUOTED = "false_16505550123@c.us_DF38E6A25B42CC8CCE57EC40F"


def chat_api(**settings: Any) -> ChatApi:
    return ChatApi(instance_id="12345", token="t0k3n", base_url="https://api.example.com/", **settings)


def sent(dialect: ChatApi, exchange: Exchange[Any], answer: Answer = ACCEPTED) -> tuple[str, Any]:
    """Run an exchange; the path and the JSON body that went out."""
    recorder = Recorder(answer)
    with Client(dialect, transport=recorder) as client:
        client.run(exchange)
    request = recorder.requests[-1]
    assert dict(request.url.params) == {"token": "t0k3n"}
    return request.url.path, recorder.body if request.content else None


def test_a_voice_note_goes_inline_by_send_ptt() -> None:
    dialect = chat_api()
    assert sent(dialect, dialect.send_audio(INLINE, PERSON)) == (
        "/instance12345/sendPTT",
        {"audio": "data:audio/ogg;base64,T2dnUw==", "phone": "16505550123"},
    )


def test_the_data_uri_names_no_codec() -> None:
    dialect = chat_api()
    audio = Attachment(base64="T2dnUw==", mime_type="audio/ogg; codecs=opus")
    assert sent(dialect, dialect.send_audio(audio, PERSON))[1]["audio"].startswith("data:audio/ogg;base64,")


def test_a_voice_note_goes_by_link_too() -> None:
    dialect = chat_api()
    assert sent(dialect, dialect.send_audio(LINK, PERSON))[1]["audio"] == LINK.link


def test_a_group_goes_by_chat_id_and_a_person_where_asked() -> None:
    dialect = chat_api()
    assert sent(dialect, dialect.send_audio(INLINE, GROUP))[1]["chatId"] == "16505550123-1479621234@g.us"
    assert "phone" not in sent(dialect, dialect.send_audio(INLINE, GROUP))[1]
    by_chat_id = chat_api(address_by="chatId")
    body = sent(by_chat_id, by_chat_id.send_audio(INLINE, PERSON))[1]
    assert body["chatId"] == "16505550123@c.us"
    assert "phone" not in body


@pytest.mark.parametrize("written", ["8 (999) 525-34-22", "+7 999 525 34 22", "79995253422@c.us"])
def test_a_russian_number_is_sent_with_seven(written: str) -> None:
    dialect = chat_api()
    to = Recipient.parse(written, default_region="RU")
    assert sent(dialect, dialect.send_audio(INLINE, to))[1]["phone"] == "79995253422"


def test_a_reply_quotes_a_message() -> None:
    dialect = chat_api()
    to = Recipient(to="+16505550123", reply_to=QUOTED)
    assert sent(dialect, dialect.send_audio(INLINE, to))[1]["quotedMsgId"] == QUOTED
    assert sent(dialect, dialect.send_contacts([ADA], to))[1]["quotedMsgId"] == QUOTED


def test_basic_audio_goes_as_a_file() -> None:
    dialect = chat_api()
    audio = Attachment(base64="SUQz", mime_type="audio/mpeg", filename="weekly.mp3", voice=False)
    assert sent(dialect, dialect.send_audio(audio, PERSON)) == (
        "/instance12345/sendFile",
        {"body": "data:audio/mpeg;base64,SUQz", "filename": "weekly.mp3", "phone": "16505550123"},
    )


def test_1msg_s_path_voice_and_contact_form_are_settings() -> None:
    dialect = chat_api(
        path_template="/{instance_id}/{method}", voice_method="sendFile", contact_form="contacts", address_by="phone"
    )
    assert sent(dialect, dialect.send_audio(LINK, PERSON)) == (
        "/12345/sendFile",
        {"body": LINK.link, "filename": "voice.ogg", "voice": True, "phone": "16505550123"},
    )
    path, body = sent(dialect, dialect.send_contacts([NAMED], PERSON))
    assert path == "/12345/sendContact"
    assert body["contacts"] == [
        {
            "name": {"formatted_name": "Ada Byron", "first_name": "Ada Byron"},
            "phones": [{"phone": "+16505550199", "type": "CELL", "wa_id": "16505550199"}],
        }
    ]


def test_1msg_s_contact_objects_quote_no_message_and_that_is_said() -> None:
    """Its SendContactRequest has a phone and contacts, and nothing else (1msg/1msg-sdk)."""
    dialect = chat_api(contact_form="contacts")
    to = Recipient(to="+16505550123", reply_to=QUOTED)
    assert set(sent(dialect, dialect.send_contacts([NAMED], to))[1]) == {"contacts", "phone"}
    assert "quote" in " ".join(dialect.contact_losses([NAMED], quotes=True))
    assert dialect.contact_losses([NAMED]) == ()


@pytest.mark.parametrize(
    "template", ["", "instance/{method}", "/x", "/{method}?a=b", "/{other}/{method}", "/{method}#"]
)
def test_a_path_template_that_is_none_is_refused(template: str) -> None:
    with pytest.raises(UnsupportedError, match="path_template"):
        chat_api(path_template=template)


def test_contact_ids_are_an_array_without_repeats() -> None:
    dialect = chat_api()
    assert sent(dialect, dialect.send_contacts([ADA], PERSON)) == (
        "/instance12345/sendContact",
        {"contactId": ["16505550199@c.us"], "phone": "16505550123"},
    )
    body = sent(dialect, dialect.send_contacts([ADA, BOB, ADA], PERSON))[1]
    assert body["contactId"] == ["16505550199@c.us", "16505550198@c.us"]


def test_a_name_goes_by_vcard() -> None:
    dialect = chat_api()
    path, body = sent(dialect, dialect.send_contacts([NAMED], GROUP))
    assert path == "/instance12345/sendVCard"
    assert body == {"vcard": NAMED.vcard(), "chatId": GROUP.to}


@pytest.mark.parametrize(
    ("cards", "quotes", "path", "lost"),
    [
        ([NAMED], False, "sendVCard", ""),
        ([NAMED], True, "sendVCard", "quote"),
        ([ADA], True, "sendContact", ""),
        ([ADA, BOB], False, "sendContact", ""),
        ([NAMED, BOB], False, "sendContact", "names"),
        ([NAMED, BOB], True, "sendContact", "names"),
    ],
)
def test_what_keeps_most_is_chosen_and_what_is_lost_is_said(
    cards: list[Contact], quotes: bool, path: str, lost: str
) -> None:
    dialect, to = chat_api(), Recipient(to="+16505550123", reply_to=QUOTED if quotes else "")
    sent_path, body = sent(dialect, dialect.send_contacts(cards, to))
    assert sent_path == f"/instance12345/{path}"
    assert ("quotedMsgId" in body) == (quotes and path == "sendContact")
    losses = " ".join(dialect.contact_losses(cards, quotes=quotes))
    assert lost in losses
    assert bool(losses) == bool(lost)


def test_names_are_left_to_the_phone_book_where_asked() -> None:
    dialect = chat_api(contact_method="sendContact")
    assert sent(dialect, dialect.send_contacts([NAMED, BOB], PERSON))[1]["contactId"] == [
        "16505550199@c.us",
        "16505550198@c.us",
    ]


REFUSED = {
    "a media id": ({}, lambda d: d.send_audio(Attachment(media_id="1"), PERSON), "media_id"),
    "convert": ({}, lambda d: d.send_audio(Attachment(base64="T", convert=True), PERSON), "convert"),
    "mp3 as voice": ({}, lambda d: d.send_audio(Attachment(base64="T", mime_type="audio/mpeg"), PERSON), "voice"),
    "vorbis as voice": (
        {},
        lambda d: d.send_audio(Attachment(base64="T", mime_type="audio/ogg; codecs=vorbis"), PERSON),
        "voice",
    ),
    "wav": ({}, lambda d: d.send_audio(Attachment(base64="T", mime_type="audio/wav", voice=False), PERSON), "audio"),
    "plain http": ({}, lambda d: d.send_audio(Attachment(link="http://a.test/v.ogg"), PERSON), "link"),
    "s3": ({}, lambda d: d.send_audio(Attachment(link="s3://bucket/v.ogg"), PERSON), "link"),
    "a newsletter": ({}, lambda d: d.send_audio(INLINE, Recipient(to="120363000000001234@newsletter")), "to"),
    "a lid": ({}, lambda d: d.send_audio(INLINE, Recipient(to="120363000000001234@lid")), "to"),
    "a user id": ({}, lambda d: d.send_audio(INLINE, Recipient(to="US.13491208655302741918")), "to"),
    "no card": ({}, lambda d: d.send_contacts([], PERSON), "contacts"),
    "many vCards": ({"contact_method": "sendVCard"}, lambda d: d.send_contacts([NAMED, BOB], PERSON), "contacts"),
    "many cards, one not on WhatsApp": (
        {},
        lambda d: d.send_contacts([NAMED, Contact(name="Bob")], PERSON),
        "contacts",
    ),
    "a card that is not on WhatsApp": (
        {"contact_method": "sendContact"},
        lambda d: d.send_contacts([Contact(name="Ada")], PERSON),
        "contacts",
    ),
    "a nameless contact object": (
        {"contact_form": "contacts"},
        lambda d: d.send_contacts([ADA], PERSON),
        "contacts",
    ),
    "a quote with a vCard": (
        {"contact_method": "sendVCard"},
        lambda d: d.send_contacts([NAMED], Recipient(to="+16505550123", reply_to=QUOTED)),
        "reply_to",
    ),
    "a quote with contact objects": (
        {"contact_form": "contacts", "contact_method": "sendContact"},
        lambda d: d.send_contacts([NAMED], Recipient(to="+16505550123", reply_to=QUOTED)),
        "reply_to",
    ),
    "an upload": ({}, lambda d: d.upload(None, b"T"), "upload"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_documents_lack_is_refused_before_the_request(what: str) -> None:
    settings, call, parameter = REFUSED[what]
    with pytest.raises(UnsupportedError) as refused:
        call(chat_api(**settings))
    assert (refused.value.provider, refused.value.parameter) == ("chat-api", parameter)


def test_loopback_may_be_loaded_from_without_tls() -> None:
    dialect = chat_api()
    for host in ("127.0.0.1:9000", "localhost:9000", "[::1]:9000"):
        link = f"http://{host}/voice.ogg"
        assert sent(dialect, dialect.send_audio(Attachment(link=link), PERSON))[1]["audio"] == link


async def send(answer: Answer) -> Any:
    dialect = chat_api()
    return await both(dialect, lambda: dialect.send_audio(INLINE, PERSON), answer)


async def test_sent_is_accepted_with_its_id_and_words() -> None:
    assert await send(ACCEPTED) == Receipt(
        provider="chat-api",
        account="12345",
        recipient="+16505550123",
        message_id="true_16505550123@c.us_3EB0",
        status="accepted",
        status_text="Sent to 16505550123@c.us",
        raw=ACCEPTED.body,
    )


async def test_a_phone_that_is_not_logged_in_holds_the_message() -> None:
    message = "Status of the account not equals authenticated. Message will be sent after login."
    receipt = await send(Answer(200, {"sent": True, "message": message, "id": "true_1@c.us_3EB0"}))
    assert (receipt.status, receipt.status_text) == ("queued", message)


@pytest.mark.parametrize("status", [200, 201, 400, 500])
async def test_sent_decides_whatever_the_status(status: int) -> None:
    assert (await send(Answer(status, ACCEPTED.body))).status == "accepted"


async def test_a_clone_says_status_instead_of_sent() -> None:
    assert (await send(Answer(200, {"status": True}))).status == "accepted"
    assert isinstance(await send(Answer(200, {"status": False, "err": "no"})), RecipientRefusedError)


async def test_an_error_beside_sent_is_no_refusal() -> None:
    unknown = await send(Answer(200, {"sent": True, "error": "Wrong chatId format"}))
    assert isinstance(unknown, OutcomeUnknownError)


@pytest.mark.parametrize("sent", [True, "true", "True"])
async def test_the_vendor_s_document_spells_the_answer_otherwise(sent: Any) -> None:
    """The seed documents print `Id`, `Sent` and `Message`; a clone sends its flags as text."""
    receipt = await send(Answer(200, {"Id": "true_1@c.us_3EB0", "Sent": sent, "Message": "Sent to 1@c.us"}))
    assert (receipt.status, receipt.message_id, receipt.status_text) == (
        "accepted",
        "true_1@c.us_3EB0",
        "Sent to 1@c.us",
    )
    assert isinstance(await send(Answer(200, {"Sent": "false", "Message": "Wrong chatId"})), RecipientRefusedError)


@pytest.mark.parametrize("status", [200, 402])
async def test_an_instance_that_is_not_paid_is_a_matter_of_payment(status: int) -> None:
    refused = await send(Answer(status, {"error": "Instance is not paid"}))
    assert isinstance(refused, AccountError)
    assert refused.kind == "payment"


@pytest.mark.parametrize("state", ["connected", "connecting", "disconnected"])
async def test_1msg_tells_its_state_otherwise(state: str) -> None:
    dialect = chat_api()
    status = await both(dialect, dialect.check, Answer(200, {"status": state}))
    assert (status.ready, status.state) == (state == "connected", state)


@pytest.mark.parametrize("body", [{"message": "hello"}, {"sent": None}, {"sent": "maybe"}])
async def test_without_a_word_on_sent_the_outcome_is_unknown(body: dict[str, Any]) -> None:
    assert isinstance(await send(Answer(200, body)), OutcomeUnknownError)


async def test_a_refusal_says_what_the_service_said_without_the_number() -> None:
    refused = await send(Answer(200, {"sent": False, "message": "Wrong chatId format: 16505550123"}))
    assert str(refused) == (
        'chat-api: this recipient can\'t get it ("Wrong chatId format: …0123"); check the number or chat id'
    )


@pytest.mark.parametrize("state", ["got qr code", "authenticated", "loading", "init", "not_paid"])
async def test_only_authenticated_is_ready(state: str) -> None:
    dialect = chat_api()
    status = await both(dialect, dialect.check, Answer(200, {"accountStatus": state}))
    assert (status.ready, status.state) == (state == "authenticated", state)


async def test_the_status_tells_what_is_wrong() -> None:
    data = {"substatus": "battery_low_1", "title": "Phone low", "msg": "Charge +1 650 555 0123", "actions": {}}
    dialect = chat_api()
    status = await both(dialect, dialect.check, Answer(200, {"accountStatus": "loading", "statusData": data}))
    assert status.detail == "Phone low; Charge …0123; battery_low_1"


async def test_the_queue_is_read() -> None:
    dialect = chat_api()
    entries = [
        {"id": 7, "body": "data:…", "type": "ptt", "last_try": 1700000000, "metadata": {"to": "…"}},
        {"id": 8, "type": "vcard", "last_try": 1700000000123},
        {"id": 9, "last_try": None},
    ]
    queue = await both(dialect, dialect.queue, Answer(200, {"totalMessages": 250, "first100": entries}))
    assert queue == MessageQueue(
        total=250,
        first=(
            QueuedMessage(7, "ptt", 1700000000.0, "data:…", {"to": "…"}),
            QueuedMessage(8, "vcard", 1700000000.123),
            QueuedMessage(9),
        ),
    )
    assert sent(dialect, dialect.queue(), Answer(200, {"totalMessages": 0}))[0] == "/instance12345/showMessagesQueue"


@pytest.mark.parametrize(
    ("mime_type", "taken"), [("audio/mpeg", True), ("audio/ogg; codecs=opus", True), ("audio/wav", False)]
)
def test_basic_audio_that_whatsapp_plays_goes_unconverted(mime_type: str, taken: bool) -> None:
    audio = Audio(
        **{"source": "x", "path": Path("x"), "container": "x", "codec": "x", "channels": 1, "sample_rate": 1},
        **{"duration": 1, "size": 1, "sha256": "0", "mime_type": mime_type, "filename": "x"},
    )
    assert chat_api().accepts_unconverted(audio) is taken


def test_a_card_with_more_than_a_number_goes_by_vcard() -> None:
    dialect = chat_api()
    card = Contact(phone="+16505550199", emails=(ContactEmail(email="ada@example.org"),))
    assert sent(dialect, dialect.send_contacts([card], PERSON))[0].endswith("sendVCard")
