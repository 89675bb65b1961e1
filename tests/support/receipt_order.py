"""Statuses of many messages, told in order and told as services tell them: shuffled, doubled, early, some never.

`python receipt_order.py EVENTS [LEDGER]` tells so many to an empty ledger in both ways and compares what they leave.
"""

import asyncio
import datetime
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from prefect_whatsapp.ledger import BroadcastRecord, LedgerStore, Outcome, Row
from prefect_whatsapp.ledger.schema import sends
from prefect_whatsapp.models import RECEIPT_STATES, Recipient, SendState
from prefect_whatsapp.models.updates import StatusUpdate

ACCOUNT = "106540"
BEGAN = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
SENT, DELIVERED, READ, PLAYED, FAILED = (SendState(each) for each in ("sent", "delivered", "read", "played", "failed"))
# What becomes of messages, in its order; services leave stages out.
LIVES: tuple[tuple[SendState, ...], ...] = (
    (SENT, DELIVERED, READ, PLAYED),
    (SENT, DELIVERED, READ),
    (SENT, DELIVERED),
    (DELIVERED, PLAYED),
    (SENT, FAILED),
    (SENT, FAILED, DELIVERED, READ),
    (FAILED,),
    (READ,),
    (),
)
_RANKS = " ".join(f"WHEN '{state.value}' THEN {rank}" for rank, state in enumerate(RECEIPT_STATES, 1))
_LOWERED = f"(CASE NEW.state {_RANKS} ELSE 0 END) < (CASE OLD.state {_RANKS} ELSE 0 END)"
_SAME = ("state", "message_id", "bare_id", "error_code", "error_text", "error_kind")
_TIMES = ("sent_at", "delivered_at", "read_at", "played_at", "failed_at")


@dataclass(frozen=True)
class Life:
    """One message.

    Attributes:
        states: What is told of it, in its order; what is lost is left out.
        answered: Whether its send's answer was heard; else its statuses carry the callback.
        early: Whether some may be told before its send is settled.
    """

    states: tuple[SendState, ...]
    answered: bool = True
    early: bool = False


def lives_of(chance: random.Random, events: int) -> Iterator[Life]:
    """So many events' worth of messages, one in a hundred events lost."""
    while events > 0:
        life = chance.choice(LIVES)
        told = tuple(state for state in life if chance.random() >= 0.01)
        yield Life(told, answered=chance.random() >= 0.02, early=chance.random() < 0.05)
        events -= len(told)


async def refuse_lowering(store: LedgerStore) -> None:
    """Let the database itself refuse any change that takes a row back."""
    async with store._database.writing() as connection:
        if connection.dialect.name == "sqlite":
            body = f"BEGIN SELECT RAISE(ABORT, 'lowered') WHERE {_LOWERED}; END"
            await connection.execute(sa.text(f"CREATE TRIGGER lowered BEFORE UPDATE ON whatsapp_sends {body}"))
            return
        body = f"BEGIN IF {_LOWERED} THEN RAISE EXCEPTION 'lowered'; END IF; RETURN NEW; END"
        await connection.execute(sa.text(f"CREATE FUNCTION lowered() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$"))
        await connection.execute(
            sa.text("CREATE TRIGGER lowered BEFORE UPDATE ON whatsapp_sends FOR EACH ROW EXECUTE FUNCTION lowered()")
        )


