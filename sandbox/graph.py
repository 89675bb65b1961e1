"""Meta's Graph API as far as its documents and captured answers go: messages, media, the phone number.

Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/send-messages
"""

import base64
import hashlib
import json
import re
import time
from dataclasses import dataclass
from typing import Any, ClassVar

from .faults import Fault, FaultKind
from .graph_body import BodyFault, read_message
from .graph_webhooks import GraphWebhooks
from .service import Answer, Call, Room, Service, throttle_headers
from .settings import SandboxSettings
from .truth import Action, Message
from .uploads import UploadFault, read_upload
from .voice import NotVoice, container, read_voice
from .webhooks import Writer

_PATH = re.compile(r"/v(\d{1,2})\.0/(\d{1,32})(?:/(messages|media|content))?/?")
_VERSIONS = range(21, 27)
_TYPES = ("audio/aac", "audio/mp4", "audio/amr", "audio/mpeg", "audio/ogg", "audio/opus")
_TYPE_OF = {"aac": "audio/aac", "mp4": "audio/mp4", "amr": "audio/amr", "mp3": "audio/mpeg", "ogg": "audio/ogg"}
_NUMBER_FIELDS = {"id", "verified_name", "display_phone_number", "quality_rating", "throughput", "platform_type"}
_NUMBER_FIELDS |= {"code_verification_status", "name_status", "status", "account_mode", "is_official_business_account"}
_NUMBER_FIELDS |= {"health_status", "whatsapp_business_manager_messaging_limit", "webhook_configuration"}
_TITLES = {
    1: "API Unknown", 2: "API Service", 4: "API Too Many Calls", 100: "Invalid parameter", 190: "Access token has expired",
    368: "Temporarily blocked for policies violations", 130429: "Rate limit hit", 131000: "Something went wrong",
    131008: "Required parameter is missing", 131009: "Parameter value is not valid", 131016: "Service unavailable",
    131021: "Recipient cannot be sender", 131026: "Message undeliverable", 131047: "Re-engagement message",
    131053: "Media upload error", 131056: "(Business Account, Consumer Account) pair rate limit hit",
    133010: "Phone number not registered",
}  # fmt: skip
_FAULT_CODES: dict[FaultKind, tuple[int, int, str]] = {
    FaultKind.THROTTLE: (130429, 429, "Cloud API message throughput has been reached."),
    FaultKind.PAIR: (131056, 400, "Message failed to send because there were too many messages sent from this phone number"
                     " to the same phone number in a short period of time."),
    FaultKind.EXPIRED_TOKEN: (190, 401, ""),
    FaultKind.WINDOW: (131047, 400, "Message failed to send because more than 24 hours have passed since the customer last"
                       " replied to this number."),
    FaultKind.SESSION_DOWN: (133010, 400, "The business phone number is not registered."),
}  # fmt: skip


@dataclass(slots=True)
class _Media:
    content: bytes
    mime_type: str
    sha256: str
    expires: float
    voice_fault: str


