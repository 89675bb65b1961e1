"""What you schedule: broadcasts that never repeat a send, and single messages."""

from .broadcasts import broadcast_audio, broadcast_contacts
from .messages import send_audio_message, send_contact_message

__all__ = ["broadcast_audio", "broadcast_contacts", "send_audio_message", "send_contact_message"]
