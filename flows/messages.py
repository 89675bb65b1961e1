"""The two flows that send one message to one recipient, as people press Run in the Prefect UI."""

from prefect import flow
from prefect.runtime import flow_run
from prefect_aws import S3Bucket
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.flows.broadcasts import AnySender
from prefect_whatsapp.flows.message import AudioMessage
from prefect_whatsapp.models import Contact, Receipt, Recipient, mask
from prefect_whatsapp.tasks import asend_audio, asend_contacts


def _run_name() -> str:
    return f"{flow_run.flow_name} {mask(str((flow_run.parameters or {}).get('to', '')))}"


@flow(name="send-audio-message", flow_run_name=_run_name)
async def send_audio_message(
    to: str,
    sender: AnySender,
    audio: str,
    storage: S3Bucket | None = None,
    ledger: Ledger | None = None,
    voice: bool = True,
    convert: bool = False,
    reply_to: str = "",
    default_region: str = "",
) -> Receipt:
    """Send one voice note, or basic audio, to one recipient. Each run sends; a broadcast is what never repeats.

    Args:
        to: Phone number with + and country code, or a chat id.
        sender: The account that sends; choose the service, then a saved block.
        audio: Audio file as s3://bucket/key, a key in storage, an https link or a path.
        storage: S3 bucket for keys; empty uses boto3's own credentials.
        ledger: Where uploads are remembered; empty is the embedded one.
        voice: Send a voice note; off sends basic audio.
        convert: Let the service transcode (Wawp and WAHA).
        reply_to: Id of the message to quote.
        default_region: Two-letter country for a number without a country code.

    Returns:
        The service's receipt. Accepted is not delivered.

    Raises:
        InputError, ProviderError, TransportError: As in `tasks.send_audio`.
    """
    recipient = Recipient.parse(to, default_region=default_region, reply_to=reply_to)
    message = AudioMessage(audio, sender, storage, voice=voice, convert=convert)
    async with (ledger or Ledger()).open() as store:
        await message.load(store, sender.dialect())
        ready = await message.brought(store)
    return await asend_audio(ready, recipient, sender, voice=voice, convert=convert)


@flow(name="send-contact-message", flow_run_name=_run_name)
async def send_contact_message(
    to: str, sender: AnySender, contacts: list[Contact], reply_to: str = "", default_region: str = ""
) -> Receipt:
    """Send contact cards to one recipient, in one message. Each run sends.

    Args:
        to: Phone number with + and country code, or a chat id.
        sender: The account that sends; choose the service, then a saved block.
        contacts: The cards, each with a name and a phone number.
        reply_to: Id of the message to quote.
        default_region: Two-letter country for a number without a country code.

    Returns:
        The service's receipt. Accepted is not delivered.

    Raises:
        InputError, ProviderError, TransportError: As in `tasks.send_contacts`.
    """
    recipient = Recipient.parse(to, default_region=default_region, reply_to=reply_to)
    return await asend_contacts(contacts, recipient, sender)
