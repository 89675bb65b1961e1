"""The two broadcast flows: the same message to everyone on a list, each send a task run, never twice."""

from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.flows import form
from prefect_whatsapp.flows.names import flow_run_name
from prefect_whatsapp.flows.outage import run_to_its_end
from prefect_whatsapp.flows.parameters import flow
from prefect_whatsapp.flows.steps import Broadcast, Settings
from prefect_whatsapp.models import Report
from prefect_whatsapp.tasks.content import AudioContent, ContactsContent


@flow(name="broadcast-audio", flow_run_name=flow_run_name)
async def broadcast_audio(
    broadcast: form.Broadcast,
    sender: form.Sender,
    audio: form.AudioSource,
    recipients: form.Recipients = "",
    storage: form.Storage = None,
    default_region: form.DefaultRegion = "",
    voice: form.Voice = True,
    dry_run: form.DryRun = False,
    approve: form.Approve = False,
    max_messages: form.MaxMessages = 0,
    on_unknown: form.OnUnknown = "hold",
    retry_failed: form.RetryFailed = False,
    wait_for_receipts: form.WaitForReceipts = 0,
    convert: form.Convert = False,
    runs: form.RunsPer = "send",
    batch_size: form.BatchSize = 500,
    in_flight: form.InFlight = 0,
    shards: form.Shards = 0,
    shard_deployment: form.ShardDeployment = "",
    ledger: form.LedgerBlock = None,
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
        storage: S3 bucket for keys; without it boto3's own credentials are used.
        default_region: Two-letter country, such as US, for numbers without a country code.
        voice: Send a voice note; off sends basic audio.
        dry_run: Check and plan, send nothing.
        approve: Wait after the plan until someone presses Resume.
        max_messages: Messages of this run at most; 0 sends all.
        on_unknown: What to do with sends whose fate an earlier run left unknown: hold them, or send them again.
        retry_failed: Try again what the service refused in an earlier run, at once or later.
        wait_for_receipts: Minutes to wait, after the last send, for delivery receipts; a receiver must be running.
        convert: Let the service transcode (Wawp and WAHA).
        runs: A task run for each send (engine: by Prefect's task engine, which is slower), or for each batch of sends.
        batch_size: Sends a batch, at most.
        in_flight: Requests at once; 0 chooses what the pace needs, at most 64.
        shards: Child runs that send along with this one, on as many workers; 0 for none. Workers on several machines
            need a ledger in PostgreSQL; an SQLite ledger serves workers of one machine.
        shard_deployment: Whose runs the children are, as flow/name; empty is this run's own deployment.
        ledger: Where it is kept who was sent what; without it the embedded one.

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
        wait_for_receipts=wait_for_receipts,
        dry_run=dry_run,
        approve=approve,
        runs=runs,
        batch_size=batch_size,
        shards=shards,
        shard_deployment=shard_deployment,
    )
    return await run_to_its_end(Broadcast(settings, AudioContent(audio, sender, storage, voice=voice, convert=convert)))


@flow(name="broadcast-contacts", flow_run_name=flow_run_name)
async def broadcast_contacts(
    broadcast: form.Broadcast,
    sender: form.Sender,
    contacts: form.Contacts,
    recipients: form.Recipients = "",
    storage: form.Storage = None,
    default_region: form.DefaultRegion = "",
    dry_run: form.DryRun = False,
    approve: form.Approve = False,
    max_messages: form.MaxMessages = 0,
    on_unknown: form.OnUnknown = "hold",
    retry_failed: form.RetryFailed = False,
    wait_for_receipts: form.WaitForReceipts = 0,
    runs: form.RunsPer = "send",
    batch_size: form.BatchSize = 500,
    in_flight: form.InFlight = 0,
    shards: form.Shards = 0,
    shard_deployment: form.ShardDeployment = "",
    ledger: form.LedgerBlock = None,
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
        storage: S3 bucket for keys; without it boto3's own credentials are used.
        default_region: Two-letter country, such as US, for numbers without a country code.
        dry_run: Check and plan, send nothing.
        approve: Wait after the plan until someone presses Resume.
        max_messages: Messages of this run at most; 0 sends all.
        on_unknown: What to do with sends whose fate an earlier run left unknown: hold them, or send them again.
        retry_failed: Try again what the service refused in an earlier run, at once or later.
        wait_for_receipts: Minutes to wait, after the last send, for delivery receipts; a receiver must be running.
        runs: A task run for each send (engine: by Prefect's task engine, which is slower), or for each batch of sends.
        batch_size: Sends a batch, at most.
        in_flight: Requests at once; 0 chooses what the pace needs, at most 64.
        shards: Child runs that send along with this one, on as many workers; 0 for none. Workers on several machines
            need a ledger in PostgreSQL; an SQLite ledger serves workers of one machine.
        shard_deployment: Whose runs the children are, as flow/name; empty is this run's own deployment.
        ledger: Where it is kept who was sent what; without it the embedded one.

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
        wait_for_receipts=wait_for_receipts,
        dry_run=dry_run,
        approve=approve,
        runs=runs,
        batch_size=batch_size,
        shards=shards,
        shard_deployment=shard_deployment,
    )
    return await run_to_its_end(Broadcast(settings, ContactsContent(contacts, sender)))
