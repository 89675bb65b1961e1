"""Tasks that give a broadcast's rows as data, for the pipeline that goes on from there."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from ..blocks import Ledger
from ..models.errors import InputError
from ..models.plurals import counted

if TYPE_CHECKING:
    import pyarrow as pa


@task(name="outcomes", cache_policy=NO_CACHE, persist_result=False)
async def aoutcomes(
    broadcast: str, *, states: Collection[str] | None = None, ledger: Ledger | None = None
) -> list[dict[str, Any]]:
    """Return the outcome of each recipient of a broadcast.

    The ledger's history names it as an export, with the flow run.

    Args:
        broadcast: The broadcast's name, with its date written out, as in the report.
        states: Only rows in these, such as `["failed", "unknown"]`; `accepted` and `pending` mean what they mean in a report,
            as for `prefect-whatsapp export --state`. None for all.
        ledger: The broadcast's ledger; None for the default one.

    Returns:
        One dict per row with the columns of `prefect-whatsapp export`: `recipient` (the whole number), `name`, `state`,
        `provider`, `account`, `message_id`, `status`, `error_code`, `error_text`, `attempts`, `task_run_id`,
        `claimed_at`, `settled_at`, `row`, `sent_at`, `delivered_at`, `read_at`, `played_at`, `failed_at`,
        `resolved_by`, `line`, `broadcast` and `exported_at`. Times are aware datetimes in UTC, or None. `broadcast` and
        `row` together say which row of the ledger it is; of several with the same, the one with the latest
        `exported_at` is the latest. All rows are held in memory.

    Raises:
        InputError: The ledger has no such broadcast, or there is no such state.

    Example:
        ```python
        def left_over(broadcast: str) -> list[str]:
            return [row["recipient"] for row in outcomes(broadcast, states=["failed", "unknown"])]
        ```
    """
    # The columns of an export, which imports a little of Arrow's world: only where it is asked for.
    from ..ledger.history import Action, this_process
    from ..ledger.row_reference import states_named
    from ..reporting.export import row_as_dict

    wanted = None if states is None else states_named(states) or frozenset()
    async with (ledger or Ledger()).open() as store:
        record = await store.find_broadcast(broadcast)
        if record is None:
            raise InputError(f"the ledger at {store.address} has no broadcast {broadcast!r}")
        now = datetime.datetime.now(datetime.UTC)
        rows = [row_as_dict(row, now) async for row in store.rows(record, wanted)]
        actor = this_process(str(flow_run.id or ""))
        await store.note(Action.EXPORTED, actor, record, f"{counted(len(rows), 'row')} by the task outcomes")
        return rows


@task(name="outcomes", cache_policy=NO_CACHE, persist_result=False)
def outcomes(
    broadcast: str, *, states: Collection[str] | None = None, ledger: Ledger | None = None
) -> list[dict[str, Any]]:
    """Return the outcome of each recipient of a broadcast; as `aoutcomes`, for flows that are not async."""
    from ..sending.once import wait_for

    return wait_for(aoutcomes.fn(broadcast, states=states, ledger=ledger))


def as_arrow(rows: list[dict[str, Any]]) -> pa.Table:
    """Make an Arrow table from the result of `outcomes`, with the same types whatever the rows contain.

    Args:
        rows: From `outcomes` or `aoutcomes`.

    Returns:
        A `pyarrow.Table`, for `polars.from_arrow` or `.to_pandas()`.
    """
    import pyarrow as pa

    from ..reporting.export import arrow_schema

    return pa.Table.from_pylist(rows, schema=arrow_schema())
