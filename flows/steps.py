"""A broadcast, step by step: check, plan, approve, dispatch, receive, report."""

import asyncio

import httpx
from prefect.exceptions import TerminationSignal
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.flows.approval import APPROVAL, pass_gate
from prefect_whatsapp.flows.broadcast_run import BroadcastRun
from prefect_whatsapp.flows.canary import send_canary
from prefect_whatsapp.flows.dispatch import dispatch
from prefect_whatsapp.flows.form import BroadcastForm
from prefect_whatsapp.flows.lasting_ledger import refuse_ledger_that_is_thrown_away
from prefect_whatsapp.flows.planning import Planning
from prefect_whatsapp.flows.receipts import await_receipts, resolve_unknown_sends
from prefect_whatsapp.flows.reports import report_dry_run, report_outcome
from prefect_whatsapp.flows.wait import resumed_from
from prefect_whatsapp.ledger import BroadcastRecord, LedgerStore
from prefect_whatsapp.ledger.row_reference import read_reference
from prefect_whatsapp.models import ACCEPTED_STATES, Report, SendState
from prefect_whatsapp.models.errors import AccountError, BroadcastStoppedError, ErrorKind, WhatsAppError
from prefect_whatsapp.providers.dialect import AccountStatus
from prefect_whatsapp.sending.content import Content
from prefect_whatsapp.sending.shards import Shards
from prefect_whatsapp.sending.stop import StopSignal

# Prefect's client tries for a minute while its server is away, and whoever ends a process waits for half of that.
LAST_SECONDS = 20.0


class Broadcast:
    """The order of the steps of one run.

    Args:
        settings: What was asked.
        message: What is sent to everyone.
    """

    def __init__(self, settings: BroadcastForm, message: Content) -> None:
        self._run = BroadcastRun.begin(settings, message)
        self._planning = Planning(self._run)
        self._shards = Shards(settings, self._run.scale) if self._run.scale.shards else None

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to be sent."""
        return self._run.settings.dry_run

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
            return await self._take_steps()
        except BroadcastStoppedError:
            raise  # its report has told the automations
        except WhatsAppError as failure:
            if not self._run.part_of:
                self._run.artifacts.stopped(failure.message)
            raise

    async def _take_steps(self) -> Report:
        run, settings, message, planning = self._run, self._run.settings, self._run.message, self._planning
        if self._shards:
            await self._shards.check()
        async with (settings.ledger or Ledger()).open() as store:
            if isinstance(settings.recipients, str) and (reference := read_reference(settings.recipients.strip())):
                await planning.take_rows_of(store, reference)
            await message.load(store, run.dialect)
            for warning in message.warnings:
                run.log.warning("%s", warning)
            account = await self._check()
            planning.phone = account.phone
            if settings.dry_run:
                counts = await planning.read_through(store)
                return await report_dry_run(run, planning.planned, counts, account, notices=planning.notices())
            planning.approved = settings.approve and await resumed_from(APPROVAL)
            await refuse_ledger_that_is_thrown_away(store)
            record = await planning.write(store)
            await planning.leave_out(store, record)
            again = await planning.to_send_again(store, record)
            counts = await store.counts(record)
            earlier = sum(counts[state] for state in ACCEPTED_STATES)
            if not again and not counts[SendState.QUEUED] and not counts[SendState.SENDING]:
                planning.refuse_another_start(record)  # it would report the earlier run's success as its own
            if not run.part_of and not planning.approved:
                for state, number in again.items():
                    counts[SendState.QUEUED] += number
                    counts[state] -= number
                await run.artifacts.plan(
                    planning.planned, message, account, counts, run.pace_seconds(counts), notices=planning.notices()
                )
            sent_again = sum(again.values())
            asked = settings.approve
            approved_at = await pass_gate(store, record, asked=asked, sent_again=sent_again, actor=run.actor)
            if approved_at and asked and not run.part_of:
                await run.artifacts.approved(approved_at)
            await planning.send_again(store, record, again)
            return await self._send(store, record, earlier)

    async def _check(self) -> AccountStatus:
        account = await self._run.settings.sender.acheck()
        if not account.ready:
            dialect = self._run.dialect
            raise AccountError(
                f"{dialect.name} account {dialect.account} can't send now: it is {account.state}"
                + (f" ({account.detail})" if account.detail else ""),
                provider=dialect.name,
                code=account.state,
                kind=ErrorKind.SESSION,
            )
        return account

    async def _send(self, store: LedgerStore, record: BroadcastRecord, earlier: int) -> Report:
        run, stop = self._run, StopSignal()
        try:
            sent, at_most = await send_canary(run, store, record, stop=stop), run.settings.max_messages
            if sent is not None and (not at_most or sent < at_most):
                left = at_most - sent if at_most else 0
                await dispatch(run, store, record, shards=self._shards, stop=stop, max_messages=left)
        except TerminationSignal:  # Cancel ends this process; by then all in flight is settled, and told here
            await self._report_at_last(store, record, stop, earlier)
            raise
        if not run.part_of:
            await await_receipts(store, record, 0 if stop.reason else run.settings.wait_for_receipts)
            await resolve_unknown_sends(run, store, record)
        return await report_outcome(run, self._planning.planned, store, record, stop, earlier=earlier)

    async def _report_at_last(
        self, store: LedgerStore, record: BroadcastRecord, stop: StopSignal, earlier: int
    ) -> None:
        """Report what a process that is told to end has sent, if Prefect's server takes it in time; the ledger has it all."""
        try:
            async with asyncio.timeout(LAST_SECONDS):
                await report_outcome(self._run, self._planning.planned, store, record, stop, earlier=earlier)
        except (TimeoutError, httpx.HTTPError) as failure:
            why = type(failure).__name__
            self._run.log.warning("The report could not be written (%s): `prefect-whatsapp report` shows it.", why)
