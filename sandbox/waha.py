"""WAHA, as a server of 2026.2.1 and its documents have it: 201 with a message, 422 where the session isn't WORKING.

Its send endpoints validate little: an unknown property or a bad chat id gives 201, a missing `file` a 500 with a
TypeError, and a 500 repeats the whole request. `SandboxSettings.waha_validates` refuses what the documents refuse.

Source: https://waha.devlike.pro/docs/how-to/send-messages/
"""

import re
from typing import Any, ClassVar
from urllib.parse import unquote

from .faults import Fault, FaultKind
from .gateway import chat_key, contact_fault, inline_fault
from .gateway_webhooks import WahaWebhooks
from .history import waha_history, waha_message
from .people import lid_of
from .service import Answer, Call, Service, throttle_headers
from .settings import SandboxSettings
from .truth import Action, Message
from .webhooks import Writer

_SESSION = re.compile(r"/api/sessions/([^/]+)/?")
_NEW_ID = re.compile(r"/api/([^/]+)/new-message-id/?")
_CHATS = re.compile(r"/api/([^/]+)/chats/([^/]+)/messages(?:/([^/]+))?/?")
_LIDS = re.compile(r"/api/([^/]+)/lids/(pn/)?([^/]+)/?")
_OWN_IDS_SINCE = (2026, 4, 3)
_FIELDS = {
    "/api/sendText": {"session", "chatId", "text", "reply_to", "linkPreview", "linkPreviewHighQuality", "id"},
    "/api/sendVoice": {
        "session",
        "chatId",
        "file",
        "convert",
        "reply_to",
        "id",
    },  # whether it counts is documented nowhere
    "/api/sendContactVcard": {"session", "chatId", "contacts", "reply_to", "id"},
}
_KINDS = {"/api/sendText": "text", "/api/sendVoice": "audio", "/api/sendContactVcard": "contacts"}
_LINK_FAILURES = {
    "NOWEB": ("Failed to fetch stream", "Error"),
    "GOWS": ("Request failed with status code 404", "AxiosError"),
    "WEBJS": ("request to the file failed", "FetchError"),
}
_FILE_FIELDS = ("mimetype", "filename", "url", "data")


