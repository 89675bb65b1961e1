"""The sandbox's Graph is as strict as Meta's documents: bodies, tokens, media, numbers."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect_whatsapp.models import Contact, Recipient
from prefect_whatsapp.models.errors import AccountError, ProviderError, RequestRefusedError, RetryLaterError, Verdict
from prefect_whatsapp.providers.dialect import Attachment
from prefect_whatsapp.providers.graph import Graph
from prefect_whatsapp.sandbox.server import ThreadedSandbox
from sandbox_server import PHONE_NUMBER_ID, TOKEN, FileHost, Run, audio_of, threaded

MESSAGES = f"/graph/v26.0/{PHONE_NUMBER_ID}/messages"
MEDIA = f"/graph/v26.0/{PHONE_NUMBER_ID}/media"
PHONE = Recipient(to="+16505550123")
CARD = Contact(name="Ada Byron", phone="+442079460000")
BODY: dict[str, Any] = {
    "messaging_product": "whatsapp",
    "recipient_type": "individual",
    "to": "+16505550123",
    "type": "contacts",
    "contacts": [{"name": {"formatted_name": "Ada Byron", "first_name": "Ada"}, "phones": [{"phone": "+442079460000"}]}],
}  # fmt: skip


def code_of(answer: httpx.Response) -> int:
    code: int = answer.json()["error"]["code"]
    return code


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in BODY.items() if name != key}


def card(**members: Any) -> dict[str, Any]:
    return BODY | {"contacts": [BODY["contacts"][0] | members]}


def audio(**members: Any) -> dict[str, Any]:
    return without("contacts") | {"type": "audio", "audio": members}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([], 100),
        (without("messaging_product"), 100),
        (without("to"), 131008),
        (without("contacts"), 131008),
        (without("type"), 100),  # it is then a text
        (BODY | {"type": "sticker", "sticker": {"id": "1"}}, 131051),
        (BODY | {"chatId": "16505550123@c.us"}, 100),
        (BODY | {"audio": {"id": "1"}}, 100),
        (BODY | {"to": None}, 100),
        (BODY | {"to": "hello"}, 131009),
        (BODY | {"to": "+1650"}, 131009),
        (BODY | {"to": "120363000000001234@g.us"}, 131009),
        (BODY | {"to": "+16505550100"}, 131021),
        (BODY | {"recipient_type": "channel"}, 131009),
        (without("to") | {"recipient": "not a user id"}, 131009),
        (BODY | {"recipient_type": "group", "to": "Y2FwaV9ncm91cDo3NTA2"}, 130501),
        (BODY | {"recipient_type": "group"}, 131009),
        (BODY | {"context": {}}, 131008),
        (BODY | {"context": {"message_id": "wamid.x", "id": "1"}}, 100),
        (BODY | {"biz_opaque_callback_data": "x" * 513}, 100),
        (BODY | {"contacts": [BODY["contacts"][0]] * 258}, 100),
        (card(name={"formatted_name": "Ada"}), 131008),
        (card(name={"first_name": "Ada"}), 131008),
        (card(name={"formatted_name": "Ada", "first_name": None}), 100),
        (card(phones=[{"type": "CELL"}]), 131008),
        (card(phones=[{"phone": "1", "wa_id": "+44"}]), 131009),
        (card(phones={"phone": "1"}), 100),
        (card(birthday="10.12.1990"), 131009),
        (card(fullName="Ada"), 100),
        (audio(), 131008),
        (audio(id="1", link="https://example.org/a.ogg"), 100),
        (audio(voice=True), 100),
        (audio(id="1", caption="no"), 100),
        (audio(id="1", voice="true"), 100),
        (audio(id="wamid.1"), 100),
        (audio(id="123456789"), 100),
        (audio(link="ftp://example.org/a.ogg"), 131053),
    ],
)
def test_a_body_that_the_documents_do_not_allow_is_refused(
    http: httpx.Client, simulator: ThreadedSandbox, body: Any, code: int
) -> None:
    answer = http.post(MESSAGES, json=body)
    assert answer.status_code == 400
    assert code_of(answer) == code
    assert simulator.truth()["accepted_total"] == 0
    assert simulator.truth()["refused"] == {f"graph:{code}": 1}


def test_the_answer_to_an_accepted_message(http: httpx.Client) -> None:
    answer = http.post(MESSAGES, json=BODY).json()
    assert answer["contacts"] == [{"input": "+16505550123", "wa_id": "16505550123"}]
    assert answer["messages"][0]["id"].startswith("wamid.")
    assert answer["messages"][0]["message_status"] == "accepted"
    user = http.post(MESSAGES, json=without("to") | {"recipient": "US.13491208655302741918"}).json()
    assert user["contacts"][0]["user_id"] == "US.13491208655302741918"


def test_a_number_without_plus_gets_the_senders_country_code(http: httpx.Client, simulator: ThreadedSandbox) -> None:
    http.post(MESSAGES, json=BODY | {"to": "44 20 7946 0000"})
    http.post(MESSAGES, json=BODY | {"to": "+44 (20) 7946-0000"})
    assert simulator.truth()["accepted"] == {"1442079460000": 1, "442079460000": 1}


def test_graph_also_answers_at_the_root(http: httpx.Client, simulator: ThreadedSandbox) -> None:
    assert http.post(MESSAGES.removeprefix("/graph"), json=BODY).status_code == 200
    assert simulator.truth()["services"]["graph"]["accepted"] == 1


@pytest.mark.parametrize(
    ("path", "token", "status", "code", "subcode"),
    [
        (MESSAGES, None, 401, 104, None),
        (MESSAGES, "wrong", 401, 190, None),
        (MESSAGES.replace(PHONE_NUMBER_ID, "100000000000002"), TOKEN, 400, 100, 33),
        (MESSAGES.replace("v26.0", "v99.0"), TOKEN, 400, 2500, None),
        ("/graph/nothing", TOKEN, 400, 2500, None),
    ],
)
def test_wrong_token_number_or_version(
    simulator: ThreadedSandbox, path: str, token: str | None, status: int, code: int, subcode: int | None
) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = httpx.post(simulator.url + path, json=BODY, headers=headers, trust_env=False)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error.get("error_subcode")) == (status, code, subcode)


async def test_a_number_that_is_not_ours_is_an_account_error_everywhere(simulator: ThreadedSandbox, run: Run) -> None:
    other = Graph(phone_number_id="100000000000002", access_token=TOKEN, base_url=simulator.graph_url)
    for exchange in (
        other.check(),
        other.send_contacts([CARD], PHONE),
        other.upload(audio_of(b"OggS"), b"OggS"),
    ):
        with pytest.raises(AccountError, match="phone_number_id"):
            await run(other, exchange)


def samples() -> list[tuple[str, str, int | None]]:
    return [
        ("speech_voice.ogg", "audio/ogg", None),
        ("speech_voice.ogg", "audio/ogg; codecs=opus", None),
        ("speech_cover.mp3", "audio/mpeg", None),
        ("speech_ru.m4a", "audio/mp4", None),
        ("speech.amr", "audio/amr", None),
        ("speech_vorbis.ogg", "audio/ogg", 131053),
        ("speech_cover.mp3", "audio/ogg", 131053),
        ("not_audio.mp3", "audio/mpeg", 131053),
        ("empty.ogg", "audio/ogg", 100),
        ("speech_voice.ogg", "application/octet-stream", 100),
        ("speech_voice.ogg", "audio/wav", 100),
    ]


@pytest.mark.parametrize(("name", "mime_type", "code"), samples())
def test_uploads_are_looked_into(
    http: httpx.Client, simulator: ThreadedSandbox, audio_folder: Path, name: str, mime_type: str, code: int | None
) -> None:
    answer = upload(http, (audio_folder / name).read_bytes(), mime_type)
    if code is None:
        assert answer.json()["id"].isdecimal()
    else:
        assert code_of(answer) == code
    assert simulator.truth()["uploads"] == int(code is None)


def upload(http: httpx.Client, content: bytes, mime_type: str, **fields: str) -> httpx.Response:
    data = {"messaging_product": "whatsapp", "type": mime_type} | fields
    return http.post(MEDIA, data=data, files={"file": ("voice.ogg", content, mime_type)})


def test_an_upload_needs_each_field_once_and_no_other(http: httpx.Client, voice_note: bytes) -> None:
    file = {"file": ("voice.ogg", voice_note, "audio/ogg")}
    good = {"messaging_product": "whatsapp", "type": "audio/ogg"}
    assert code_of(http.post(MEDIA, data={"type": "audio/ogg"}, files=file)) == 100
    assert code_of(http.post(MEDIA, data={"messaging_product": "whatsapp"}, files=file)) == 100
    assert code_of(http.post(MEDIA, data=good)) == 100
    assert code_of(http.post(MEDIA, data=good | {"type": "audio/mpeg"}, files=file)) == 100
    assert code_of(http.post(MEDIA, data=good | {"caption": "no"}, files=file)) == 100


def test_an_upload_over_16_mb_is_refused(http: httpx.Client, voice_note: bytes) -> None:
    assert code_of(upload(http, voice_note + bytes(16 * 1024 * 1024), "audio/ogg")) == 100


def test_only_mono_opus_in_ogg_is_a_voice_note(http: httpx.Client, audio_folder: Path) -> None:
    mp3 = upload(http, (audio_folder / "speech_cover.mp3").read_bytes(), "audio/mpeg").json()["id"]
    assert http.post(MESSAGES, json=audio(id=mp3)).status_code == 200
    assert code_of(http.post(MESSAGES, json=audio(id=mp3, voice=True))) == 131053


def test_audio_opus_uploads_and_fails_when_sent(http: httpx.Client, voice_note: bytes) -> None:
    media_id = upload(http, voice_note, "audio/opus").json()["id"]
    assert code_of(http.post(MESSAGES, json=audio(id=media_id, voice=True))) == 131053


async def test_media_is_looked_up_loaded_and_deleted(
    graph: Graph, http: httpx.Client, run: Run, voice_note: bytes
) -> None:
    media_id = await run(graph, graph.upload(audio_of(voice_note), voice_note))
    info = await run(graph, graph.media_info(media_id))
    assert (info.id, info.mime_type, info.size) == (media_id, "audio/ogg", len(voice_note))
    assert (await asyncio.to_thread(http.get, info.url)).content == voice_note
    assert await run(graph, graph.delete_media(media_id)) is True
    with pytest.raises(RequestRefusedError) as gone:
        await run(graph, graph.media_info(media_id))
    assert gone.value.kind == "media id"


@pytest.mark.parametrize("code", [100, 131009, 131053])
async def test_a_disowned_media_id_is_gone_until_it_is_uploaded_again(voice_note: bytes, run: Run, code: int) -> None:
    with threaded(gone_media_code=code) as simulator:
        graph = Graph(phone_number_id=PHONE_NUMBER_ID, access_token=TOKEN, base_url=simulator.graph_url)
        media_id = await run(graph, graph.upload(audio_of(voice_note), voice_note))
        await run(graph, graph.send_audio(Attachment(media_id=media_id), PHONE))
        simulator.faults(kind="media_disowned", times=1)
        for _ in range(2):
            with pytest.raises(RequestRefusedError) as gone:
                await run(graph, graph.send_audio(Attachment(media_id=media_id), PHONE))
            assert gone.value.kind == "media id"
        media_id = await run(graph, graph.upload(audio_of(voice_note), voice_note))
        await run(graph, graph.send_audio(Attachment(media_id=media_id), PHONE))
        truth = simulator.truth()
        assert (truth["uploads"], truth["accepted_total"], truth["refused_total"]) == (2, 2, 2)


async def test_media_ids_expire(voice_note: bytes, run: Run) -> None:
    with threaded(media_seconds=0.0) as simulator:
        graph = Graph(phone_number_id=PHONE_NUMBER_ID, access_token=TOKEN, base_url=simulator.graph_url)
        media_id = await run(graph, graph.upload(audio_of(voice_note), voice_note))
        with pytest.raises(RequestRefusedError) as gone:
            await run(graph, graph.send_audio(Attachment(media_id=media_id), PHONE))
        assert gone.value.kind == "media id"


async def test_links_are_loaded_once_and_looked_into(run: Run, files: FileHost, audio_folder: Path) -> None:
    voice, mp3 = (files.address(audio_folder / name) for name in ("speech_voice.ogg", "speech_cover.mp3"))
    with threaded(fetch_links=True) as simulator:
        graph = Graph(phone_number_id=PHONE_NUMBER_ID, access_token=TOKEN, base_url=simulator.graph_url)
        for _ in range(3):
            await run(graph, graph.send_audio(Attachment(link=voice), PHONE))
        assert files.loads == ["speech_voice.ogg"]
        await run(graph, graph.send_audio(Attachment(link=mp3, voice=False), PHONE))
        for link, words in ((mp3, "not OGG"), (f"{voice}.gone", "404")):
            with pytest.raises(RequestRefusedError, match=words) as refused:
                await run(graph, graph.send_audio(Attachment(link=link), PHONE))
            assert refused.value.kind == "media"
        assert simulator.truth()["accepted_total"] == 4


@pytest.mark.parametrize(
    ("fault", "verdict", "kind"),
    [
        ({"kind": "throttle"}, Verdict.RETRY, "throttle"),
        ({"kind": "throttle", "status": 400}, Verdict.RETRY, "throttle"),
        ({"kind": "pair"}, Verdict.RETRY, "pair"),
        ({"kind": "window"}, Verdict.RECIPIENT, "window"),
        ({"kind": "expired_token"}, Verdict.ACCOUNT, "auth"),
        ({"kind": "session_down"}, Verdict.ACCOUNT, "account"),
        ({"kind": "error", "code": 131026}, Verdict.RECIPIENT, "recipient"),
        ({"kind": "error", "code": 131042}, Verdict.ACCOUNT, "account"),
        (
            {"kind": "error", "code": 131000, "status": 500, "details": "Message failed to send."},
            Verdict.RETRY,
            "transient",
        ),
        ({"kind": "error", "code": 131053}, Verdict.REQUEST, "media"),
    ],
)
async def test_each_fault_is_read_as_its_verdict(
    graph: Graph, simulator: ThreadedSandbox, run: Run, fault: dict[str, Any], verdict: Verdict, kind: str
) -> None:
    simulator.faults(**fault)
    with pytest.raises(ProviderError) as refused:
        await run(graph, graph.send_contacts([CARD], PHONE))
    assert (refused.value.verdict, refused.value.kind) == (verdict, kind)
    assert simulator.truth()["accepted_total"] == 0


async def test_a_throttle_may_say_when_in_either_header(graph: Graph, simulator: ThreadedSandbox, run: Run) -> None:
    for fault, seconds in (({"retry_after": 3}, 3), ({"regain_minutes": 2}, 120), ({}, None)):
        simulator.behave()
        simulator.faults(kind="throttle", **fault)
        with pytest.raises(RetryLaterError) as later:
            await run(graph, graph.send_contacts([CARD], PHONE))
        assert later.value.retry_after == seconds


async def test_a_held_message_is_queued(graph: Graph, simulator: ThreadedSandbox, run: Run) -> None:
    simulator.faults(kind="queued")
    receipt = await run(graph, graph.send_contacts([CARD], PHONE))
    assert (receipt.status, receipt.status_text) == ("queued", "held_for_quality_assessment")


async def test_the_callback_is_kept_and_counted(graph: Graph, simulator: ThreadedSandbox, run: Run) -> None:
    for callback in ("row1", "row2", "row2"):
        await run(graph, graph.send_contacts([CARD], PHONE, callback=callback))
    truth = simulator.truth()
    assert truth["callbacks"] == {"row1": 1, "row2": 2}
    assert truth["duplicates"] == {"16505550123": 3}
    assert truth["duplicates_total"] == 2
    assert [m["callback"] for m in simulator.messages()] == ["row1", "row2", "row2"]
