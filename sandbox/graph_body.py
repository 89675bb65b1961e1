"""What Graph lets a message body hold: closed shapes, read in one pass."""

import re
from typing import Any

from .truth import Message

_TEXT, _FLAG = str, bool
_NAME = dict.fromkeys(("formatted_name", "first_name", "last_name", "middle_name", "prefix", "suffix"), _TEXT)
_CARD: dict[str, Any] = {
    "name": _NAME,
    "phones": [{"phone": _TEXT, "type": _TEXT, "wa_id": _TEXT}],
    "emails": [{"email": _TEXT, "type": _TEXT}],
    "urls": [{"url": _TEXT, "type": _TEXT}],
    "addresses": [dict.fromkeys(("street", "city", "state", "zip", "country", "country_code", "type"), _TEXT)],
    "org": {"company": _TEXT, "department": _TEXT, "title": _TEXT},
    "birthday": _TEXT,
}
_ENVELOPE: dict[str, Any] = {
    "messaging_product": _TEXT,
    "recipient_type": _TEXT,
    "to": _TEXT,
    "recipient": _TEXT,
    "type": _TEXT,
    "context": {"message_id": _TEXT},
    "biz_opaque_callback_data": _TEXT,
    "recipient_identity_key_hash": _TEXT,
    "messaging_account_id": _TEXT,
}
_AUDIO = _ENVELOPE | {"audio": {"id": _TEXT, "link": _TEXT, "voice": _FLAG}}
_CONTACTS = _ENVELOPE | {"contacts": [_CARD]}
_TEXTS = _ENVELOPE | {"text": {"body": _TEXT, "preview_url": _FLAG}}
_SHAPES = {"audio": _AUDIO, "contacts": _CONTACTS, "text": _TEXTS}
_USER_ID = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[0-9A-Za-z]{1,128}")
_SEPARATORS = str.maketrans("", "", " -()")


class BodyFault(Exception):
    """A body that Graph refuses.

    Args:
        code: Graph's code.
        details: Its words.
    """

    def __init__(self, code: int, details: str) -> None:
        super().__init__(details)
        self.code, self.details = code, details


def read_message(body: Any, own_digits: str) -> Message:
    """Read a message body.

    Args:
        body: The parsed body.
        own_digits: The sending number: a `to` without `+` gets its country code (+1) put in front.

    Raises:
        BodyFault: An unknown, missing or unusable parameter.
    """
    if not isinstance(body, dict):
        raise BodyFault(100, "The request body is not a JSON object.")
    if body.get("messaging_product") != "whatsapp":
        raise BodyFault(100, "The parameter messaging_product is required.")
    kind = body.get("type", "text")
    if not isinstance(kind, str) or kind not in _SHAPES:
        raise BodyFault(131051, f"Message type {kind!r} is not supported here; audio, contacts and text are.")
    _closed(body, _SHAPES[kind], "")
    callback = body.get("biz_opaque_callback_data", "")
    if len(callback) > 512:
        raise BodyFault(100, "Param biz_opaque_callback_data must be at most 512 characters long.")
    context = body.get("context")
    if context is not None and not context.get("message_id"):
        raise BodyFault(131008, "The parameter context.message_id is required.")
    message = Message(
        service="graph",
        recipient=_recipient(body, own_digits),
        kind=kind,
        callback=callback,
        reply_to=context["message_id"] if context else "",
        body=body,
    )
    if kind == "audio":
        _audio(body, message)
    elif kind == "contacts":
        _contacts(body, message)
    elif not 0 < len((body.get("text") or {}).get("body", "")) <= 4096:
        raise BodyFault(100, "Param text['body'] must be at least 1 and at most 4096 characters long.")
    return message


