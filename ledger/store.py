"""The ledger, opened: who was to get what, what was tried, what came back."""

import dataclasses
import datetime
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from pydantic import SecretStr

from ..models.errors import LedgerError
from ..models.masking import mask_numbers
from ..models.recipient import Recipient
from ..models.states import SendState
from . import approvals, broadcasts, canaries, earlier_runs, history, keys, lately, media_ids, plan, rows
from . import forget as forgetting
from . import purge as purging
from .address import read_address
from .database import Database
from .earlier_runs import RunPart
from .lease import Lease, finish
from .migrations import migrate
from .people import PeopleBook
from .receipts import ReceiptBook
from .records import NAME_CHARACTERS, BroadcastRecord, BroadcastSummary, RemovedRow, Row, storable
from .writer import GroupWriter


class LedgerStore:
    """A ledger that is open, on SQLite or PostgreSQL. Made by `LedgerStore.open`; for one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writer = GroupWriter(database)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: SecretStr | str = "", *, patience_seconds: float = 60.0, encryption_key: SecretStr | str = ""
    ) -> AsyncIterator["LedgerStore"]:
        """Open a ledger, making or migrating it where needed.

        Args:
            url: Empty for SQLite under `PREFECT_HOME`; a path or `sqlite+aiosqlite:///…`; `postgresql+asyncpg://…`.
            patience_seconds: How long each operation tries again while the database is away, locked or full.
            encryption_key: 32 random bytes in base64, by which numbers, names and messages' ids are encrypted; empty for
                what `PREFECT_WHATSAPP_LEDGER_KEY` says in the environment, else for none. A new ledger takes it; later it
                is opened with that key alone.

        Raises:
            LedgerError: Not an address, not reachable, made by a newer version, or encrypted with another key or none.

        Example:
            >>> async def main() -> int:
            ...     async with LedgerStore.open("ledger.db") as store:
            ...         return len(await store.broadcasts())
        """
        # Plain, they would be in this frame, and in each traceback with locals.
        url = url if isinstance(url, SecretStr) else SecretStr(url)
        encryption_key = encryption_key if isinstance(encryption_key, SecretStr) else SecretStr(encryption_key)
        database = Database(read_address(url.get_secret_value()), patience_seconds)
        try:
            await migrate(database)
            await keys.unlock(database, encryption_key)
            store = cls(database)
            try:
                yield store
            finally:
                await finish(store._writer.close)
        finally:
            await finish(database.close)

    @property
    def receipts(self) -> ReceiptBook:
        """What webhooks told of messages."""
        return ReceiptBook(self._database)

    @property
    def people(self) -> PeopleBook:
        """Who wrote, and who wants no more messages."""
        return PeopleBook(self._database)

    @property
    def address(self) -> str:
        """Where it is, without password."""
        return self._database.address.shown

    @property
    def is_embedded(self) -> bool:
        """Whether it is the one under Prefect's home, as nobody named another."""
        return self._database.address.embedded

    @property
    def on_one_machine(self) -> bool:
        """Whether it is a file, which no other machine sees."""
        return self._database.engine.on_one_machine

    async def start_broadcast(
        self,
        name: str,
        *,
        kind: str,
        provider: str,
        account: str,
        content: str,
        content_label: str = "",
        scheduled_at: datetime.datetime | None = None,
        sender: str = "",
        phone: str = "",
        source: str = "",
    ) -> BroadcastRecord:
        """Begin a broadcast, or go on with the one of that name.

        Args:
            name: The promise.
            kind: `audio` or `contacts`.
            provider: The service's name, such as `graph`.
            account: The sending account's public id.
            content: Digest of what is sent.
            content_label: The same in words for a person.
            sender: The account with its server's host, such as `waha:default@localhost:3000`; empty to not compare it.
            phone: The digits of the number that is logged in; empty to not compare it.
            source: Digest of what the content is made of, such as the audio file; not compared.
            scheduled_at: When a schedule had this run start; None where none did. The first one's stays.

        Returns:
            The broadcast as the ledger has it.

        Raises:
            BroadcastMismatchError: The name stands for something else; the text shows both.
        """
        asked = BroadcastRecord(
            id=uuid.uuid4().hex,
            name=storable(name, NAME_CHARACTERS),
            kind=kind,
            provider=provider,
            account=account,
            content=content,
            content_label=storable(content_label, NAME_CHARACTERS),
            created_at=_now(),
            scheduled_at=scheduled_at,
            sender=sender,
            phone=phone,
            source=source,
        )
        return await broadcasts.begin(self._database, asked)

    async def find_broadcast(self, name: str) -> BroadcastRecord | None:
        """Look a broadcast up by its name."""
        return await broadcasts.find(self._database, name)

    async def find_broadcasts(self, numbers: Collection[int]) -> list[BroadcastRecord]:
        """Look broadcasts up by their numbers, the newest first."""
        return await broadcasts.find_numbered(self._database, numbers)

    async def broadcasts(self) -> list[BroadcastSummary]:
        """List all broadcasts with their counts, the newest first."""
        return await broadcasts.list_all(self._database)

    async def plan(self, record: BroadcastRecord, rows: Sequence[Recipient], lines: Sequence[int] = ()) -> int:
        """Queue one chunk of recipients; those that the broadcast has already stay as they are.

        Args:
            record: The broadcast.
            rows: Some thousands at a time.
            lines: The line of the list that each of them stands in; none where they come from no list.

        Returns:
            How many were new.
        """
        return await plan.queue(self._database, record, rows, lines) if rows else 0

    async def remove(self, record: BroadcastRecord, rows: Sequence[RemovedRow]) -> None:
        """Keep lines of the list that were not planned, with their reasons; a line that is told again is replaced."""
        if rows:
            await plan.keep_removed(self._database, record, rows)

    async def begin_plan(self, record: BroadcastRecord) -> BroadcastRecord:
        """Begin to write a list: until `mark_planned` the plan is incomplete, whichever list was read before.

        The lines that were removed from an earlier list are forgotten; its recipients stay.

        Returns:
            The broadcast, to be given to `plan`, `remove` and `mark_planned` of this list.
        """
        return dataclasses.replace(record, plan=await plan.begin(self._database, record), planned_at=None)

    async def mark_planned(self, record: BroadcastRecord, *, removed: int) -> BroadcastRecord:
        """Say that the list was read to its end, and how many of its rows were not planned."""
        await plan.finish(self._database, record, removed)
        found = await self.find_broadcast(record.name)
        assert found is not None
        return found

    def removed_rows(self, record: BroadcastRecord, *, batch: int = 1000) -> AsyncIterator[RemovedRow]:
        """Go through the lines that were not planned, by line number."""
        return rows.read_removed(self._database, record, batch)

    async def counts(self, record: BroadcastRecord) -> dict[SendState, int]:
        """Count a broadcast's rows by state; every state is there."""
        return await rows.count(self._database, record)

    async def outcome_counts(self, record: BroadcastRecord) -> dict[str, int]:
        """Give the numbers of a broadcast's report: its rows by outcome, and how many failed after they were accepted."""
        return await rows.count_outcomes(self._database, record)

    def rows(
        self, record: BroadcastRecord, states: Collection[SendState] | None = None, *, batch: int = 1000
    ) -> AsyncIterator[Row]:
        """Go through a broadcast's rows in the order of its list, a page in memory at a time.

        Args:
            record: The broadcast.
            states: Only rows in these; None for all.
            batch: Rows a page.
        """
        return rows.read(self._database, record, states, batch)

    async def rows_of_ended_runs(self, record: BroadcastRecord) -> list[Row]:
        """Give the rows that were settled last by runs that are no more, each with the id of a task run of its own.

        Their processes may have been killed before they told Prefect; some thousands at most.
        """
        return await earlier_runs.rows_of_ended_runs(self._database, record)

    async def runs(self, record: BroadcastRecord) -> list[RunPart]:
        """List the runs that sent a broadcast, the first one first, with how many unknown sends each left."""
        return await earlier_runs.runs(self._database, record)

    async def is_being_sent(self, record: BroadcastRecord) -> bool:
        """Whether a run is sending the broadcast now; looks twice, seconds apart, where that run is on another host."""
        return await earlier_runs.is_being_sent(self._database, record)

    async def had_lately(self, record: BroadcastRecord) -> Counter[str]:
        """Count the queued recipients who got the same content, or the same audio in another form, within 30 days.

        Returns:
            How many, by the name of the other broadcast; one who had it from two counts in both.
        """
        return await lately.of_plan(self._database, record)

    async def accounts_had_lately(
        self, content: str, name: str, keys: Sequence[str], *, source: str = ""
    ) -> Counter[str]:
        """Count likewise of people who are in no plan yet.

        Args:
            content: Digest of what they would get.
            name: Of the broadcast that would send it.
            keys: Their `Recipient.account_key`.
            source: Digest of what the content is made of; empty where that isn't known.
        """
        return await lately.of_accounts(self._database, content, name, keys, source=source)

    async def find_row(self, record: BroadcastRecord, to: Recipient) -> Row:
        """Look up a planned recipient's row, by whichever of their number's spellings it was planned.

        Raises:
            LedgerError: They are not on this broadcast's list.
        """
        return await rows.find(self._database, record, to)

    async def requeue(self, record: BroadcastRecord, state: SendState) -> int:
        """Queue rows again: `unknown` for `on_unknown="resend"`, `failed` or `skipped` for another try.

        The token of the last claim stays, so that its late outcome still finds the row while nobody claimed it anew.

        Returns:
            How many.
        """
        return await rows.requeue(self._database, record, state)

    async def forget(self, address: str, actor: history.Actor, *, dry_run: bool = False) -> forgetting.Forgotten:
        """Erase a person by every address that is known of them; an opt-out stays, as a keyed hash.

        Their rows stay without what tells whose they are, so that no broadcast that is run again sends to them twice; what
        was still to be sent to them is skipped. Nothing else ever queues such a row again.

        Args:
            address: Canonical.
            actor: Who asks for it, for the history.
            dry_run: Only tell what would be erased.

        Raises:
            LedgerError: A message to them is being sent at this moment; nothing was erased.
        """
        return await forgetting.forget(self._database, address, actor, dry_run=dry_run)

    async def purge(
        self, older_than: datetime.timedelta, actor: history.Actor, *, dry_run: bool = False
    ) -> purging.Purged:
        """Keep only the counts of broadcasts in which nothing happened for so long, and drop old receipts and replies.

        A broadcast that was purged can't be run again under its name. Opt-outs stay.

        Args:
            older_than: At least eight days.
            actor: Who asks for it, for the history.
            dry_run: Only tell what would be purged.

        Raises:
            LedgerError: The time is too short.
        """
        if older_than < purging.SHORTEST:
            raise LedgerError(
                f"what is younger than {purging.SHORTEST.days} days may still be needed and is not purged"
            )
        return await purging.purge(self._database, _now() - older_than, actor, dry_run=dry_run)

    async def plan_digest(self, record: BroadcastRecord) -> str:
        """Give the digest of the plan as it is now: what is sent, from which account, up to which row."""
        return (await approvals.read_plan(self._database, record))[0]

    async def find_approval(self, record: BroadcastRecord) -> approvals.Approval | None:
        """Give the approval that was last asked for; None where none ever was."""
        return await approvals.find(self._database, record)

    async def hold(self, record: BroadcastRecord, actor: history.Actor) -> None:
        """Give none of its rows to any run before a plan is approved; called before the rows of that plan are written."""
        await approvals.hold(self._database, record, str(actor))

    async def request_approval(self, record: BroadcastRecord, actor: history.Actor) -> str:
        """Ask for the approval of the plan as it is now: no run of the broadcast is given a row before.

        Returns:
            The plan's digest.
        """
        digest, last_row = await approvals.read_plan(self._database, record)
        if await approvals.request(self._database, record, digest, last_row, str(actor)):
            await self.note(history.Action.APPROVAL_REQUESTED, actor, record, f"plan {digest[:12]}")
        return digest

    async def approve(self, record: BroadcastRecord, digest: str, actor: history.Actor, *, by: str = "") -> bool:
        """Approve a plan that waits.

        Args:
            record: The broadcast.
            digest: Of the plan, as `request_approval` gave it.
            actor: Whose run keeps the approval.
            by: Who gave it, where that is another.

        Returns:
            Whether this very plan may be sent now; False where it has changed since.
        """
        if await self.plan_digest(record) != digest:
            return False
        approved = await approvals.approve(self._database, record, digest, by or str(actor))
        if approved:
            await self.note(history.Action.APPROVED, actor, record, f"plan {digest[:12]}" + (f" by {by}" if by else ""))
        return approved

    async def begin_canary(self, record: BroadcastRecord, size: int) -> bool:
        """Let the first so many queued rows go before all others; one that was begun stays as it is.

        Returns:
            Whether a canary holds the broadcast now: no run is given any other of its rows. False where it has passed.
        """
        return await canaries.begin(self._database, record, size)

    async def canary(self, record: BroadcastRecord) -> canaries.CanaryTally | None:
        """Say what came back of the canary; None where the broadcast has none."""
        return await canaries.tally(self._database, record)

    async def pass_canary(self, record: BroadcastRecord) -> None:
        """Let the rest go, for good."""
        await canaries.passed(self._database, record)

    async def lift_canary(self, record: BroadcastRecord) -> bool:
        """Drop a canary that has not passed; whether there was one."""
        return await canaries.lift(self._database, record)

    async def note(
        self, action: history.Action, actor: history.Actor, record: BroadcastRecord | None = None, detail: str = ""
    ) -> None:
        """Add a line to the history, which nothing takes away again.

        Args:
            action: What was done.
            actor: Who did it.
            record: The broadcast that it was about.
            detail: More, in words, without a whole phone number.
        """
        name = mask_numbers(record.name) if record else ""
        await history.add(self._database, action, actor, broadcast=name, detail=mask_numbers(detail))

    async def history(self, *, broadcast: str = "", at_most: int = 1000) -> Sequence[history.Entry]:
        """Read who did what, the newest first; of one broadcast where its name is given."""
        return await history.read(self._database, broadcast=mask_numbers(broadcast), at_most=at_most)

    async def media_id(self, digest: str, sender: str, *, margin_seconds: float = 86_400.0) -> str:
        """Give the service's id of an uploaded content that lives for `margin_seconds` more; empty where there is none."""
        return await media_ids.find(self._database, digest, sender, margin_seconds)

    async def media_size(self, digest: str, sender: str) -> int:
        """Give the size in bytes of an uploaded content; 0 where it isn't known."""
        return await media_ids.size(self._database, digest, sender)

    async def remember_media(
        self, digest: str, sender: str, media_id: str, lifetime_seconds: float, *, size: int = 0
    ) -> None:
        """Keep an upload's id, and its size in bytes, for every later broadcast of this content from this account."""
        await media_ids.remember(self._database, digest, sender, media_id, lifetime_seconds, size)

    async def forget_media(self, digest: str, sender: str, media_id: str) -> None:
        """Drop an id that the service disowned; a newer one stays."""
        await media_ids.forget(self._database, digest, sender, media_id)

    def exclusive(self, key: str) -> AbstractAsyncContextManager[None]:
        """Be the only one among all processes with this ledger for a key; ends with the process."""
        return self._database.exclusive(key)

    @asynccontextmanager
    async def join(
        self,
        record: BroadcastRecord,
        *,
        flow_run_id: str = "",
        sender: str = "",
        messages_per_second: float = 80.0,
        lapse_seconds: float = 30.0,
        beat_seconds: float = 1.0,
        remembers_departures: bool = False,
        resend: bool = False,
    ) -> AsyncIterator[Lease]:
        """Take part in sending a broadcast; what is reserved and not sent is given back at the end.

        Args:
            record: The broadcast.
            flow_run_id: Prefect's run.
            sender: Whose pace is shared among all its broadcasts; empty for the record's `provider:account`.
            messages_per_second: What the sender may send, all leases together; 0 for no limit.
            lapse_seconds: After how long without a heartbeat a lease on another host is gone.
            beat_seconds: Between heartbeats.
            remembers_departures: Keep when the sender last sent, so that the next run goes on from there: for senders that
                wait for longer than a second between two sends.
            resend: Consent to send what is unknown once more, each row once a flow run, by this flow run alone.

        Raises:
            LedgerError: The ledger stayed away for longer than its patience.
        """
        lease = Lease(
            self._database,
            self._writer,
            record,
            flow_run_id=flow_run_id,
            sender=sender or f"{record.provider}:{record.account}",
            messages_per_second=messages_per_second,
            lapse_seconds=lapse_seconds,
            beat_seconds=beat_seconds,
            remembers_departures=remembers_departures,
            resend=resend,
        )
        try:
            await lease._heartbeat.join()
            if resend:
                await lease.consent()
            yield lease
        finally:
            await finish(lease._leave)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
