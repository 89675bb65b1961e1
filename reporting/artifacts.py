"""What a person sees in the Prefect UI: the plan, the progress, the report, and the events that automations listen to.

Recipients are shown by their last four digits; the ledger and its export hold the numbers. The text of the pages is in
`pages`, the pictures in `charts`.
"""

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)
from prefect.events import emit_event
from prefect.logging import get_run_logger

from ..ledger import BroadcastRecord, LedgerStore, Row
from ..ledger.address import read_address
from ..media import waveform_png
from ..models import ACCEPTED_STATES, Report, SendState, mask, mask_numbers
from ..models.errors import WhatsAppError
from ..models.escaping import markdown, printable
from ..providers.dialect import AccountStatus
from ..recipients.source import Planned
from ..sending.content import Content
from ..sending.dispatcher import Dispatcher
from ..sending.task_runs import BatchRows
from . import pages
from .charts import data_uri, outcome_png, sends_png

PROGRESS_SECONDS = 3.0
ROWS_SHOWN = 500
_NEEDS_A_PERSON = frozenset({SendState.UNKNOWN, SendState.FAILED, SendState.SKIPPED})


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
        notice: str = "",
    ) -> None:
        """Say, before anything is sent, what will be; `notice` is what the run waits for."""
        queued = counts.get(SendState.QUEUED, 0)
        page = pages.plan(
            self._name,
            planned,
            message,
            account,
            counts,
            seconds,
            notice=notice,
            picture=await self._waveform(message),
        )
        await acreate_markdown_artifact(key=f"{self._key}-plan", markdown=page, description=f"Plan: {queued:,} to send")

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
        total, before = sum(counts.values()), sum(n for s, n in counts.items() if s not in _OPEN)
        artifact = await acreate_progress_artifact(
            progress=_percent(before, total),
            key=f"{self._key}-progress",
            description=f"{before:,} of {total:,} settled",
        )
        assert artifact is not None

        async def settled() -> int:
            if not shared:
                return before + dispatcher.tally.settled
            return sum(n for state, n in (await store.counts(record)).items() if state not in _OPEN)

        async def show(done: int) -> None:
            await aupdate_progress_artifact(
                artifact_id=artifact, progress=_percent(done, total), description=f"{done:,} of {total:,} settled"
            )

        async def follow() -> None:
            shown = before
            while True:
                await asyncio.sleep(PROGRESS_SECONDS)
                try:
                    if (done := await settled()) == shown:
                        continue
                    await show(done)
                    shown = done
                except Exception as failure:  # a server that is away for a moment must not end the sends
                    get_run_logger().debug("The progress could not be shown: %s", type(failure).__name__)

        following = asyncio.create_task(follow())
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        await show(await settled())

    async def batch(self, number: int, rows: BatchRows) -> None:
        """List a batch's sends."""
        await acreate_table_artifact(
            key=f"{self._key}-batch",
            table=[
                {
                    "recipient": mask(row.recipient),
                    "state": outcome.state.value,
                    "code": markdown(outcome.error_code),
                    "why": markdown(mask_numbers(outcome.error_text)),
                }
                for row, outcome in rows
            ],
            description=f"Batch {number}: {len(rows)} sends",
        )

    async def report(self, report: Report, store: LedgerStore, record: BroadcastRecord) -> None:
        """Say what became of it, name the rows that need a person, and tell the automations."""
        by_second: defaultdict[int, Counter[str]] = defaultdict(Counter)
        reasons: Counter[pages.Reason] = Counter()
        needy: list[Row] = []
        async for row in store.rows(record):
            if row.state in _OPEN:
                continue
            if row.settled_at:
                by_second[int(row.settled_at.timestamp())][_outcome(row.state)] += 1
            if row.state in _NEEDS_A_PERSON:
                reasons[pages.Reason(row.state, row.error_code, mask_numbers(row.error_text))] += 1
                if len(needy) < ROWS_SHOWN:
                    needy.append(row)
        outcomes = {name: getattr(report, name) for name in ("accepted", "failed", "skipped", "unknown", "pending")}
        pictures = await asyncio.to_thread(lambda: (outcome_png(outcomes), sends_png(by_second)))
        page = pages.report(
            self._name,
            report,
            reasons,
            outcome=data_uri(pictures[0]) if report.planned else "",
            over_time=data_uri(pictures[1]) if pictures[1] else "",
            # The embedded one is found by the command on the same machine; another needs its address.
            ledger="" if store.address == read_address("").shown else store.address,
        )
        await acreate_markdown_artifact(
            key=f"{self._key}-report",
            markdown=page,
            description=f"{report.accepted:,} of {report.planned:,} accepted",
        )
        if needy:
            number = sum(reasons.values())
            shown = f"the first {len(needy):,} of {number:,}" if number > len(needy) else f"{number:,}"
            await acreate_table_artifact(
                key=f"{self._key}-attention",
                table=[pages.needy_row(row) for row in needy],
                description=f"{shown} rows that need a person",
            )
        names = ["stopped" if report.stopped else "completed"]
        if report.unknown or report.failed:
            names.append("needs-attention")
        for name in names:
            self._tell(name, report.model_dump(mode="json") | {"broadcast": self._name})

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


_OPEN = frozenset({SendState.QUEUED, SendState.SENDING})


def _outcome(state: SendState) -> str:
    return "accepted" if state in ACCEPTED_STATES else state.value


def _percent(done: int, total: int) -> float:
    return min(100.0, 100.0 * done / total) if total else 100.0
