"""What a person sees in the Prefect UI: the plan, the progress, the report, and the events that automations listen to.

Recipients are shown by their last four digits; the ledger and its export hold the numbers. The text of the pages is in
`pages`, the pictures in `charts`.
"""

import asyncio
import datetime
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact
from prefect.client.schemas.sorting import ArtifactSort
from prefect.events import emit_event
from prefect.logging import get_run_logger

from ..ledger import BroadcastRecord, LedgerStore, Row
from ..ledger.address import read_address
from ..media import waveform_png
from ..models import (
    ACCEPTED_STATES,
    OPEN_STATES,
    Report,
    SendState,
    mask,
    mask_numbers,
)
from ..models.errors import WhatsAppError
from ..models.escaping import printable
from ..models.plurals import counted
from ..providers.dialect import AccountStatus
from ..recipients.source import Planned
from ..sending.content import Content
from ..sending.dispatcher import Dispatcher
from ..sending.task_runs import BatchRows
from . import pages
from .charts import data_uri, outcome_png, sends_png

PROGRESS_SECONDS = 3.0
# For the last progress of a run that is told to end: Prefect's client tries for a minute while its server is away.
LAST_SECONDS = 5.0
ROWS_SHOWN = 500


class ArtifactPublisher:
    """Writes a broadcast's artifacts and events.

    Args:
        name: The broadcast's name.
        kind: `audio` or `contacts`.
    """

    def __init__(self, name: str, kind: str) -> None:
        self._name, self._kind = printable(mask_numbers(name)), kind
        slug = re.sub(r"[^a-z0-9]+", "-", self._name.lower()).strip("-")
        self._key = f"whatsapp-{slug or 'broadcast'}"[:100]

    async def plan(
        self,
        planned: Planned,
        message: Content,
        account: AccountStatus,
        counts: Mapping[SendState, int],
        seconds: float,
        *,
        notices: Sequence[str] = (),
    ) -> None:
        """Say, before anything is sent, what will be, and which rows of the list get nothing.

        Args:
            planned: What the list came to.
            message: What is sent.
            account: What the service says of the account.
            counts: The ledger's rows by state.
            seconds: How long it will take at the account's pace; 0 for no pace.
            notices: What a person should know first: what the run waits for, who is left out.
        """
        queued = counts.get(SendState.QUEUED, 0)
        page = pages.plan(
            self._name,
            planned,
            message,
            account,
            counts,
            seconds,
            notices=notices,
            picture=await self._waveform(message),
        )
        await acreate_markdown_artifact(key=f"{self._key}-plan", markdown=page, description=f"Plan: {queued:,} to send")
        if rows := planned.removed_first:
            shown = f"the first {len(rows)} of {planned.removed:,}" if planned.removed > len(rows) else f"{len(rows)}"
            await acreate_table_artifact(
                key=f"{self._key}-removed",
                table=[pages.removed_row(row) for row in rows],
                description=f"Rows removed from the list: {shown}, by line and reason",
            )

    async def approved(self, at: datetime.datetime) -> None:
        """Say in this run's plan that it was approved, where it still says that it waits for that.

        Args:
            at: When it was approved.
        """
        try:
            async with get_client() as client:
                shown = await _latest(client, f"{self._key}-plan")
                if shown is None or f"> {pages.WAITING}" not in str(shown.data):
                    return
                page = pages.approved(str(shown.data), at)
                await client.update_artifact(shown.id, ArtifactUpdate(data=page))
        except httpx.HTTPError as failure:  # the ledger has the approval: a server that is away must not end the sends
            get_run_logger().debug("The plan could not be brought up to date: %s", type(failure).__name__)

    async def _waveform(self, message: Content) -> str:
        if message.audio is None:
            return ""
        try:
            return data_uri(await asyncio.to_thread(waveform_png, message.audio))
        except WhatsAppError as failure:  # a plan without a picture is a plan
            get_run_logger().debug("The waveform could not be drawn: %s", failure)
            return ""

    @asynccontextmanager
    async def progress(
        self, store: LedgerStore, record: BroadcastRecord, dispatcher: Dispatcher, *, shared: bool = False
    ) -> AsyncIterator[None]:
        """Move a progress artifact while the sends go on; `shared` counts those of other runs too."""
        counts = await store.counts(record)
        total, before = sum(counts.values()), sum(n for s, n in counts.items() if s not in OPEN_STATES)
        artifact = await acreate_progress_artifact(
            progress=_percent(before, total),
            key=f"{self._key}-progress",
            description=pages.progress(before, total),
        )
        assert artifact is not None

        async def at_work() -> tuple[int, int]:
            """How many are done, and how many are in flight."""
            if not shared:
                return before + dispatcher.tally.settled, dispatcher.in_flight
            counts = await store.counts(record)
            return sum(n for state, n in counts.items() if state not in OPEN_STATES), counts[SendState.SENDING]

        started = time.monotonic()

        async def show(done: int, in_flight: int) -> None:
            settled, seconds = done - before, time.monotonic() - started
            left = seconds / settled * (total - done) if settled and done < total else None
            await aupdate_progress_artifact(
                artifact_id=artifact,
                progress=_percent(done, total),
                description=pages.progress(done, total, in_flight=in_flight, seconds_left=left),
            )

        async def follow() -> None:
            shown = (before, 0)
            while True:
                await asyncio.sleep(PROGRESS_SECONDS)
                try:
                    if (now := await at_work()) == shown:
                        continue
                    await show(*now)
                    shown = now
                except Exception as failure:  # a server that is away for a moment must not end the sends
                    get_run_logger().debug("The progress could not be shown: %s", type(failure).__name__)

        following = asyncio.create_task(follow())
        patience: float | None = LAST_SECONDS
        try:
            yield
            patience = None
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            try:
                async with asyncio.timeout(patience):
                    await show(*await at_work())  # also where the run was cancelled
            except Exception as failure:  # nor may it take the place of what ended them
                get_run_logger().debug("The progress could not be shown: %s", type(failure).__name__)

    async def batch(self, number: int, rows: BatchRows) -> None:
        """List a batch's sends."""
        await acreate_table_artifact(
            key=f"{self._key}-batch",
            table=[
                {
                    "line": str(row.line or ""),
                    "recipient": mask(row.recipient),
                    "state": outcome.state.value,
                    "code": pages.shown(outcome.error_code),
                    "why": pages.shown(outcome.error_text),
                }
                for row, outcome in rows
            ],
            description=f"Batch {number}: {counted(len(rows), 'send')}",
        )

    async def report(self, report: Report, store: LedgerStore, record: BroadcastRecord, *, earlier: int = 0) -> None:
        """Say what became of it, name the rows that need a person, and tell the automations.

        Args:
            report: Its counts.
            store: The ledger.
            record: The broadcast.
            earlier: How many were accepted before this run began.
        """
        async with _one_report(store, record):
            report = report.model_copy(update=await store.outcome_counts(record))
            page, needy, description = await self._written(report, store, record, earlier=earlier)
            reached = _reached(report) + (f" ({pages.by_runs(report, earlier)})" if earlier else "")
            await acreate_markdown_artifact(key=f"{self._key}-report", markdown=page, description=reached)
            if needy:
                await acreate_table_artifact(key=f"{self._key}-attention", table=needy, description=description)
        names = ["stopped" if report.stopped else "completed"]
        if report.needs_attention:
            names.append("needs-attention")
        for name in names:
            self._tell(name, report.model_dump(mode="json") | {"broadcast": self._name})

    async def refresh(self, store: LedgerStore, record: BroadcastRecord) -> bool:
        """Bring the report up to date, in place, and tell the automations.

        Returns:
            Whether there was a report; a run that is still sending writes its own at its end.
        """
        async with _one_report(store, record), get_client() as client:
            counts = await store.outcome_counts(record)
            self._tell("receipts", {**counts, "broadcast": self._name})
            report = Report.model_validate({"broadcast": record.name, "removed": record.removed, **counts})
            shown = await _latest(client, f"{self._key}-report")
            if shown is None:
                return False
            page, needy, description = await self._written(report, store, record)
            page = _with_lines_of(str(shown.data or ""), page)
            await client.update_artifact(shown.id, ArtifactUpdate(data=page, description=_reached(report)))
            if needy:
                table = await _latest(client, f"{self._key}-attention")
                if table is None:
                    await acreate_table_artifact(key=f"{self._key}-attention", table=needy, description=description)
                else:
                    await client.update_artifact(
                        table.id, ArtifactUpdate(data=json.dumps(needy), description=description)
                    )
        return True

    async def _written(
        self, report: Report, store: LedgerStore, record: BroadcastRecord, *, earlier: int = 0
    ) -> tuple[str, list[dict[str, str]], str]:
        """The report's page, the table of rows that need a person, and what that table is called."""
        by_second: defaultdict[int, Counter[str]] = defaultdict(Counter)
        told_by_second: defaultdict[int, Counter[str]] = defaultdict(Counter)
        reasons: Counter[pages.Reason] = Counter()
        resolved: Counter[str] = Counter()
        needy: list[Row] = []
        async for row in store.rows(record):
            if row.state in OPEN_STATES:
                continue
            if row.settled_at:
                by_second[int(row.settled_at.timestamp())][_outcome(row)] += 1
            for name, at in _told_at(row):
                told_by_second[int(at.timestamp())][name] += 1
            if row.resolved_by:
                resolved[row.resolved_by] += 1
            if row.needs_attention:
                reasons[pages.Reason(row.state, row.error_code, row.error_kind, mask_numbers(row.error_text))] += 1
                if len(needy) < ROWS_SHOWN:
                    needy.append(row)
        outcomes = {name: getattr(report, name) for name in ("accepted", "failed", "skipped", "unknown", "pending")}
        pictures = await asyncio.to_thread(
            lambda: (outcome_png(outcomes), sends_png(by_second), sends_png(told_by_second))
        )
        page = pages.report(
            self._name,
            report,
            reasons,
            outcome=data_uri(pictures[0]) if report.planned else "",
            over_time=data_uri(pictures[1]) if pictures[1] else "",
            receipts=data_uri(pictures[2]) if pictures[2] else "",
            resolved=resolved,
            runs=await store.runs(record),
            earlier=earlier,
            # The embedded one is found by the command on the same machine; another needs its address.
            ledger="" if store.address == read_address("").shown else store.address,
        )
        number = sum(reasons.values())
        first = f"the first {len(needy):,} of " if number > len(needy) else ""
        who = counted(number, "row that needs a person", "rows that need a person")
        return page, [pages.needy_row(row) for row in needy], first + who

    def stopped(self, why: str) -> None:
        """Tell the automations that it stopped before there was anything to report."""
        self._tell("stopped", {"broadcast": self._name, "stopped": why})

    def _tell(self, name: str, payload: dict[str, Any]) -> None:
        emit_event(
            event=f"prefect-whatsapp.broadcast.{name}",
            resource={
                "prefect.resource.id": f"prefect-whatsapp.broadcast.{self._key}",
                "prefect.resource.name": self._name,
                "prefect-whatsapp.kind": self._kind,
            },
            payload=payload,
        )


