"""What you schedule: broadcasts that never repeat a send, and single messages. Names in `_sync` are for code that isn't async."""

from prefect_whatsapp.flows.single_messages import send_audio_message, send_contact_message

from .broadcasts import broadcast_audio, broadcast_contacts
from .sync_twins import (
    broadcast_audio_sync,
    broadcast_contacts_sync,
    send_audio_message_sync,
    send_contact_message_sync,
)

__all__ = [
    "broadcast_audio",
    "broadcast_audio_sync",
    "broadcast_contacts",
    "broadcast_contacts_sync",
    "send_audio_message",
    "send_audio_message_sync",
    "send_contact_message",
    "send_contact_message_sync",
]
