"""Both forms of each sending task, on the sandbox: equal receipts, equal errors, equal requests on the wire."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from prefect_whatsapp.models import Audio, Contact, Receipt, Recipient
from prefect_whatsapp.models.errors import (
    AccountError,
    AudioError,
    InputError,
    NotSentError,
    OutcomeUnknownError,
    RecipientRefusedError,
    RetryLaterError,
    UnsupportedError,
)
from prefect_whatsapp.sandbox.server import RunningSandbox
from prefect_whatsapp.tasks import asend_audio, asend_contacts, fetch_audio, send_audio, send_contacts
from pydantic import SecretStr
from senders import TOKEN_FIELD, sender_of
from tap import Tap, facts_of

TO = "+16505550123"
CARD = Contact(name="Ada Byron", phone="+16505550199", organisation="Engines")
Outcomes = Callable[..., Any]


@pytest.fixture(params=["audio", "contacts"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of message."""
    return str(request.param)


@pytest.fixture
def sent(kind: str, ready: Audio, sender: Any, outcomes: Outcomes) -> Outcomes:
    """Send such a message with both forms of its task."""

    async def send(to: Any = TO, account: Any = None, **more: Any) -> tuple[Any, Any]:
        account = account or sender
        if kind == "audio":
            return await outcomes(send_audio, asend_audio, ready, to, account, **more)
        return await outcomes(send_contacts, asend_contacts, [CARD], to, account, **more)

    return send


async def test_sync_and_async_give_equal_receipts_and_equal_requests_on_the_wire(
    provider: str, kind: str, sent: Outcomes, sandbox: RunningSandbox, tap: Tap
) -> None:
    sync, aio = await sent()
    assert isinstance(sync, Receipt)
    assert facts_of(sync) == facts_of(aio)
    assert (sync.provider, sync.recipient, sync.status) == (provider, TO, "accepted")
    first, second = tap.taken()
    assert first == second
    message = sandbox.messages()[-1]
    assert (message["kind"], message["recipient"], message["message_id"]) == (kind, TO[1:], sync.message_id)
    assert sandbox.truth()["accepted_total"] == 1  # the tap answered the second, equal request itself


async def test_a_quoted_message_is_on_the_wire_of_both_where_the_service_can_quote(
    provider: str, kind: str, sent: Outcomes, sandbox: RunningSandbox, tap: Tap
) -> None:
    quoted = {"graph": "wamid.HBgLMTY1MDU1NTAxMjM"}.get(provider, "false_16505550123@c.us_3EB0AAAA")
    sync, aio = await sent(Recipient(to=TO, reply_to=quoted))
    assert facts_of(sync) == facts_of(aio)
    first, second = tap.taken()
    assert first == second
    no_quote = (provider, kind) == ("chat-api", "contacts")  # sendVCard, which shows the card's name, quotes nothing
    assert sandbox.messages()[-1]["reply_to"] == ("" if no_quote else quoted)


async def test_reply_to_of_the_task_is_the_same_as_that_of_the_recipient(
    provider: str, sent: Outcomes, tap: Tap
) -> None:
    quoted = {"graph": "wamid.HBgLMTY1MDU1NTAxMjM"}.get(provider, "false_16505550123@c.us_3EB0AAAA")
    await sent(Recipient(to=TO, reply_to=quoted))
    await sent(TO, reply_to=quoted)
    assert len(set(tap.taken())) == 1


FAULTS: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "a throttle with a time": ({"kind": "throttle", "retry_after": 7}, RetryLaterError),
    "a throttle": ({"kind": "throttle"}, RetryLaterError),
    "an expired token": ({"kind": "expired_token"}, AccountError),
    "a dropped connection": ({"kind": "drop"}, OutcomeUnknownError),
    "an accepted message whose answer was lost": ({"kind": "drop", "accepted": True}, OutcomeUnknownError),
    "an HTML page": ({"kind": "html", "status": 502}, OutcomeUnknownError),
    "an empty body": ({"kind": "empty"}, OutcomeUnknownError),
    "JSON that is cut off": ({"kind": "malformed"}, OutcomeUnknownError),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_sync_and_async_give_equal_errors(fault: str, sent: Outcomes, sandbox: RunningSandbox, tap: Tap) -> None:
    told, expected = FAULTS[fault]
    sandbox.faults(**told)
    sync, aio = await sent()
    assert type(sync) is expected, sync
    assert facts_of(sync) == facts_of(aio)
    first, second = tap.taken()
    assert first == second
    assert TO[1:] not in str(sync)


