"""WAHA, as its documents and recordings have it: 201 with a message, 422 where the session isn't WORKING.

Source: https://waha.devlike.pro/docs/how-to/send-messages/
"""

import re
from typing import Any, ClassVar

from .faults import Fault, FaultKind
from .gateway import chat_key, contact_fault, inline_fault
from .service import Answer, Call, Service, throttle_headers
from .truth import Action, Message

_SESSION = re.compile(r"/api/sessions/([^/]+)/?")
_FIELDS = {
    "/api/sendText": {"session", "chatId", "text", "reply_to", "linkPreview", "linkPreviewHighQuality"},
    "/api/sendVoice": {"session", "chatId", "file", "convert", "reply_to"},
    "/api/sendContactVcard": {"session", "chatId", "contacts", "reply_to"},
}
_KINDS = {"/api/sendText": "text", "/api/sendVoice": "audio", "/api/sendContactVcard": "contacts"}
_FILE_FIELDS = ("mimetype", "filename", "url", "data")


class WahaService(Service):
    """One server with one session."""

    name: ClassVar[str] = "waha"

    async def answer(self, call: Call) -> Answer:
        """Answer `/api/sendVoice`, `/api/sendContactVcard`, `/api/sessions/{name}`, `/api/contacts/check-exists`."""
        session = _SESSION.fullmatch(call.path)
        send = call.path in _FIELDS and call.method == "POST"
        check = session is not None or call.path == "/api/contacts/check-exists"
        action = Action.SEND if send else Action.CHECK if check else Action.OTHER
        self.truth.called(self.name, action)
        if call.headers.get(b"x-api-key", b"").decode("latin-1") != self.settings.token:
            return self._unauthorized()
        if send:
            return await self._send(call)
        if action is Action.CHECK and call.method == "GET":
            if struck := await self.struck(Action.CHECK):
                return struck
            return self._session(session[1]) if session else self._number_check(call)
        return self._error(404, f"Cannot {call.method} {call.path}", "Not Found")

    def refusal(self, fault: Fault) -> Answer:
        """Say a fault in WAHA's words."""
        match fault.kind:
            case FaultKind.EXPIRED_TOKEN:
                return self._unauthorized()
            case FaultKind.SESSION_DOWN:
                return self._not_working("SCAN_QR_CODE")
            case FaultKind.REPUTATION:
                exception = {"message": "server returned error 463", "name": "Error", "stack": "Error: …"}
                body = {"statusCode": 500, "timestamp": "2026-11-20T12:00:00.000Z", "exception": exception}
                return Answer(body, 500, reason=fault.kind)
            case _:
                body = {"statusCode": 429, "message": "ThrottlerException: Too Many Requests"}
                headers = throttle_headers(fault)
                return Answer(body, fault.status or 429, headers, reason=fault.kind, throttled=True)

    async def struck(self, action: Action) -> Answer | None:
        """As for every service; a session that is down is told in a 200, not refused."""
        answer = await super().struck(action)
        if answer is not None and answer.reason == "session":
            return self._session(self.settings.waha_session, "SCAN_QR_CODE")
        return answer

    def acceptance(self, message: Message, fault: Fault | None) -> Answer:
        """Answer 201 with the engine's message object."""
        number = self.next_number()
        chat = message.recipient if "@" in message.recipient else f"{message.recipient}@c.us"
        message.message_id = serialized = f"true_{chat}_3EB0{number:016X}"
        given: Any = serialized
        if self.settings.waha_engine == "WEBJS":
            given = {"fromMe": True, "remote": chat, "id": f"3EB0{number:016X}", "_serialized": serialized}
        return Answer({"id": given, "timestamp": 1790000000, "fromMe": True, "to": chat, "ack": 0, "ackName": "PENDING"},
                      201)  # fmt: skip

    async def _send(self, call: Call) -> Answer:
        body = call.json()
        if not isinstance(body, dict):
            return self._bad_request("the body must be a JSON object")
        wrong = [f"property {key} should not exist" for key in body if key not in _FIELDS[call.path]]
        wrong += [f"{key} should not be empty" for key in ("session", "chatId") if not body.get(key)]
        if wrong:
            return self._bad_request(*wrong)
        recipient = chat_key(body["chatId"], "g.us", "newsletter", "lid")
        if not recipient:
            return self._bad_request("chatId must be …@c.us, …@g.us, …@newsletter or …@lid")
        if body["session"] != self.settings.waha_session:
            return self._not_working("STOPPED", str(body["session"]))
        message = Message(
            service=self.name,
            recipient=recipient,
            kind=_KINDS[call.path],
            reply_to=str(body.get("reply_to") or ""),
            body={key: value for key, value in body.items() if key != "file"},
        )
        if message.kind == "audio":
            fault = await self._voice(body, message)
        elif message.kind == "contacts":
            fault = _cards(body.get("contacts"), message)
        else:
            written = isinstance(body.get("text"), str) and 0 < len(body["text"]) <= 4096
            fault = "" if written else "text must be longer than or equal to 1 characters"
        return self._bad_request(fault) if fault else await self.send(message)

    async def _voice(self, body: dict[str, Any], message: Message) -> str:
        file, convert = body.get("file"), body.get("convert", False)
        if not isinstance(file, dict) or not isinstance(convert, bool):
            return "file must be an object" if not isinstance(file, dict) else "convert must be a boolean value"
        for key in file:
            if key not in _FILE_FIELDS:  # `convert` did nothing here (devlikeapro/waha#1453)
                return f"file.property {key} should not exist"
        if ("url" in file) == ("data" in file):
            return "file takes exactly one of url and data"
        if not file.get("mimetype"):
            return "file.mimetype should not be empty"
        if not convert and file["mimetype"] != "audio/ogg; codecs=opus":
            return "file.mimetype must be audio/ogg; codecs=opus unless convert is true"
        message.voice = True
        if "url" in file:
            message.media = str(file["url"])
            fault = await self.links.fault(message.media, voice=not convert)
            return f"file.url {fault}" if fault else ""
        data = str(file["data"])
        message.media = f"inline:{len(data)}"
        fault = inline_fault(data, voice=not convert)
        return f"file.data: {fault}" if fault else ""

    def _session(self, name: str, state: str = "WORKING") -> Answer:
        if name != self.settings.waha_session:
            return self._error(404, "Session not found", "Not Found")
        me = {"id": "16505550100@c.us", "pushName": "Sandbox"} if state == "WORKING" else None
        return Answer(
            {"name": name, "status": state, "config": {}, "me": me, "engine": {"engine": self.settings.waha_engine}}
        )

    def _number_check(self, call: Call) -> Answer:
        query = call.query
        phone = query.get("phone", "").removeprefix("+")
        if not phone.isdecimal() or query.get("session") != self.settings.waha_session:
            return self._bad_request("phone and session should not be empty")
        exists = not phone.endswith("0199")
        return Answer({"numberExists": exists} | ({"chatId": f"{phone}@c.us"} if exists else {}))

    def _not_working(self, state: str, name: str = "") -> Answer:
        body = {
            "error": "Session status is not as expected. Try again later or restart the session",
            "session": name or self.settings.waha_session,
            "status": state,
            "expected": ["WORKING"],
        }
        return Answer(body, 422, reason="session")

    def _unauthorized(self) -> Answer:
        return Answer({"message": "Unauthorized", "statusCode": 401}, 401, reason="key")

    def _bad_request(self, *words: str) -> Answer:
        return Answer({"message": list(words), "error": "Bad Request", "statusCode": 400}, 400, reason="400")

    def _error(self, status: int, words: str, title: str) -> Answer:
        return Answer({"message": words, "error": title, "statusCode": status}, status, reason=str(status))


def _cards(contacts: Any, message: Message) -> str:
    if not isinstance(contacts, list) or not contacts:
        return "contacts should not be empty"
    message.cards = len(contacts)
    faults = (contact_fault(each, vcard=True) for each in contacts)
    return next((f"contacts.{n}.{fault}" for n, fault in enumerate(faults) if fault), "")
