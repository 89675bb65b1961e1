"""What the gateways' chat histories show of the messages that they sent.

Sources: https://waha.devlike.pro/docs/how-to/chats/ (get messages), https://github.com/Zodt/ChatApi (messages)
"""

from collections.abc import Mapping, Sequence
from typing import Any

from .truth import Message

_BAILEYS = {"audio": "audioMessage", "contacts": "contactMessage", "text": "extendedTextMessage"}
_WHATSAPP_WEB = {"audio": "ptt", "contacts": "vcard", "text": "chat"}


def waha_history(sent: Sequence[Message], query: Mapping[str, str], engine: str) -> list[dict[str, Any]]:
    """A chat's messages, the newest first.

    Args:
        sent: What was sent to the chat.
        query: `limit`, `offset`, `filter.fromMe`, `filter.timestamp.gte`, `filter.timestamp.lte`.
        engine: Gives the shape of `_data`.
    """
    if query.get("filter.fromMe") == "false":
        return []
    since, until = float(query.get("filter.timestamp.gte", 0)), float(query.get("filter.timestamp.lte", 1e12))
    found = [message for message in reversed(sent) if since <= int(message.at) <= until]
    offset = int(query.get("offset", 0))
    return [waha_message(message, engine) for message in found[offset : offset + int(query.get("limit", 10))]]


def waha_message(message: Message, engine: str) -> dict[str, Any]:
    """One message as the engine's history shows it."""
    chat = message.recipient if "@" in message.recipient else f"{message.recipient}@c.us"
    bare = message.message_id.rpartition("_")[2]
    kind = _BAILEYS[message.kind]
    data: dict[str, Any] = {"type": _WHATSAPP_WEB[message.kind]}
    if engine == "NOWEB":
        data = {"key": {"remoteJid": chat, "fromMe": True, "id": bare}, "message": {kind: {}}}
    elif engine == "GOWS":
        data = {"Info": {"Chat": chat, "IsFromMe": True, "ID": bare}, "Message": {kind: {}}}
    return {
        "id": f"true_{chat}_{bare}",
        "timestamp": int(message.at),
        "from": chat,
        "fromMe": True,
        "source": "api",
        "to": chat,
        "body": "",
        "hasMedia": message.kind == "audio",
        "media": None,
        "ack": 1,
        "ackName": "SERVER",
        "vCards": [""] * message.cards,
        "_data": data,
    }


def chat_api_history(sent: Sequence[Message], query: Mapping[str, str], *, newest_first: bool) -> dict[str, Any]:
    """A chat's messages, or all chats'; neither shows a `queueNumber`.

    Args:
        sent: What was sent.
        query: `limit` (100; 0 for all), `min_time`, `max_time`, `lastMessageNumber`, and `count` of `messagesHistory`.
        newest_first: As `messagesHistory` lists them.
    """
    since, until = float(query.get("min_time", 0)), float(query.get("max_time", 1e12))
    after = int(query.get("lastMessageNumber", 0))
    numbered = [(n, m) for n, m in enumerate(sent, 1) if since <= int(m.at) <= until and n > after]
    if newest_first:
        numbered.reverse()
    limit = int(query.get("count" if newest_first else "limit", 100))
    shown = [_chat_api_message(message, number) for number, message in (numbered[:limit] if limit else numbered)]
    return {"messages": shown, "lastMessageNumber": max((number for number, _ in numbered), default=after)}


def _chat_api_message(message: Message, number: int) -> dict[str, Any]:
    chat = message.recipient if "@" in message.recipient else f"{message.recipient}@c.us"
    return {
        "id": message.message_id,
        "body": "https://sandbox.invalid/file" if message.kind == "audio" else "",
        "type": _WHATSAPP_WEB[message.kind],
        "time": int(message.at),
        "fromMe": True,
        "sent": 1,
        "self": 1,
        "author": "16505550100@c.us",
        "chatId": chat,
        "messageNumber": number,
        "caption": None,
        "quotedMsgId": message.reply_to or None,
    }
