"""A broadcast, step by step: plan, prepare, check, dispatch, report."""

import time
from contextlib import AsyncExitStack
from uuid import UUID
from zoneinfo import ZoneInfo

import anyio
import httpx
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.blocks.sender import Sender
from prefect_whatsapp.flows.approval import APPROVAL, NOTICE, WITHOUT_PROCESS, pass_gate
from prefect_whatsapp.flows.form import BroadcastForm
from prefect_whatsapp.flows.lasting_ledger import refuse_ledger_that_is_thrown_away
from prefect_whatsapp.flows.names import is_dated, resolve_name, scheduled_start
from prefect_whatsapp.flows.wait import resumed_from, waits_without_process
from prefect_whatsapp.ledger import BroadcastRecord, LedgerStore
from prefect_whatsapp.ledger.history import Action, this_process
from prefect_whatsapp.ledger.people import WINDOW
from prefect_whatsapp.ledger.row_reference import RowReference, read_reference
from prefect_whatsapp.models import AWAITING_RECEIPT_STATES, Recipient, Report, Scale, SendState, outcome_counts
from prefect_whatsapp.models.errors import (
    AccountError,
    BroadcastMismatchError,
    BroadcastStoppedError,
    ErrorKind,
    InputError,
    RecipientListError,
    WhatsAppError,
)
from prefect_whatsapp.providers.dialect import AccountStatus
from prefect_whatsapp.providers.graph_webhooks import BLOCKED_BY_USER
from prefect_whatsapp.receipts.resolve import resolve_unknown
from prefect_whatsapp.recipients.source import RecipientList
from prefect_whatsapp.reporting.artifacts import ArtifactPublisher
from prefect_whatsapp.sending.backpressure import Backpressure
from prefect_whatsapp.sending.content import Content, Message, check_build
from prefect_whatsapp.sending.dispatcher import Dispatcher
from prefect_whatsapp.sending.event_runs import ended_run_of, events_of_this_flow_run
from prefect_whatsapp.sending.pace import Pace
from prefect_whatsapp.sending.shards import Shards, part_of
from prefect_whatsapp.sending.stop import StopSignal
from prefect_whatsapp.sending.task_run_events import TaskRunEvents

_RECEIPTS_SECONDS = 5.0


