"""Wawp v2, as its documents and recordings have it: lenient in where values stand, 200 for some refusals.

Source: https://api.wawp.net/en/docs/v2/send/voice
"""

from typing import Any, ClassVar

from .faults import Fault, FaultKind
from .gateway import chat_key, contact_fault
from .gateway_webhooks import WawpWebhooks
from .history import waha_history
from .service import Answer, Call, Service, throttle_headers
from .settings import SandboxSettings
from .truth import Action, Message
from .webhooks import Writer

_KINDS = {"/v2/send/voice": "audio", "/v2/send/contact": "contacts", "/v2/send/text": "text"}
_ACTIONS = dict.fromkeys(_KINDS, Action.SEND) | {"/v2/session/info": Action.CHECK}
_HISTORY = "/v2/chats/messages"
_CREDENTIAL = {"instance_id", "access_token"}
_FIELDS = {
    "/v2/send/text": {"chatId", "message", "reply_to"},
    "/v2/send/voice": {"chatId", "file[url]", "file[filename]", "file[mimetype]", "convert", "reply_to"},
    "/v2/send/contact": {"chatId", "contacts", "reply_to"},
    "/v2/session/info": set[str](),
}
_REQUIRED = {
    "/v2/send/text": ("chatId", "message"),
    "/v2/send/voice": ("chatId", "file[url]", "file[filename]", "file[mimetype]", "convert"),
    "/v2/send/contact": ("chatId", "contacts"),
    "/v2/session/info": (),
}


