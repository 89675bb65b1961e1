"""Flow runs whose states a test sets, while a real server's automations of `deployments/automations/` act on them."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import yaml
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Pending, Running

ROOT = Path(__file__).resolve().parents[2]


def told(name: str) -> dict[str, Any]:
    """A file's content."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "deployments" / "automations" / name).read_text())
    return loaded


@dataclass
class Tried:
    """A flow run of a deployment, whose states the test sets as an engine would; the server's automations are real."""

    module: ModuleType
    folder: Path
    client: PrefectClient
    deployment: UUID
    run: FlowRun

    async def apply(self, *names: str, within: int | None = None) -> None:
        """Apply these automations for the deployment, with another time to wait."""
        for name in names:
            content = told(name)
            if within:
                content["trigger"]["within"] = within
            file = self.folder / name
            file.write_text(yaml.safe_dump(content))
            await self.module.apply(file, ["nothing/tried"])

    async def another(self) -> None:
        """Take another run of the deployment."""
        self.run = await self.client.create_flow_run_from_deployment(self.deployment)

    async def end(self, ended: State[Any]) -> None:
        """Let the run start and end so, not all at once: Prefect may lose an event that overtakes the one before it."""
        for state in (Pending(), Running(), ended):
            await self.client.set_flow_run_state(self.run.id, state, force=True)
            await asyncio.sleep(0.5)
        await self.look()

    async def look(self) -> FlowRun:
        """The run as it is now."""
        self.run = await self.client.read_flow_run(self.run.id)
        return self.run

    async def reached(self, name: str) -> None:
        """Wait until an automation has given the run a state of this name: 15 to 20 s on an idle machine."""
        async with asyncio.timeout(240):
            while (await self.look()).state_name != name:  # noqa: ASYNC110  # nobody tells of it
                await asyncio.sleep(0.3)

    async def events(self, name: str) -> int:
        """How many events of this name the run has emitted."""
        asked = {"event": {"name": [name]}, "resource": {"id": [f"prefect.flow-run.{self.run.id}"]}}
        async with asyncio.timeout(120):
            while True:
                found = (await self.client.request("POST", "/events/filter", json={"filter": asked})).json()["total"]
                if found:
                    return int(found)
                await asyncio.sleep(0.3)
