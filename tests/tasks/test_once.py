"""Single sends that are exactly accountable: `once=`, and retries that never repeat a message."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, unmapped
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.models import Audio, Contact, Receipt
from prefect_whatsapp.models.errors import (
    BroadcastMismatchError,
    NotSentError,
    OutcomeUnknownError,
    RecipientRefusedError,
)
from prefect_whatsapp.sandbox.samples import sample_numbers
from prefect_whatsapp.sandbox.server import RunningSandbox
from prefect_whatsapp.sending import once, policy
from prefect_whatsapp.tasks import asend_audio, asend_contacts, send_audio, send_contacts
from senders import sender_of

TO = "+16505550123"
CARD = Contact(name="Ada Byron", phone="+16505550199")
Outcomes = Callable[..., Any]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty ledger."""
    return Ledger(url=str(tmp_path / "ledger.db"), patience_seconds=5)


async def test_one_key_is_one_message_for_each_recipient_whoever_asks(
    sandbox: RunningSandbox, provider: str, ready: Audio, sender: Any, ledger: Ledger, outcomes: Outcomes
) -> None:
    first, second = await outcomes(send_audio, asend_audio, ready, TO, sender, once="welcome", ledger=ledger)
    third, _ = await outcomes(send_audio, asend_audio, ready, "+16505550124", sender, once="welcome", ledger=ledger)
    assert isinstance(first, Receipt)
    assert (first.message_id, first.provider) == (second.message_id, provider)
    assert third.message_id != first.message_id
    assert sandbox.truth()["accepted_total"] == 2


@pytest.mark.ci  # it waits for three shares of the rate
async def test_at_the_default_rate_single_sends_go_beside_a_broadcast_beside_each_other_and_one_after_another(
    sandbox: RunningSandbox, ledger: Ledger
) -> None:
    """The account's rate is shared: who joins has no part of it before the others' has shrunk."""
    sender = sender_of("graph", sandbox.url).model_copy(update={"messages_per_second": 80.0})
    people, dialect = iter(sample_numbers(6)), sender.dialect()

    async def send() -> Receipt:
        return await asend_contacts.fn([CARD], next(people), sender, once="card", ledger=ledger)

    async with ledger.open() as store:
        record = await store.start_broadcast(
            "weekly", kind="contacts", provider=dialect.name, account=dialect.account, content="cards"
        )
        async with store.join(record, sender=dialect.sender):
            await asyncio.gather(send(), send(), send())
    await send()
    await send()
    assert sandbox.truth()["accepted_total"] == 5


def test_many_at_once_take_turns_instead_of_waiting_for_each_others_rate(
    sandbox: RunningSandbox, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 150 mapped ones 118 failed: 86 as the ledger was locked, 32 as they had no part of the rate for two minutes."""
    monkeypatch.setattr(once, "SHARE_SECONDS", 0.0)
    sender = sender_of("graph", sandbox.url).model_copy(update={"messages_per_second": 80.0})

    def send(to: str) -> Receipt:
        return send_contacts.fn([CARD], to, sender, once="card", ledger=ledger)

    with ThreadPoolExecutor(8) as threads:
        receipts = list(threads.map(send, sample_numbers(8)))
    assert len({receipt.message_id for receipt in receipts}) == sandbox.truth()["accepted_total"] == 8


async def test_a_lost_answer_stays_unknown_under_its_key(
    sandbox: RunningSandbox, ledger: Ledger, outcomes: Outcomes
) -> None:
    sandbox.faults(kind="drop", accepted=True, on="send")
    sender = sender_of("waha", sandbox.url)
    first, second = await outcomes(send_contacts, asend_contacts, [CARD], TO, sender, once="card", ledger=ledger)
    assert isinstance(first, OutcomeUnknownError)
    assert isinstance(second, OutcomeUnknownError)
    sandbox.behave()
    later, _ = await outcomes(send_contacts, asend_contacts, [CARD], TO, sender, once="card", ledger=ledger)
    assert isinstance(later, OutcomeUnknownError)
    assert sandbox.truth()["accepted_total"] == 1


async def test_a_key_is_bound_to_its_content(sandbox: RunningSandbox, ledger: Ledger, outcomes: Outcomes) -> None:
    sender = sender_of("graph", sandbox.url)
    await outcomes(send_contacts, asend_contacts, [CARD], TO, sender, once="card", ledger=ledger)
    other = Contact(name="Charles Babbage", phone="+16505550198")
    refused, _ = await outcomes(send_contacts, asend_contacts, [other], TO, sender, once="card", ledger=ledger)
    assert isinstance(refused, BroadcastMismatchError)


async def test_a_refusal_is_told_again_and_not_asked_for_again(
    sandbox: RunningSandbox, ledger: Ledger, outcomes: Outcomes
) -> None:
    sandbox.faults(kind="error", code=131026, details="not on WhatsApp", recipients=[TO])
    sender = sender_of("graph", sandbox.url)
    first, second = await outcomes(send_contacts, asend_contacts, [CARD], TO, sender, once="card", ledger=ledger)
    assert isinstance(first, RecipientRefusedError)
    assert isinstance(second, RecipientRefusedError)
    assert second.code == "131026"


async def test_what_never_left_may_go_with_the_next_try(
    sandbox: RunningSandbox, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "OUTAGE_SECONDS", 0.0)
    nowhere = sender_of("graph", "http://127.0.0.1:9")
    with pytest.raises(NotSentError):
        await asend_contacts.fn([CARD], TO, nowhere, once="card", ledger=ledger)
    receipt = await asend_contacts.fn([CARD], TO, sender_of("graph", sandbox.url), once="card", ledger=ledger)
    assert receipt.status == "accepted"


async def test_who_waited_while_the_service_was_found_away_does_not_try_for_as_long_again(
    sandbox: RunningSandbox, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "OUTAGE_SECONDS", 0.0)
    nowhere = sender_of("graph", "http://127.0.0.1:9")
    sends = [asend_contacts.fn([CARD], to, nowhere, once="card", ledger=ledger) for to in sample_numbers(3)]
    failures = await asyncio.gather(*sends, return_exceptions=True)
    assert all(isinstance(failure, NotSentError) for failure in failures)
    assert sum("while the message to" in str(failure) for failure in failures) == 2
    receipt = await asend_contacts.fn([CARD], TO, sender_of("graph", sandbox.url), once="card", ledger=ledger)
    assert receipt.status == "accepted"


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("key", ["", "card"])
def test_a_task_with_retries_sends_one_message_when_its_answer_is_lost(
    sandbox: RunningSandbox, ledger: Ledger, key: str
) -> None:
    sandbox.faults(kind="drop", accepted=True, on="send")
    sender = sender_of("graph", sandbox.url)

    @flow
    def retried() -> Any:
        patient = send_contacts.with_options(retries=2, retry_delay_seconds=0)
        return patient([CARD], TO, sender, once=key, ledger=ledger, return_state=True)

    state = retried(return_state=True)
    assert state.is_failed()
    assert sandbox.truth()["accepted_total"] == 1


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
def test_a_mapped_task_takes_its_sender_unmapped(sandbox: RunningSandbox, ledger: Ledger) -> None:
    sender = sender_of("graph", sandbox.url)
    people = [f"+165055501{n}" for n in range(30, 36)]

    @flow
    def mapped() -> int:
        sent = send_contacts.map(
            unmapped([CARD]), people, unmapped(sender), once=unmapped("all"), ledger=unmapped(ledger)
        )
        return len([receipt.message_id for receipt in sent.result()])

    assert mapped() == mapped() == 6
    assert sandbox.truth()["accepted_total"] == 6
