"""What the three simulated gateways check alike: chat ids, inline bytes, contact objects and vCards."""

import base64
import binascii
import hashlib
import re
from functools import lru_cache
from typing import Any

from .voice import NotVoice, container, read_voice

_PERSON = re.compile(r"([1-9]\d{6,14})@c\.us", re.ASCII)
_CHAT = re.compile(r"\d[\d-]{4,40}@(g\.us|newsletter|lid)", re.ASCII)
_BARE = re.compile(r"[1-9]\d{6,14}", re.ASCII)
_VCARD_LINES = (r"^BEGIN:VCARD$", r"^VERSION:3\.0$", r"^N:", r"^FN:.+$", r"^TEL[;:]", r"^END:VCARD$")

_LOOKED_INTO: dict[bytes, tuple[str, str]] = {}


def chat_key(chat_id: Any, *domains: str, bare: bool = False) -> str:
    """Give the recipient that a chat id names, or nothing where it names none.

    Args:
        chat_id: What was sent.
        domains: Kinds of chats besides persons: `g.us`, `newsletter`, `lid`.
        bare: Whether digits alone are a person too.
    """
    if not isinstance(chat_id, str):
        return ""
    if person := _PERSON.fullmatch(chat_id):
        return person[1]
    if (chat := _CHAT.fullmatch(chat_id)) and chat[1] in domains:
        return chat_id
    return chat_id if bare and _BARE.fullmatch(chat_id) else ""


def inline_fault(encoded: str, *, voice: bool) -> str:
    """Say why base64 can't be played as a voice note, or as any audio; nothing where it can."""
    digest = hashlib.sha256(encoded.encode()).digest()
    if digest not in _LOOKED_INTO:  # a broadcast sends the same bytes to everybody
        if len(_LOOKED_INTO) > 1000:
            _LOOKED_INTO.clear()
        _LOOKED_INTO[digest] = _faults(encoded)
    voice_fault, basic_fault = _LOOKED_INTO[digest]
    return voice_fault if voice else basic_fault


def _faults(encoded: str) -> tuple[str, str]:
    try:
        content = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return "is not base64", "is not base64"
    try:
        read_voice(content)
    except NotVoice as why:
        return str(why), "" if container(content) else "the file is no audio"
    return "", ""


@lru_cache(maxsize=1024)
def vcard_fault(vcard: str) -> str:
    """Say what a vCard 3.0 lacks, or nothing."""
    for line in _VCARD_LINES:
        if not re.search(line, vcard.replace("\r\n", "\n"), re.MULTILINE):
            return f"the vCard has no line {line.strip('^$')}"
    return ""


def contact_fault(contact: Any, *, vcard: bool = False) -> str:
    """Say what is wrong with a contact object of Wawp and WAHA, or nothing.

    Args:
        contact: `{fullName, organization, phoneNumber, whatsappId}`.
        vcard: Whether `{vcard}` is another form of it.
    """
    if not isinstance(contact, dict):
        return "must be an object"
    if vcard and "vcard" in contact:
        if len(contact) > 1:
            return "takes vcard alone"
        return vcard_fault(contact["vcard"]) if isinstance(contact["vcard"], str) else "vcard must be a string"
    for key, value in contact.items():
        if key not in ("fullName", "organization", "phoneNumber", "whatsappId"):
            return f"property {key} should not exist"
        if not isinstance(value, str):
            return f"{key} must be a string"
    if not contact.get("fullName") or not contact.get("phoneNumber"):
        return "fullName and phoneNumber should not be empty"
    return "" if contact.get("whatsappId", "0").isdecimal() else "whatsappId must be digits"
