"""Several real workers drain one broadcast: a PostgreSQL ledger, a Prefect server, a home of its own for each worker."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from postgres import Postgres
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.flows import broadcast_audio
from prefect_whatsapp.models import Report, Scale
from prefect_whatsapp.sandbox.samples import sample_numbers
from prefect_whatsapp.sandbox.server import RunningSandbox
from senders import sender_of

pytestmark = [pytest.mark.ci, pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(240)]
Deploy = Callable[..., Awaitable[str]]
SHARDS, RECIPIENTS, START_SECONDS = 3, 240, 120


@pytest.fixture
def workers(pool: str, prefect_api: str, tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Three workers that run one flow run at a time each, and share neither a home nor a folder."""
    started: list[subprocess.Popen[bytes]] = []
    for number in range(SHARDS):
        home = tmp_path / f"worker-{number}"
        home.mkdir()
        with (home / "log").open("wb") as log:
            command = ["worker", "start", "--pool", pool, "--type", "process", "--limit", "1", "--name", f"w{number}"]
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "prefect", *command],
                    env={
                        **os.environ,
                        "PREFECT_HOME": str(home),
                        "PREFECT_API_URL": prefect_api,
                        "PREFECT_WORKER_QUERY_SECONDS": "1",
                    },
                    cwd=home,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
    yield started
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
async def ledger(postgres: Postgres, prefect_api: str) -> Ledger:
    """An empty ledger in PostgreSQL, as a saved block."""
    name = f"shards_{uuid.uuid4().hex[:8]}"
    made = Ledger(url=postgres.create_database(name), patience_seconds=20)
    await made.asave(name.replace("_", "-"))
    return made


@pytest.fixture
async def sender(sandbox: RunningSandbox, prefect_api: str) -> Any:
    """The sandbox's Graph account at 60 messages a second, as a saved block."""
    made = sender_of("graph", sandbox.url, messages_per_second=60)
    await made.asave(f"graph-{uuid.uuid4().hex[:8]}")
    return made


@pytest.fixture
async def broadcast(sender: Any, ledger: Ledger, deploy: Deploy, audio_samples: Path) -> Callable[..., Awaitable[Any]]:
    """Runs `broadcast_audio` with these blocks; the final state."""
    name, deployment = f"many-{uuid.uuid4().hex[:8]}", await deploy()

    async def run(shards: int = 0, **others: Any) -> Any:
        arguments = {"recipients": [*sample_numbers(RECIPIENTS)], **others}
        audio = str(audio_samples / "speech_cover.mp3")
        return await broadcast_audio(
            broadcast=name,
            sender=sender,
            audio=audio,
            ledger=ledger,
            scale=Scale(shards=shards, shard_deployment=deployment),
            return_state=True,
            **arguments,
        )

    return run


def holding_the_rows(ledger: Ledger) -> AbstractAsyncContextManager["asyncpg.Connection[Any]"]:
    """While it lasts nobody can take a row: so that everyone is there when the sending begins."""

    @asynccontextmanager
    async def held() -> Any:
        url = ledger.url.get_secret_value().replace("+asyncpg", "")
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                await connection.execute("SELECT id FROM whatsapp_sends WHERE state = 'queued' FOR UPDATE")
                yield connection
        finally:
            await connection.close()

    return held()


async def until_present(connection: "asyncpg.Connection[Any]", count: int, workers: Sequence[Any]) -> None:
    """Wait for so many runs to have joined the broadcast."""
    deadline = time.monotonic() + START_SECONDS
    while (present := await connection.fetchval("SELECT count(*) FROM whatsapp_owners WHERE left_at IS NULL")) < count:
        assert time.monotonic() < deadline, f"{present} of {count} runs came"
        assert all(worker.poll() is None for worker in workers), "a worker ended"
        await asyncio.sleep(0.2)


async def family_of(client: PrefectClient, parent: Any) -> list[FlowRun]:
    """The child runs, by the parent's task runs that stand for them."""
    return await client.read_flow_runs(flow_run_filter=FlowRunFilter(parent_flow_run_id={"any_": [parent]}))


async def send_states(client: PrefectClient, flow_run: Any) -> Counter[str]:
    """A flow run's sends by the state of their task runs."""
    found: Counter[str] = Counter()
    while True:
        answer = await client.request(
            "POST",
            "/task_runs/filter",
            json={
                "flow_runs": {"id": {"any_": [str(flow_run)]}},
                "task_runs": {"name": {"like_": "send-audio"}},
                "offset": found.total(),
            },
        )
        page = answer.raise_for_status().json()
        found.update(run["state"]["type"] for run in page)
        if len(page) < 200:
            return found


async def test_three_workers_and_the_parent_reach_everyone_once_with_a_task_run_each_and_one_report(
    sandbox: RunningSandbox,
    broadcast: Callable[..., Awaitable[Any]],
    ledger: Ledger,
    workers: list[subprocess.Popen[bytes]],
) -> None:
    await (await broadcast(max_messages=1)).aresult()  # plans the rest
    async with holding_the_rows(ledger) as connection:
        running = asyncio.create_task(broadcast(shards=SHARDS))
        await until_present(connection, SHARDS + 1, workers)
    state = await running
    report: Report = await state.aresult()
    truth = sandbox.truth()
    assert (report.planned, report.accepted, report.pending, report.unknown) == (RECIPIENTS, RECIPIENTS, 0, 0)
    assert (truth["accepted_total"], truth["duplicates_total"], truth["uploads"]) == (RECIPIENTS, 0, 1)

    parent = state.state_details.flow_run_id
    async with get_client() as client:
        children = await family_of(client, parent)
        assert [child.state_name for child in children] == ["Completed"] * SHARDS
        sent = [await send_states(client, run) for run in (parent, *(child.id for child in children))]
        assert all(states["COMPLETED"] == states.total() > 0 for states in sent), "each sent some, all are recorded"
        assert sum(states.total() for states in sent) == RECIPIENTS - 1
        ids = [str(run) for run in (parent, *(child.id for child in children))]
        answer = await client.request("POST", "/artifacts/filter", json={"artifacts": {"flow_run_id": {"any_": ids}}})
        reports = [artifact for artifact in answer.json() if artifact["key"].endswith("-report")]
        assert [artifact["flow_run_id"] for artifact in reports] == [str(parent)]


async def test_a_child_that_is_killed_leaves_its_rows_to_the_others_and_its_doubts_named(
    sandbox: RunningSandbox,
    broadcast: Callable[..., Awaitable[Any]],
    ledger: Ledger,
    workers: list[subprocess.Popen[bytes]],
) -> None:
    await (await broadcast(max_messages=1)).aresult()
    async with holding_the_rows(ledger) as connection:
        running = asyncio.create_task(broadcast(shards=1))
        await until_present(connection, 2, workers)
        process = await connection.fetchval(
            "SELECT process FROM whatsapp_owners WHERE left_at IS NULL ORDER BY id DESC"
        )
        pid = int(process.partition(":")[0])
        assert pid != os.getpid()
    while sandbox.truth(brief=True)["accepted_total"] < 20:  # noqa: ASYNC110 - other processes send
        await asyncio.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    report: Report = await (await running).aresult()
    truth = sandbox.truth()
    assert report.accepted + report.unknown == RECIPIENTS
    assert report.accepted <= truth["accepted_total"] <= RECIPIENTS
    assert truth["duplicates_total"] == 0
