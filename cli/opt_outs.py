"""`prefect-whatsapp opt-outs`: lists of people who want no more messages."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence

from ..ledger import LedgerStore
from ..ledger.history import Action, this_process
from ..ledger.people import OptOut
from ..models.errors import InputError
from ..models.masking import FORGOTTEN
from ..models.plurals import counted
from ..recipients.source import RecipientList
from ..reporting.export import export_opt_outs
from .addresses import read_addresses


def run_import(path: str, *, default_region: str, ledger: str, as_json: bool) -> int:
    """Take a file of people who opted out."""
    return asyncio.run(_import(path, default_region, ledger, as_json))


def run_export(output: str, *, ledger: str) -> int:
    """Write everybody who opted out."""
    return asyncio.run(_export(output, ledger))


def run_change(recipients: Sequence[str], opted_out: bool, *, default_region: str, ledger: str, as_json: bool) -> int:
    """Opt people out, or in again.

    Raises:
        InputError: One of them is no address; nobody is changed.
    """
    return asyncio.run(_change(read_addresses(recipients, default_region), opted_out, ledger, as_json))


async def _import(path: str, default_region: str, ledger: str, as_json: bool) -> int:
    listed = RecipientList(path, None, default_region)
    changed = total = 0
    async with LedgerStore.open(ledger) as store:
        try:
            async for chunk in listed.chunks():
                total += len(chunk.usable)
                changed += await store.people.opt_out([each.to for each in chunk.usable], source="import")
        finally:  # also of a file that could be read only in part
            if total:
                await store.note(Action.OPTED_OUT, this_process(), detail=_changed(changed, total, "import"))
    unusable = listed.planned.removed
    _tell({"opted_out": changed, "known_before": total - changed, "unusable": unusable}, as_json)
    return 0


async def _export(output: str, ledger: str) -> int:
    forgotten = 0
    async with LedgerStore.open(ledger) as store:

        async def known() -> AsyncIterator[OptOut]:
            nonlocal forgotten
            async for each in store.people.opt_outs():
                if each.address == FORGOTTEN:
                    forgotten += 1
                else:
                    yield each

        try:
            written = await export_opt_outs(known(), sys.stdout.buffer if output == "-" else output)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise InputError(f"{output} can't be written: {error.strerror or error}") from None
        what = counted(written, "opt-out")
        await store.note(Action.EXPORTED, this_process(), detail=f"{what} as csv")
    more = counted(forgotten, "more is of a person who was erased", "more are of people who were erased")
    erased = f"; {more}: only the ledger knows whom" if forgotten else ""
    print(f"{what} written{erased}", file=sys.stderr)
    return 0


async def _change(who: Sequence[str], opted_out: bool, ledger: str, as_json: bool) -> int:
    async with LedgerStore.open(ledger) as store:
        people = store.people
        changed = await (people.opt_out if opted_out else people.opt_in)(who, source="command")
        action = Action.OPTED_OUT if opted_out else Action.OPTED_IN
        await store.note(action, this_process(), detail=_changed(changed, len(who), "command"))
    _tell({"opted_out" if opted_out else "opted_in": changed, "unchanged": len(who) - changed}, as_json)
    return 0


def _changed(changed: int, total: int, source: str) -> str:
    return f"{counted(total, 'address', 'addresses')} by {source}, {changed:,} changed"


def _tell(numbers: dict[str, int], as_json: bool) -> None:
    print(
        json.dumps(numbers) if as_json else ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in numbers.items())
    )
