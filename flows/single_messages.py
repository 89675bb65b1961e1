"""The two flows that send one message to one recipient, as people press Run in the Prefect UI."""

from prefect.runtime import flow_run
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.flows.form import AudioMessageForm, ContactMessageForm, takes
from prefect_whatsapp.flows.one_sentence import fails_in_one_sentence
from prefect_whatsapp.flows.parameters import flow
from prefect_whatsapp.models import Receipt, Recipient, mask
from prefect_whatsapp.tasks import asend_audio, asend_contacts
from prefect_whatsapp.tasks.content import AudioContent


def _run_name() -> str:
    return f"{flow_run.flow_name} {mask(str((flow_run.parameters or {}).get('to', '')))}"


@flow(name="send-audio-message", flow_run_name=_run_name)
@takes(AudioMessageForm)
@fails_in_one_sentence
async def send_audio_message(form: AudioMessageForm) -> Receipt:
    """Send one voice note, or basic audio, to one recipient. Each run sends a message; to send only once, use a broadcast.

    Returns:
        The service's receipt. Accepted is not delivered.

    Raises:
        InputError, ProviderError, TransportError: As in `tasks.send_audio`.
    """
    recipient = Recipient.parse(form.to, default_region=form.default_region, reply_to=form.reply_to)
    message = AudioContent(form.audio, form.sender, form.storage, voice=form.voice, convert=form.convert)
    message.takes = 0.0
    async with (form.ledger or Ledger()).open() as store:
        await message.load(store, form.sender.dialect())
        ready = await message.ensure_uploaded(store)
    return await asend_audio(ready, recipient, form.sender, voice=form.voice, convert=form.convert)


@flow(name="send-contact-message", flow_run_name=_run_name)
@takes(ContactMessageForm)
@fails_in_one_sentence
async def send_contact_message(form: ContactMessageForm) -> Receipt:
    """Send contact cards to one recipient, in one message. Each run sends a message.

    Returns:
        The service's receipt. Accepted is not delivered.

    Raises:
        InputError, ProviderError, TransportError: As in `tasks.send_contacts`.
    """
    recipient = Recipient.parse(form.to, default_region=form.default_region, reply_to=form.reply_to)
    return await asend_contacts(form.contacts, recipient, form.sender)
