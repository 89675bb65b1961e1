"""The webhooks that the sandbox posts: what they say, how they are signed, and how they misbehave."""

import datetime
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect_whatsapp.models import SendState
from prefect_whatsapp.models.updates import Inbound, StatusUpdate, Unread
from prefect_whatsapp.sandbox import gateway_webhooks, graph_webhooks
from prefect_whatsapp.sandbox.gateway_webhooks import ChatApiWebhooks, WahaWebhooks, WawpWebhooks
from prefect_whatsapp.sandbox.graph_webhooks import GraphWebhooks
from prefect_whatsapp.sandbox.people import lid_of, other_form, user_id_of
from prefect_whatsapp.sandbox.phones import Phone, Phones, Update
from prefect_whatsapp.sandbox.settings import SandboxSettings
from prefect_whatsapp.sandbox.truth import Message
from senders import PROVIDERS, sender_of

NUMBER = "16505550123"
REST = "55550123"
SETTINGS = SandboxSettings()
IDS = {
    "graph": "wamid.HBgA",
    "waha": f"true_{NUMBER}@c.us_3EB0AA",
    "wawp": f"true_{NUMBER}@c.us_3EB0AA",
    "chat-api": f"true_{NUMBER}@c.us_3EB0AA",
}
WRITERS: dict[str, Callable[..., Any]] = {
    "graph": GraphWebhooks,
    "waha": WahaWebhooks,
    "wawp": WawpWebhooks,
    "chat-api": ChatApiWebhooks,
}


def message_of(service: str, recipient: str = NUMBER, **more: Any) -> Message:
    return Message(
        service, recipient, "audio", IDS[service], voice=True, callback="cb:1", at=time.time(), body={}, **more
    )


def update(service: str, step: Any, **more: Any) -> Update:
    return Update(step, message_of(service), 1_789_000_000.0, 7, **more)


def read(service: str, *updates: Update, **how: Any) -> list[Any]:
    """What the package's own readers make of what the sandbox writes."""
    dialect = sender_of(service, "http://127.0.0.1:1").webhooks()
    now = datetime.datetime.now(datetime.UTC)
    writer = WRITERS[service](SETTINGS, **how)
    told = [each for each in updates if writer.tells(each)]
    return [item for body in writer.bodies(told) for item in dialect.items(json.loads(body), now)] if told else []


# What they say ------------------------------------------------------------------------------------------------------

STATES = {
    "graph": {"sent": "sent", "delivered": "delivered", "read": "read", "played": "played", "failed": "failed"},
    "waha": {
        **{"accepted": "sent", "sent": "sent", "delivered": "delivered", "read": "read", "played": "played"},
        "failed": "failed",
    },
    "chat-api": {"accepted": "accepted", "delivered": "delivered", "read": "read"},
}
STATES["wawp"] = STATES["waha"]
STEPS = ("accepted", "sent", "delivered", "read", "played", "failed")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("service", PROVIDERS)
def test_each_step_is_read_as_what_it_is_or_never_told(service: str, step: str) -> None:
    items = read(service, update(service, step, code=131049))
    wanted = STATES[service].get(step)
    assert [item.state for item in items] == ([SendState(wanted)] if wanted else [])
    for item in items:
        assert isinstance(item, StatusUpdate)
        assert item.message_id == ("wamid.HBgA" if service == "graph" else "3EB0AA")
        assert (item.callback, item.code) == (
            ("cb:1", "131049" if step == "failed" else "")
            if service == "graph"
            else ("", "-1" if step == "failed" else "")
        )


KINDS = {
    "graph": ["text", "button", "reaction", "audio", "contacts", "call"],
    "waha": ["text", "text", "reaction", "audio", "contacts", None],
    "chat-api": ["text", "text", None, "audio", "contacts", None],
}


@pytest.mark.parametrize(("reply", "place"), [(r, n) for n, r in enumerate(KINDS["graph"])])
@pytest.mark.parametrize("service", PROVIDERS)
def test_each_reply_is_read_as_what_it_is_with_the_message_it_answers(service: str, reply: Any, place: int) -> None:
    items = read(service, update(service, "reply", reply=reply, text="Stop"))
    kind = KINDS["waha" if service == "wawp" else service][place]
    if kind is None:
        assert all(isinstance(item, Unread) for item in items)  # a call at a gateway
        return
    first = items[0]
    assert isinstance(first, Inbound)
    assert first.kind == kind
    assert f"+{NUMBER}" in first.addresses
    if reply != "call":
        assert first.answers == ("wamid.HBgA" if service == "graph" else "3EB0AA")
    assert (first.text == "Stop") is (reply in ("text", "button"))
    twice = service == "wawp" and reply != "reaction"
    assert [item.message_id for item in items] == [first.message_id] * (2 if twice else 1)


@pytest.mark.parametrize("engine", ["NOWEB", "GOWS", "WEBJS"])
def test_each_engine_of_waha_tells_acks_in_its_own_way_and_all_are_read(engine: Any) -> None:
    settings = SandboxSettings(waha_engine=engine)
    writer = WahaWebhooks(settings)
    told = [update("waha", step) for step in STEPS[:5] if writer.tells(update("waha", step))]
    assert [each.step for each in told] == [s for s in STEPS[:5] if engine != "GOWS" or s != "sent"]
    dialect = sender_of("waha", "http://127.0.0.1:1").webhooks()
    now = datetime.datetime.now(datetime.UTC)
    states = [item.state for body in writer.bodies(told) for item in dialect.items(json.loads(body), now)]
    assert states[-3:] == [SendState.DELIVERED, SendState.READ, SendState.PLAYED]
    whole = json.loads(writer.bodies([update("waha", "read")])[0])["payload"]
    assert (whole["from"] == "16505550100@c.us") is (engine == "WEBJS")


