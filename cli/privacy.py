"""`prefect-whatsapp forget` and `purge`: what is erased for good, after it was said and confirmed."""

import asyncio
import datetime
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..ledger.forget import together
from ..ledger.history import Action, Entry, this_process
from ..models import mask_numbers
from ..models.errors import InputError
from ..models.escaping import printable
from .addresses import read_addresses
from .reports import existing_ledger

_DAYS = re.compile(r"(?P<days>[1-9]\d{0,4})\s*(?:d|days?)", re.ASCII)
_WORDS = {
    "rows": "rows of broadcasts",
    "not_sent": "of these not sent yet, and now skipped",
    "addresses": "addresses",
    "receipts": "receipts",
    "replies": "replies",
    "removed_lines": "removed lines of lists",
    "webhooks": "unread webhooks",
    "broadcasts": "broadcasts, of which the counts stay",
    "people": "people who only wrote",
    "media_ids": "ids of expired uploads",
    "cached_files": "cached audio files",
    "objects": "audio objects in S3",
}


def run_forget(
    recipients: Sequence[str], *, default_region: str, dry_run: bool, yes: bool, ledger: str, as_json: bool
) -> int:
    """Erase people.

    Raises:
        InputError: One of them is no address, or nobody confirmed; nothing is erased.
    """
    return asyncio.run(_forget(read_addresses(recipients, default_region), dry_run, yes, ledger, as_json))


async def _forget(who: Sequence[str], dry_run: bool, yes: bool, ledger: str, as_json: bool) -> int:
    actor = this_process()
    async with existing_ledger(ledger) as store:
        found = together([await store.forget(each, actor, dry_run=True) for each in who])
        exports = [entry for name in found.broadcasts for entry in await store.history(broadcast=name)]
        if found.opted_out:  # an export of opt-outs is of no broadcast
            exports += [entry for entry in await store.history() if not entry.broadcast]
        exports = [entry for entry in exports if entry.action == Action.EXPORTED]
        numbers = {name: value for name, value in asdict(found).items() if name != "broadcasts"}
        if not dry_run:
            _confirm(numbers, yes, "Erase")
            for each in who:
                await store.forget(each, actor)
    named = [printable(mask_numbers(name)) for name in found.broadcasts]
    holding = [name for name in found.broadcasts if mask_numbers(name) != name]
    if as_json:
        told = [{**asdict(entry), "at": entry.at.isoformat()} for entry in exports]
        print(json.dumps({**numbers, "dry_run": dry_run, "broadcasts": named, "exports": told}))
        return 0
    _tell(numbers, dry_run)
    if found.opted_out:
        print("The opt-out stays, as a keyed hash: nobody sends to them by mistake.")
    for name in holding:
        print(
            f"The name of broadcast {printable(mask_numbers(name))} holds a number. It stays: broadcasts are found by name."
        )
    for entry in exports:
        print(f"Exported {_export(entry)}: delete what is left of it.")
    return 0


def _export(entry: Entry) -> str:
    who = printable(f"{entry.user}@{entry.host}")
    what = ", ".join(printable(each) for each in (entry.broadcast, entry.detail) if each)
    return f"{entry.at:%d %b %Y %H:%M} UTC by {who}: {what}"


def run_purge(older_than: str, *, storage: str, dry_run: bool, yes: bool, ledger: str, as_json: bool) -> int:
    """Purge what is old.

    Raises:
        InputError: The time can't be read, or nobody confirmed; nothing is deleted.
    """
    found = _DAYS.fullmatch(older_than.strip())
    if found is None:
        raise InputError("give --older-than as a number of days, such as 180d")
    return asyncio.run(_purge(datetime.timedelta(days=int(found["days"])), storage, dry_run, yes, ledger, as_json))


async def _purge(
    older_than: datetime.timedelta, storage: str, dry_run: bool, yes: bool, ledger: str, as_json: bool
) -> int:
    from ..media.publishing import remove_cached, remove_published
    from .broadcast import load_storage

    bucket: Any = await load_storage(storage)
    before = datetime.datetime.now(datetime.UTC) - older_than

    async def carry_out(*, dry_run: bool) -> dict[str, int]:
        numbers = asdict(await store.purge(older_than, this_process(), dry_run=dry_run))
        numbers["cached_files"], size = await asyncio.to_thread(remove_cached, before, dry_run=dry_run)
        numbers["objects"] = 0
        if bucket:
            numbers["objects"], more = await asyncio.to_thread(remove_published, bucket, before, dry_run=dry_run)
            size += more
        return {**numbers, "bytes": size}

    async with existing_ledger(ledger) as store:
        numbers = await carry_out(dry_run=True)
        if not dry_run:
            _confirm(numbers, yes, "Delete")
            numbers = await carry_out(dry_run=False)
    if as_json:
        print(json.dumps({**numbers, "dry_run": dry_run}))
    else:
        _tell(numbers, dry_run)
    return 0


def _tell(numbers: dict[str, Any], dry_run: bool) -> None:
    print("Nothing was changed. Would be erased:" if dry_run else "Erased:")
    for name, words in _WORDS.items():
        if name in numbers:
            print(f"  {numbers[name]:>9,}  {words}")


def _confirm(numbers: dict[str, Any], yes: bool, verb: str) -> None:
    """Ask on a terminal.

    Raises:
        InputError: The answer was no, or there was nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError("nothing was changed: confirm with --yes, or look first with --dry-run")
    for name, words in _WORDS.items():
        if name in numbers:
            print(f"  {numbers[name]:>9,}  {words}", file=sys.stderr)
    print(f"{verb} this for good? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InputError("nothing was changed")
