"""The simulated gateways refuse what their documents don't allow, in the words that were recorded."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect_whatsapp.models import Contact, Recipient
from prefect_whatsapp.providers.waha import Waha
from prefect_whatsapp.providers.wawp import Wawp
from prefect_whatsapp.sandbox.server import ThreadedSandbox
from prefect_whatsapp.sandbox.settings import SandboxSettings
from sandbox_server import CHAT_API_INSTANCE, TOKEN, WAWP_INSTANCE, Run, threaded

PERSON = Recipient(to="+16505550123")
CHAT = "16505550123@c.us"
LINK = "https://example.org/voice.ogg"
VCARD = Contact(name="Ada Byron", phone="+442079460000").vcard()
OBJECT = {"fullName": "Ada Byron", "phoneNumber": "+442079460000", "whatsappId": "442079460000"}
VOICE = {
    "chatId": CHAT,
    "file[url]": LINK,
    "file[filename]": "voice.ogg",
    "file[mimetype]": "audio/ogg; codecs=opus",
    "convert": "false",
}


def chat_api(simulator: ThreadedSandbox, method: str, body: Any, *, token: str = TOKEN) -> httpx.Response:
    url = f"{simulator.chat_api_url}/instance{CHAT_API_INSTANCE}/{method}"
    return httpx.post(url, params={"token": token}, json=body, trust_env=False)


def wawp(simulator: ThreadedSandbox, kind: str, body: Any, **query: str) -> httpx.Response:
    params = {"instance_id": WAWP_INSTANCE, "access_token": TOKEN} | query
    return httpx.post(f"{simulator.wawp_url}/v2/send/{kind}", params=params, json=body, trust_env=False)


def waha(simulator: ThreadedSandbox, method: str, body: Any, *, key: str = TOKEN) -> httpx.Response:
    return httpx.post(f"{simulator.waha_url}/api/{method}", json=body, headers={"X-Api-Key": key}, trust_env=False)


def data_uri(file: Path) -> str:
    return "data:audio/ogg;base64," + base64.b64encode(file.read_bytes()).decode()


@pytest.mark.parametrize(
    ("method", "body", "words"),
    [
        ("sendPTT", {}, "9-14 characters long"),
        ("sendPTT", {"audio": LINK}, "Exactly one of phone and chatId"),
        ("sendPTT", {"audio": LINK, "phone": "16505550123", "chatId": CHAT}, "Exactly one"),
        ("sendPTT", {"audio": LINK, "phone": "+16505550123"}, "only numbers"),
        ("sendPTT", {"audio": LINK, "phone": "89995253422"}, "begin with 7"),
        ("sendPTT", {"audio": LINK, "chatId": "16505550123"}, "Wrong chatId format."),
        ("sendPTT", {"audio": LINK, "chatId": "123456789@newsletter"}, "Wrong chatId format."),
        ("sendPTT", {"phone": "16505550123"}, "audio is required"),
        ("sendPTT", {"phone": "16505550123", "audio": "data:audio/ogg;base64,!!!"}, "not base64"),
        ("sendPTT", {"phone": "16505550123", "audio": "data:audio/ogg;base64,SGVsbG8="}, "not OGG"),
        ("sendPTT", {"phone": "16505550123", "audio": "data:audio/mpeg;base64,SUQz"}, "audio/ogg, not audio/mpeg"),
        ("sendPTT", {"phone": "16505550123", "audio": "voice.ogg"}, "http(s) address"),
        ("sendPTT", {"phone": "16505550123", "audio": LINK, "voice": True}, "Unknown parameter voice"),
        ("sendPTT", {"phone": "16505550123", "audio": LINK, "quotedMsgId": None}, "quotedMsgId is empty"),
        ("sendFile", {"phone": "16505550123", "body": LINK}, "filename is required"),
        ("sendContact", {"phone": "16505550123"}, "contactId is required"),
        ("sendContact", {"phone": "16505550123", "contactId": "442079460000"}, "Wrong contactId format."),
        ("sendContact", {"phone": "16505550123", "contactId": [CHAT, 7]}, "Wrong contactId format."),
        ("sendContact", {"phone": "16505550123", "contacts": [{"name": {}}]}, "formatted_name is required"),
        ("sendVCard", {"phone": "16505550123", "vcard": "BEGIN:VCARD"}, "Wrong vcard"),
        ("sendVCard", {"phone": "16505550123", "vcard": VCARD, "quotedMsgId": "1"}, "Unknown parameter"),
    ],
)
def test_chat_api_says_sent_false_at_200(
    simulator: ThreadedSandbox, method: str, body: dict[str, Any], words: str
) -> None:
    answer = chat_api(simulator, method, body)
    assert answer.status_code == 200
    assert answer.json()["sent"] is False
    assert words in answer.json()["message"]
    assert simulator.truth()["accepted_total"] == 0


@pytest.mark.parametrize("name", ["speech_vorbis.ogg", "speech_cover.mp3", "not_audio.mp3"])
def test_chat_api_looks_into_inline_audio(simulator: ThreadedSandbox, audio_folder: Path, name: str) -> None:
    body = {"phone": "16505550123", "audio": data_uri(audio_folder / name)}
    assert chat_api(simulator, "sendPTT", body).json()["sent"] is False
    good = body | {"audio": data_uri(audio_folder / "speech_voice.ogg")}
    assert chat_api(simulator, "sendPTT", good).json()["sent"] is True


def test_chat_api_takes_a_form_too_and_answers_as_recorded(simulator: ThreadedSandbox) -> None:
    url = f"{simulator.chat_api_url}/instance{CHAT_API_INSTANCE}/sendContact"
    form = {"chatId": CHAT, "contactId": "442079460000@c.us"}
    answer = httpx.post(url, params={"token": TOKEN}, data=form, trust_env=False).json()
    assert answer["sent"] is True
    assert answer["id"].startswith(f"true_{CHAT}_3EB0")
    assert isinstance(answer["queueNumber"], int)
    assert simulator.truth()["accepted"] == {"16505550123": 1}


def test_chat_apis_wrong_token_instance_and_method(simulator: ThreadedSandbox) -> None:
    wrong = chat_api(simulator, "sendPTT", {}, token="x")
    assert (wrong.status_code, wrong.json()) == (
        401,
        {"error": "Wrong token. Please provide token as a GET parameter."},
    )
    assert chat_api(simulator, "sendSmoke", {}).status_code == 404
    other = f"{simulator.chat_api_url}/instance999/sendPTT?token={TOKEN}"
    assert httpx.post(other, json={}, trust_env=False).status_code == 404


@pytest.mark.parametrize(
    ("kind", "body", "status", "code"),
    [
        ("voice", {k: v for k, v in VOICE.items() if k != "chatId"}, 400, "missing_param"),
        ("voice", {k: v for k, v in VOICE.items() if k != "convert"}, 400, "missing_param"),
        ("voice", {k: v for k, v in VOICE.items() if k != "file[mimetype]"}, 400, "missing_param"),
        ("voice", VOICE | {"chatId": "16505550123@s.whatsapp.net"}, 400, "invalid_param"),
        ("voice", VOICE | {"file[url]": "http://example.org/voice.ogg"}, 400, "invalid_param"),
        ("voice", VOICE | {"file[mimetype]": "audio/ogg"}, 400, "invalid_param"),
        ("voice", VOICE | {"convert": "perhaps"}, 400, "invalid_param"),
        ("voice", VOICE | {"caption": "no"}, 400, "invalid_param"),
        ("contact", {"chatId": CHAT, "contacts": []}, 400, "missing_param"),
        ("contact", {"chatId": CHAT, "contacts": [{"vcard": VCARD}]}, 400, "invalid_param"),
        ("contact", {"chatId": CHAT, "contacts": [{"fullName": "Ada"}]}, 400, "invalid_param"),
        ("smoke", {}, 404, "rest_no_route"),
    ],
)
def test_wawp_refuses_with_a_code(
    simulator: ThreadedSandbox, kind: str, body: dict[str, Any], status: int, code: str
) -> None:
    answer = wawp(simulator, kind, body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert simulator.truth()["accepted_total"] == 0


@pytest.mark.parametrize(
    "body",
    [
        VOICE,
        VOICE | {"convert": True, "file[mimetype]": "audio/mpeg"},
        VOICE | {"chatId": "16505550123"},
        VOICE | {"file[url]": "http://127.0.0.1:9/voice.ogg"},
        {k: v for k, v in VOICE.items() if not k.startswith("file")}
        | {"file": {"url": LINK, "filename": "voice.ogg", "mimetype": "audio/ogg; codecs=opus"}},
    ],
    ids=["flat", "convert", "bare digits", "loopback", "nested"],
)
def test_wawp_takes_each_form_that_clients_use(simulator: ThreadedSandbox, body: dict[str, Any]) -> None:
    assert wawp(simulator, "voice", body).status_code == 200
    assert simulator.truth()["accepted"] == {"16505550123": 1}


def test_wawps_recorded_refusals(simulator: ThreadedSandbox) -> None:
    unknown = wawp(simulator, "voice", VOICE, instance_id="another")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "invalid_session")
    simulator.faults(kind="session_down", times=1)
    closed = wawp(simulator, "voice", VOICE)
    assert (closed.status_code, closed.json()) == (200, {"code": "invalid_session", "message": "Session closed"})
    simulator.faults(kind="sent_false", times=1)
    assert wawp(simulator, "voice", VOICE).json() == {"result": False}
    simulator.faults(kind="empty", times=1)
    empty = wawp(simulator, "voice", VOICE)
    assert (empty.status_code, empty.content) == (200, b"")
    assert simulator.truth()["accepted_total"] == 0


@pytest.fixture(scope="module")
def strict() -> Iterator[ThreadedSandbox]:
    """A WAHA that validates as its documents do."""
    with threaded(waha_validates=True) as running:
        yield running


def waha_voice(**members: Any) -> dict[str, Any]:
    file = {"mimetype": "audio/ogg; codecs=opus", "url": LINK}
    return {"session": "default", "chatId": CHAT, "file": file, "convert": False} | members


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"chatId": CHAT, "file": {}},
        waha_voice(chatId=""),
        waha_voice(chatId="16505550123"),
        waha_voice(chatId="16505550123@s.whatsapp.net"),
        waha_voice(voice=True),
        waha_voice(file="voice.ogg"),
        waha_voice(convert="true"),
        waha_voice(file={"mimetype": "audio/ogg; codecs=opus", "url": LINK, "convert": True}),
        waha_voice(file={"mimetype": "audio/ogg; codecs=opus", "url": LINK, "data": "T2dnUw=="}),
        waha_voice(file={"mimetype": "audio/ogg", "url": LINK}),
        waha_voice(file={"url": LINK}),
        waha_voice(file={"mimetype": "audio/ogg; codecs=opus", "data": "data:audio/ogg;base64,T2dnUw=="}),
        waha_voice(file={"mimetype": "audio/ogg; codecs=opus", "data": "T2dnUw=="}),
    ],
)
def test_waha_refuses_with_400_what_its_documents_refuse_where_asked(strict: ThreadedSandbox, body: Any) -> None:
    answer = waha(strict, "sendVoice", body)
    assert (answer.status_code, answer.json()["error"]) == (400, "Bad Request")
    assert strict.truth()["accepted_total"] == 0


@pytest.mark.parametrize("body", [waha_voice(chatId="16505550123"), waha_voice(voice=True), waha_voice(convert="true")])
def test_waha_validates_little(simulator: ThreadedSandbox, body: Any) -> None:
    """As a server of 2026.2.1 does."""
    assert waha(simulator, "sendVoice", body).status_code == 201


def test_waha_crashes_without_a_file_and_repeats_the_request(simulator: ThreadedSandbox) -> None:
    answer = waha(simulator, "sendVoice", {"session": "default", "chatId": CHAT})
    assert (answer.status_code, answer.json()["exception"]["name"]) == (500, "TypeError")
    assert answer.json()["request"]["body"]["chatId"] == CHAT
    assert simulator.truth()["accepted_total"] == 0


def test_waha_waits_for_a_session_that_is_down_before_it_refuses(simulator: ThreadedSandbox) -> None:
    simulator.faults(kind="session_down")
    before = simulator.truth()["now"]
    assert waha(simulator, "sendVoice", waha_voice()).status_code == 422
    assert simulator.truth()["now"] - before >= SandboxSettings().waha_session_seconds > 0


def test_waha_takes_a_bad_chat_id_and_an_unknown_property_and_keeps_whom_it_was_for(simulator: ThreadedSandbox) -> None:
    answer = waha(simulator, "sendVoice", waha_voice(chatId="nobody", priority="high"))
    assert (answer.status_code, set(answer.json()["key"])) == (201, {"remoteJid", "fromMe", "id"})
    assert answer.json()["status"] == "PENDING"
    assert simulator.messages()[-1]["recipient"] == "nobody"


def test_waha_wants_a_session_s_name(simulator: ThreadedSandbox) -> None:
    assert waha(simulator, "sendVoice", {}).json()["message"] == "Session name is required"


@pytest.mark.parametrize("engine", ["NOWEB", "GOWS", "WEBJS"])
async def test_each_engine_s_answer_and_own_ids(run: Run, engine: Any) -> None:
    with threaded(waha_engine=engine, waha_version="2026.4.3") as simulator:
        dialect = Waha(api_key=TOKEN, base_url=simulator.waha_url)
        receipt = await run(dialect, dialect.send_text("Hello", PERSON))
        assert "3EB0" in receipt.message_id
        assert receipt.message_id.startswith("true_") == (engine != "NOWEB")
        server = await run(dialect, dialect.server())
        assert (server.engine, server.takes_own_ids) == (engine, engine != "WEBJS")
        own = await run(dialect, dialect.new_message_id())
        assert bool(own) == server.takes_own_ids
        cards = [Contact(name="Ada Byron", phone="+442079460000")]
        assert own in (await run(dialect, dialect.send_contacts(cards, PERSON, callback=own))).message_id


async def test_an_older_waha_chooses_the_ids(run: Run) -> None:
    with threaded(waha_version="2026.4.2") as simulator:
        dialect = Waha(api_key=TOKEN, base_url=simulator.waha_url)
        assert not (await run(dialect, dialect.server())).takes_own_ids
        assert await run(dialect, dialect.new_message_id()) == ""


@pytest.mark.parametrize("places", [("body",), ("query",), ("header",)])
async def test_wawp_takes_the_credential_where_it_looks_for_it(run: Run, places: Any) -> None:
    with threaded(wawp_credential_in=places) as simulator:
        dialect = Wawp(instance_id=WAWP_INSTANCE, access_token=TOKEN, base_url=simulator.wawp_url)
        status = await run(dialect, dialect.check())
        assert (status.ready, status.credential_in) == (True, places[0])


@pytest.mark.parametrize(
    "contacts", [[], [{}], [{"fullName": "Ada"}], [{"vcard": "x"}], [OBJECT | {"vcard": VCARD}], [OBJECT | {"x": "y"}]]
)
def test_waha_refuses_cards_that_no_phone_could_show_where_asked(strict: ThreadedSandbox, contacts: Any) -> None:
    body = {"session": "default", "chatId": CHAT, "contacts": contacts}
    assert waha(strict, "sendContactVcard", body).status_code == 400
    good = body | {"contacts": [OBJECT, {"vcard": VCARD}]}
    assert waha(strict, "sendContactVcard", good).status_code == 201


def test_wahas_recorded_refusals(simulator: ThreadedSandbox) -> None:
    wrong = waha(simulator, "sendVoice", waha_voice(), key="x")
    assert (wrong.status_code, wrong.json()) == (401, {"message": "Unauthorized", "statusCode": 401})
    other = waha(simulator, "sendVoice", waha_voice(session="another"))
    assert (other.status_code, other.json()["error"]) == (404, 'Session "another" does not exist')
    simulator.faults(kind="session_down")
    down = waha(simulator, "sendVoice", waha_voice())
    assert (down.status_code, down.json()["session"]) == (422, "default")
    state = httpx.get(f"{simulator.waha_url}/api/sessions/default", headers={"X-Api-Key": TOKEN}, trust_env=False)
    assert (state.status_code, state.json()["status"]) == (200, "SCAN_QR_CODE")
    assert waha(simulator, "sendVoice", waha_voice()).status_code == 422
