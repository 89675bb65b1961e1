"""The plan: the list is written into the ledger, and who can't or mustn't get the message is left out."""

from collections import Counter
from zoneinfo import ZoneInfo

from prefect_whatsapp.flows.approval import NOTICE, WITHOUT_PROCESS
from prefect_whatsapp.flows.broadcast_run import BroadcastRun
from prefect_whatsapp.flows.names import is_dated
from prefect_whatsapp.flows.receipts import resolve_unknown_sends
from prefect_whatsapp.flows.wait import waits_without_process
from prefect_whatsapp.ledger import BroadcastRecord, LedgerStore
from prefect_whatsapp.ledger.history import Action
from prefect_whatsapp.ledger.people import WINDOW
from prefect_whatsapp.ledger.row_reference import RowReference
from prefect_whatsapp.models import Recipient, SendState
from prefect_whatsapp.models.errors import BroadcastMismatchError, InputError, RecipientListError
from prefect_whatsapp.models.masking import mask_numbers
from prefect_whatsapp.models.plurals import counted
from prefect_whatsapp.recipients.source import RecipientList

# Broadcasts that the warning of repeats names.
_NAMED_AT_MOST = 3


class Planning:
    """The plan of one run.

    Args:
        run: The run.

    Attributes:
        planned: What was read of the list so far.
        phone: The number that is logged in, as the account's check told.
        approved: Whether somebody resumed this very run, and so approved what was planned.
    """

    def __init__(self, run: BroadcastRun) -> None:
        self._run = run
        self._list = RecipientList(run.settings.recipients, run.settings.storage, run.settings.default_region)
        self.planned = self._list.planned
        self.phone, self.approved = "", False
        self._remarks: list[str] = []

    async def read_through(self, store: LedgerStore) -> dict[SendState, int]:
        """Read the list to its end without writing it; how many of it would be queued, and how many left out."""
        account = f"{self._run.dialect.name}:{self._run.dialect.account}"
        opted_out = opened = closed = 0
        had: Counter[str] = Counter()
        knows_windows = await self._knows_windows(store)
        async for chunk in self._list.chunks():
            who = [recipient.to for recipient in chunk.usable]
            keys = [recipient.account_key for recipient in chunk.usable]
            message = self._run.message
            had += await store.accounts_had_lately(message.digest, self._run.name, keys, source=message.source_digest)
            out = await store.people.opted_out(who)
            opted_out += len(out)
            if knows_windows:
                rest = [address for address in who if address not in out]
                open_here = await store.people.open_windows(rest, account)
                opened, closed = opened + open_here, closed + len(rest) - open_here
        if knows_windows:
            self._remarks.append(_windows(opened, closed))
        if opted_out:
            self._remarks.append(_opted_out(opted_out))
        self._warn_of_repeats(had)
        skipped = opted_out + closed
        return {SendState.QUEUED: self.planned.usable - skipped, SendState.SKIPPED: skipped}

    async def _knows_windows(self, store: LedgerStore) -> bool:
        """Whether a receiver was alive for a day; else nobody knows who wrote lately, and the service has the last word."""
        dialect = self._run.dialect
        alive = await store.receipts.received_for(dialect.sender) if dialect.has_windows else None
        return alive is not None and alive >= WINDOW

    async def take_rows_of(self, store: LedgerStore, reference: RowReference) -> None:
        """Take another broadcast's rows as the list.

        Raises:
            InputError: The ledger has no such broadcast.
            RecipientListError: It has no such rows.
        """
        other = await store.find_broadcast(reference.broadcast)
        if other is None:
            raise InputError(f"the ledger at {store.address} has no broadcast named {reference.broadcast[:60]!r}")
        rows = [
            Recipient(to=row.recipient, name=row.name, reply_to=row.reply_to)
            async for row in store.rows(other, states=reference.states)
            if not row.forgotten
        ]
        if not rows:
            raise RecipientListError(
                f"broadcast {reference.broadcast[:60]!r} has no rows in that state: the list is empty"
            )
        self._list = RecipientList(rows, None, self._run.settings.default_region)
        self.planned = self._list.planned

    async def write(self, store: LedgerStore) -> BroadcastRecord:
        """Write the list into the ledger; a run that was killed here writes the rest the next time.

        Raises:
            InputError: A shard's ledger isn't its parent's.
            RecipientListError: There is no list and no earlier plan, or the list has no usable row.
            BroadcastMismatchError: The name stands for something else.
        """
        record: BroadcastRecord | None = None
        recipients = self._run.settings.recipients
        no_list = isinstance(recipients, str) and not recipients.strip()
        if no_list or self.approved:
            record = await store.find_broadcast(self._run.name)
        # A run that was approved and started anew sends what was looked at: the list isn't read again.
        self.approved = self.approved and record is not None and record.planned_at is not None
        if no_list:
            if self._run.part_of and (record is None or record.id != self._run.part_of):
                raise InputError(
                    f"the ledger at {store.address} isn't the one in which {self._run.name} was planned: give the broadcast "
                    "a saved Ledger block with a PostgreSQL URL that all workers reach"
                )
            if record is None or record.planned_at is None:
                raise RecipientListError(
                    f"the list is empty: give s3://bucket/key, a key in storage, a path or a list of recipients "
                    f"(leave Recipients empty only to continue a planned broadcast; {self._run.name} "
                    + ("is not planned)" if record is None or not record.plan else "was not planned to the list's end)")
                )
        if no_list or self.approved:
            record = await self._begin(store)
        else:
            record = None
            async for chunk in self._list.chunks():
                if record is None:  # only now: a list that can't be read binds the name to nothing
                    record = await store.begin_plan(await self._begin(store))
                    if self._run.settings.approve:
                        await store.hold(record, self._run.actor)
                self.planned.new += await store.plan(record, chunk.usable, chunk.lines)
                await store.remove(record, chunk.removed)
            assert record  # a list without a usable row was refused
            record = await store.mark_planned(record, removed=self.planned.removed)
            if self.planned.new:
                new, removed = counted(self.planned.new, "new recipient"), counted(self.planned.removed, "row")
                what = f"{new}, {removed} removed"
                await store.note(Action.PLANNED, self._run.actor, record, what)
        return record

    def notices(self) -> list[str]:
        """Say in words for which approval the plan waits, who goes first, whom it leaves out, and who had it lately."""
        sentences = (
            ["Dry run: nothing is sent. This is what a run without it would send."]
            if self._run.settings.dry_run
            else []
        )
        if self._run.settings.approve and not self._run.settings.dry_run:
            sentences.append(" ".join([NOTICE, WITHOUT_PROCESS] if waits_without_process() else [NOTICE]))
        if self._run.settings.canary:
            sentences.append(
                f"{counted(self._run.settings.canary, 'message goes', 'messages go')} first as a canary: if more than a tenth "
                "of them fails, the rest is not sent."
            )
        return sentences + self._remarks

    async def leave_out(self, store: LedgerStore, record: BroadcastRecord) -> None:
        """Skip, before anything is sent, who wants no more messages (each claim looks again) or can't get one now."""
        await store.receipts.match_parked()
        await resolve_unknown_sends(self._run, store, record)
        if code := self._run.dialect.opt_out_code:
            await store.people.learn_refusals(record, code)
        await store.people.skip_opted_out(record)
        if await self._knows_windows(store):
            windows = await store.people.windows(record)
            await store.people.skip_closed_windows(record)
            self._remarks.append(_windows(windows.open, windows.closed))
        if opted_out := await store.people.opted_out_rows(record):
            self._remarks.append(_opted_out(opted_out))
        for sentence in self._remarks:
            self._run.log.info("%s", sentence)
        if not self._run.part_of:
            self._warn_of_repeats(await store.had_lately(record))

    def _warn_of_repeats(self, had: Counter[str]) -> None:
        """Warn where people got this under another name: the promise is one message a name, not a person."""
        if not had:
            return
        named = [f"{number:,} from {mask_numbers(name)}" for name, number in had.most_common(_NAMED_AT_MOST)]
        more = f" and {counted(len(had) - _NAMED_AT_MOST, 'more broadcast')}" if len(had) > _NAMED_AT_MOST else ""
        warning = (
            f"Sent before: people on this list got this {'audio' if self._run.message.source_digest else 'very message'} within "
            f"the last 30 days, {', '.join(named)}{more}. "
            "Under another name they get it again."
        )
        self._run.log.warning("%s", warning)
        self._remarks.append(warning)

    async def to_send_again(self, store: LedgerStore, record: BroadcastRecord) -> dict[SendState, int]:
        """How many unknown and failed sends this run is to send again, by state."""
        settings = self._run.settings
        asked = {SendState.UNKNOWN: settings.on_unknown == "resend", SendState.FAILED: settings.retry_failed}
        if not any(asked.values()):
            return {}
        counts = await store.counts(record)
        return {state: counts[state] for state, wanted in asked.items() if wanted and counts[state]}

    async def send_again(self, store: LedgerStore, record: BroadcastRecord, again: dict[SendState, int]) -> None:
        """Queue what is to be sent again, and say so."""
        for state, number in again.items():
            if state is SendState.UNKNOWN:  # not queued: another run, without that consent, would send them
                self._run.log.warning(
                    "%s will be sent again, because Unknown sends is resend.",
                    counted(number, "send whose outcome is unknown", "sends whose outcome is unknown"),
                )
            else:
                await store.requeue(record, state)
                self._run.log.info("%s will be tried again.", counted(number, "failed send"))
            await store.note(Action.SENT_AGAIN, self._run.actor, record, counted(number, f"{state} send"))

    def refuse_another_start(self, record: BroadcastRecord) -> None:
        """Refuse another scheduled run's broadcast: two never share one, for the second one's message would be forgotten.

        Raises:
            BroadcastMismatchError: It is the broadcast of another scheduled run.
        """
        start = self._run.start
        if not start.by_schedule or record.scheduled_at in (None, start.at):
            return
        assert record.scheduled_at
        zone = ZoneInfo(start.timezone)
        earlier, this = (f"{at.astimezone(zone):%d %b %Y at %H:%M %Z}" for at in (record.scheduled_at, start.at))
        raise BroadcastMismatchError(
            f"broadcast {record.name!r} belongs to the run scheduled for {earlier}, so the run scheduled for {this} can't "
            "send under that name: give the name a date that differs for each run, such as {:%Y-%m-%d}"
        )

    async def _begin(self, store: LedgerStore) -> BroadcastRecord:
        run = self._run
        record = await store.start_broadcast(
            run.name,
            kind=run.message.kind,
            provider=run.dialect.name,
            account=run.dialect.account,
            content=run.message.digest,
            content_label=run.message.label,
            source=run.message.source_digest,
            sender=run.dialect.sender,
            phone=self.phone,
            scheduled_at=run.start.at if run.start.by_schedule else None,
        )
        if is_dated(run.settings.broadcast):
            self.refuse_another_start(record)
        return record


def _windows(opened: int, closed: int) -> str:
    are_open = counted(opened, "24-hour window is open", "24-hour windows are open")
    return f"{are_open}, {counted(closed, 'is closed and skipped', 'are closed and skipped')}."


def _opted_out(number: int) -> str:
    return f"{counted(number, 'recipient has opted out and is skipped', 'recipients have opted out and are skipped')}."
