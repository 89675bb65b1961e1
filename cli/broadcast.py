"""`prefect-whatsapp broadcast`: run a broadcast from a shell, with a bar that follows the ledger."""

import asyncio
import contextlib
import datetime
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ..ledger import LedgerStore
from ..models import Contact, Report, outcome_counts
from ..models.errors import InputError
from ..models.options import AudioOptions, BroadcastOptions, Scale
from ..models.plurals import counted

if TYPE_CHECKING:
    from prefect.blocks.core import Block

FOLLOW_SECONDS = 0.5
# Apart from 1, which says that it could not start or stopped early.
LEFT_OVER = 3


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the command line said; `options` and `message` are the flows' parameters of the same name.

    Attributes:
        name: Name of the broadcast, or a pattern.
        sender: Kind and name of a saved block: `graph/weekly`.
        audio: The audio, empty for contact cards.
        contacts: Path of a JSON file of contact cards, empty for audio.
        recipients: Where the list is, or the one phone number or chat id.
        storage: Name of a saved S3 bucket block; empty for none.
        ledger: Where the send history is stored.
        options: How the broadcast goes.
        message: How audio is sent.
        scale: How a large broadcast is sent.
    """

    name: str
    sender: str
    audio: str = ""
    contacts: str = ""
    recipients: tuple[str, ...] = ()
    storage: str = ""
    ledger: str = ""
    options: BroadcastOptions
    message: AudioOptions
    scale: Scale


def run_broadcast(asked: Order, *, as_json: bool) -> int:
    """Run the broadcast and print its report.

    Returns:
        0 if nobody is left over, otherwise `LEFT_OVER`.

    Raises:
        WhatsAppError: It stopped, or nothing could be sent.
    """
    # Before Prefect is imported. It writes a line an event and a traceback a failure; the bar and one sentence say the
    # same here, and the run's own log keeps them.
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    from ..flows.names import resolve_name
    from .reports import print_report

    if bool(asked.audio) == bool(asked.contacts):
        raise InputError("say what to send: either --audio or --contacts")
    name = resolve_name(asked.name, datetime.datetime.now(datetime.UTC))
    report = asyncio.run(_run(asked, name, Console(stderr=as_json)))
    if as_json:
        print(report.model_dump_json())
    elif asked.options.dry_run:
        skipped = f", {report.skipped:,} skipped" if report.skipped else ""
        print(f"Dry run: {report.pending:,} would be sent{skipped}, {counted(report.removed, 'row')} removed.")
        return 0
    else:
        print_report(name, asked.ledger, as_json=False)
    return LEFT_OVER if (report.pending or report.needs_attention) and not asked.options.dry_run else 0


async def _run(asked: Order, name: str, console: Console) -> Report:
    from ..blocks import Ledger
    from ..flows import broadcast_audio, broadcast_contacts

    what = (
        {"contacts": await asyncio.to_thread(_cards, Path(asked.contacts))}
        if asked.contacts
        else {"audio": asked.audio, **dict(asked.message)}
    )
    parameters: dict[str, Any] = {
        **what,
        "broadcast": name,
        "sender": await load_sender(asked.sender),
        "recipients": _recipients(asked.recipients),
        "storage": await load_storage(asked.storage),
        "ledger": Ledger.model_validate({"url": asked.ledger}),
        "scale": asked.scale,
        **dict(asked.options),
    }
    ended = asyncio.Event()
    with _bar(console) as show:
        following = asyncio.create_task(_follow(name, asked.ledger, show, ended))
        try:
            flow: Any = broadcast_contacts if asked.contacts else broadcast_audio
            state = await flow(**parameters, return_state=True)
            report: Report = await state.aresult()
        finally:
            ended.set()
            await asyncio.gather(following, return_exceptions=True)
        show(report.planned, report.planned - report.pending, report.unknown + report.failed)
    return report


async def load_sender(named: str) -> Any:
    """Load a saved account.

    Args:
        named: The provider's name and the block's, such as `graph/weekly`.

    Raises:
        InputError: There is no such kind or no such block.
    """
    from ..blocks.senders import sender_blocks

    kinds = sender_blocks()
    kind, _, block = named.partition("/")
    if kind not in kinds or not block:
        raise InputError(f"{named!r} does not name a sender: give the service and a saved block, such as graph/weekly")
    return await _load(kinds[kind], block)


async def _load(kind: "type[Block]", name: str) -> Any:
    try:
        return await kind.aload(name)
    except ValueError:
        raise InputError(
            f"there is no saved block {name!r} of the type {kind._block_type_name}: save it in Prefect's UI under Blocks, "
            "or by its save() in Python"
        ) from None


async def load_storage(name: str) -> Any:
    """Load a saved S3 bucket block; None for no name.

    Raises:
        InputError: There is no such block.
    """
    if not name:
        return None
    from prefect_aws import S3Bucket

    return await _load(S3Bucket, name)


def _recipients(given: tuple[str, ...]) -> str | list[str]:
    """A place if it is one word that is no phone number or chat id; otherwise the people themselves."""
    if len(given) > 1 or (given and (given[0][:1] == "+" or given[0].isdigit() or "@" in given[0].rpartition("/")[2])):
        return list(given)
    return given[0] if given else ""


def _cards(file: Path) -> list[Contact]:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as failure:
        raise InputError(f"the cards can't be read from {file}: {type(failure).__name__}") from None
    try:
        return [Contact.model_validate(card) for card in (told if isinstance(told, list) else [told])]
    except ValidationError as wrong:
        first = wrong.errors(include_input=False)[0]
        raise InputError(f"a card in {file} can't be used: {'.'.join(map(str, first['loc']))} {first['msg']}") from None


async def _follow(name: str, ledger: str, show: Any, ended: asyncio.Event) -> None:
    async with LedgerStore.open(ledger) as store:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), FOLLOW_SECONDS)
            record = await store.find_broadcast(name)
            if record is None or record.planned_at is None:
                continue
            counts = await store.counts(record)
            now = outcome_counts(counts)
            show(now["planned"], now["planned"] - now["pending"], now["unknown"] + now["failed"])


@contextmanager
def _bar(console: Console) -> Iterator[Any]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[trouble]}"),
    )
    with Progress(*columns, console=console, redirect_stdout=False, redirect_stderr=False) as progress:
        bar: TaskID = progress.add_task("preparing", total=None, trouble="")

        def show(total: int, settled: int, trouble: int) -> None:
            told = f"[red]{trouble:,} need a person" if trouble else ""
            progress.update(bar, description="sending", total=total, completed=settled, trouble=told)

        yield show
