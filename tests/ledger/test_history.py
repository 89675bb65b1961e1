"""Who did what is kept, and nobody takes it away."""

import pytest
import sqlalchemy as sa
from ledgers import begin, people
from prefect_whatsapp.ledger import LedgerStore
from prefect_whatsapp.ledger.history import Action, Actor, this_process
from prefect_whatsapp.models.errors import LedgerError

ADA = Actor("ada", "host-a", "run-1")


async def test_the_newest_is_read_first_with_who_and_what(store: LedgerStore) -> None:
    record = await begin(store)
    await store.note(Action.PLANNED, ADA, record, "3 new recipients")
    await store.note(Action.EXPORTED, Actor("eve", "host-b"), record)
    exported, planned = await store.history()
    assert (planned.action, planned.broadcast, planned.user, planned.host, planned.flow_run_id, planned.detail) == (
        *("planned", "weekly", "ada", "host-a", "run-1"),
        "3 new recipients",
    )
    assert (exported.action, exported.user) == ("exported", "eve")
    assert exported.at >= planned.at


async def test_an_approval_is_in_the_history(store: LedgerStore) -> None:
    record = await begin(store, 1)
    await store.approve(record, await store.request_approval(record, ADA), ADA, by="Grace")
    told = [(entry.action, "by Grace" in entry.detail) for entry in await store.history(broadcast="weekly")]
    assert told == [("approved", True), ("approval requested", False)]
    assert await store.history(broadcast="other") == []


async def test_a_plan_that_waits_already_is_asked_about_once(store: LedgerStore) -> None:
    """A run that is resumed begins anew and asks again before it finds the answer; another plan is another question."""
    record = await begin(store, 1)
    for _ in range(2):
        digest = await store.request_approval(record, ADA)
    await store.approve(record, digest, ADA)
    await store.plan(record, people(1, start=1))
    await store.request_approval(record, ADA)
    told = [entry.action for entry in reversed(await store.history(broadcast="weekly"))]
    assert told == ["approval requested", "approved", "approval requested"]


async def test_no_number_is_whole_in_it(store: LedgerStore) -> None:
    record = await begin(store, name="for +1 650 555 0123")
    await store.note(Action.FORGOT, ADA, record, "16505550123")
    (entry,) = await store.history(broadcast="for +1 650 555 0123")
    assert (entry.broadcast, entry.detail) == ("for …0123", "…0123")


@pytest.mark.parametrize("change", ["DELETE FROM whatsapp_history", "UPDATE whatsapp_history SET username = 'eve'"])
async def test_the_database_refuses_to_change_it(store: LedgerStore, change: str) -> None:
    await store.note(Action.PLANNED, ADA)
    with pytest.raises(LedgerError, match="only ever added to"):
        await store._database.transact("change it", lambda connection: connection.execute(sa.text(change)))
    assert len(await store.history()) == 1


def test_this_process_has_a_user_and_a_host() -> None:
    actor = this_process("run-7")
    assert actor.user
    assert actor.host
    assert actor.flow_run_id == "run-7"
    assert str(actor) == f"{actor.user}@{actor.host}"
