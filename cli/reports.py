"""Reads a ledger for `report`, `broadcasts` and `export`."""

import asyncio
import dataclasses
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..ledger import BroadcastRecord, LedgerStore, Row
from ..ledger.address import read_address
from ..ledger.history import Action, this_process
from ..ledger.row_reference import states_named
from ..models import ATTENTION_STATES, SendState, mask, mask_numbers, outcome_counts
from ..models.errors import InputError
from ..models.escaping import printable
from ..models.plurals import counted
from ..reporting.export import EXPORT_FORMATS, ExportFormat, export_removed, export_rows

_NAMED_AT_MOST = 50


def print_report(broadcast: str, ledger: str, *, as_json: bool) -> int:
    """Print a broadcast's counts and the rows that need a person."""
    return asyncio.run(_report(broadcast, ledger, as_json))


def print_broadcasts(ledger: str, *, as_json: bool) -> int:
    """Print a line a broadcast."""
    return asyncio.run(_broadcasts(ledger, as_json))


def write_export(
    broadcast: str,
    ledger: str,
    *,
    form: ExportFormat | None,
    output: str,
    removed: bool,
    states: tuple[str, ...] = (),
) -> int:
    """Write a broadcast's rows, or those in some states, to a file or to standard output.

    Without a form it is the one that the file's name ends with, else CSV.
    """
    if removed and states:
        raise InputError("removed rows have no state: give either --removed or --state")
    return asyncio.run(_export(broadcast, ledger, form or _form_of(output), output, removed, states_named(states)))


def _form_of(output: str) -> ExportFormat:
    for form in EXPORT_FORMATS:
        if output.lower().endswith(f".{form}"):
            return form
    return "csv"


def print_history(broadcast: str, ledger: str, *, as_json: bool) -> int:
    """Print who did what, the newest first; of one broadcast where it is named."""
    return asyncio.run(_history(broadcast, ledger, as_json))


def existing_ledger(ledger: str) -> AbstractAsyncContextManager[LedgerStore]:
    """Open a ledger to read it: a path that is mistyped must not become an empty ledger."""
    address = read_address(ledger)
    if address.path and not address.path.exists():
        raise InputError(
            f"there is no ledger at {address.shown}: the first broadcast creates it; use --ledger to name another"
        )
    return LedgerStore.open(ledger)


@asynccontextmanager
async def opened_broadcast(broadcast: str, ledger: str) -> AsyncIterator[tuple[LedgerStore, BroadcastRecord]]:
    """Open a ledger that is there, and the broadcast of that name in it."""
    async with existing_ledger(ledger) as store:
        record = await store.find_broadcast(broadcast)
        if record is None:
            raise InputError(
                f"the ledger has no broadcast named {broadcast!r}; `prefect-whatsapp broadcasts` lists them"
            )
        yield store, record


async def _report(broadcast: str, ledger: str, as_json: bool) -> int:
    async with opened_broadcast(broadcast, ledger) as (store, record):
        counts = await store.outcome_counts(record)
        needy = [row async for row in _needy(store.rows(record, states=tuple(ATTENTION_STATES)))]
        sending = bool(counts["pending"]) and await store.is_being_sent(record)
    if as_json:
        rows = [{"line": r.line, "recipient": mask(r.recipient), "state": r.state.value, "code": r.error_code,
                 "why": mask_numbers(r.error_text), "claimed_at": _time(r)} for r in needy]  # fmt: skip
        print(json.dumps({"broadcast": record.name, **counts, "removed": record.removed, "needs_a_person": rows}))
        return 0
    console = Console()
    console.print(
        _shown(f"{record.name}: {record.content_label} by {record.provider}"), soft_wrap=True, highlight=False
    )
    table = Table(show_header=False)  # a line a count, so that none is cut in a narrow terminal
    table.add_column()
    table.add_column(justify="right")
    for name, number in {**counts, "removed": record.removed}.items():
        table.add_row(name.replace("_", " "), f"{number:,}")
    console.print(table)
    if needy:
        named = Table(title="Rows that need a person")
        for column in ("line", "recipient", "state", "claimed at", "code", "why"):
            named.add_column(column, overflow="fold")
        for row in needy:
            named.add_row(
                str(row.line or ""),
                mask(row.recipient),
                row.state.value,
                _time(row),
                _shown(row.error_code),
                _shown(mask_numbers(row.error_text)),
            )
        console.print(named)
    console.print(_next_step(counts, sending=sending), highlight=False)
    return 0


