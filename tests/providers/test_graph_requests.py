"""This message gives this request; every body the dialect can build is one that Meta's description allows."""

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from prefect_whatsapp.models import (
    Audio,
    Contact,
    ContactAddress,
    ContactEmail,
    ContactPhone,
    ContactUrl,
    Receipt,
    Recipient,
)
from prefect_whatsapp.models.errors import AudioError, UnsupportedError
from prefect_whatsapp.providers.dialect import Attachment
from prefect_whatsapp.providers.graph import Graph
from prefect_whatsapp.providers.http_types import Exchange, Request

SCHEMA = Path(__file__).parents[2].parent / "shared" / "contracts" / "graph_message.schema.json"
GRAPH = Graph(phone_number_id="100000000000001", access_token="token")
PHONE = Recipient(to="+16505550123")
QUOTING = Recipient(to="+16505550123", reply_to="wamid.HBgLMTY1MDU1NTAxMjM")
USER = Recipient(to="US.13491208655302741918")
GROUP = Recipient(to="Y2FwaV9ncm91cDo3NTA2MTAxMjM")
LINK = "https://example.org/a.ogg"
VOICE = Attachment(media_id="1013859600285441")
CARD = Contact(name="Ada Byron", phone="+442079460000")
FULL_CARD = Contact(
    name="Dr. Ada Byron",
    first_name="Ada",
    middle_name="Augusta",
    last_name="Byron",
    prefix="Dr.",
    suffix="FRS",
    phone="+442079460000",
    phones=(ContactPhone(phone="020 7946 0001", type="work"), ContactPhone(phone="650 555 0100", type="Pop-Up")),
    organisation="Analytical Engines",
    department="Programs",
    job_title="Countess",
    emails=(ContactEmail(email="ada@example.org"),),
    urls=(ContactUrl(url="https://example.org"),),
    addresses=(ContactAddress(street="12 St James's Sq", city="London", country_code="GB"),),
    birthday="1815-12-10",
)


def request(exchange: Exchange[Any]) -> Request:
    return next(exchange)


def body(exchange: Exchange[Receipt]) -> dict[str, Any]:
    sent = request(exchange).json
    assert sent is not None
    return dict(sent)


def note(**facts: Any) -> Audio:
    values: dict[str, Any] = {
        "source": "voice.ogg",
        "path": Path("voice.ogg"),
        "container": "ogg",
        "codec": "opus",
        "channels": 1,
        "sample_rate": 48000,
        "duration": 7.3,
        "size": 29233,
        "sha256": "0" * 64,
        "mime_type": "audio/ogg",
        "filename": "voice.ogg",
        "voice_ready": True,
    }
    return Audio(**values | facts)


def test_a_voice_note_by_media_id() -> None:
    sent = request(GRAPH.send_audio(VOICE, PHONE, callback="run7/row42"))
    assert (sent.method, sent.path, sent.repeatable) == ("POST", "/v26.0/100000000000001/messages", False)
    assert sent.json == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": "+16505550123",
        "type": "audio",
        "audio": {"id": "1013859600285441", "voice": True},
        "biz_opaque_callback_data": "run7/row42",
    }


@pytest.mark.parametrize(
    ("audio", "to", "part"),
    [
        (Attachment(link=LINK), PHONE, {"audio": {"link": LINK, "voice": True}}),
        (Attachment(media_id="1", voice=False, mime_type="audio/mpeg"), PHONE, {"audio": {"id": "1"}}),
        (VOICE, QUOTING, {"context": {"message_id": "wamid.HBgLMTY1MDU1NTAxMjM"}}),
        (VOICE, USER, {"recipient": "US.13491208655302741918", "recipient_type": "individual"}),
        (VOICE, GROUP, {"to": "Y2FwaV9ncm91cDo3NTA2MTAxMjM", "recipient_type": "group"}),
        (VOICE, Recipient(to="16505550123@c.us"), {"to": "+16505550123"}),
    ],
    ids=["link", "basic audio", "quote", "user id", "group", "chat id of a person"],
)  # fmt: skip
def test_audio_takes_each_form_and_recipient(audio: Attachment, to: Recipient, part: dict[str, Any]) -> None:
    sent = body(GRAPH.send_audio(audio, to))
    assert {key: sent[key] for key in part} == part
    assert ("to" in sent) != ("recipient" in sent)


def test_optional_fields_of_a_message() -> None:
    sent = body(GRAPH.send_audio(VOICE, PHONE, identity_key_hash="DF2lS5v2W6x=", messaging_account_id="77"))
    assert sent["recipient_identity_key_hash"] == "DF2lS5v2W6x="
    assert sent["messaging_account_id"] == "77"


