"""Deployments on the tests' Prefect server, and a PostgreSQL of their own."""

import itertools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.flows import broadcast_audio
from prefect_whatsapp.sandbox.server import RunningSandbox
from senders import sender_of

_names = itertools.count(1)
Deploy = Callable[..., Awaitable[str]]


@pytest.fixture
async def pool(prefect_api: str) -> str:
    """An empty process work pool."""
    name = f"shards-{uuid.uuid4().hex[:8]}"
    async with get_client() as client:
        await client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    return name


@pytest.fixture
async def deploy(pool: str) -> AsyncIterator[Deploy]:
    """Deploys one of the pack's flows into the pool; gives `flow/name`. What is left to run is deleted at the end."""
    made: list[uuid.UUID] = []

    async def deploy(flow: Flow[Any, Any] = broadcast_audio, *, limit: int = 0) -> str:
        name = f"{pool}-{next(_names)}"
        async with get_client() as client:
            deployment = await client.create_deployment(
                await client.create_flow(flow),
                name,
                entrypoint=f"prefect_whatsapp.flows.{flow.fn.__name__}",
                work_pool_name=pool,
                pull_steps=[],
                concurrency_limit=limit or None,
            )
        made.append(deployment)
        return f"{flow.name}/{name}"

    yield deploy
    async with get_client() as client:
        for deployment in made:
            await client.delete_deployment(deployment)


@pytest.fixture
async def graph(sandbox: RunningSandbox, prefect_api: str) -> Any:
    """The sandbox's Graph account as a saved block."""
    sender = sender_of("graph", sandbox.url)
    await sender.asave(f"graph-{uuid.uuid4().hex[:8]}")
    return sender


@pytest.fixture
async def ledger(tmp_path: Path, prefect_api: str) -> Ledger:
    """An empty ledger in a file, as a saved block."""
    made = Ledger(url=str(tmp_path / "ledger.db"), patience_seconds=5)
    await made.asave(f"ledger-{uuid.uuid4().hex[:8]}")
    return made
