"""The two broadcast flows: the same message to everyone on a list, each send a task run, never twice."""

from typing import Annotated, Literal

from prefect import flow
from prefect_aws import S3Bucket
from prefect_whatsapp.blocks import (
    ChatApiCredentials,
    GraphCredentials,
    Ledger,
    WahaCredentials,
    WawpCredentials,
)
from prefect_whatsapp.flows.message import AudioMessage, ContactsMessage
from prefect_whatsapp.flows.names import flow_run_name
from prefect_whatsapp.flows.steps import Broadcast, Settings
from prefect_whatsapp.models import Contact, Recipient, Report
from pydantic import Field

AnySender = GraphCredentials | ChatApiCredentials | WawpCredentials | WahaCredentials
Recipients = str | list[str | Recipient]
InFlight = Annotated[int, Field(ge=0, le=64)]
Count = Annotated[int, Field(ge=0)]


@flow(name="broadcast-audio", flow_run_name=flow_run_name)
async def broadcast_audio(
    broadcast: str,
    sender: AnySender,
    audio: str,
    recipients: Recipients = "",
    storage: S3Bucket | None = None,
    ledger: Ledger | None = None,
    voice: bool = True,
    convert: bool = False,
    in_flight: InFlight = 0,
    max_messages: Count = 0,
    default_region: str = "",
    on_unknown: Literal["hold", "resend"] = "hold",
    retry_failed: bool = False,
    dry_run: bool = False,
    approve: bool = False,
    runs: Literal["send", "batch"] = "send",
    batch_size: Annotated[int, Field(ge=1, le=5_000)] = 500,
) -> Report:
    """Send one voice note, or basic audio, to everyone on a list.

    After any crash, run it again under the same name: nobody is messaged twice, nobody is forgotten, and each send
    whose fate is unknown is named.

    Args:
        broadcast: Name of the broadcast. The same name resumes and never repeats a send; {:%G-W%V} in it becomes the
            date of the run's scheduled start, so that each week of a schedule has a name of its own.
        sender: The account that sends; choose the service, then a saved block.
        audio: Audio file as s3://bucket/key, a key in storage, an https link or a path.
        recipients: List as s3://bucket/key, a key in storage or a path (CSV, JSONL, Parquet), or phone numbers and
            chat ids. Empty goes on with what is planned.
        storage: S3 bucket for keys; empty uses boto3's own credentials.
        ledger: Where it is kept who was sent what; empty is the embedded one.
        voice: Send a voice note; off sends basic audio.
        convert: Let the service transcode (Wawp and WAHA).
        in_flight: Requests at once; 0 chooses what the pace needs, at most 64.
        max_messages: Messages of this run at most; 0 sends all.
        default_region: Two-letter country for numbers without a country code, such as US.
        on_unknown: What to do with sends whose fate an earlier run left unknown: hold them, or send them again.
        retry_failed: Try again what the service refused in an earlier run.
        dry_run: Check and plan, send nothing.
        approve: Wait after the plan until someone presses Resume.
        runs: A task run for each send, or for each batch of sends.
        batch_size: Sends a batch, at most.

    Returns:
        The state of the broadcast in whole numbers.

    Raises:
        InputError: The audio, list or a parameter can't be used; nothing was sent.
        AccountError: The account can't send; nothing was sent.
        BroadcastMismatchError: The name stands for other content, kind or sender.
        BroadcastStoppedError: It stopped before its end; its `report` says where it stands.

    Example:
        ```python
        report = await broadcast_audio(
            broadcast="weekly-2026-47",
            sender=await GraphCredentials.aload("weekly"),
            audio="s3://bucket/weekly.mp3",
            recipients="s3://bucket/list.csv",
        )
        ```
    """
    settings = Settings(
        broadcast=broadcast,
        sender=sender,
        recipients=recipients,
        storage=storage,
        ledger=ledger or Ledger(),
        in_flight=in_flight,
        max_messages=max_messages,
        default_region=default_region,
        on_unknown=on_unknown,
        retry_failed=retry_failed,
        dry_run=dry_run,
        approve=approve,
        runs=runs,
        batch_size=batch_size,
    )
    return await Broadcast(settings, AudioMessage(audio, sender, storage, voice=voice, convert=convert)).run()


@flow(name="broadcast-contacts", flow_run_name=flow_run_name)
async def broadcast_contacts(
    broadcast: str,
    sender: AnySender,
    contacts: list[Contact],
    recipients: Recipients = "",
    storage: S3Bucket | None = None,
    ledger: Ledger | None = None,
    in_flight: InFlight = 0,
    max_messages: Count = 0,
    default_region: str = "",
    on_unknown: Literal["hold", "resend"] = "hold",
    retry_failed: bool = False,
    dry_run: bool = False,
    approve: bool = False,
    runs: Literal["send", "batch"] = "send",
    batch_size: Annotated[int, Field(ge=1, le=5_000)] = 500,
) -> Report:
    """Send contact cards, in one message, to everyone on a list.

    After any crash, run it again under the same name: nobody is messaged twice, nobody is forgotten, and each send
    whose fate is unknown is named.

    Args:
        broadcast: Name of the broadcast. The same name resumes and never repeats a send; {:%G-W%V} in it becomes the
            date of the run's scheduled start, so that each week of a schedule has a name of its own.
        sender: The account that sends; choose the service, then a saved block.
        contacts: The cards, each with a name and a phone number.
        recipients: List as s3://bucket/key, a key in storage or a path (CSV, JSONL, Parquet), or phone numbers and
            chat ids. Empty goes on with what is planned.
        storage: S3 bucket for keys; empty uses boto3's own credentials.
        ledger: Where it is kept who was sent what; empty is the embedded one.
        in_flight: Requests at once; 0 chooses what the pace needs, at most 64.
        max_messages: Messages of this run at most; 0 sends all.
        default_region: Two-letter country for numbers without a country code, such as US.
        on_unknown: What to do with sends whose fate an earlier run left unknown: hold them, or send them again.
        retry_failed: Try again what the service refused in an earlier run.
        dry_run: Check and plan, send nothing.
        approve: Wait after the plan until someone presses Resume.
        runs: A task run for each send, or for each batch of sends.
        batch_size: Sends a batch, at most.

    Returns:
        The state of the broadcast in whole numbers.

    Raises:
        InputError, AccountError, BroadcastMismatchError, BroadcastStoppedError: As in `broadcast_audio`.
    """
    settings = Settings(
        broadcast=broadcast,
        sender=sender,
        recipients=recipients,
        storage=storage,
        ledger=ledger or Ledger(),
        in_flight=in_flight,
        max_messages=max_messages,
        default_region=default_region,
        on_unknown=on_unknown,
        retry_failed=retry_failed,
        dry_run=dry_run,
        approve=approve,
        runs=runs,
        batch_size=batch_size,
    )
    return await Broadcast(settings, ContactsMessage(contacts, sender)).run()
