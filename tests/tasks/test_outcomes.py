"""A broadcast's rows as data."""

import datetime
from pathlib import Path
from uuid import UUID

import pytest
from prefect.settings import PREFECT_HOME, temporary_settings
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.models import Recipient, SendState
from prefect_whatsapp.models.errors import InputError
from prefect_whatsapp.tasks import aoutcomes, as_arrow, outcomes

RUN = UUID(int=7)
NUMBERS = ["+16505550110", "+16505550111"]


@pytest.fixture
async def ledger(tmp_path: Path) -> Ledger:
    """A ledger with a broadcast of two rows, one of them opted out of being sent."""
    ledger = Ledger(url=str(tmp_path / "ledger.db"), patience_seconds=5)
    async with ledger.open() as store:
        record = await store.start_broadcast("weekly", kind="audio", provider="graph", account="1", content="c")
        await store.plan(record, [Recipient(to=NUMBERS[0], name="Ada"), Recipient(to=NUMBERS[1])])
    return ledger


async def test_each_row_is_a_dict_with_whole_numbers_and_the_task_runs_id(ledger: Ledger) -> None:
    rows = await aoutcomes.fn("weekly", ledger=ledger)
    assert [(row["recipient"], row["name"], row["state"]) for row in rows] == [
        (NUMBERS[0], "Ada", "queued"),
        (NUMBERS[1], "", "queued"),
    ]
    again = outcomes.fn("weekly", ledger=ledger)
    assert [{**row, "exported_at": None} for row in again] == [{**row, "exported_at": None} for row in rows]
    assert "task_run_id" in rows[0]


async def test_the_task_that_is_not_async_reads_the_ledger_of_its_callers_settings(tmp_path: Path) -> None:
    with temporary_settings({PREFECT_HOME: tmp_path}):
        async with Ledger().open() as store:
            record = await store.start_broadcast("here", kind="audio", provider="graph", account="1", content="c")
            await store.plan(record, [Recipient(to=NUMBERS[0])])
        assert len(outcomes.fn("here")) == 1


async def test_each_reading_is_in_the_history_with_its_flow_run(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", str(RUN))
    await aoutcomes.fn("weekly", ledger=ledger)
    outcomes.fn("weekly", states=["failed"], ledger=ledger)
    async with ledger.open() as store:
        entries = await store.history(broadcast="weekly")
    assert [(entry.action, entry.detail, entry.flow_run_id) for entry in entries] == [
        ("exported", "0 rows by the task outcomes", str(RUN)),
        ("exported", "2 rows by the task outcomes", str(RUN)),
    ]


async def test_rows_are_given_by_state(ledger: Ledger) -> None:
    assert await aoutcomes.fn("weekly", states=["failed", "unknown"], ledger=ledger) == []
    assert len(await aoutcomes.fn("weekly", states=[SendState.QUEUED], ledger=ledger)) == 2
    assert len(await aoutcomes.fn("weekly", states=["pending"], ledger=ledger)) == 2, "as in a report and an export"
    assert await aoutcomes.fn("weekly", states=[], ledger=ledger) == []


async def test_what_is_not_there_is_refused_by_name(ledger: Ledger) -> None:
    with pytest.raises(InputError, match="has no broadcast 'monthly'"):
        await aoutcomes.fn("monthly", ledger=ledger)
    with pytest.raises(InputError, match="there is no state 'lost'; choose from queued, sending"):
        await aoutcomes.fn("weekly", states=["lost"], ledger=ledger)


async def test_arrow_has_the_same_types_whatever_the_rows_hold(ledger: Ledger) -> None:
    table = as_arrow(await aoutcomes.fn("weekly", ledger=ledger))
    assert table.num_rows == 2
    assert str(table.schema.field("settled_at").type) == "timestamp[us, tz=UTC]"
    empty = as_arrow([])
    assert empty.schema == table.schema
    moment = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)
    assert as_arrow([{"settled_at": moment}])["settled_at"][0].as_py() == moment
