"""Where a gateway's answer keeps the message's id: each engine, and each version, has another place for it."""

from collections.abc import Iterator, Mapping
from typing import Any


def message_id(answer: Mapping[str, Any]) -> str:
    """Find a message's id in each of the shapes that the engines answer with; empty where there is none.

    Example:
        >>> message_id({"_data": {"id": {"_serialized": "true_1@c.us_3EB0"}}})
        'true_1@c.us_3EB0'
        >>> message_id({"key": {"remoteJid": "1@s.whatsapp.net", "fromMe": True, "id": "3EB0"}})
        '3EB0'
        >>> message_id({"result": True, "message_id": 41})
        '41'
    """
    return next((found for place in _places(answer) if (found := _id(place))), "")


def _places(answer: Mapping[str, Any]) -> Iterator[Any]:
    yield answer.get("id")
    yield answer.get("key")
    for name in ("message_id", "messageId"):
        value = answer.get(name)
        yield str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    for wrapper in ("_data", "data", "message"):
        if isinstance(inner := answer.get(wrapper), Mapping):
            yield from _places(inner)


def _id(value: object) -> str:
    if isinstance(value, Mapping):
        value = value.get("_serialized") or value.get("id")
    return value if isinstance(value, str) else ""