class Broadcast:
    """A broadcast of which all requests have left.

    Args:
        store: The ledger.
        name: Its name, also within its messages' ids.
        lives: Its messages.
    """

    def __init__(self, store: LedgerStore, name: str, lives: Sequence[Life]) -> None:
        self._store, self._name, self._lives = store, name, lives
        self._callbacks: list[str] = []
        self.record: BroadcastRecord | None = None

    async def begin(self) -> BroadcastRecord:
        """Plan it, and settle what is not to be early."""
        store = self._store
        record = await store.start_broadcast(
            self._name, kind="audio", provider="graph", account=ACCOUNT, content="a" * 64
        )
        for start in range(0, len(self._lives), 2_000):
            places = range(start, min(start + 2_000, len(self._lives)))
            await store.plan(record, [Recipient.model_construct(to=f"+1650{place:07d}") for place in places])
        rows = [row async for row in store.rows(record)]
        self._callbacks = [replace(row, attempts=1).callback for row in rows]
        settled = [
            {
                "row": row.id,
                "new_state": "accepted" if life.answered else "unknown",
                "new_id": self._message_id(place) if life.answered else "",
            }
            for place, (row, life) in enumerate(zip(rows, self._lives, strict=True))
            if not life.early
        ]
        change = sa.update(sends).where(sends.c.id == sa.bindparam("row"))
        change = change.values(
            state=sa.bindparam("new_state"),
            attempts=1,
            claimed_at=BEGAN,
            settled_at=BEGAN,
            message_id=sa.bindparam("new_id"),
            bare_id=sa.bindparam("new_id"),
        )
        if settled:
            async with store._database.writing() as connection:
                await connection.execute(change, settled)
        self.record = record
        return record

    def _message_id(self, place: int) -> str:
        return f"wamid.{self._name}.{place}"

    def _told(self, place: int, state: SendState) -> StatusUpdate:
        life = self._lives[place]
        at = BEGAN + datetime.timedelta(seconds=RECEIPT_STATES.index(state))
        failed = state is FAILED
        return StatusUpdate(
            ACCOUNT,
            self._message_id(place),
            state,
            at,
            callback="" if life.answered else self._callbacks[place],
            code="131026" if failed else "",
            text="undeliverable" if failed else "",
        )

    async def tell_in_order(self) -> int:
        """Settle everything, then tell each status once, in order; how many."""
        assert self.record
        async with self._store.join(self.record, messages_per_second=0) as lease:
            while rows := await lease.take(500):
                await asyncio.gather(*(lease.claim(row) for row in rows))
                await asyncio.gather(*(lease.settle(row, self._outcome(row)) for row in rows))
        count = 0
        events = (self._told(place, state) for place, life in enumerate(self._lives) for state in life.states)
        for batch in itertools.batched(events, 1_000) if sys.version_info >= (3, 12) else _batched(events, 1_000):
            await self._store.receipts.record("graph", batch)
            count += len(batch)
        return count

    async def tell_in_disorder(self, chance: random.Random) -> int:
        """Tell them shuffled, one in five twice, while the early ones are still sent; how many."""
        assert self.record
        events = [(place, state) for place, life in enumerate(self._lives) for state in life.states]
        events += [event for event in events if chance.random() < 0.2]
        chance.shuffle(events)
        told = 0
        async with self._store.join(self.record, messages_per_second=0) as lease:
            sending: list[Row] = []
            while rows := await lease.take(500):
                await asyncio.gather(*(lease.claim(row) for row in rows))
                sending += rows
            chance.shuffle(sending)
            batches = max(len(events) // 500, 2)
            while told < len(events):
                size = chance.randint(1, min(1_000, len(events)))
                batch = [self._told(*event) for event in events[told : told + size]]
                await self._store.receipts.record("graph", batch)
                told += len(batch)
                some, sending = sending[: len(sending) // batches + 1], sending[len(sending) // batches + 1 :]
                await asyncio.gather(*(lease.settle(row, self._outcome(row)) for row in some))
                if chance.random() < 0.05:
                    await self._store.receipts.match_parked()
            await asyncio.gather(*(lease.settle(row, self._outcome(row)) for row in sending))
        await self._store.receipts.match_parked()
        return told

    def _outcome(self, row: Row) -> Outcome:
        place = int(row.recipient.removeprefix("+1650"))
        if self._lives[place].answered:
            return Outcome(SendState.ACCEPTED, message_id=self._message_id(place))
        return Outcome(SendState.UNKNOWN)

    async def left(self) -> list[tuple[Any, ...]]:
        """What each row says, without what only tells how it came to that."""
        assert self.record
        columns = [sends.c[name] for name in (*_SAME, *_TIMES)]
        query = sa.select(*columns).where(sends.c.broadcast == self.record.number).order_by(sends.c.id)
        async with self._store._database.reading() as connection:
            rows = [tuple(row) for row in await connection.execute(query)]
        return [(row[0], *(text.replace(self._name, "") for text in row[1:3]), *row[3:]) for row in rows]


def _batched(events: Iterator[StatusUpdate], size: int) -> Iterator[Sequence[StatusUpdate]]:
    while batch := list(itertools.islice(events, size)):
        yield batch


async def compare(store: LedgerStore, name: str, lives: Sequence[Life], chance: random.Random) -> dict[str, Any]:
    """Tell the same lives in order and in disorder; what was told, and which rows differ."""
    ordered, disordered = Broadcast(store, f"{name}-o", lives), Broadcast(store, f"{name}-d", lives)
    await ordered.begin()
    await disordered.begin()
    began = time.monotonic()
    in_order = await ordered.tell_in_order()
    middle = time.monotonic()
    in_disorder = await disordered.tell_in_disorder(chance)
    ended = time.monotonic()
    pairs = zip(await ordered.left(), await disordered.left(), strict=True)
    return {
        "messages": len(lives),
        "in_order": in_order,
        "in_disorder": in_disorder,
        "differing": [(place, one, other) for place, (one, other) in enumerate(pairs) if one != other],
        "parked": await store.receipts.parked(),
        "seconds": (round(middle - began, 1), round(ended - middle, 1)),
    }


async def main(events: int, ledger: str) -> int:
    """Compare once, at size; 1 where a row differs."""
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    # Of the disordered ones one in five is told twice.
    lives = list(lives_of(chance, events * 10 // 12))
    async with LedgerStore.open(ledger) as store:
        await refuse_lowering(store)
        found = await compare(store, "big", lives, chance)
    differing = found.pop("differing")
    print({"seed": seed, **found, "differing": len(differing), "lowered": 0})
    for each in differing[:5]:
        print(each)
    return 1 if differing else 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        where = sys.argv[2] if len(sys.argv) > 2 else str(Path(folder) / "ledger.db")
        sys.exit(asyncio.run(main(int(sys.argv[1]), where)))