async def refresh_reports(store: LedgerStore, numbers: Collection[int]) -> None:
    """Bring the reports of these broadcasts up to date; for a receiver, which runs beside no flow.

    Args:
        store: The ledger.
        numbers: Numbers of the broadcasts whose rows changed.
    """
    for record in await store.find_broadcasts(numbers):
        await ArtifactPublisher(record.name, record.kind).refresh(store, record)


def _one_report(store: LedgerStore, record: BroadcastRecord) -> AbstractAsyncContextManager[None]:
    """Be the only one who writes this report: what a run, or another receiver, counted earlier must not be written later."""
    return store.exclusive(f"report:{record.id}")


async def _latest(client: PrefectClient, key: str) -> Artifact | None:
    found = await client.read_artifacts(
        artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])), sort=ArtifactSort.CREATED_DESC, limit=1
    )
    return found[0] if found else None


def _with_lines_of(before: str, page: str) -> str:
    """A page with what only its run knew: how long it took, and why it stopped."""
    kept = [line for line in before.splitlines() if line.startswith((pages.STOPPED, pages.NOW, pages.TOOK))]
    head, _, rest = page.partition("\n")
    return "\n".join([head, *(f"\n{line}" for line in kept), rest])


def _reached(report: Report) -> str:
    return f"{report.accepted:,} of {report.planned:,} accepted" + (
        f", {report.delivered:,} delivered" if report.delivered else ""
    )


def _told_at(row: Row) -> Iterator[tuple[str, datetime.datetime]]:
    """What receipts told of a row, and when."""
    for name in ("sent", "delivered", "read", "played", "failed"):
        if at := getattr(row, f"{name}_at"):
            yield name, at


def _outcome(row: Row) -> str:
    return "accepted" if row.state in ACCEPTED_STATES or row.failed_late else row.state.value


def _percent(done: int, total: int) -> float:
    return min(100.0, 100.0 * done / total) if total else 100.0
