"""A ledger that is gone with its container is refused before anything is planned."""

import uuid
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.flow_engine import run_flow_async
from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL, temporary_settings
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.flows import lasting_ledger
from prefect_whatsapp.flows.lasting_ledger import refuse_ledger_that_is_thrown_away
from prefect_whatsapp.ledger import file_systems
from prefect_whatsapp.models.errors import InputError

CONTAINER = "overlay / overlay rw 0 0\nproc /proc proc rw 0 0\n/dev/sdb /data ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n"


@flow
async def looks(url: str) -> str:
    """Opens a ledger and looks at it."""
    async with Ledger(url=url).open() as store:  # type: ignore[arg-type]
        await refuse_ledger_that_is_thrown_away(store)
    return "lasting"


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize(
    ("pool", "mounts", "named", "refused"),
    [
        ("docker", "", False, "of type docker"),
        ("kubernetes", "", False, "of type kubernetes"),
        ("process", CONTAINER, False, "inside a container"),
        ("process", "", False, ""),
        ("docker", CONTAINER, True, ""),  # whoever names a ledger says that it lasts
    ],
)
async def test_a_run_in_a_container_needs_a_ledger_that_outlives_it(
    pool: str, mounts: str, named: bool, refused: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PREFECT_WHATSAPP_LEDGER", raising=False)
    monkeypatch.setattr(lasting_ledger, "read_mounts", lambda: mounts)
    async with get_client() as client:
        name = f"pool-{uuid.uuid4().hex[:6]}"
        await client.create_work_pool(WorkPoolCreate(name=name, type=pool, base_job_template={}))
        deployment = await client.create_deployment(await client.create_flow(looks), name, work_pool_name=name)
        run = await client.create_flow_run_from_deployment(deployment)

    async def look() -> Any:
        return await run_flow_async(looks, flow_run=run, parameters={"url": str(tmp_path / "l.db") if named else ""})

    if refused:
        with pytest.raises(InputError, match=refused):
            await look()
    else:
        assert await look() == "lasting"


@pytest.mark.parametrize("mark", ["file", "KUBERNETES_SERVICE_HOST", "ECS_CONTAINER_METADATA_URI_V4", ""])
@pytest.mark.parametrize(("mounts", "forgotten"), [(CONTAINER, True), ("/dev/sda1 / ext4 rw 0 0", False), ("", False)])
async def test_a_script_in_a_container_needs_a_ledger_that_outlives_it_and_elsewhere_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mark: str, mounts: str, forgotten: bool
) -> None:
    """A live system's root is an overlay, and an exported image has Docker's file: only both together are proof."""
    monkeypatch.delenv("PREFECT_WHATSAPP_LEDGER", raising=False)
    monkeypatch.setattr(lasting_ledger, "read_mounts", lambda: mounts)
    for name in file_systems._CONTAINER_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    docker = tmp_path / ".dockerenv"
    monkeypatch.setattr(file_systems, "_CONTAINER_FILES", (docker,))
    if mark == "file":
        docker.touch()
    elif mark:
        monkeypatch.setenv(mark, "10.0.0.1")
    if mark and forgotten:
        with pytest.raises(InputError, match="if that one does, name it"):
            await looks.fn("")
        monkeypatch.setenv("PREFECT_WHATSAPP_LEDGER", str(tmp_path / "ledger.db"))
    assert await looks.fn("") == "lasting"


async def test_the_ledger_of_prefects_test_harness_is_thrown_away_on_purpose(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PREFECT_WHATSAPP_LEDGER", raising=False)
    monkeypatch.setattr(lasting_ledger, "read_mounts", lambda: CONTAINER)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    harness = f"sqlite+aiosqlite:///{tmp_path}/prefect-test.db"
    with temporary_settings({PREFECT_SERVER_DATABASE_CONNECTION_URL: harness}):
        assert await looks.fn("") == "lasting"