def _next_step(counts: dict[str, int], *, sending: bool) -> str:
    if sending:
        return f"A run is sending now: {counts['pending']:,} to go."
    if counts["pending"]:
        return f"{counts['pending']:,} not sent yet: run the flow again under the same name."
    if counts["unknown"]:
        return f"{counts['unknown']:,} unknown: --on-unknown resend sends again; recipients may get the message twice."
    if counts["failed"]:
        return f"{counts['failed']:,} refused by the service: correct the cause, then run again with --retry-failed."
    if skipped := counts["skipped"] - counts["opted_out"]:
        return f"{skipped:,} skipped, for the reasons above; export --state skipped lists them."
    return "Nothing left to do."


async def _broadcasts(ledger: str, as_json: bool) -> int:
    async with existing_ledger(ledger) as store:
        listed = [(entry.record, outcome_counts(entry.counts)) for entry in await store.broadcasts()]
    if as_json:
        print(json.dumps([{"broadcast": r.name, "kind": r.kind, "provider": r.provider, **counts,
                           "removed": r.removed, "created_at": r.created_at.isoformat()} for r, counts in listed]))  # fmt: skip
        return 0
    console = Console()
    for record, counts in listed:  # no table: a name or a count that is cut off is of no use
        made = record.created_at.strftime("%Y-%m-%d %H:%M UTC")
        shown = {**counts, "removed": record.removed}.items()
        told = ", ".join(f"{number:,} {name}" for name, number in shown if number or name == "planned")
        console.print(_shown(record.name), style="bold", soft_wrap=True, highlight=False)
        console.print(f"  {made}, {record.kind} by {record.provider}: {told}", soft_wrap=True, highlight=False)
    return 0


async def _export(
    broadcast: str,
    ledger: str,
    form: ExportFormat,
    output: str,
    removed: bool,
    states: frozenset[SendState] | None,
) -> int:
    if output == "-" and form in ("parquet", "xlsx") and sys.stdout.isatty():
        raise InputError(f"{form} is binary: name a file with --output")
    target: Any = sys.stdout.buffer if output == "-" else output
    async with opened_broadcast(broadcast, ledger) as (store, record):
        try:
            if removed:
                written = await export_removed(store.removed_rows(record), target, form)
            else:
                written = await export_rows(store.rows(record, states=states), target, form)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise InputError(f"{output} can't be written: {error.strerror or error}") from None
        what = counted(written, "removed line" if removed else "row")
        await store.note(Action.EXPORTED, this_process(), record, f"{what} as {form}")
    print(f"{what} written", file=sys.stderr)
    return 0


async def _history(broadcast: str, ledger: str, as_json: bool) -> int:
    async with existing_ledger(ledger) as store:
        entries = await store.history(broadcast=broadcast)
    if as_json:
        print(json.dumps([{**dataclasses.asdict(entry), "at": entry.at.isoformat()} for entry in entries]))
        return 0
    table = Table()
    for column in ("when", "what", "broadcast", "who", "flow run", "detail"):
        table.add_column(column, overflow="fold")
    for entry in entries:
        when, who = entry.at.isoformat(sep=" ", timespec="seconds"), f"{entry.user}@{entry.host}"
        table.add_row(when, *map(_shown, (entry.action, entry.broadcast, who, entry.flow_run_id, entry.detail)))
    Console().print(table)
    return 0


def _shown(text: str) -> str:
    """A text of anybody for a table of rich's: its brackets are no markup, and its control characters are gone."""
    return escape(printable(text))


async def _needy(rows: AsyncIterator[Row]) -> AsyncIterator[Row]:
    left = _NAMED_AT_MOST
    async for row in rows:
        if not row.needs_attention:
            continue
        yield row
        left -= 1
        if not left:
            return


def _time(row: Row) -> str:
    return row.claimed_at.isoformat(timespec="seconds") if row.claimed_at else ""