class WahaService(Service):
    """One server with one session."""

    name: ClassVar[str] = "waha"
    webhooks_by: ClassVar[type[Writer] | None] = WahaWebhooks
    special_faults: ClassVar[frozenset[FaultKind]] = frozenset({FaultKind.REPUTATION})

    @classmethod
    def account(cls, settings: SandboxSettings) -> dict[str, Any]:
        """Give the fields of its block."""
        return {
            "session": settings.waha_session,
            "api_key": settings.token,
            "webhook_hmac_key": settings.webhook_secret,
        }

    async def answer(self, call: Call) -> Answer:
        """Answer `/api/sendVoice`, `/api/sendContactVcard`, `/api/sessions/{name}`, `/api/contacts/check-exists`."""
        session = _SESSION.fullmatch(call.path)
        send = call.path in _FIELDS and call.method == "POST"
        check = session is not None or call.path in ("/api/contacts/check-exists", "/api/version")
        action = Action.SEND if send else Action.CHECK if check else Action.OTHER
        self.truth.called(self.name, action)
        if call.headers.get(b"x-api-key", b"").decode("latin-1") != self.settings.token:
            return self._unauthorized()
        if send:
            return await self._send(call)
        if action is Action.CHECK and call.method == "GET":
            if struck := await self.struck(Action.CHECK):
                return struck
            if call.path == "/api/version":
                version = {"version": self.settings.waha_version, "engine": self.settings.waha_engine, "tier": "CORE"}
                return Answer(version)
            return self._session(session[1]) if session else self._number_check(call)
        if call.method == "GET" and _NEW_ID.fullmatch(call.path) and self._own_ids():
            return Answer({"id": f"3EB0{self.mark(self.next_number()):018X}"})
        if call.method == "GET" and (chat := _CHATS.fullmatch(call.path)) and chat[1] == self.settings.waha_session:
            return await self.struck(Action.OTHER) or self._history(unquote(chat[2]), chat[3], call)
        if call.method == "GET" and (lid := _LIDS.fullmatch(call.path)) and lid[1] == self.settings.waha_session:
            return self._lid(unquote(lid[3]), by_number=bool(lid[2]))
        return self._error(404, f"Cannot {call.method} {call.path}", "Not Found")

    def hesitates(self, fault: Fault) -> float:
        """Wait for a session that isn't WORKING, as the server does."""
        return self.settings.waha_session_seconds if fault.kind is FaultKind.SESSION_DOWN else 0.0

    def refusal(self, fault: Fault) -> Answer:
        """Say a fault in WAHA's words."""
        match fault.kind:
            case FaultKind.EXPIRED_TOKEN:
                return self._unauthorized()
            case FaultKind.SESSION_DOWN:
                return self._not_working("SCAN_QR_CODE")
            case FaultKind.REPUTATION:
                return self._crash("server returned error 463", reason=fault.kind)
            case FaultKind.ERROR:
                return self._crash(fault.details, reason=fault.kind, status=fault.status or 500)
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
        own = str(message.body.get("id") or "") if self._own_ids() else ""
        bare = own or f"3EB0{self.mark(number):016X}"
        message.message_id = serialized = f"true_{chat}_{bare}"
        given: Any = serialized
        if self.settings.waha_engine == "NOWEB":
            message.message_id = bare
            return Answer(
                {"key": {"remoteJid": chat, "fromMe": True, "id": bare}, "message": {}, "status": "PENDING"}, 201
            )
        if self.settings.waha_engine == "WEBJS":
            given = {"fromMe": True, "remote": chat, "id": bare, "_serialized": serialized}
        return Answer({"id": given, "timestamp": 1790000000, "fromMe": True, "to": chat, "ack": 0, "ackName": "PENDING"},
                      201)  # fmt: skip

    async def _send(self, call: Call) -> Answer:
        body = call.json()
        if not isinstance(body, dict) or not body.get("session"):
            return self._error(400, "Session name is required", "Bad Request")
        if body["session"] != self.settings.waha_session:
            words = f'Session "{body["session"]}" does not exist'
            return Answer({"error": words, "session": body["session"]}, 404, reason="session")
        recipient = chat_key(body.get("chatId"), "g.us", "newsletter", "lid")
        if self.settings.waha_validates:
            wrong = [f"property {key} should not exist" for key in body if key not in _FIELDS[call.path]]
            if call.path == "/api/sendVoice" and not isinstance(body.get("file"), dict):
                wrong.append("file must be an object")
            wrong += [] if recipient else ["chatId must be …@c.us, …@g.us, …@newsletter or …@lid"]
            if wrong:
                return self._bad_request(*wrong)
        message = Message(
            service=self.name,
            recipient=recipient or str(body.get("chatId")),
            kind=_KINDS[call.path],
            reply_to=str(body.get("reply_to") or ""),
            body={key: value for key, value in body.items() if key != "file"},
        )
        if message.kind == "audio" and not isinstance(body.get("file"), dict):
            return self._crash("Cannot read properties of undefined (reading 'url')", "TypeError", body)
        if message.kind == "audio":
            fault = await self._voice(body, message)
        elif message.kind == "contacts":
            fault = _cards(body.get("contacts"), message)
        else:
            written = isinstance(body.get("text"), str) and 0 < len(body["text"]) <= 4096
            fault = "" if written else "text must be longer than or equal to 1 characters"
        if fault.startswith("file.url") and not self.settings.waha_validates:
            return self._crash(*_LINK_FAILURES[self.settings.waha_engine], request=body)
        return self._bad_request(fault) if fault and self.settings.waha_validates else await self.send(message)

    def _history(self, chat: str, bare: str | None, call: Call) -> Answer:
        """A chat's messages of ours, or one of them: `chats/all/messages/{bare id}`."""
        engine = self.settings.waha_engine
        recipient = "" if chat == "all" else chat_key(chat, "g.us", "newsletter", "lid") or chat
        if bare is None:
            return Answer(waha_history(self.truth.sent(self.name, recipient), call.query, engine))
        sent = [m for m in self.truth.sent(self.name, recipient) if m.message_id.rpartition("_")[2] == bare]
        return Answer(waha_message(sent[0], engine)) if sent else self._error(404, "Message not found", "Not Found")

    def _lid(self, given: str, *, by_number: bool) -> Answer:
        """What the session knows of a person's two names; a number's `@lid` always, the other way what it has met."""
        if by_number:
            digits = given.partition("@")[0].removeprefix("+")
            return Answer({"lid": lid_of(digits), "pn": f"{digits}@c.us"})
        lid = given if given.endswith("@lid") else f"{given}@lid"
        met = {lid_of(m.recipient): m.recipient for m in self.truth.sent(self.name, "")}
        return Answer({"lid": lid, "pn": f"{met[lid]}@c.us" if lid in met else None})

    def _own_ids(self) -> bool:
        version = tuple(int(part) for part in self.settings.waha_version.split("."))
        return version >= _OWN_IDS_SINCE and self.settings.waha_engine != "WEBJS"

    async def _voice(self, body: dict[str, Any], message: Message) -> str:
        file, convert = body.get("file"), body.get("convert", False)
        assert isinstance(file, dict)
        if not isinstance(convert, bool):
            return "convert must be a boolean value"
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
        phone = self.settings.display_phone_number.removeprefix("+")
        me = {"id": f"{phone}@c.us", "pushName": "Sandbox"} if state == "WORKING" else None
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

    def _crash(
        self, message: str, name: str = "Error", request: Any = None, *, status: int = 500, reason: str = "500"
    ) -> Answer:
        """A 500 as the server writes one: with its stack and the whole request."""
        exception = {"message": message, "name": name, "stack": f"{name}: {message}\n    at WhatsappSession.send"}
        echo = {"path": "/api", "method": "POST", "body": request or {}}
        at = "2026-11-20T12:00:00.000Z"
        return Answer(
            {"statusCode": status, "timestamp": at, "exception": exception, "request": echo}, status, reason=reason
        )

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
