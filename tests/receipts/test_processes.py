"""Receivers as processes: killed at any moment, several on one ledger, and an opt-out in the middle of a broadcast."""

import asyncio
import errno
import itertools
import json
import os
import random
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from postgres import Postgres
from prefect_whatsapp.ledger import BroadcastRecord, LedgerStore, Outcome, Row
from prefect_whatsapp.ledger.schema import receipts
from prefect_whatsapp.models import ARRIVED_STATES, Recipient, SendState
from prefect_whatsapp.sandbox.samples import sample_numbers
from prefect_whatsapp.sandbox.server import RunningSandbox
from prefect_whatsapp.sandbox.settings import SandboxSettings
from receiver_process import ACCOUNT, SECRET, ReceiverProcess, graph_body, post_all, signature, status, stop_of
from senders import sender_of

pytestmark = [pytest.mark.ci, pytest.mark.slow]
SUPPORT = Path(__file__).parents[1] / "support"


async def accepted(store: LedgerStore, count: int) -> BroadcastRecord:
    """A broadcast whose messages `wamid.0` and so on were all accepted."""
    record = await store.start_broadcast("weekly", kind="audio", provider="graph", account=ACCOUNT, content="a")
    await store.plan(record, [Recipient(to=number) for number in sample_numbers(count)])
    places = itertools.count()
    async with store.join(record, messages_per_second=0) as lease:
        while rows := await lease.take(500):

            async def settle(row: Row) -> None:
                await lease.claim(row)
                await lease.settle(row, Outcome(SendState.ACCEPTED, message_id=f"wamid.{next(places)}"))

            await asyncio.gather(*map(settle, rows))
    return record


async def kept(store: LedgerStore) -> set[tuple[str, str]]:
    async with store._database.reading() as connection:
        return {tuple(entry) for entry in await connection.execute(sa.select(receipts.c.bare_id, receipts.c.state))}


async def test_a_receiver_killed_at_any_moment_loses_nothing_that_it_answered_with_200(
    ledger_url: str, tmp_path: Path
) -> None:
    """Killed in the middle of thousands of posts; then the service posts what it got no 200 for, as services do."""
    messages, in_a_body, rounds = 3_000, 6, 6
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    async with LedgerStore.open(ledger_url) as store:
        record = await accepted(store, messages)
        told = [(f"wamid.{place}", state) for place in range(messages) for state in ("sent", "delivered", "read")]
        chance.shuffle(told)
        groups = [told[start : start + in_a_body] for start in range(0, len(told), in_a_body)]
        with ReceiverProcess(ledger_url, tmp_path) as receiver:
            for killing in range(rounds):
                bodies = [graph_body(statuses=[status(*each) for each in group]) for group in groups]
                last = killing == rounds - 1
                posting = asyncio.create_task(post_all(receiver.url, bodies))
                if not last:
                    await asyncio.sleep(chance.uniform(0.05, 0.8))
                    receiver.kill()
                answers = await posting
                answered = {each for group, code in zip(groups, answers, strict=True) if code == 200 for each in group}
                stored = await kept(store)
                assert answered <= stored, f"seed {seed}: {len(answered - stored)} were answered 200 and are not there"
                assert set(answers) <= {200, 0}, (seed, set(answers))
                groups = [group for group, code in zip(groups, answers, strict=True) if code != 200]
                if not last:
                    await asyncio.to_thread(receiver.start)
            assert groups == []
        assert (await store.counts(record))[SendState.READ] == messages, seed


async def test_two_receivers_on_one_ledger_leave_what_one_would_have_left(ledger_url: str, tmp_path: Path) -> None:
    messages = 1_200
    chance = random.Random(7)
    told = [status(f"wamid.{n}", state) for n in range(messages) for state in ("sent", "delivered", "read")] * 2
    chance.shuffle(told)
    bodies = [graph_body(statuses=told[start : start + 40]) for start in range(0, len(told), 40)]
    stops = [graph_body(messages=[stop_of(number, time.time())]) for number in [*sample_numbers(20)] * 4]
    bodies += stops
    chance.shuffle(bodies)
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    async with LedgerStore.open(ledger_url) as store:
        record = await accepted(store, messages)
        with (
            ReceiverProcess(ledger_url, tmp_path / "one") as one,
            ReceiverProcess(ledger_url, tmp_path / "other") as other,
        ):
            answers = await asyncio.gather(post_all(one.url, bodies[::2]), post_all(other.url, bodies[1::2]))
        assert {code for codes in answers for code in codes} == {200}, one.said() + other.said()
        assert (await store.counts(record))[SendState.READ] == messages
        assert len(await kept(store)) == 3 * messages
        assert len([each async for each in store.people.opt_outs()]) == 20