def test_a_card_holds_what_the_contact_has_and_nothing_else() -> None:
    assert body(GRAPH.send_contacts([CARD], PHONE))["contacts"] == [
        {
            "name": {"formatted_name": "Ada Byron", "first_name": "Ada Byron"},
            "phones": [{"phone": "+442079460000", "type": "CELL", "wa_id": "442079460000"}],
        }
    ]


def test_a_full_card_with_known_phone_types_in_upper_case() -> None:
    assert body(GRAPH.send_contacts([FULL_CARD], PHONE))["contacts"][0] == {
        "name": {
            "formatted_name": "Dr. Ada Byron",
            "first_name": "Ada",
            "middle_name": "Augusta",
            "last_name": "Byron",
            "prefix": "Dr.",
            "suffix": "FRS",
        },
        "phones": [
            {"phone": "+442079460000", "type": "CELL", "wa_id": "442079460000"},
            {"phone": "020 7946 0001", "type": "WORK"},
            {"phone": "650 555 0100", "type": "Pop-Up"},
        ],
        "emails": [{"email": "ada@example.org", "type": "WORK"}],
        "urls": [{"url": "https://example.org", "type": "WORK"}],
        "addresses": [{"street": "12 St James's Sq", "city": "London", "country_code": "GB", "type": "WORK"}],
        "org": {"company": "Analytical Engines", "department": "Programs", "title": "Countess"},
        "birthday": "1815-12-10",
    }


def test_257_cards_go_in_one_message() -> None:
    assert len(body(GRAPH.send_contacts([CARD] * 257, PHONE))["contacts"]) == 257


REFUSED: list[tuple[str, Any, Recipient, dict[str, Any]]] = [
    ("to", VOICE, Recipient(to="120363000000001234@g.us"), {}),
    ("to", VOICE, Recipient(to="120363000000001234@newsletter"), {}),
    ("to", VOICE, Recipient(to="120363000000001234@lid"), {}),
    ("convert", Attachment(media_id="1", convert=True), PHONE, {}),
    ("audio", Attachment(base64="T2dnUw=="), PHONE, {}),
    ("media_id", Attachment(media_id="wamid.1"), PHONE, {}),
    ("media_id", Attachment(media_id="1" * 33), PHONE, {}),
    ("link", Attachment(link="s3://bucket/a.ogg"), PHONE, {}),
    ("voice", Attachment(media_id="1", mime_type="audio/mpeg"), PHONE, {}),
    ("callback", VOICE, PHONE, {"callback": "x" * 513}),
    ("contacts", [], PHONE, {}),
    ("contacts", [CARD] * 258, PHONE, {}),
    ("contacts", [CARD], GROUP, {}),
    ("contacts", [Contact(phone="+442079460000")], PHONE, {}),
]


@pytest.mark.parametrize(("parameter", "what", "to", "more"), REFUSED)
def test_what_graph_cannot_do_is_refused_before_any_request(
    parameter: str, what: Any, to: Recipient, more: dict[str, Any]
) -> None:
    with pytest.raises(UnsupportedError) as refused:
        request(GRAPH.send_contacts(what, to, **more) if isinstance(what, list) else GRAPH.send_audio(what, to, **more))
    assert (refused.value.provider, refused.value.parameter) == ("graph", parameter)
    assert to.to not in str(refused.value)


def test_an_upload_is_multipart_with_one_type_in_both_places() -> None:
    sent = request(GRAPH.upload(note(), b"OggS"))
    assert (sent.method, sent.path, sent.repeatable) == ("POST", "/v26.0/100000000000001/media", True)
    assert sent.form == {"messaging_product": "whatsapp", "type": "audio/ogg"}
    part = sent.files["file"]
    assert (part.filename, part.content, part.mime_type) == ("voice.ogg", b"OggS", "audio/ogg")


def test_the_type_of_a_voice_note_is_a_setting_that_leaves_basic_audio_alone() -> None:
    graph = Graph(phone_number_id="1", access_token="t", voice_mime_type="audio/ogg; codecs=opus")
    assert request(graph.upload(note(), b"OggS")).form["type"] == "audio/ogg; codecs=opus"
    mp3 = note(container="mp3", codec="mp3", mime_type="audio/mpeg", filename="a.mp3", voice_ready=False)
    assert request(graph.upload(mp3, b"ID3", ttl_minutes=60)).form == {
        "messaging_product": "whatsapp",
        "type": "audio/mpeg",
        "ttl_minutes": "60",
    }


