"""The Chat-API dialect, as its documents and recordings have it: 200 for most refusals, `sent` says whether.

Source: https://github.com/Zodt/ChatApi
"""

import re
import time
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from .faults import Fault, FaultKind
from .gateway import chat_key, inline_fault, vcard_fault
from .gateway_webhooks import ChatApiWebhooks
from .graph_body import BodyFault, read_cards
from .history import chat_api_history
from .service import Answer, Call, Room, Service, throttle_headers
from .settings import SandboxSettings
from .truth import Action, Message
from .webhooks import Writer

_PATH = re.compile(r"/(?:instance)?([\w-]+)/(\w+)/?")
_DATA = re.compile(r"data:(audio/[\w.+-]+)(?:;\s*codecs=opus)?;base64,")
_ADDRESS = {"phone", "chatId", "quotedMsgId"}
_FIELDS = {
    "sendMessage": _ADDRESS | {"body", "mentionedPhones"},
    "sendPTT": _ADDRESS | {"audio"},
    "sendFile": _ADDRESS | {"body", "filename", "caption", "cached", "mentionedPhones", "voice"},
    "sendContact": _ADDRESS | {"contactId", "contacts"},
    "sendVCard": {"phone", "chatId", "vcard"},
}
_KINDS = {"sendMessage": "text", "sendPTT": "audio", "sendFile": "audio"} | dict.fromkeys(
    ("sendContact", "sendVCard"), "contacts"
)
_HISTORIES = ("messages", "messagesHistory")
_READS = ("status", "showMessagesQueue", "clearMessagesQueue", *_HISTORIES)
_HELD = "Status of the account not equals authenticated. Message will be sent after authorization."
_WRONG_PHONE = "Wrong phone format: it should contain only numbers, country code first, 9-14 characters long"


class _Refused(Exception):
    """A send that the service refuses, in its words."""


