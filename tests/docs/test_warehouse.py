"""The warehouse page: its model gives each row's latest state, and its table names each column."""

import re
import sqlite3
from pathlib import Path
from typing import Any

from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.ledger import Lease, Outcome
from prefect_whatsapp.models import SendState
from prefect_whatsapp.reporting.export import ROW_COLUMNS
from prefect_whatsapp.tasks import aoutcomes, as_arrow
from told_rows import begin, numbers, record, send, status

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "warehouse.md").read_text()


def documented_model() -> str:
    """The page's dbt model, on a table of SQLite's."""
    (model,) = (sql for sql in re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL) if "source(" in sql)
    return re.sub(r"\{\{.*?\}\}", "outcomes", model)


class Warehouse:
    """A table to which the outcomes are appended, as the page says."""

    def __init__(self) -> None:
        self._database = sqlite3.connect(":memory:")
        self._database.row_factory = sqlite3.Row
        self._database.execute(f"create table outcomes ({', '.join(map(repr, ROW_COLUMNS))})")

    def append(self, rows: list[dict[str, Any]]) -> None:
        """Take a load."""
        for row in as_arrow(rows).to_pylist():
            cells = [str(cell) if cell is not None and not isinstance(cell, int) else cell for cell in row.values()]
            self._database.execute(f"insert into outcomes values ({', '.join('?' * len(cells))})", cells)

    def latest(self) -> dict[tuple[str, str], str]:
        """What the model says of each recipient of each broadcast."""
        found = self._database.execute(documented_model()).fetchall()
        states = {(row["broadcast"], row["recipient"]): row["state"] for row in found}
        assert len(states) == len(found)
        return states

    def close(self) -> None:
        """Let go of it."""
        self._database.close()


async def put_back(lease: Lease) -> None:
    """A row that the service surely did not take, to be tried again."""
    (row,) = await lease.take(1)
    await lease.claim(row)
    await lease.settle(row, Outcome(SendState.QUEUED, error_code="130429", error_text="too many"))


async def test_the_model_gives_the_latest_state_of_each_row_of_each_broadcast(tmp_path: Path) -> None:
    ledger, people, warehouse = Ledger(url=str(tmp_path / "ledger.db")), numbers(9), Warehouse()
    async with ledger.open() as store:
        for name in ("weekly", "monthly"):
            broadcast = await begin(store, people, name)
            async with store.join(broadcast, messages_per_second=0) as lease:
                for place in range(4):
                    await send(lease, message_id=f"wamid.{name}.{place}")
                for _ in range(2):
                    await send(lease, SendState.FAILED, message_id="")
                await send(lease, SendState.SKIPPED, message_id="")
                await send(lease, SendState.UNKNOWN, message_id="")
                await put_back(lease)
    for name in ("weekly", "monthly"):
        warehouse.append(await aoutcomes.fn(name, ledger=ledger))
    sent = ["accepted"] * 4
    rest = ["failed", "failed", "skipped", "unknown", "queued"]
    before = dict(zip(people, [*sent, *rest], strict=True))
    assert warehouse.latest() == {(name, to): state for name in ("weekly", "monthly") for to, state in before.items()}
    async with ledger.open() as store:
        await record(
            store,
            status(SendState.READ, "wamid.weekly.0"),
            status(SendState.DELIVERED, "wamid.weekly.1"),
            status(SendState.FAILED, "wamid.weekly.2", code="131026"),
        )
    warehouse.append(await aoutcomes.fn("weekly", ledger=ledger))
    told = dict(zip(people, ["read", "delivered", "failed", "accepted", *rest], strict=True))
    assert warehouse.latest() == {
        **{("weekly", to): state for to, state in told.items()},
        **{("monthly", to): state for to, state in before.items()},
    }
    async with ledger.open() as store:
        # Queued again, a row that failed has fewer times than before; a receipt may be told late.
        weekly = await store.find_broadcast("weekly")
        assert weekly is not None
        await store.requeue(weekly, SendState.FAILED)
        await record(store, status(SendState.DELIVERED, "wamid.weekly.0"))
    warehouse.append(await aoutcomes.fn("weekly", ledger=ledger))
    again = {to: "queued" if state == "failed" else state for to, state in told.items()}
    assert {to: state for (name, to), state in warehouse.latest().items() if name == "weekly"} == again
    warehouse.close()


def test_the_page_and_the_task_name_each_column() -> None:
    named = [name for line in PAGE.splitlines() if line.startswith("| `") for name in line.split("|")[1].split(", ")]
    assert sorted(name.strip(" `") for name in named) == sorted(ROW_COLUMNS)
    returns = (aoutcomes.fn.__doc__ or "").partition("Returns:")[2]
    assert set(ROW_COLUMNS) <= set(re.findall(r"`(\w+)`", returns))