@pytest.mark.parametrize("size", [0, 16 * 1024 * 1024 + 1])
def test_an_upload_of_the_wrong_size_is_refused_before_any_request(size: int) -> None:
    with pytest.raises(AudioError, match="16 MB"):
        request(GRAPH.upload(note(), bytes(size)))


def test_look_up_delete_and_check() -> None:
    assert request(GRAPH.media_info("55")).path == "/v26.0/55"
    assert request(GRAPH.media_info("55")).query == {"phone_number_id": "100000000000001"}
    assert request(GRAPH.delete_media("55")).method == "DELETE"
    check = request(GRAPH.check())
    assert check.path == "/v26.0/100000000000001"
    assert set(check.query["fields"].split(",")) >= {"display_phone_number", "verified_name", "throughput"}


def test_the_version_and_the_account_are_the_dialects_own() -> None:
    graph = Graph(phone_number_id="42", access_token="t", api_version="v24.0", base_url="http://127.0.0.1:1/graph/")
    assert (graph.account, graph.sender, graph.base_url) == ("42", "graph:42", "http://127.0.0.1:1/graph")
    assert request(graph.check()).path == "/v24.0/42"
    assert "canary" not in repr(Graph(phone_number_id="42", access_token="canary"))


@pytest.mark.parametrize(
    ("container", "codec", "channels", "size", "taken"),
    [
        ("mp3", "mp3", 2, 1, True),
        ("mp4", "aac", 2, 1, True),
        ("aac", "aac", 2, 1, True),
        ("amr", "amr_nb", 1, 1, True),
        ("ogg", "opus", 1, 1, True),
        ("ogg", "opus", 2, 1, False),
        ("ogg", "vorbis", 1, 1, False),
        ("wav", "pcm_s16le", 1, 1, False),
        ("flac", "flac", 1, 1, False),
        ("webm", "opus", 1, 1, False),
        ("mp4", "alac", 1, 1, False),
        ("mp3", "mp3", 2, 16 * 1024 * 1024 + 1, False),
    ],
)
def test_basic_audio_goes_as_it_is_where_graph_takes_it(
    container: str, codec: str, channels: int, size: int, taken: bool
) -> None:
    audio = note(container=container, codec=codec, channels=channels, size=size, voice_ready=False)
    assert GRAPH.accepts_unconverted(audio) is taken


def every_body() -> Iterator[dict[str, Any]]:
    recipients = (PHONE, QUOTING, USER, GROUP)
    audios = [Attachment(media_id="1013859600285441"), Attachment(link="https://example.org/a.ogg?x=1")]
    audios += [Attachment(media_id="7", voice=False), Attachment(link="http://example.org/a.mp3", voice=False)]
    options: Sequence[dict[str, str]] = (
        {},
        {"callback": "x" * 512},
        {"callback": "b1/r2", "identity_key_hash": "DF2lS5v2W6x=", "messaging_account_id": "77"},
    )
    for audio, to, more in itertools.product(audios, recipients, options):
        yield body(GRAPH.send_audio(audio, to, **more))
    parts = ("first_name", "last_name", "middle_name", "prefix", "suffix")
    cards = [[CARD], [FULL_CARD], [CARD, FULL_CARD], [CARD] * 257]
    cards += [[Contact(**{"name": "Ada Byron", part: "Ada"})] for part in parts]
    cards += [[Contact(first_name="Ada", phones=(ContactPhone(phone="020 7946 0001", type="HOME"),))]]
    cards += [[Contact(name="Ada", addresses=(ContactAddress(),), birthday="1990-12-10")]]
    for contacts, to, more in itertools.product(cards, (PHONE, QUOTING, USER), options):
        yield body(GRAPH.send_contacts(contacts, to, **more))


@pytest.mark.skipif(not SCHEMA.exists(), reason="Meta's description of a message body is not beside this checkout")
def test_every_body_the_dialect_can_build_is_valid_by_metas_description() -> None:
    validator = Draft202012Validator(json.loads(SCHEMA.read_text()))
    bodies = list(every_body())
    assert len(bodies) == 4 * 4 * 3 + 11 * 3 * 3
    for sent in bodies:
        assert validator.is_valid(json.loads(json.dumps(sent))), sent


@pytest.mark.skipif(not SCHEMA.exists(), reason="Meta's description of a message body is not beside this checkout")
def test_metas_description_refuses_what_the_dialect_never_builds() -> None:
    validator = Draft202012Validator(json.loads(SCHEMA.read_text()))
    good = body(GRAPH.send_audio(VOICE, PHONE))
    assert not validator.is_valid(good | {"audio": {"id": "1", "link": "https://example.org/a.ogg"}})
    assert not validator.is_valid(good | {"chatId": "16505550123@c.us"})