class GraphService(Service):
    """The Cloud API of one business phone number."""

    name: ClassVar[str] = "graph"
    webhooks_by: ClassVar[type[Writer] | None] = GraphWebhooks
    special_faults: ClassVar[frozenset[FaultKind]] = frozenset(
        {FaultKind.PAIR, FaultKind.WINDOW, FaultKind.MEDIA_DISOWNED, FaultKind.QUEUED}
    )

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self._media: dict[str, _Media] = {}
        self._bearer = f"Bearer {self.settings.token}".encode()
        self._messages_paths = {f"/v{n}.0/{self.settings.phone_number_id}/messages" for n in _VERSIONS}
        self._own_digits = self.settings.display_phone_number.removeprefix("+")

    @classmethod
    def account(cls, settings: SandboxSettings) -> dict[str, Any]:
        """Give the fields of its block."""
        secrets = {"app_secret": settings.app_secret, "verify_token": settings.verify_token}
        return {"access_token": settings.token, "phone_number_id": settings.phone_number_id, **secrets}

    async def answer(self, call: Call) -> Answer:
        """Answer `/v26.0/{phone number id}[/messages|/media]` and `/v26.0/{media id}`."""
        if call.path in self._messages_paths and call.method == "POST":
            self.truth.called(self.name, Action.SEND)
            return self._unauthorised(call) or await self._message(call)
        path = _PATH.fullmatch(call.path)
        if path is None or int(path[1]) not in _VERSIONS:
            self.truth.called(self.name, Action.OTHER)
            return self._error(2500, 400, message="Unknown path components: " + call.path)
        node, edge = path[2], path[3]
        is_number = node == self.settings.phone_number_id
        action = {"messages": Action.SEND, "media": Action.UPLOAD}.get(
            edge, Action.CHECK if is_number else Action.OTHER
        )
        self.truth.called(self.name, action)
        if refused := self._unauthorised(call) or await self.struck(action):
            not_registered = action is Action.CHECK and refused.reason == "133010"
            return self._phone_number(call, blocked=True) if not_registered else refused
        match (call.method, is_number, edge):
            case ("GET", True, None):
                return self._phone_number(call)
            case ("POST", True, "media"):
                return await self._upload(call)
            case ("GET" | "DELETE", False, None) if media := self._stored(node):
                return self._stored_media(call, node, media)
            case ("GET", False, "content") if media := self._stored(node):
                return Answer(media.content, content_type=media.mime_type)
        return self._no_object(node)

    def refusal(self, fault: Fault) -> Answer:
        """Say a fault as an error object."""
        if fault.kind is FaultKind.ERROR:
            return self._error(fault.code or 1, fault.status or 400, fault.details, headers=throttle_headers(fault))
        if fault.kind is FaultKind.EXPIRED_TOKEN:
            words = "Error validating access token: Session has expired on Friday, 20-Nov-26 04:00:00 PST."
            return self._error(190, fault.status or 401, message=words, error_subcode=463)
        code, status, details = _FAULT_CODES[fault.kind]
        headers = throttle_headers(fault)
        if fault.regain_minutes:
            usage = {"type": "whatsapp", "call_count": 100, "estimated_time_to_regain_access": fault.regain_minutes}
            headers["X-Business-Use-Case-Usage"] = json.dumps({"102290129340398": [usage]})
        return self._error(code, fault.status or status, details, headers=headers)

    def holds(self, fault: Fault, message: Message) -> bool:
        """A queued message, and one whose media id there is no need to disown."""
        return fault.kind is FaultKind.QUEUED or (
            fault.kind is FaultKind.MEDIA_DISOWNED and message.media not in self._media
        )

    def refused(self, fault: Fault, message: Message) -> Answer:
        """A disowned media id is forgotten for good."""
        if fault.kind is FaultKind.MEDIA_DISOWNED:
            del self._media[message.media]
            return self._gone(message.media)
        return self.refusal(fault)

    def acceptance(self, message: Message, fault: Fault | None) -> Answer:
        """Give the message its `wamid`."""
        number = self.next_number()
        message.message_id = (
            f"wamid.HBg{base64.b64encode(f'{message.recipient}:{self.mark(number):018d}'.encode()).decode()}"
        )
        status = "accepted" if fault is None or fault.kind is not FaultKind.QUEUED else "held_for_quality_assessment"
        person = message.recipient
        contact = {"input": person, "user_id": person}
        if person.isdecimal():
            contact = {"input": message.body["to"], "wa_id": self.webhooks.wa_id(person)}
        return Answer(
            {
                "messaging_product": "whatsapp",
                "contacts": [contact],
                "messages": [{"id": message.message_id, "message_status": status}],
            }
        )

    async def _message(self, call: Call) -> Answer:
        try:
            message = read_message(call.json(), self._own_digits)
        except BodyFault as wrong:
            return self._error(wrong.code, 400, wrong.details)
        if message.recipient == self._own_digits:
            return self._error(131021, 400, "Sender and recipient phone number is the same.")
        if message.kind == "audio" and (refused := await self._audio_fault(message)):
            return refused
        return await self.send(message)

    async def _audio_fault(self, message: Message) -> Answer | None:
        if not message.media.isdecimal():
            wrong = await self.links.fault(message.media, voice=message.voice)
            return self._error(131053, 400, f"The media link {wrong}.") if wrong else None
        media = self._stored(message.media)
        if media is None:
            return self._gone(message.media)
        if media.mime_type == "audio/opus" or (message.voice and media.voice_fault):
            why = media.voice_fault or "Unsupported Audio mime type audio/opus. Please use audio/ogg; codecs=opus"
            return self._error(131053, 400, f"Unsupported Audio: {why}.")
        return None

    async def _upload(self, call: Call) -> Answer:
        try:
            upload = await read_upload(call)
        except UploadFault as wrong:
            return self._error(100, 400, message=str(wrong))
        base_type = upload.mime_type.partition(";")[0].strip()
        if base_type not in _TYPES:
            words = f"Param file must be a file with one of the following types: {', '.join(_TYPES)}."
            return self._error(100, 400, message=f"{words} Received file of type '{upload.mime_type}'.")
        if _TYPE_OF.get(container(upload.content)) not in (base_type, "audio/ogg" if base_type == "audio/opus" else ""):
            return self._error(131053, 400, f"The file's content is not {base_type}.")
        voice_fault = ""
        try:
            read_voice(upload.content)
        except NotVoice as why:
            voice_fault = str(why)
            if base_type == "audio/ogg":
                return self._error(131053, 400, f"audio/ogg takes mono Opus only: {why}.")
        media_id = f"{1013859600000000 + self.next_number()}"
        self._media[media_id] = _Media(
            content=upload.content,
            mime_type=upload.mime_type,
            sha256=hashlib.sha256(upload.content).hexdigest(),
            expires=time.monotonic() + (upload.ttl_minutes * 60 or self.settings.media_seconds),
            voice_fault=voice_fault,
        )
        self.truth.uploaded(self.name)
        return Answer({"id": media_id})

    def _stored(self, media_id: str) -> _Media | None:
        media = self._media.get(media_id)
        if media is not None and media.expires <= time.monotonic():
            del self._media[media_id]
            return None
        return media

    def _stored_media(self, call: Call, media_id: str, media: _Media) -> Answer:
        if call.query.get("phone_number_id", self.settings.phone_number_id) != self.settings.phone_number_id:
            return self._no_object(media_id)
        if call.method == "DELETE":
            del self._media[media_id]
            return Answer({"success": True})
        return Answer(
            {
                "messaging_product": "whatsapp",
                "url": f"{call.base}/v26.0/{media_id}/content",
                "mime_type": media.mime_type,
                "sha256": media.sha256,
                "file_size": str(len(media.content)),
                "id": media_id,
            }
        )

    def _phone_number(self, call: Call, *, blocked: bool = False) -> Answer:
        asked = [name for name in call.query.get("fields", "").split(",") if name]
        asked = asked or ["verified_name", "display_phone_number", "quality_rating"]
        for name in asked:
            if name not in _NUMBER_FIELDS:
                words = f"Tried accessing nonexisting field ({name}) on node type (WhatsAppBusinessPhoneNumber)"
                return self._error(100, 400, message=words)
        posted_to = self.webhooks.addresses(self.name)
        known: dict[str, Any] = {
            "verified_name": "Sandbox",
            "display_phone_number": self.settings.display_phone_number,
            "quality_rating": "GREEN",
            "throughput": {"level": self.settings.throughput},
            "platform_type": "CLOUD_API",
            "code_verification_status": "VERIFIED",
            "name_status": "APPROVED",
            "status": "DISCONNECTED" if blocked else "CONNECTED",
            "health_status": {"can_send_message": "BLOCKED" if blocked else "AVAILABLE", "entities": []},
            "whatsapp_business_manager_messaging_limit": "TIER_2K",
            "webhook_configuration": {"application": posted_to[0]} if posted_to else {},
            "account_mode": "SANDBOX",
            "is_official_business_account": False,
        }
        return Answer({name: known[name] for name in asked if name != "id"} | {"id": self.settings.phone_number_id})

    def _unauthorised(self, call: Call) -> Answer | None:
        given = call.headers.get(b"authorization")
        if given == self._bearer:
            return None
        if given is None:
            return self._error(104, 401, message="An access token is required to request this resource.")
        token = given.decode("latin-1").removeprefix("Bearer ")
        words = "Cannot parse access token" if token.isalnum() else f"Malformed access token {token}"
        return self._error(190, 401, message=f"Invalid OAuth access token - {words}")

    def _gone(self, media_id: str) -> Answer:
        code = self.settings.gone_media_code
        if code == 100:  # recorded verbatim
            words = "Param audio['id'] is not a valid whatsapp business account media attachment ID"
            return self._error(100, 400, message=words)
        return self._error(code, 400, f"The media ID {media_id} was not found or has expired.")

    def _no_object(self, node: str) -> Answer:
        words = f"Unsupported post request. Object with ID '{node}' does not exist, cannot be loaded due to missing"
        words += " permissions, or does not support this operation"
        return self._error(100, 400, message=words, type="GraphMethodException", error_subcode=33)

    def _error(
        self,
        code: int,
        status: int,
        details: str = "",
        *,
        message: str = "",
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> Answer:
        error: dict[str, Any] = {
            "message": f"(#{code}) {message or _TITLES.get(code, 'Error')}",
            "type": "OAuthException",
            "code": code,
            "fbtrace_id": f"A{self.next_number():010d}sandbox",
        }
        if details:
            error["error_data"] = {"messaging_product": "whatsapp", "details": details}
        throttled = code in {4, 130429}
        return Answer({"error": error | more}, status, headers or {}, reason=str(code), throttled=throttled)
