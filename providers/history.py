"""Reading a chat's history as WAHA, Wawp and Chat-API give it: which messages of ours it holds.

Only what was surely sent by this account counts, and of a message whose kind the service doesn't say nothing is guessed.

Source: https://waha.devlike.pro/docs/how-to/chats/ (get messages)
"""

import datetime
from collections.abc import Mapping
from typing import Any

from ..models.message_ids import MAX_MESSAGE_ID, bare_message_id
from .dialect import SentMessage
from .webhooks import child, moment, objects, text_of

_KINDS = {
    "ptt": "audio",
    "audio": "audio",
    "audioMessage": "audio",
    "vcard": "contacts",
    "multi_vcard": "contacts",
    "contact": "contacts",
    "contactMessage": "contacts",
    "contactsArrayMessage": "contacts",
    "chat": "text",
    "text": "text",
    "conversation": "text",
    "extendedTextMessage": "text",
}
_FAILED = -1  # the acknowledgement ERROR
_NEVER = datetime.datetime.max.replace(tzinfo=datetime.UTC)


def read_history(answer: Any, since: datetime.datetime, until: datetime.datetime) -> list[SentMessage]:
    """The messages of ours between two moments.

    Args:
        answer: The parsed body: a list, or an object with `messages` or `data`.
        since: The earliest moment.
        until: The latest moment.
    """
    if isinstance(answer, dict):
        answer = answer.get("messages", answer.get("data"))
    found = (read_message(entry) for entry in objects(answer))
    return [message for message in found if message is not None and since <= message.at <= until]


def read_message(entry: Mapping[str, Any]) -> SentMessage | None:
    """One message of a history; None where it is not ours, failed, or has no id or no time."""
    if entry.get("fromMe") not in (True, 1) or entry.get("ack") == _FAILED:
        return None
    raw = entry.get("id")
    whole = text_of(child(entry, "id").get("_serialized") if isinstance(raw, dict) else raw, MAX_MESSAGE_ID)
    told = entry.get("timestamp", entry.get("time"))
    at = moment(told, _NEVER)
    kind = _kind(entry)
    # What was sent on the phone itself has the source "app". So have our own after the server was started again: they
    # prove nothing then, and their rows stay unknown.
    if kind != "text" and entry.get("source") == "app":
        kind = ""
    return SentMessage(bare_message_id(whole), kind, at) if whole and at != _NEVER else None


def _kind(entry: Mapping[str, Any]) -> str:
    data = child(entry, "_data")
    contents = (*child(data, "message"), *child(data, "Message"))
    for word in (entry.get("type"), data.get("type"), *contents):
        if isinstance(word, str) and word in _KINDS:
            return _KINDS[word]
    if text_of(child(entry, "media").get("mimetype"), 100).startswith("audio/"):
        return "audio"
    if entry.get("vCards"):
        return "contacts"
    return "text" if entry.get("hasMedia") is False and entry.get("body") else ""
