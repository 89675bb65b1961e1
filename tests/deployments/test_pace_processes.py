"""One sender's rate over several processes, by the clock of the service that they send to."""

import asyncio
import json
import os
import sys
import uuid
from collections import deque
from pathlib import Path

import pytest
from postgres import Postgres
from prefect_whatsapp.ledger import LedgerStore
from prefect_whatsapp.models import Recipient
from prefect_whatsapp.sandbox.samples import sample_numbers
from prefect_whatsapp.sandbox.server import RunningSandbox
from senders import sender_of

SCRIPT = Path(__file__).parents[1] / "support" / "pace_process.py"
RATE, SECONDS = 80, 12
# A second's messages leave over 1.01 s, so that those which travel as long as each other arrive within the rate too.
EVEN_TRAVEL_SECONDS = 0.01


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty ledger."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    server: Postgres = request.getfixturevalue("postgres")
    return server.create_database(f"pace_{uuid.uuid4().hex[:8]}")


async def planned(url: str, service: str, name: str, recipients: list[str]) -> None:
    """A broadcast whose list is read."""
    dialect = sender_of("graph", service).dialect()
    async with LedgerStore.open(url) as store:
        record = await store.start_broadcast(
            name, kind="contacts", provider=dialect.name, account=dialect.account, content="0" * 64
        )
        await store.plan(record, [Recipient(to=number) for number in recipients])
        await store.mark_planned(record, removed=0)


async def drained(url: str, service: str, *broadcasts: str) -> list[dict[str, float]]:
    """Lease each broadcast in a process of its own, all at once; what each sent and when that left."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            str(SCRIPT),
            url,
            broadcast,
            service,
            str(RATE),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SCRIPT.parent)},
        )
        for broadcast in broadcasts
    ]
    try:
        return [json.loads((await process.communicate())[0]) for process in processes]
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()


def busiest_second(moments: list[float]) -> int:
    """The most of these moments that any one second holds."""
    recent: deque[float] = deque()
    most = 0
    for moment in sorted(moments):
        recent.append(moment)
        while recent[0] <= moment - 1.0:
            recent.popleft()
        most = max(most, len(recent))
    return most


@pytest.mark.ci
@pytest.mark.slow
@pytest.mark.parametrize("broadcasts", [1, 2], ids=["one broadcast", "two broadcasts of one sender"])
async def test_two_processes_together_never_exceed_the_senders_rate_in_any_second(
    sandbox: RunningSandbox, url: str, broadcasts: int
) -> None:
    names = [f"pace-{place}" for place in range(broadcasts)]
    people = [*sample_numbers(RATE * SECONDS)]
    for place, name in enumerate(names):
        await planned(url, sandbox.url, name, people[place::broadcasts])
    sent = await drained(url, sandbox.url, names[0], names[-1])
    truth = sandbox.truth()
    assert (truth["accepted_total"], truth["duplicates_total"]) == (len(people), 0)
    assert min(map(len, sent)) > len(people) / 10, "the work is shared"
    left_at = {reference: moment for each in sent for reference, moment in each.items()}
    assert len(left_at) == len(people)
    assert busiest_second([*left_at.values()]) <= RATE

    # By the service's clock. What this machine held up on its way (a process that got no core) is not the pace's doing:
    # on an idle one nothing is.
    arrived = {message["callback"]: message["seconds"] for message in sandbox.messages()}
    travel = {reference: arrived[reference] - moment for reference, moment in left_at.items()}
    quickest = min(travel.values())
    punctual = [arrived[reference] for reference, took in travel.items() if took - quickest < EVEN_TRAVEL_SECONDS]
    assert busiest_second(punctual) <= RATE
    if len(punctual) == len(people):
        assert truth["peak_per_second"] <= RATE


@pytest.mark.parametrize(("moments", "most"), [([], 0), ([0.0, 0.5, 0.999, 1.0], 3), ([3.0, 1.0, 1.1, 9.0], 2)])
def test_the_busiest_second_is_any_second_not_one_of_a_clock(moments: list[float], most: int) -> None:
    assert busiest_second(moments) == most
