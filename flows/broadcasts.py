"""The two broadcast flows: the same message to everyone on a list, each send a task run, never twice."""

from prefect_whatsapp.flows.form import BroadcastAudioForm, BroadcastContactsForm, takes
from prefect_whatsapp.flows.names import flow_run_name
from prefect_whatsapp.flows.one_sentence import fails_in_one_sentence
from prefect_whatsapp.flows.outage import run_to_its_end
from prefect_whatsapp.flows.parameters import flow
from prefect_whatsapp.flows.steps import Broadcast
from prefect_whatsapp.models import Report
from prefect_whatsapp.tasks.content import AudioContent, ContactsContent


@flow(name="broadcast-audio", flow_run_name=flow_run_name)
@takes(BroadcastAudioForm)
@fails_in_one_sentence
async def broadcast_audio(form: BroadcastAudioForm) -> Report:
    """Send one voice note, or basic audio, to everyone on a list.

    After any crash, run it again under the same name: nobody is messaged twice, nobody is forgotten, and each send
    whose outcome is unknown is named.

    Returns:
        The state of the broadcast in whole numbers.

    Raises:
        InputError: The audio, list or a parameter can't be used; nothing was sent.
        AccountError: The account can't send; nothing was sent.
        BroadcastMismatchError: The name stands for other content, kind or sender.
        BroadcastStoppedError: It stopped early; its `report` says where it stands.

    Example:
        ```python
        report = await broadcast_audio(
            broadcast="weekly-2026-W47",
            sender=await GraphCredentials.aload("weekly"),
            audio="s3://bucket/weekly.mp3",
            recipients="s3://bucket/list.csv",
        )
        ```
    """
    content = AudioContent(form.audio, form.sender, form.storage, voice=form.voice, convert=form.convert)
    return await run_to_its_end(Broadcast(form, content))


@flow(name="broadcast-contacts", flow_run_name=flow_run_name)
@takes(BroadcastContactsForm)
@fails_in_one_sentence
async def broadcast_contacts(form: BroadcastContactsForm) -> Report:
    """Send contact cards, in one message, to everyone on a list.

    After any crash, run it again under the same name: nobody is messaged twice, nobody is forgotten, and each send
    whose outcome is unknown is named.

    Returns:
        The state of the broadcast in whole numbers.

    Raises:
        InputError, AccountError, BroadcastMismatchError, BroadcastStoppedError: As in `broadcast_audio`.
    """
    return await run_to_its_end(Broadcast(form, ContactsContent(form.contacts, form.sender)))