async def test_two_receivers_and_two_runs_that_send_on_one_postgresql_lose_nothing(
    postgres: Postgres, tmp_path: Path
) -> None:
    """Each receiver takes each webhook, early and twice, while rows are claimed and settled and people say STOP."""
    recipients = [*sample_numbers(400)]
    leaving = recipients[::10]
    url = postgres.empty_database()
    log = postgres.folder / "log"
    logged_before = log.stat().st_size
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    with (
        RunningSandbox(SandboxSettings(app_secret=SECRET, verify_token="hello")) as sandbox,
        ReceiverProcess(url, tmp_path / "one") as one,
        ReceiverProcess(url, tmp_path / "other") as other,
    ):
        for place, receiver in enumerate((one, other)):
            told: dict[str, Any] = {"early": 0.3, "twice": 0.3, "shuffle_seconds": 0.2, "seed": place}
            to = f"{receiver.url}/graph/weekly"
            sandbox.webhooks(service="graph", url=to, at_most=20, collect_seconds=0.02, **told)
        sandbox.phones(does="failed, then delivered", fraction=0.2, seconds=0.02)
        sandbox.phones(does="read", seconds=0.02)
        dialect = sender_of("graph", sandbox.url).dialect()
        async with LedgerStore.open(url) as store:
            record = await store.start_broadcast(
                "weekly", kind="contacts", provider="graph", account=dialect.account, content="0" * 64
            )
            await store.plan(record, [Recipient(to=number) for number in recipients])
            await store.mark_planned(record, removed=0)
            runs = [await started_run(url, sandbox, rate=120) for _ in range(2)]
            await first_send(sandbox)
            for person in leaving:
                stop = [graph_body(messages=[stop_of(person, time.time())])]
                answers = await asyncio.gather(post_all(one.url, stop), post_all(other.url, stop))
                assert answers == [[200], [200]]
            for run in runs:
                await run.communicate()
                assert run.returncode == 0
            assert await asyncio.to_thread(sandbox.webhooks_done, 60)
            accepted_total = sandbox.truth(brief=True)["accepted_total"]
            async with asyncio.timeout(60):  # what came before its row was settled is matched in rounds
                while True:
                    counts = await store.counts(record)
                    if sum(counts[state] for state in ARRIVED_STATES) == accepted_total:
                        break
                    await asyncio.sleep(0.2)
            told_and_taken = {(each["message_id"], each["step"]) for each in sandbox.webhooks_taken()}
            assert told_and_taken - {("", "reply")} <= await kept(store)
            assert len([each async for each in store.people.opt_outs()]) == len(leaving)
        assert accepted_total + counts[SendState.SKIPPED] == len(recipients)
        assert counts[SendState.UNKNOWN] == counts[SendState.FAILED] == 0
        assert 0 < counts[SendState.DELIVERED] < counts[SendState.READ]
        assert {target["refused"] for target in sandbox.webhooks_met()} == {0}, one.said() + other.said()
        assert "Traceback" not in one.said() + other.said()
    assert b"deadlock" not in log.read_bytes()[logged_before:]


async def started_run(url: str, sandbox: RunningSandbox, *, rate: int) -> asyncio.subprocess.Process:
    """A process that sends the broadcast `weekly` at this pace."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(SUPPORT / "pace_process.py"), url, "weekly", sandbox.url, str(rate)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
    )


async def first_send(sandbox: RunningSandbox) -> None:
    """Wait until a message was accepted."""
    async with asyncio.timeout(60):
        while not sandbox.truth(brief=True)["accepted_total"]:  # noqa: ASYNC110 - the sandbox has no event for it
            await asyncio.sleep(0.1)


async def test_after_an_opt_out_in_the_middle_of_a_broadcast_nothing_is_sent_to_that_person(
    sandbox: RunningSandbox, ledger_url: str, tmp_path: Path
) -> None:
    """2,000 recipients at 80 a second over two runs; one in twenty says STOP while it goes on."""
    recipients = [*sample_numbers(2_000)]
    leaving = random.Random(3).sample(recipients, 100)
    dialect = sender_of("graph", sandbox.url).dialect()
    committed: dict[str, float] = {}
    async with LedgerStore.open(ledger_url) as store:
        record = await store.start_broadcast(
            "weekly", kind="contacts", provider="graph", account=dialect.account, content="0" * 64
        )
        await store.plan(record, [Recipient(to=number) for number in recipients])
        await store.mark_planned(record, removed=0)
        with ReceiverProcess(ledger_url, tmp_path) as receiver:
            runs = [await started_run(ledger_url, sandbox, rate=80) for _ in range(2)]
            await first_send(sandbox)
            for person in leaving:
                assert await post_all(receiver.url, [graph_body(messages=[stop_of(person, time.time())])]) == [200]
                committed[person] = time.time()
                await asyncio.sleep(0.15)
            sent = [json.loads((await run.communicate())[0]) for run in runs]
        assert all(sent), "both runs have sent"
        claimed = {row.recipient: row.claimed_at async for row in store.rows(record)}
        counts = await store.counts(record)
    arrived = {f"+{message['recipient']}": message["at"] for message in sandbox.messages()}
    late = {person for person in leaving if arrived.get(person, 0) > committed[person]}
    # What was claimed before the opt-out was committed was on its way.
    assert {person for person in late if claimed[person].timestamp() > committed[person]} == set()
    assert len(late) <= 24 * len(runs), "a claim is followed by its request at once"
    reached = set(leaving) & set(arrived)
    assert 0 < len(reached) < len(leaving), "some were reached before they left, and some not"
    assert counts[SendState.SKIPPED] == len(leaving) - len(reached)
    assert counts[SendState.ACCEPTED] == len(recipients) - counts[SendState.SKIPPED]
    assert sandbox.truth()["duplicates_total"] == 0


async def told_by(receiver: ReceiverProcess, request: bytes, *, seconds: float = 20) -> bytes:
    """Write bytes to the receiver and read until it closes; what it answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    try:
        writer.write(request)
        await writer.drain()
        async with asyncio.timeout(seconds):
            return await reader.read(4096)
    finally:
        writer.close()