class Broadcast:
    """One run of a broadcast.

    Args:
        settings: What was asked.
        message: What is sent to everyone.
    """

    def __init__(self, settings: BroadcastForm, message: Content) -> None:
        self._settings, self._message = settings, message
        self._scale = settings.scale or Scale()
        self._started = time.monotonic()
        self._log = get_run_logger()
        self._start = scheduled_start()
        self._name = resolve_name(settings.broadcast, self._start.at, timezone=self._start.timezone)
        self._dialect = settings.sender.dialect()
        self._artifacts = ArtifactPublisher(self._name, self._message.kind)
        self._list = RecipientList(settings.recipients, settings.storage, settings.default_region)
        self._planned = self._list.planned
        self._shards = Shards(settings, self._scale) if self._scale.shards else None
        self._part_of = part_of()
        self._left_out: list[str] = []
        self._approved = False  # by somebody who resumed this very run
        self._actor = this_process(str(flow_run.id or ""))

    async def run(self) -> Report:
        """Go through the steps.

        Returns:
            The state of the broadcast as the ledger has it.

        Raises:
            InputError, SourceError, AudioError, RecipientListError: Nothing was sent.
            AccountError: The account can't send; nothing was sent.
            BroadcastMismatchError: The name stands for other content.
            BroadcastStoppedError: It stopped before its end; the report is in `report`.
        """
        try:
            return await self._run()
        except BroadcastStoppedError:
            raise  # its report has told the automations
        except WhatsAppError as failure:
            if not self._part_of:
                self._artifacts.stopped(failure.message)
            raise

    async def _run(self) -> Report:
        settings, message = self._settings, self._message
        if self._shards:
            await self._shards.check()
        async with (settings.ledger or Ledger()).open() as store:
            if isinstance(settings.recipients, str) and (reference := read_reference(settings.recipients.strip())):
                await self._take_rows_of(store, reference)
            await message.load(store, self._dialect)
            for warning in message.warnings:
                self._log.warning("%s", warning)
            account = await self._check()
            if settings.dry_run:
                await self._list.read_through()
                return await self._report_dry_run(account)
            self._approved = settings.approve and await resumed_from(APPROVAL)
            await refuse_ledger_that_is_thrown_away(store)
            record = await self._plan(store)
            await self._leave_out(store, record)
            again = await self._to_send_again(store, record)
            counts = await store.counts(record)
            if not again and not counts[SendState.QUEUED] and not counts[SendState.SENDING]:
                self._refuse_another_start(record)  # it would report the earlier run's success as its own
            if not self._part_of and not self._approved:
                for state, number in again.items():
                    counts[SendState.QUEUED] += number
                    counts[state] -= number
                await self._artifacts.plan(
                    self._planned, message, account, counts, self._pace_seconds(counts), notice=self._notice()
                )
            sent_again = sum(again.values())
            await pass_gate(store, record, asked=settings.approve, sent_again=sent_again, actor=self._actor)
            await self._send_again(store, record, again)
            return await self._send(store, record)

    async def _take_rows_of(self, store: LedgerStore, reference: RowReference) -> None:
        """Take another broadcast's rows as the list."""
        other = await store.find_broadcast(reference.broadcast)
        if other is None:
            raise InputError(f"the ledger at {store.address} has no broadcast named {reference.broadcast[:60]!r}")
        rows = [
            Recipient(to=row.recipient, name=row.name, reply_to=row.reply_to)
            async for row in store.rows(other, states=reference.states)
        ]
        if not rows:
            raise RecipientListError(
                f"broadcast {reference.broadcast[:60]!r} has no rows in that state: the list is empty"
            )
        self._list = RecipientList(rows, None, self._settings.default_region)
        self._planned = self._list.planned

    # Check and plan -------------------------------------------------------------------------------------------------

    async def _check(self) -> AccountStatus:
        account = await self._settings.sender.acheck()
        if not account.ready:
            raise AccountError(
                f"{self._dialect.name} account {self._dialect.account} can't send now: it is {account.state}"
                + (f" ({account.detail})" if account.detail else ""),
                provider=self._dialect.name,
                code=account.state,
                kind=ErrorKind.SESSION,
            )
        return account

    async def _plan(self, store: LedgerStore) -> BroadcastRecord:
        """Write the list into the ledger; a run that was killed here writes the rest the next time."""
        record: BroadcastRecord | None = None
        no_list = isinstance(self._settings.recipients, str) and not self._settings.recipients.strip()
        if no_list or self._approved:
            record = await store.find_broadcast(self._name)
        # A run that was approved and started anew sends what was looked at: the list isn't read again.
        self._approved = self._approved and record is not None and record.planned_at is not None
        if no_list:
            if self._part_of and (record is None or record.id != self._part_of):
                raise InputError(
                    f"the ledger at {store.address} isn't the one in which {self._name} was planned: give the broadcast "
                    "a saved Ledger block with a PostgreSQL URL that all workers reach"
                )
            if record is None or record.planned_at is None:
                raise RecipientListError(
                    f"recipients is empty: give s3://bucket/key, a key in storage, a path or a list of recipients "
                    f"(leave it empty only to continue a planned broadcast; {self._name} "
                    + ("is not planned)" if record is None or not record.plan else "was not planned to the list's end)")
                )
        if no_list or self._approved:
            record = await self._begin(store)
        else:
            record = None
            async for chunk in self._list.chunks():
                if record is None:  # only now: a list that can't be read binds the name to nothing
                    record = await store.begin_plan(await self._begin(store))
                    if self._settings.approve:
                        await store.hold(record, self._actor)
                self._planned.new += await store.plan(record, chunk.usable)
                await store.remove(record, chunk.removed)
            assert record  # a list without a usable row was refused
            record = await store.mark_planned(record, removed=self._planned.removed)
            if self._planned.new:
                what = f"{self._planned.new:,} new recipients, {self._planned.removed:,} rows removed"
                await store.note(Action.PLANNED, self._actor, record, what)
        return record

    def _notice(self) -> str:
        """What the plan says of the approval that it waits for, and of whom it leaves out."""
        approval = [NOTICE, *([WITHOUT_PROCESS] if waits_without_process() else [])] if self._settings.approve else []
        return " ".join([*approval, *self._left_out])

    async def _leave_out(self, store: LedgerStore, record: BroadcastRecord) -> None:
        """Skip, before anything is sent, who wants no more messages (each claim looks again) or can't get one now."""
        await store.receipts.match_parked()
        await self._resolve_unknown(store, record)
        await store.people.learn_refusals(record, BLOCKED_BY_USER)
        await store.people.skip_opted_out(record)
        alive = await store.receipts.received_for(self._dialect.sender) if self._dialect.name == "graph" else None
        if alive and alive >= WINDOW:  # else nobody knows who wrote lately, and the service has the last word
            windows = await store.people.windows(record)
            await store.people.skip_closed_windows(record)
            self._left_out.append(
                f"{windows.open:,} 24-hour windows are open, {windows.closed:,} are closed and skipped."
            )
        if opted_out := await store.people.opted_out_rows(record):
            self._left_out.append(f"{opted_out:,} recipients have opted out and are skipped.")
        for sentence in self._left_out:
            self._log.info("%s", sentence)

    async def _resolve_unknown(self, store: LedgerStore, record: BroadcastRecord) -> None:
        """Look up what an earlier run, or this one, left unknown: before it would be sent again, and before the report."""
        resolved = await resolve_unknown(store, record, self._settings.sender)
        if resolved.by_receipts or resolved.by_history:
            self._log.info(
                "%d unknown sends were resolved by receipts and %d by the chats' history; %d remain.",
                resolved.by_receipts,
                resolved.by_history,
                resolved.unknown,
            )

    async def _to_send_again(self, store: LedgerStore, record: BroadcastRecord) -> dict[SendState, int]:
        """How many unknown and failed sends this run is to send again, by state."""
        settings = self._settings
        asked = {SendState.UNKNOWN: settings.on_unknown == "resend", SendState.FAILED: settings.retry_failed}
        if not any(asked.values()):
            return {}
        counts = await store.counts(record)
        return {state: counts[state] for state, wanted in asked.items() if wanted and counts[state]}

    async def _send_again(self, store: LedgerStore, record: BroadcastRecord, again: dict[SendState, int]) -> None:
        for state, number in again.items():
            if state is SendState.UNKNOWN:  # not queued: another run, without that consent, would send them
                self._log.warning(
                    "%d sends whose outcome is unknown will be sent again, because on_unknown is resend", number
                )
            else:
                await store.requeue(record, state)
                self._log.info("%d failed sends will be tried again", number)
            await store.note(Action.SENT_AGAIN, self._actor, record, f"{number:,} {state} sends")

    async def _begin(self, store: LedgerStore) -> BroadcastRecord:
        record = await store.start_broadcast(
            self._name,
            kind=self._message.kind,
            provider=self._dialect.name,
            account=self._dialect.account,
            content=self._message.digest,
            content_label=self._message.label,
            sender=self._dialect.sender,
            scheduled_at=self._start.at if self._start.by_schedule else None,
        )
        if is_dated(self._settings.broadcast):
            self._refuse_another_start(record)
        return record

    def _refuse_another_start(self, record: BroadcastRecord) -> None:
        """Two runs of a schedule never share a broadcast: the second one's message would be forgotten.

        Raises:
            BroadcastMismatchError: It is the broadcast of another scheduled run.
        """
        if not self._start.by_schedule or record.scheduled_at in (None, self._start.at):
            return
        assert record.scheduled_at
        zone = ZoneInfo(self._start.timezone)
        earlier, this = (f"{at.astimezone(zone):%d %b %Y at %H:%M %Z}" for at in (record.scheduled_at, self._start.at))
        raise BroadcastMismatchError(
            f"broadcast {record.name!r} belongs to the run scheduled for {earlier}, so the run scheduled for {this} can't "
            "send under that name: give the name a date that differs for each run, such as {:%Y-%m-%d}"
        )

    def _check_link_life(self, counts: dict[SendState, int]) -> None:
        """A link must outlive the broadcast, and the service's own queue after it."""
        life, takes = self._settings.sender.link_life(), self._pace_seconds(counts)
        if self._message.kind == "audio" and self._dialect.carries_audio == "link" and takes > life:
            raise InputError(
                f"the link to the audio would expire after {life:,} s, but the broadcast takes about {takes:,.0f} s at this "
                "pace: raise link_seconds on the block, or send part of the list at a time with max_messages"
            )

    def _pace_seconds(self, counts: dict[SendState, int]) -> float:
        queued = counts.get(SendState.QUEUED, 0)
        queued = min(queued, self._settings.max_messages or queued)
        if spacing := self._settings.sender.random_spacing:
            return queued * sum(spacing) / 2
        rate = self._settings.sender.messages_per_second
        return queued / rate if rate else 0.0

    # Dispatch -------------------------------------------------------------------------------------------------------

    async def _send(self, store: LedgerStore, record: BroadcastRecord) -> Report:
        settings = self._settings
        stop = StopSignal()
        counts = await store.counts(record)
        resend = settings.on_unknown == "resend"
        if counts[SendState.QUEUED] or counts[SendState.SENDING] or (resend and counts[SendState.UNKNOWN]):
            self._check_link_life(counts)
            message = await Message.bring(self._message, store, self._dialect)
            check_build(message.build)
            async with AsyncExitStack() as stack:
                max_messages = await self._start_shards(stack, store, record, stop)
                client = await stack.enter_async_context(settings.sender.get_async_client(connections=64))
                lease = await stack.enter_async_context(
                    store.join(
                        record,
                        flow_run_id=str(flow_run.id or ""),
                        sender=self._dialect.sender,
                        messages_per_second=_rate(settings.sender),
                        remembers_departures=_is_slow(settings.sender),
                        resend=resend,
                    )
                )
                run_id = _flow_run_id()
                events = await self._task_run_events(stack) if run_id else None
                backpressure = (
                    await stack.enter_async_context(Backpressure(run_id, stop=stop, lease=lease, events=events))
                    if run_id
                    else None
                )
                if events and backpressure:
                    backpressure.started += await self._tell_of_killed(events, store, record)
                dispatcher = Dispatcher(
                    lease,
                    client,
                    message=message,
                    pace=Pace(
                        lambda: lease.share,
                        spacing=settings.sender.random_spacing,
                        idle=lambda: lease.seconds_since_departure,
                    ),
                    stop=stop,
                    backpressure=backpressure,
                    in_flight=self._scale.in_flight,
                    runs=self._scale.runs,
                    events=events,
                    batch_size=self._scale.batch_size,
                    max_messages=max_messages,
                    on_batch=self._artifacts.batch,
                )
                if not self._part_of:
                    shared = self._shards is not None
                    await stack.enter_async_context(self._artifacts.progress(store, record, dispatcher, shared=shared))
                await dispatcher.run()
                if backpressure and not await backpressure.caught_up():
                    self._log.warning("The Prefect server did not record %d task runs.", backpressure.lost)
        if not self._part_of:
            await self._await_receipts(store, record, 0 if stop.reason else settings.wait_for_receipts)
            await self._resolve_unknown(store, record)
        return await self._report(store, record, stop)

    async def _task_run_events(self, stack: AsyncExitStack) -> TaskRunEvents | None:
        if self._scale.runs != "send":
            return None
        events = await events_of_this_flow_run(self._message.kind)
        return await stack.enter_async_context(events) if events else None

    async def _tell_of_killed(self, events: TaskRunEvents, store: LedgerStore, record: BroadcastRecord) -> int:
        """Tell of the sends that a killed process could not tell of any more; how many they were."""
        rows = await store.rows_of_ended_runs(record)
        if not rows:
            return 0
        try:
            told = await events.tell_those_missing([ended_run_of(self._message.kind, row) for row in rows])
        except httpx.HTTPError as failure:  # the server is away: the ledger has them all the same
            self._log.debug("The Prefect server was not asked about earlier sends: %s", type(failure).__name__)
            return 0
        if told:
            self._log.info("%d sends of a run that was killed are shown in Prefect now.", told)
        return told

    async def _await_receipts(self, store: LedgerStore, record: BroadcastRecord, minutes: int) -> None:
        """Keep the run open for what the phones tell; it ends early where they have told everything."""
        until = time.monotonic() + minutes * 60
        while True:
            await store.receipts.match_parked()
            counts = await store.counts(record)
            if time.monotonic() >= until or not any(counts[state] for state in AWAITING_RECEIPT_STATES):
                return
            await anyio.sleep(min(_RECEIPTS_SECONDS, until - time.monotonic()))

    async def _start_shards(
        self, stack: AsyncExitStack, store: LedgerStore, record: BroadcastRecord, stop: StopSignal
    ) -> int:
        """Start the child runs, if any are asked for; what this run itself may send at most."""
        if self._shards is None:
            return self._settings.max_messages
        if store.on_one_machine:
            self._log.warning(
                "The ledger %s is a file: only workers on this machine that see this very file can help. For others, "
                "give the broadcast a saved Ledger block with a PostgreSQL URL.",
                store.address,
            )
        await stack.enter_async_context(self._shards)
        return await self._shards.start(
            record, stop, max_messages=self._settings.max_messages, moving=lambda: store.counts(record)
        )

    # Report ---------------------------------------------------------------------------------------------------------

    async def _report(self, store: LedgerStore, record: BroadcastRecord, stop: StopSignal) -> Report:
        counts = await store.counts(record)
        removed = self._planned.removed or record.removed
        report = self._made(counts, removed, stop)
        if not self._part_of:  # one report, the parent's
            await self._artifacts.report(report, store, record)
        if report.unknown:
            self._log.warning(
                "%d sends have an unknown outcome: they are held and named in the report; on_unknown='resend' sends them "
                "again.",
                report.unknown,
            )
        left = report.pending or (report.unknown and self._settings.on_unknown == "resend")
        if stop.reason and left and not stop.reason.by_person:
            raise BroadcastStoppedError(f"broadcast {self._name} stopped: {stop.sentence}", report=report)
        return report

    async def _report_dry_run(self, account: AccountStatus) -> Report:
        counts = {SendState.QUEUED: self._planned.usable}
        await self._artifacts.plan(self._planned, self._message, account, counts, self._pace_seconds(counts))
        self._log.info("Dry run: %d would be sent, %d rows removed.", self._planned.usable, self._planned.removed)
        return self._made(counts, self._planned.removed)

    def _made(self, counts: dict[SendState, int], removed: int, stop: StopSignal | None = None) -> Report:
        return Report(
            broadcast=self._name,
            **outcome_counts(counts),
            removed=removed,
            uploads=self._message.uploads,
            transcodes=self._message.transcodes,
            seconds=round(time.monotonic() - self._started, 3),
            stopped=stop.sentence if stop else "",
            stop_reason=stop.reason if stop else None,
        )


def _flow_run_id() -> UUID | None:
    context = FlowRunContext.get()
    return context.flow_run.id if context and context.flow_run else None


def _rate(sender: Sender) -> float:
    """Messages a second that the runs of an account share; with random spacing the fastest that it may come to."""
    if not (spacing := sender.random_spacing):
        return sender.messages_per_second
    fastest = 1 / max(spacing[0], spacing[1] / 10)
    return min(fastest, sender.messages_per_second or fastest)


def _is_slow(sender: Sender) -> bool:
    """Whether it waits for so long between two sends that the next run must know of the last one."""
    return sender.random_spacing is not None or 0 < sender.messages_per_second < 1
