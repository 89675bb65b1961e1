"""What a person sees in the Prefect UI: the plan, the progress, the report, and the events that automations listen to.

Recipients are shown by their last four digits; the ledger and its export hold the numbers.
"""

import asyncio
import re
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
from prefect_whatsapp.flows.dispatcher import BatchRows, Dispatcher
from prefect_whatsapp.flows.message import Message
from prefect_whatsapp.flows.recipients import Planned
from prefect_whatsapp.ledger import BroadcastRecord, LedgerStore
from prefect_whatsapp.models import Report, SendState, mask, mask_numbers
from prefect_whatsapp.providers.dialect import AccountStatus

PROGRESS_SECONDS = 3.0
ROWS_SHOWN = 500
_NEEDS_A_PERSON = (SendState.UNKNOWN, SendState.FAILED, SendState.SKIPPED)
_NEXT_STEP = {
    SendState.UNKNOWN: "Ask the recipient or wait for a delivery status; on_unknown='resend' sends it again.",
    SendState.FAILED: "Mend what the service names, then run again with retry_failed=True.",
    SendState.SKIPPED: "They must write first (or get a template); then a new broadcast reaches them.",
}


class Board:
    """Writes a broadcast's artifacts and events.

    Args:
        name: The broadcast's name.
        kind: `audio` or `contacts`.
    """

    def __init__(self, name: str, kind: str) -> None:
        self._name, self._kind = name, kind
        slug = re.sub(r"[^a-z0-9]+", "-", mask_numbers(name).lower()).strip("-")
        self._key = f"whatsapp-{slug or 'broadcast'}"[:100]

    async def plan(
        self,
        planned: Planned,
        message: Message,
        account: AccountStatus,
        counts: Mapping[SendState, int],
        seconds: float,
    ) -> None:
        """Say, before anything is sent, what will be."""
        queued = counts.get(SendState.QUEUED, 0)
        lines = [
            f"# Plan of {mask_numbers(self._name)}",
            "",
            f"**{queued:,} messages** to send with {message.label}",
            "",
            *_table(
                ("what", "value"),
                [
                    ("already settled", f"{sum(counts.values()) - queued:,}"),
                    ("removed from the list", f"{planned.removed:,}"),
                    ("account", f"{account.state} {account.detail}".strip()),
                    ("estimated time", _duration(seconds) if seconds else "as fast as the service answers"),
                    ("service messages it may cost", f"{queued:,} at most, one a recipient"),
                ],
            ),
        ]
        if planned.countries:
            lines += [
                "",
                "## To whom",
                "",
                *_table(("country or kind", "recipients"), planned.countries.most_common(30)),
            ]
        if planned.reasons:
            lines += ["", "## Removed", "", *_table(("reason", "rows"), planned.reasons.most_common(30))]
        facts = message.facts()
        if facts:
            lines += ["", "## Message", "", *_table(("what", "value"), facts)]
        lines += [f"\n> {warning}" for warning in message.warnings]
        await acreate_markdown_artifact(
            key=f"{self._key}-plan", markdown="\n".join(lines), description=f"Plan: {queued:,} to send"
        )

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
                    "code": outcome.error_code,
                    "why": mask_numbers(outcome.error_text),
                }
                for row, outcome in rows
            ],
            description=f"Batch {number}: {len(rows)} sends",
        )

    async def report(self, report: Report, store: LedgerStore, record: BroadcastRecord) -> None:
        """Say what became of it, name the rows that need a person, and tell the automations."""
        needy = []
        async for row in store.rows(record, states=_NEEDS_A_PERSON):
            needy.append(
                {
                    "recipient": mask(row.recipient),
                    "name": mask_numbers(row.name),
                    "state": row.state.value,
                    "when": row.settled_at.isoformat(timespec="seconds") if row.settled_at else "",
                    "code": row.error_code,
                    "why": mask_numbers(row.error_text),
                    "next": _NEXT_STEP[row.state],
                }
            )
            if len(needy) >= ROWS_SHOWN:
                break
        numbers = [(name, f"{getattr(report, name):,}") for name in _REPORTED]
        lines = [
            f"# Report of {mask_numbers(self._name)}",
            "",
            *([f"**Stopped:** {report.stopped}", ""] if report.stopped else []),
            *_table(("what", "messages"), numbers),
            "",
            "Accepted is not delivered: it is the service's word that it took the message.",
            "",
            f"Every row with its number: `prefect-whatsapp export {_quoted(self._name)} --format csv`",
        ]
        await acreate_markdown_artifact(
            key=f"{self._key}-report",
            markdown="\n".join(lines),
            description=f"{report.accepted:,} of {report.planned:,} accepted",
        )
        if needy:
            await acreate_table_artifact(
                key=f"{self._key}-attention", table=needy, description=f"{len(needy)} rows that need a person"
            )
        self._tell(report)

    def _tell(self, report: Report) -> None:
        payload = report.model_dump(mode="json")
        names = ["stopped" if report.stopped else "completed"]
        if report.unknown or report.failed:
            names.append("needs-attention")
        for name in names:
            emit_event(
                event=f"prefect-whatsapp.broadcast.{name}",
                resource={
                    "prefect.resource.id": f"prefect-whatsapp.broadcast.{self._key}",
                    "prefect.resource.name": mask_numbers(self._name),
                    "prefect-whatsapp.kind": self._kind,
                },
                payload=payload,
            )


_OPEN = {SendState.QUEUED, SendState.SENDING}
_REPORTED = ("planned", "accepted", "failed", "skipped", "unknown", "pending", "removed", "uploads", "transcodes")


def _percent(done: int, total: int) -> float:
    return min(100.0, 100.0 * done / total) if total else 100.0


def _table(head: tuple[str, str], rows: Any) -> list[str]:
    cells = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    return cells + [f"| {_cell(left)} | {_cell(right)} |" for left, right in rows]


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return " ".join(f"{n} {unit}" for n, unit in ((hours, "h"), (minutes, "min"), (rest, "s")) if n) or "0 s"


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[\w.-]+", name) else "'" + name.replace("'", "'\\''") + "'"