class ChatApiService(Service):
    """One instance of a service that speaks the dialect; both `/instance{ID}/…` and 1msg's `/{ID}/…`."""

    name: ClassVar[str] = "chat-api"
    webhooks_by: ClassVar[type[Writer] | None] = ChatApiWebhooks
    special_faults: ClassVar[frozenset[FaultKind]] = frozenset({FaultKind.SENT_FALSE})

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self._held: list[Message] = []

    @classmethod
    def account(cls, settings: SandboxSettings) -> dict[str, Any]:
        """Give the fields of its block."""
        return {
            "instance_id": settings.chat_api_instance,
            "token": settings.token,
            "webhook_secret": settings.webhook_secret,
        }

    async def answer(self, call: Call) -> Answer:
        """Answer `/instance{ID}/{method}?token=`."""
        path = _PATH.fullmatch(call.path)
        method = path[2] if path else ""
        action = Action.SEND if method in _FIELDS else Action.CHECK if method in _READS else Action.OTHER
        self.truth.called(self.name, action)
        if path is None or path[1] != self.settings.chat_api_instance:
            return Answer({"error": "Instance not found"}, 404, reason="instance")
        if call.query.get("token") != self.settings.token:
            return self._wrong_token()
        if action is Action.OTHER:
            return Answer({"error": f"Method {method} is not supported"}, 404, reason="method")
        if action is Action.SEND:
            return await self._send(call, method)
        like_1msg = not call.path.startswith("/instance")
        answer = await self._read(method, call.query)
        if method == "status" and like_1msg and isinstance(answer.body, dict) and "accountStatus" in answer.body:
            ready = answer.body["accountStatus"] == "authenticated"
            return Answer({"status": "connected" if ready else "connecting"})
        return answer

    def holds(self, fault: Fault, message: Message) -> bool:
        """An account that isn't logged in takes messages all the same, and sends them after."""
        return fault.kind is FaultKind.SESSION_DOWN

    def refusal(self, fault: Fault) -> Answer:
        """Say a fault in the dialect's words."""
        match fault.kind:
            case FaultKind.SENT_FALSE:
                return Answer(self._no(fault.details or "Wrong chatId format. Check the chatId and try again."),
                              reason=fault.kind)  # fmt: skip
            case FaultKind.EXPIRED_TOKEN:
                return self._wrong_token()
            case FaultKind.SESSION_DOWN:
                data = {"substatus": "loading", "title": "Error connecting", "reason": "offline"}
                return Answer({"accountStatus": "loading", "statusData": data})
            case FaultKind.ERROR:
                return Answer({"error": fault.details or "Internal error"}, fault.status or 500, reason=fault.kind)
            case _:
                return Answer({"error": "Too many requests"}, fault.status or 429, throttle_headers(fault),
                              reason=fault.kind, throttled=True)  # fmt: skip

    def acceptance(self, message: Message, fault: Fault | None) -> Answer:
        """Say `sent: true`, also of a message that is held."""
        number = self.next_number()
        chat = message.recipient if "@" in message.recipient else f"{message.recipient}@c.us"
        message.message_id = f"true_{chat}_3EB0{self.mark(number):016X}"
        words = f"Sent to {chat}"
        if fault is not None and fault.kind is FaultKind.SESSION_DOWN:
            self._held.append(message)
            words = _HELD
        return Answer({"sent": True, "message": words, "id": message.message_id, "queueNumber": number})

    async def goes_out(self, message: Message) -> None:
        """A message that is held goes out later."""
        if message not in self._held:
            await super().goes_out(message)

    async def _release(self) -> None:
        """What was held is sent once the account is back."""
        if self._held and not self.faults.in_force(FaultKind.SESSION_DOWN, self.name):
            held, self._held = self._held, []
            for message in held:
                message.at = time.time()
                await self.goes_out(message)

    async def _read(self, method: str, query: Mapping[str, str]) -> Answer:
        if method == "status":
            return await self.struck(Action.CHECK) or Answer(
                {"accountStatus": "authenticated", "statusData": {"substatus": "normal"}}
            )
        await self._release()
        if method in _HISTORIES:
            if struck := await self.struck(Action.OTHER):
                return struck
            found = [
                m for m in self.truth.sent(self.name, chat_key(query.get("chatId"), "g.us")) if m not in self._held
            ]
            return Answer(chat_api_history(found, query, newest_first=method == "messagesHistory"))
        if method == "clearMessagesQueue":
            count = len(self._held)
            self._held.clear()
            return Answer({"message": f"{count} messages were removed from the queue", "messageTextPreview": []})
        first = [
            {"id": number, "body": "", "type": "ptt" if m.kind == "audio" else "vcard", "last_try": int(m.at),
             "metadata": "{}"}
            for number, m in enumerate(self._held[:100], 1)
        ]  # fmt: skip
        return Answer({"totalMessages": len(self._held), "first100": first})

    async def _send(self, call: Call, method: str) -> Answer:
        if call.method != "POST":
            return Answer({"error": "Use POST"}, 405, reason="method")
        body = call.json()
        if b"form" in call.headers.get(b"content-type", b""):
            body = dict(parse_qsl(call.body.decode("latin-1")))
        try:
            if not isinstance(body, dict) or not body:
                raise _Refused("The request body is empty. " + _WRONG_PHONE)
            message = await self._message(method, body)
        except _Refused as why:
            return Answer(self._no(str(why)), reason="sent_false")
        return await self.send(message)

    async def _message(self, method: str, body: dict[str, Any]) -> Message:
        for key, value in body.items():
            if key not in _FIELDS[method]:
                raise _Refused(f"Unknown parameter {key}")
            if value is None:
                raise _Refused(f"Parameter {key} is empty")
        message = Message(
            service=self.name,
            recipient=_recipient(body),
            kind=_KINDS[method],
            reply_to=str(body.get("quotedMsgId", "")),
            body={key: value for key, value in body.items() if key not in ("audio", "body")},
        )
        if method == "sendMessage":
            if not (isinstance(body.get("body"), str) and 0 < len(body["body"]) <= 4096):
                raise _Refused("body is required: 1 to 4096 characters")
            message.body = body
        elif method == "sendPTT":
            message.voice = True
            await self._audio(body.get("audio"), message)
        elif method == "sendFile":
            message.voice = body.get("voice") is True
            if not body.get("filename"):
                raise _Refused("filename is required")
            await self._audio(body.get("body"), message)
        elif method == "sendVCard":
            if fault := vcard_fault(str(body.get("vcard", ""))):
                raise _Refused(f"Wrong vcard: {fault}")
            message.cards = 1
        else:
            _contacts(body, message)
        return message

    async def _audio(self, audio: Any, message: Message) -> None:
        if not isinstance(audio, str) or not audio:
            raise _Refused("audio is required: a link to an ogg file, or data:audio/ogg;base64,…")
        if data := _DATA.match(audio):
            if message.voice and data[1] != "audio/ogg":
                raise _Refused(f"Wrong audio: a voice message is audio/ogg, not {data[1]}")
            if fault := inline_fault(audio[data.end() :], voice=message.voice):
                raise _Refused(f"Wrong audio: {fault}")
            message.media = f"inline:{len(audio)}"
        elif fault := await self.links.fault(audio, voice=message.voice):
            raise _Refused(f"Wrong audio: {fault}")
        else:
            message.media = audio

    def _wrong_token(self) -> Answer:
        words = "Wrong token. Please provide token as a GET parameter."
        return Answer({"error": words}, 401, reason="token")

    def _no(self, words: str) -> dict[str, Any]:
        return {"sent": False, "message": words}


def _recipient(body: dict[str, Any]) -> str:
    if ("phone" in body) == ("chatId" in body):
        raise _Refused("Exactly one of phone and chatId is required")
    if "chatId" in body:
        if key := chat_key(body["chatId"], "g.us"):
            return key
        raise _Refused("Wrong chatId format. It should look like 17633123456@c.us or 17680561234-1479621234@g.us")
    phone = str(body["phone"])
    if not re.fullmatch(r"[1-9]\d{8,13}", phone, re.ASCII):
        raise _Refused(_WRONG_PHONE)
    if len(phone) == 11 and phone[0] == "8":
        raise _Refused("Phones of Russia and Kazakhstan begin with 7, not with 8")
    return phone


def _contacts(body: dict[str, Any], message: Message) -> None:
    if "contacts" in body:  # 1msg takes the Cloud API's objects
        try:
            message.cards = read_cards(body["contacts"])
        except BodyFault as why:
            raise _Refused(why.details) from None
        return
    ids = body.get("contactId")
    ids = [ids] if isinstance(ids, str) else ids
    if not isinstance(ids, list) or not ids:
        raise _Refused("contactId is required")
    if not all(chat_key(each) for each in ids):
        raise _Refused("Wrong contactId format. It should look like 17633123456@c.us")
    message.cards = len(ids)