@pytest.mark.parametrize(
    ("provider", "told", "expected"),
    [
        ("graph", {"kind": "window"}, RecipientRefusedError),
        ("graph", {"kind": "pair"}, RetryLaterError),
        ("wawp", {"kind": "session_down"}, AccountError),
        ("waha", {"kind": "session_down"}, AccountError),
        ("waha", {"kind": "reputation"}, AccountError),
        ("wawp", {"kind": "sent_false"}, Exception),
        ("chat-api", {"kind": "sent_false"}, RecipientRefusedError),
    ],
    indirect=["provider"],
)
async def test_sync_and_async_give_equal_errors_of_a_services_own(
    told: dict[str, Any], expected: type[Exception], sent: Outcomes, sandbox: RunningSandbox
) -> None:
    sandbox.faults(**told)
    sync, aio = await sent()
    assert isinstance(sync, expected), sync
    assert facts_of(sync) == facts_of(aio)


async def test_nobody_at_the_address_is_surely_not_sent(sent: Outcomes, provider: str) -> None:
    sync, aio = await sent(account=sender_of(provider, "http://127.0.0.1:9"))
    assert type(sync) is NotSentError
    assert facts_of(sync) == facts_of(aio)


@pytest.mark.parametrize("to", ["650 555 0123", "hello", "", "12@c.us", "16505550123@broadcast"])
async def test_a_recipient_that_is_none_leaves_nothing_on_the_wire(to: str, sent: Outcomes, tap: Tap) -> None:
    sync, aio = await sent(to)
    assert isinstance(sync, ValueError)
    assert type(sync) is type(aio)
    assert str(sync) == str(aio)
    assert tap.taken() == []


@pytest.mark.parametrize(
    ("provider", "to"),
    [
        ("graph", "120363000000001234@g.us"),
        ("graph", "120363000000001234@newsletter"),
        ("chat-api", "120363000000001234@newsletter"),
        ("chat-api", "US.13491208655302741918"),
        ("wawp", "123456789012345@lid"),
        ("waha", "US.13491208655302741918"),
    ],
    indirect=["provider"],
)
async def test_a_recipient_of_another_services_kind_is_refused_before_the_request(
    provider: str, to: str, sent: Outcomes, tap: Tap
) -> None:
    sync, aio = await sent(to)
    assert type(sync) is UnsupportedError
    assert (sync.provider, sync.parameter) == (provider, "to")
    assert facts_of(sync) == facts_of(aio)
    assert tap.taken() == []


async def test_an_account_without_its_credential_leaves_nothing_on_the_wire(
    sent: Outcomes, sender: Any, provider: str, tap: Tap
) -> None:
    field = "session" if provider == "waha" else TOKEN_FIELD[provider]  # a WAHA may ask for no key
    empty = sender.model_copy(update={field: "" if field == "session" else SecretStr("")})
    sync, aio = await sent(account=empty)
    assert type(sync) is InputError
    assert field in str(sync)
    assert facts_of(sync) == facts_of(aio)
    assert tap.taken() == []


async def test_audio_that_is_no_voice_note_is_refused_before_the_request(
    sender: Any, audio_samples: Any, outcomes: Outcomes, tap: Tap, tmp_path: Any
) -> None:
    song = fetch_audio.fn(str(audio_samples / "speech_vorbis.ogg"), directory=tmp_path)
    sync, aio = await outcomes(send_audio, asend_audio, song, TO, sender)
    assert type(sync) is AudioError
    assert "prepare_voice" in str(sync)
    assert facts_of(sync) == facts_of(aio)
    assert tap.taken() == []


async def test_audio_may_be_a_public_link(
    provider: str,
    sender: Any,
    outcomes: Outcomes,
    tap: Tap,
    sandbox: RunningSandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at: list[str] = []
    monkeypatch.setattr("prefect_whatsapp.tasks.attachments.check_linked_audio", looked_at.append)
    sync, aio = await outcomes(send_audio, asend_audio, "https://files.example.com/weekly.ogg", TO, sender)
    assert facts_of(sync) == facts_of(aio)
    assert sync.status == "accepted"
    first, second = tap.taken()
    assert first == second
    assert sandbox.messages()[-1]["media"] == "https://files.example.com/weekly.ogg"
    assert set(looked_at) == {"https://files.example.com/weekly.ogg"}


async def test_no_cards_is_refused_before_the_request(sender: Any, outcomes: Outcomes, tap: Tap) -> None:
    sync, aio = await outcomes(send_contacts, asend_contacts, [], TO, sender)
    assert type(sync) is UnsupportedError
    assert facts_of(sync) == facts_of(aio)
    assert tap.taken() == []


async def test_a_receipt_as_it_is_stored_holds_no_whole_number(sent: Outcomes) -> None:
    sync, _ = await sent()
    assert sync.recipient == TO
    assert TO[1:] not in sync.model_dump_json()
    assert json.loads(sync.model_dump_json())["recipient"] == "…0123"
