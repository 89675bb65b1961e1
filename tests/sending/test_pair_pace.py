"""Several messages to one recipient: Graph takes 45 at once and then one in six seconds."""

import asyncio
import time

import pytest
from prefect_whatsapp.models import Audio, Contact
from prefect_whatsapp.providers.graph import Graph
from prefect_whatsapp.sandbox.server import RunningSandbox
from prefect_whatsapp.sending import pair_pace
from prefect_whatsapp.sending.pair_pace import PairPace
from prefect_whatsapp.tasks import asend_audio, asend_contacts, send_audio, send_contacts, upload_media
from senders import sender_of

CARD = Contact(name="Ada Byron", phone="+442079460000")


def test_a_recipient_gets_45_at_once_and_then_one_in_six_seconds() -> None:
    pace = PairPace(45, 6.0, clock=lambda: 100.0)
    waits = [pace.take("+16505550123") for _ in range(50)]
    assert waits[:45] == [0.0] * 45
    assert waits[45:] == pytest.approx([6.0, 12.0, 18.0, 24.0, 30.0])
    assert pace.take("+16505550124") == 0


def test_what_time_has_paid_for_may_go_at_once_again() -> None:
    now = [0.0]
    pace = PairPace(2, 6.0, clock=lambda: now[0])
    assert [pace.take("ada"), pace.take("ada")] == [0.0, 0.0]
    now[0] = 6.0
    assert [pace.take("ada"), pace.take("ada")] == [0.0, 6.0]
    now[0] = 1000.0
    assert [pace.take("ada"), pace.take("ada"), pace.take("ada")] == [0.0, 0.0, 6.0]


def test_what_is_remembered_of_recipients_is_bounded_and_forgotten_when_it_binds_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    pace = PairPace(45, 6.0, clock=lambda: now[0])
    for number in range(5_000):
        pace.take(f"recipient {number}")
        now[0] += 0.1
    assert len(pace) <= 70
    monkeypatch.setattr(pair_pace, "_REMEMBERED", 100)
    for number in range(5_000):
        pace.take(f"another {number}")
    assert len(pace) <= 200


@pytest.fixture
def _two_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_pace, "_paces", {})
    monkeypatch.setattr(Graph, "pair_limit", (2, 1.5))


@pytest.mark.usefixtures("_two_at_once")
def test_the_tasks_hold_back_what_the_service_would_refuse(sandbox: RunningSandbox, note: Audio) -> None:
    """Sync and async sends of either kind to one person count together."""
    sender, to = sender_of("graph", sandbox.url), "+16505550123"
    uploaded = upload_media.fn(note, sender)
    began = time.monotonic()
    send_contacts.fn([CARD], to, sender)
    asyncio.run(asend_contacts.fn([CARD], to, sender))
    send_audio.fn(uploaded, to, sender)
    assert time.monotonic() - began >= 1.5
    asyncio.run(asend_audio.fn(uploaded, to, sender))
    assert time.monotonic() - began >= 3.0


@pytest.mark.usefixtures("_two_at_once")
def test_a_service_without_such_a_limit_is_not_held_back(sandbox: RunningSandbox) -> None:
    sender = sender_of("waha", sandbox.url)
    for _ in range(4):
        send_contacts.fn([CARD], "+16505550123", sender)
    assert not pair_pace._paces
