"""What you schedule: broadcasts that never repeat a send, and single messages."""

from prefect_whatsapp.flows.single_messages import send_audio_message, send_contact_message

from .broadcasts import broadcast_audio, broadcast_contacts

__all__ = ["broadcast_audio", "broadcast_contacts", "send_audio_message", "send_contact_message"]
