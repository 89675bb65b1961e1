"""Create or update the automations of YAML files: `python deployments/automations/apply.py FILE …`.

Prefect's own `prefect automation create --from-file` wants the ids of deployments and blocks. Here a file names them, so
that it fits any server: `deployments: [flow/name, …]` for whose flow runs the trigger is, and in an action
`deployment: flow/name` and `block: type-slug/name`. `--deployment flow/name` takes the place of a file's own list.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.automations import AutomationCore
from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import ObjectNotFound

# What makes a broadcast finish by itself, whoever kills its process, its worker or their machine.
WALK_AWAY = (
    "crash-when-silent.yaml",
    "crash-when-still-silent.yaml",
    "crash-when-not-started.yaml",
    "resume-after-crash.yaml",
    "resume-if-still-crashed.yaml",
    "resume-after-outage.yaml",
    "needs-attention-after-crashes.yaml",
)


async def apply(file: Path, deployments: Sequence[str] = ()) -> str:
    """Create the automation of a file, or put it in the place of the one of the same name.

    Args:
        file: YAML of one automation.
        deployments: Whose flow runs it is for, as `flow/name`; none takes those that the file names.

    Returns:
        The automation's name.

    Raises:
        prefect.exceptions.ObjectNotFound: The server has no such deployment or block; its text names it.
    """
    told: dict[str, Any] = yaml.safe_load(await asyncio.to_thread(file.read_text, encoding="utf-8"))
    async with get_client() as client:
        named = told.pop("deployments", ())
        if whose := list(deployments or named) if named else ():
            told["trigger"]["match_related"] = {
                "prefect.resource.role": "deployment",
                "prefect.resource.id": [f"prefect.deployment.{await _deployment_id(client, name)}" for name in whose],
            }
        told["actions"] = [await _with_ids(client, action) for action in told["actions"]]
        automation = AutomationCore.model_validate(told)
        known = await client.read_automations_by_name(automation.name)
        if known:
            await client.update_automation(known[0].id, automation)
        else:
            await client.create_automation(automation)
    return automation.name


async def _with_ids(client: PrefectClient, action: dict[str, Any]) -> dict[str, Any]:
    action = dict(action)
    if name := action.pop("deployment", None):
        action["deployment_id"] = await _deployment_id(client, name)
    if name := action.pop("block", None):
        slug, _, document = name.partition("/")
        try:
            action["block_document_id"] = (await client.read_block_document_by_name(document, slug)).id
        except ObjectNotFound as missing:
            advice = f"there is no saved block {document!r} of the type {slug}: save it in the UI, under Blocks, and apply again"
            raise ObjectNotFound(missing.http_exc, advice) from None
    return action


async def _deployment_id(client: PrefectClient, name: str) -> UUID:
    try:
        return (await client.read_deployment_by_name(name)).id
    except ObjectNotFound as missing:
        advice = f"there is no deployment {name!r}: deploy it, or name those that are there with --deployment"
        raise ObjectNotFound(missing.http_exc, advice) from None


async def _apply_all(files: list[Path], deployments: list[str]) -> None:
    for file in files:
        print(f"Applied: {await apply(file, deployments)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="YAML of one automation each")
    parser.add_argument(
        "--deployment", action="append", default=[], metavar="FLOW/NAME", help="may be given more than once"
    )
    parser.add_argument("--walk-away", action="store_true", help=f"apply {', '.join(WALK_AWAY)}")
    given = parser.parse_args()
    chosen = [*given.files, *(Path(__file__).with_name(name) for name in WALK_AWAY if given.walk_away)]
    if not chosen:
        parser.error("give a file, or --walk-away")
    try:
        asyncio.run(_apply_all(chosen, given.deployment))
    except ObjectNotFound as missing:
        sys.exit(f"{missing}")
