"""Runs flows with parameters that are refused, called and deployed, and writes down what their callers were told.

Run as a program: `refusal_runner.py TOLD_JSON`. The server is the environment's; each run's log goes to it.
"""

import asyncio
import json
import logging
import sys
import traceback
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect_whatsapp.blocks import GraphCredentials, WahaCredentials
from prefect_whatsapp.flows import broadcast_audio, broadcast_contacts
from pydantic import SecretStr

NUMBER = "+19875550104"
TOKEN = "CANARYhead.CANARYtail"
PASSWORD = "CANARYpassword"

# One refusal each; everything else of the run is as a person would fill it in, numbers included.
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "broadcast": ("audio", {"broadcast": [NUMBER]}),
    "sender's fields": ("audio", {"sender": {"access_token": TOKEN, "phone_number_id": "x", "base_url": TOKEN}}),
    "sender's token": ("audio", {"sender": TOKEN}),
    "audio": ("audio", {"audio": {"url": NUMBER, TOKEN: PASSWORD}}),
    "recipients": ("audio", {"recipients": {"to": NUMBER, NUMBER: TOKEN}}),
    "storage": ("audio", {"storage": {"bucket_name": "x", "credentials": {"aws_secret_access_key": TOKEN}}}),
    "ledger": ("audio", {"ledger": {"url": f"postgresql://pack:{PASSWORD}@db.example/ledger", "patience_seconds": -1}}),
    "contacts": ("contacts", {"contacts": [{"name": NUMBER, "phone": NUMBER, NUMBER: 1}, {"name": 7, "birthday": TOKEN}]}),
    "max_messages": ("audio", {"max_messages": TOKEN}),
    "on_unknown": ("audio", {"on_unknown": NUMBER}),
    "dry_run": ("contacts", {"dry_run": TOKEN}),
    "batch_size": ("contacts", {"batch_size": 0}),
    "an unknown one": ("audio", {"recipient": [NUMBER, TOKEN]}),
}  # fmt: skip


async def main() -> dict[str, str]:
    """Run each twice: called, and as a worker runs what a deployment made."""
    told: dict[str, str] = {}
    await GraphCredentials(access_token=SecretStr(TOKEN), phone_number_id="1").asave("refusals", overwrite=True)
    await WahaCredentials(base_url="http://127.0.0.1:9").asave("refusals", overwrite=True)
    sender = await GraphCredentials.aload("refusals")
    deployments = {}
    async with get_client() as client:
        for kind, flow in (("audio", broadcast_audio), ("contacts", broadcast_contacts)):
            deployments[kind] = await client.create_deployment(
                await client.create_flow(flow), kind, enforce_parameter_schema=False
            )
        for what, (kind, wrong) in REFUSED.items():
            flow, card = (broadcast_audio, {"audio": "x.mp3"}) if kind == "audio" else (broadcast_contacts, {})
            common = {"broadcast": "refused", "recipients": [NUMBER], **card}
            if kind == "contacts":
                common["contacts"] = [{"name": "Ada Byron", "phone": NUMBER}]
            try:
                await flow(**{**common, "sender": sender, **wrong})
            except Exception as refusal:
                told[f"called: {what}"] = "".join(traceback.format_exception(refusal))
            reference = {"$ref": {"block_document_id": str(sender._block_document_id)}}
            run = await client.create_flow_run_from_deployment(
                deployments[kind], parameters={**common, "sender": reference, **wrong}
            )
            try:
                await run_flow(flow, flow_run=run, return_type="result")
            except Exception as refusal:
                told[f"deployed: {what}"] = "".join(traceback.format_exception(refusal))
    return told


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG)
    Path(sys.argv[1]).write_text(json.dumps(asyncio.run(main())))