class WawpService(Service):
    """One instance."""

    name: ClassVar[str] = "wawp"
    webhooks_by: ClassVar[type[Writer] | None] = WawpWebhooks
    special_faults: ClassVar[frozenset[FaultKind]] = frozenset({FaultKind.SENT_FALSE, FaultKind.QUEUED})

    @classmethod
    def account(cls, settings: SandboxSettings) -> dict[str, Any]:
        """Give the fields of its block."""
        signs = {"webhook_secret": settings.webhook_secret, "webhook_header": settings.wawp_webhook_header}
        return {"instance_id": settings.wawp_instance, "access_token": settings.token, **signs}

    async def answer(self, call: Call) -> Answer:
        """Answer `/v2/send/voice`, `/v2/send/contact` and `/v2/session/info`."""
        path = call.path.rstrip("/")
        action = _ACTIONS.get(path, Action.OTHER)
        self.truth.called(self.name, action)
        if action is Action.OTHER and path != _HISTORY:
            return self._error(404, "rest_no_route", "No route was found matching the URL and request method.")
        body = call.json() if call.body else {}
        if not isinstance(body, dict):
            return self._error(400, "invalid_json", "The request body is not a JSON object.")
        given = self._given(_flat(body), call)
        if given.get("instance_id") != self.settings.wawp_instance:
            words = "Session not found. Please verify your instance_id and make sure that the session was created."
            return self._error(404, "invalid_session", words)
        if given.get("access_token") != self.settings.token:
            return self._wrong_token()
        if action is Action.CHECK:
            return await self.struck(Action.CHECK) or self._session("WORKING")
        if path == _HISTORY:
            return await self.struck(Action.OTHER) or self._history(given)
        if call.method != "POST":
            return self._error(405, "method_not_allowed", "Use POST.")
        return await self._send(path, given)

    def _history(self, given: dict[str, Any]) -> Answer:
        """A chat's messages of ours; without filters by time or sender."""
        recipient = chat_key(given.get("chatId"), "g.us", "newsletter", "lid", bare=True)
        if not recipient:
            return self._error(400, "missing_param", "Missing parameter(s): chatId")
        page: dict[str, str] = {name: str(given[name]) for name in ("limit", "offset") if name in given}
        return Answer(waha_history(self.truth.sent(self.name, recipient), page, "WEBJS"))

    def _given(self, body: dict[str, Any], call: Call) -> dict[str, Any]:
        """What was sent, the credential only from where this server looks for it."""
        places = self.settings.wawp_credential_in
        token = call.headers.get(b"access-token", b"").decode("latin-1")
        header = {"access_token": token, **call.query} if token else {}
        found: dict[str, Any] = {}
        for place, values in (("header", header), ("query", call.query), ("body", body)):
            if place in places:
                found |= {key: value for key, value in values.items() if key in _CREDENTIAL}
        rest = {key: value for key, value in (body | call.query).items() if key not in _CREDENTIAL}
        return rest | found

    def refusal(self, fault: Fault) -> Answer:
        """Say a fault in Wawp's words."""
        match fault.kind:
            case FaultKind.SENT_FALSE:
                return Answer({"result": False}, reason=fault.kind)
            case FaultKind.EXPIRED_TOKEN:
                return self._wrong_token()
            case FaultKind.SESSION_DOWN:
                return self._error(200, "invalid_session", "Session closed")
            case FaultKind.ERROR:
                words = fault.details or "Upstream request failed"
                return self._error(fault.status or 500, "wawp_upstream_error", words)
            case _:
                words = "Rate limit exceeded: too many messages per minute."
                return Answer({"code": "rate_limit", "message": words}, fault.status or 429, throttle_headers(fault),
                              reason=fault.kind, throttled=True)  # fmt: skip

    async def struck(self, action: Action) -> Answer | None:
        """As for every service; a session that is down is told as its state."""
        answer = await super().struck(action)
        return self._session("SCAN_QR_CODE") if answer is not None and answer.reason == "invalid_session" else answer

    def acceptance(self, message: Message, fault: Fault | None) -> Answer:
        """Answer in one of the recorded shapes, or that the smart queue holds it."""
        number = self.next_number()
        if fault is not None:
            return Answer({"code": "success", "message": "Message added to the smart queue", "job_id": f"{number}"})
        chat = message.recipient if "@" in message.recipient else f"{message.recipient}@c.us"
        message.message_id = serialized = f"true_{chat}_3EB0{self.mark(number):016X}"
        whole = {"fromMe": True, "remote": chat, "id": f"3EB0{self.mark(number):016X}", "_serialized": serialized}
        shapes = self.settings.wawp_shapes
        match shapes[number % len(shapes)]:
            case "_data":
                return Answer({"_data": {"id": whole, "ack": 0}, "ack": 0, "vCards": {}, "links": {}})
            case "id":
                return Answer({"id": whole, "ack": 0, "timestamp": 1790000000})
            case "string":
                return Answer({"id": serialized, "ack": 0})
            case "key":
                message.message_id = f"3EB0{self.mark(number):016X}"
                return Answer({"key": {"remoteJid": chat, "fromMe": True, "id": whole["id"]}, "status": "PENDING"})
            case _:
                return Answer({"data": {"id": serialized}, "code": "success"})

    async def _send(self, path: str, given: dict[str, Any]) -> Answer:
        missing = [name for name in _REQUIRED[path] if given.get(name) in (None, "", [])]
        if missing:
            return self._error(400, "missing_param", f"Missing parameter(s): {', '.join(missing)}")
        for name in given:
            if name not in _FIELDS[path] | _CREDENTIAL:
                return self._error(400, "invalid_param", f"Invalid parameter(s): {name}")
        recipient = chat_key(given["chatId"], "g.us", "newsletter", "lid", bare=True)
        if not recipient:
            return self._error(400, "invalid_param", "Invalid chatId format")
        message = Message(
            service=self.name,
            recipient=recipient,
            kind=_KINDS[path],
            reply_to=str(given.get("reply_to") or ""),
            body={name: value for name, value in given.items() if name not in _CREDENTIAL},
        )
        if message.kind == "audio":
            fault = await self._voice(given, message)
        elif message.kind == "contacts":
            fault = _cards(given["contacts"], message)
        else:
            fault = "" if 0 < len(str(given["message"])) <= 4096 else "message must have 1 to 4096 characters"
        return self._error(400, "invalid_param", fault) if fault else await self.send(message)

    async def _voice(self, given: dict[str, Any], message: Message) -> str:
        convert = str(given["convert"]).lower()
        if convert not in ("true", "false"):
            return "convert must be a boolean"
        message.media, message.voice = str(given["file[url]"]), True
        mime_type = str(given["file[mimetype]"])
        if convert == "false" and mime_type != "audio/ogg; codecs=opus":
            return "file[mimetype] must be audio/ogg; codecs=opus, or convert must be true"
        fault = await self.links.fault(message.media, voice=convert == "false", plain_http=False)
        return f"file[url] {fault}" if fault else ""

    def _session(self, state: str) -> Answer:
        me = {"id": "16505550100@c.us", "pushName": "Sandbox"} if state == "WORKING" else None
        return Answer({"name": self.settings.wawp_instance, "status": state, "me": me})

    def _wrong_token(self) -> Answer:
        return self._error(401, "invalid_token", "Invalid access token")

    def _error(self, status: int, code: str, words: str) -> Answer:
        return Answer({"code": code, "message": words}, status, reason=code)


def _flat(body: dict[str, Any]) -> dict[str, Any]:
    """A nested `file` is taken too, as the WordPress plugin sends it."""
    file = body.get("file")
    if not isinstance(file, dict):
        return body
    rest = {key: value for key, value in body.items() if key != "file"}
    return rest | {f"file[{key}]": value for key, value in file.items()}


def _cards(contacts: Any, message: Message) -> str:
    if not isinstance(contacts, list):
        return "contacts must be an array"
    message.cards = len(contacts)
    return next((f"contacts.{n}.{fault}" for n, each in enumerate(contacts) if (fault := contact_fault(each))), "")