async def endless(receiver: ReceiverProcess) -> tuple[bytes, int]:
    """Post chunks without end; what was answered, and how many bytes were taken."""
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    head = b"POST /graph/weekly HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head)
    written, chunk = 0, b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    answer: Any = None
    try:
        async with asyncio.timeout(30):
            asking = asyncio.create_task(reader.read(4096))
            while not asking.done() and written < 200 << 20:
                writer.write(chunk)
                await writer.drain()
                written += len(chunk)
            answer = await asking
    except ConnectionError:
        answer = b"" if answer is None else answer
    finally:
        writer.close()
    return answer, written


async def test_a_stranger_at_the_socket_harms_nobody(tmp_path: Path) -> None:
    with ReceiverProcess(str(tmp_path / "ledger.db"), tmp_path) as receiver:
        with socket.socket() as elsewhere:  # it listens on 127.0.0.1 alone
            assert elsewhere.connect_ex(("127.0.0.2", receiver.port)) == errno.ECONNREFUSED
        hanging = [await asyncio.open_connection("127.0.0.1", receiver.port) for _ in range(50)]
        for _, writer in hanging:
            writer.write(b"POST /graph/weekly HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        answer, written = await endless(receiver)
        assert b" 413 " in answer.splitlines()[0] if answer else written < 64 << 20
        assert written < 64 << 20
        for garbage in (
            b"\x16\x03\x01\x02\x00",
            b"GET / HTTP/9\r\n\r\n",
            b"POST /graph/weekly HTTP/1.1\r\n: x\r\n\r\n",
        ):
            assert b" 200 " not in await told_by(receiver, garbage + b"\r\n\r\n")
        good = graph_body(statuses=[status("wamid.1")])
        assert await post_all(receiver.url, [good]) == [200]
        for _, writer in hanging:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        assert await asyncio.to_thread(receiver.kill, signal.SIGTERM) in (0, -signal.SIGTERM)
        assert "Traceback" not in receiver.said()


async def test_told_to_end_it_finishes_what_it_is_taking_and_ends_though_a_connection_hangs(tmp_path: Path) -> None:
    url = str(tmp_path / "ledger.db")
    with ReceiverProcess(url, tmp_path) as receiver:
        reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
        body = graph_body(statuses=[status(f"wamid.{n}") for n in range(1000)])
        head = "".join(f"{name}: {value}\r\n" for name, value in signature(body).items())
        writer.write(
            f"POST /graph/weekly HTTP/1.1\r\nHost: x\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-1]
        )
        _, hanging = await asyncio.open_connection("127.0.0.1", receiver.port)
        hanging.write(b"POST /graph/weekly HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        for _ in range(3):  # whoever came later is answered: the two are known to it
            assert await post_all(receiver.url, [graph_body(statuses=[status("wamid.0")])]) == [200]
        ending = asyncio.create_task(asyncio.to_thread(receiver.kill, signal.SIGTERM))
        await asyncio.sleep(0.5)
        writer.write(body[-1:])
        assert b" 200 " in (await reader.read(4096)).splitlines()[0]
        assert await ending in (0, -signal.SIGTERM)
        writer.close()
        hanging.close()
    async with LedgerStore.open(url) as store:
        assert await store.receipts.parked() == 1000
