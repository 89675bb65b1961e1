"""The report of one run: what the ledger holds at its end, or what a dry run would send."""

import time
from collections.abc import Sequence

from prefect_whatsapp.flows.broadcast_run import BroadcastRun
from prefect_whatsapp.ledger import BroadcastRecord, LedgerStore
from prefect_whatsapp.models import Report, SendState, outcome_counts
from prefect_whatsapp.models.errors import BroadcastStoppedError
from prefect_whatsapp.models.plurals import counted
from prefect_whatsapp.providers.dialect import AccountStatus
from prefect_whatsapp.recipients.source import Planned
from prefect_whatsapp.sending.stop import StopSignal


async def report_outcome(
    run: BroadcastRun, planned: Planned, store: LedgerStore, record: BroadcastRecord, stop: StopSignal, *, earlier: int
) -> Report:
    """Publish the report of a run that has ended; `earlier` counts what was accepted before it began.

    Raises:
        BroadcastStoppedError: It stopped before its end, and nobody asked it to; the report is in `report`.
    """
    counts = await store.outcome_counts(record)
    removed = planned.removed or record.removed
    report = _made(run, counts, removed, stop)
    if not run.part_of:  # one report, the parent's
        await run.artifacts.report(report, store, record, earlier=earlier)
    if report.unknown:
        run.log.warning(
            "%s and named in the report. To send again what is unknown, run it with Unknown sends: resend.",
            counted(
                report.unknown,
                "send has an unknown outcome: it is held",
                "sends have an unknown outcome: they are held",
            ),
        )
    left = report.pending or (report.unknown and run.settings.on_unknown == "resend")
    if stop.reason and left and not stop.reason.by_person:
        raise BroadcastStoppedError(f"broadcast {run.name} stopped: {stop.sentence}", report=report)
    return report


async def report_dry_run(
    run: BroadcastRun, planned: Planned, counts: dict[SendState, int], account: AccountStatus, *, notices: Sequence[str]
) -> Report:
    """Publish the plan of a dry run, and give what would be sent; `notices` say whom it would leave out."""
    await run.artifacts.plan(planned, run.message, account, counts, run.pace_seconds(counts), notices=notices)
    queued, skipped = counts[SendState.QUEUED], counts[SendState.SKIPPED]
    run.log.info("Dry run: %d would be sent, %d skipped, %s removed.", queued, skipped, counted(planned.removed, "row"))
    return _made(run, outcome_counts(counts), planned.removed)


def _made(run: BroadcastRun, counts: dict[str, int], removed: int, stop: StopSignal | None = None) -> Report:
    return Report(
        broadcast=run.name,
        **counts,
        removed=removed,
        uploads=run.message.uploads,
        transcodes=run.message.transcodes,
        seconds=round(time.monotonic() - run.started, 3),
        stopped=stop.sentence if stop else "",
        stop_reason=stop.reason if stop else None,
    )
