"""Create or update the automations of YAML files: `python deployments/automations/apply.py FILE …`.

Prefect's own `prefect automation create --from-file` wants the ids of deployments and blocks. Here an action names them,
`deployment: flow/name` and `block: type-slug/name`, so that a file fits any server.
"""

import argparse
import asyncio
from pathlib import Path
from typing import Any

import yaml
from prefect.automations import AutomationCore
from prefect.client.orchestration import PrefectClient, get_client


async def apply(file: Path) -> str:
    """Create the automation of a file, or put it in the place of the one of the same name.

    Args:
        file: YAML of one automation.

    Returns:
        The automation's name.

    Raises:
        prefect.exceptions.ObjectNotFound: The server has no such deployment or block.
    """
    told: dict[str, Any] = yaml.safe_load(await asyncio.to_thread(file.read_text, encoding="utf-8"))
    async with get_client() as client:
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
        action["deployment_id"] = (await client.read_deployment_by_name(name)).id
    if name := action.pop("block", None):
        slug, _, document = name.partition("/")
        action["block_document_id"] = (await client.read_block_document_by_name(document, slug)).id
    return action


async def _apply_all(files: list[Path]) -> None:
    for file in files:
        print(f"Applied: {await apply(file)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    asyncio.run(_apply_all(parser.parse_args().files))