@pytest.mark.parametrize("service", ["waha", "wawp"])
@pytest.mark.parametrize(("lids", "phone_too"), [("beside", True), ("alone", False)])
def test_people_come_by_their_lid_with_the_number_or_without(service: str, lids: Any, phone_too: bool) -> None:
    (status,) = read(service, update(service, "delivered"), lids=lids)
    assert (status.message_id, status.aliases) == ("3EB0AA", (lid_of(NUMBER),))
    inbound = read(service, update(service, "reply"), lids=lids)[0]
    assert (lid_of(NUMBER) in inbound.addresses, f"+{NUMBER}" in inbound.addresses) == (True, phone_too)


@pytest.mark.parametrize("service", PROVIDERS)
@pytest.mark.parametrize(("given", "told"), [("55119" + REST, "5511" + REST), ("5411" + REST, "54911" + REST)])
def test_brazilian_and_argentinian_numbers_come_in_their_other_form(service: str, given: str, told: str) -> None:
    assert (other_form(given), other_form(told)) == (told, given)
    message = message_of(service, given)
    for step in ("delivered", "reply"):
        (item, *_) = read(service, Update(step, message, 1.0, 1), other_forms=True)  # type: ignore[arg-type]
        named = item.aliases if isinstance(item, StatusUpdate) else item.addresses
        assert f"+{told}" in named
        assert f"+{given}" not in named


def test_a_thousand_updates_are_one_body_of_graph() -> None:
    updates = [Update("sent", message_of("graph", f"1650{n:07d}"), 1.0, n) for n in range(1000)]
    (body,) = GraphWebhooks(SETTINGS).bodies(updates)
    assert len(body) < 3_000_000
    assert len(read("graph", *updates)) == 1000


def test_a_failed_status_has_no_contact_and_no_user_id_and_a_group_is_named_as_one() -> None:
    body = json.loads(GraphWebhooks(SETTINGS).bodies([update("graph", "failed", code=131026)])[0])
    value = body["entry"][0]["changes"][0]["value"]
    assert "contacts" not in value
    (status,) = value["statuses"]
    assert "recipient_user_id" not in status
    assert status["errors"][0]["code"] == 131026
    group = Message("graph", "Y2FwaV9ncm91cDo", "audio", "wamid.G", body={"recipient_type": "group"})
    body = json.loads(GraphWebhooks(SETTINGS).bodies([Update("read", group, 1.0, 1)])[0])
    assert body["entry"][0]["changes"][0]["value"]["statuses"][0]["recipient_type"] == "group"


def test_graph_names_people_by_user_id_beside_the_number() -> None:
    (status,) = read("graph", update("graph", "read"))
    assert status.aliases == (f"+{NUMBER}", user_id_of(NUMBER))


def test_the_simulators_share_no_code_with_the_readers() -> None:
    """What is written from the same code as it is read would agree in every mistake."""
    for module in (graph_webhooks, gateway_webhooks):
        assert not [name for name in vars(module) if name in ("bare_message_id", "spellings", "address_in_webhook")]
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        assert "providers" not in source
        assert "models" not in source


# What phones do -----------------------------------------------------------------------------------------------------


def steps(*phones: Phone, voice: bool = True, recipient: str = NUMBER) -> list[str]:
    message = message_of("graph", recipient)
    message.voice = voice
    return [each.step for each in Phones(phones).updates(message)][1:]


@pytest.mark.parametrize(
    ("phone", "wanted"),
    [
        (Phone(does="nothing"), []),
        (Phone(does="delivered"), ["sent", "delivered"]),
        (Phone(does="played"), ["sent", "delivered", "read", "played"]),
        (Phone(does="read", chat_open=True), ["sent", "read"]),
        (Phone(does="failed"), ["failed"]),
        (Phone(does="failed, then delivered"), ["failed", "delivered"]),
        (Phone(does="delivered", reply="text"), ["sent", "delivered", "reply"]),
    ],
)
def test_a_phone_does_as_it_is_told(phone: Phone, wanted: list[str]) -> None:
    assert steps(phone) == wanted


def test_a_phone_that_nobody_told_anything_is_off() -> None:
    assert steps() == ["sent"]


def test_only_a_voice_note_is_played() -> None:
    assert steps(Phone(does="played"), voice=False) == ["sent", "delivered", "read"]


def test_the_first_phone_that_fits_decides_and_a_part_is_spread_evenly() -> None:
    phones = Phones(
        [Phone(does="failed", recipients=frozenset({"+1 650 555 0123"})), Phone(does="read", fraction=0.25)]
    )
    assert [u.step for u in phones.updates(message_of("graph"))][1:] == ["failed"]
    others = [[u.step for u in phones.updates(message_of("graph", f"1650555010{n}"))][-1] for n in range(8)]
    assert others == ["sent", "sent", "sent", "read"] * 2


def test_metas_body_is_signed_in_metas_own_writing() -> None:
    (body,) = GraphWebhooks(SETTINGS).bodies([update("graph", "reply", text="Grüße 😀 a/b")])
    assert body.isascii()
    assert rb"Gr\u00fc\u00dfe \ud83d\ude00 a\/b" in body