def _closed(value: dict[str, Any], shape: dict[str, Any], where: str) -> None:
    for key, held in value.items():
        wanted = shape.get(key)
        if wanted is None:
            raise BodyFault(100, f'Unexpected key "{key}" on param "{where or "message"}".')
        if type(wanted) is type:
            if type(held) is not wanted:
                raise BodyFault(100, f"Param {where}{key} must be a {wanted.__name__}.")
        elif type(wanted) is list:
            if type(held) is not list or not all(type(entry) is dict for entry in held):
                raise BodyFault(100, f"Param {where}{key} must be an array of objects.")
            for number, entry in enumerate(held):
                _closed(entry, wanted[0], f"{where}{key}[{number}].")
        elif type(held) is not dict:
            raise BodyFault(100, f"Param {where}{key} must be an object.")
        else:
            _closed(held, wanted, f"{where}{key}.")


def _recipient(body: dict[str, Any], own_digits: str) -> str:
    to, form = body.get("to", ""), body.get("recipient_type", "individual")
    if form not in ("individual", "group"):
        raise BodyFault(131009, "Param recipient_type must be one of {individual, group}.")
    if form == "group":
        if not to.startswith("Y2FwaV9ncm91cDo"):
            raise BodyFault(131009, "Param to must be a group id.")
        if body["type"] == "contacts":
            raise BodyFault(130501, "Message type is not currently supported in groups.")
        return str(to)
    if to:
        digits = to.translate(_SEPARATORS)
        if digits[:1] == "+":
            digits = digits[1:]
        elif not (len(digits) == 11 and digits[0] == own_digits[0]):
            digits = own_digits[0] + digits
        if not (digits.isdecimal() and digits.isascii() and 7 <= len(digits) <= 15 and digits[0] != "0"):
            raise BodyFault(131009, "Param to must be a valid phone number.")
        return str(digits)
    if user := body.get("recipient", ""):
        if not _USER_ID.fullmatch(user):
            raise BodyFault(131009, "Param recipient must be a business-scoped user id.")
        return str(user)
    raise BodyFault(131008, "The parameter to is required.")


def _audio(body: dict[str, Any], message: Message) -> None:
    audio = body.get("audio")
    if not audio:
        raise BodyFault(131008, "The parameter audio is required.")
    if ("id" in audio) == ("link" in audio):
        raise BodyFault(100, "Param audio must hold exactly one of id and link.")
    message.media, message.voice = audio.get("id") or audio.get("link"), audio.get("voice", False)
    if "id" in audio and not (message.media.isdecimal() and len(message.media) <= 32):
        raise BodyFault(100, f"Param audio.id: {message.media[:40]!r} is not a valid media ID.")


def _contacts(body: dict[str, Any], message: Message) -> None:
    cards = body.get("contacts")
    if not cards:
        raise BodyFault(131008, "The parameter contacts is required.")
    if len(cards) > 257:
        raise BodyFault(100, "Param contacts must have at most 257 elements.")
    for number, card in enumerate(cards):
        _card(card, f"contacts[{number}]")
    message.cards = len(cards)


def read_cards(cards: Any) -> int:
    """Check contact objects that came by another service, which takes Graph's; give their number.

    Raises:
        BodyFault: One of them is not in order.
    """
    _closed({"contacts": cards}, {"contacts": [_CARD]}, "")
    for number, card in enumerate(cards):
        _card(card, f"contacts[{number}]")
    return len(cards)


def _card(card: dict[str, Any], where: str) -> None:
    name = card.get("name") or {}
    if not name.get("formatted_name"):
        raise BodyFault(131008, f"The parameter {where}.name.formatted_name is required.")
    if len(name) < 2:
        raise BodyFault(131008, f"The parameter {where}.name needs another part of the name.")
    if not all(phone.get("phone") for phone in card.get("phones", ())):
        raise BodyFault(131008, f"The parameter {where}.phones.phone is required.")
    if not all(phone.get("wa_id", "0").isdecimal() for phone in card.get("phones", ())):
        raise BodyFault(131009, f"Param {where}.phones.wa_id must be digits.")
    if "birthday" in card and not re.fullmatch(r"\d{4}-\d\d-\d\d", card["birthday"]):
        raise BodyFault(131009, f"Param {where}.birthday must be YYYY-MM-DD.")
