"""The two flows that send one message to one recipient, as people press Run in the Prefect UI."""

from prefect.runtime import flow_run
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.flows import form
from prefect_whatsapp.flows.parameters import flow
from prefect_whatsapp.models import Receipt, Recipient, mask
from prefect_whatsapp.tasks import asend_audio, asend_contacts
from prefect_whatsapp.tasks.content import AudioContent


def _run_name() -> str:
    return f"{flow_run.flow_name} {mask(str((flow_run.parameters or {}).get('to', '')))}"


@flow(name="send-audio-message", flow_run_name=_run_name)
async def send_audio_message(
    to: form.To,
    sender: form.Sender,
    audio: form.AudioSource,
    storage: form.Storage = None,
    default_region: form.DefaultRegion = "",
    voice: form.Voice = True,
    reply_to: form.ReplyTo = "",
    convert: form.Convert = False,
    ledger: form.LedgerBlock = None,
) -> Receipt:
    """Send one voice note, or basic audio, to one recipient. Each run sends; a broadcast is what never repeats.

    Args:
        to: Phone number with + and country code, or a chat id.
        sender: The account that sends; choose the service, then a saved block.
        audio: Audio file as s3://bucket/key, a key in storage, an https link or a path.
        storage: S3 bucket for keys; without it boto3's own credentials are used.
        default_region: Two-letter country, such as US, for a number without a country code.
        voice: Send a voice note; off sends basic audio.
        reply_to: Id of the message to quote.
        convert: Let the service transcode (Wawp and WAHA).
        ledger: Where uploads are remembered; without it the embedded one.

    Returns:
        The service's receipt. Accepted is not delivered.

    Raises:
        InputError, ProviderError, TransportError: As in `tasks.send_audio`.
    """
    recipient = Recipient.parse(to, default_region=default_region, reply_to=reply_to)
    message = AudioContent(audio, sender, storage, voice=voice, convert=convert)
    async with (ledger or Ledger()).open() as store:
        await message.load(store, sender.dialect())
        ready = await message.ensure_uploaded(store)
    return await asend_audio(ready, recipient, sender, voice=voice, convert=convert)


@flow(name="send-contact-message", flow_run_name=_run_name)
async def send_contact_message(
    to: form.To,
    sender: form.Sender,
    contacts: form.Contacts,
    default_region: form.DefaultRegion = "",
    reply_to: form.ReplyTo = "",
) -> Receipt:
    """Send contact cards to one recipient, in one message. Each run sends.

    Args:
        to: Phone number with + and country code, or a chat id.
        sender: The account that sends; choose the service, then a saved block.
        contacts: The cards, each with a name and a phone number.
        default_region: Two-letter country, such as US, for a number without a country code.
        reply_to: Id of the message to quote.

    Returns:
        The service's receipt. Accepted is not delivered.

    Raises:
        InputError, ProviderError, TransportError: As in `tasks.send_contacts`.
    """
    recipient = Recipient.parse(to, default_region=default_region, reply_to=reply_to)
    return await asend_contacts(contacts, recipient, sender)
