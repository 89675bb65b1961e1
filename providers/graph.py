"""Meta's Graph API (WhatsApp Cloud API): voice notes, audio and contact cards.

Set up: create an app with the WhatsApp product at https://developers.facebook.com/apps, add a system user in Business
Settings, and generate its token with the permission `whatsapp_business_messaging`. The phone number id stands under
WhatsApp → API Setup; it is not the phone number.

Audio goes as a media id: uploaded once for each sending number, good for 30 days. Free-form messages reach only those
who wrote within 24 hours; others get code 131047. HTTP 200 means accepted, not delivered.

Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/send-messages
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NoReturn

from ..models.audio import Audio
from ..models.contact import Contact
from ..models.errors import AudioError, ErrorKind
from ..models.receipt import Receipt
from ..models.recipient import Recipient, RecipientKind
from .dialect import AccountStatus, Attachment, AudioForm, Dialect, Subscription
from .graph_account import (
    ACCOUNT_FIELDS,
    HEALTH_FIELDS,
    SUBSCRIPTION_FIELDS,
    read_account,
    read_business_account,
    read_callback,
    withholds_a_field,
)
from .graph_errors import read_refusal
from .graph_versions import DEFAULT_VERSION
from .graph_webhooks import BLOCKED_BY_USER
from .http_types import Credential, Exchange, FilePart, Request, Response

VoiceMimeType = Literal["audio/ogg", "audio/ogg; codecs=opus"]

MEDIA_ID_DAYS = 30
MAX_CARDS = 257
MAX_CALLBACK = 512

_UPLOAD_TIMEOUT = 180.0
_UNCONVERTED = {("aac", "aac"), ("amr", "amr_nb"), ("amr", "amr"), ("mp3", "mp3"), ("mp4", "aac"), ("m4a", "aac")}


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What Graph says of an uploaded media id.

    Attributes:
        id: The media id.
        mime_type: As Graph keeps it.
        sha256: Digest of the bytes as Graph gives it.
        size: Bytes.
        url: Where the bytes can be had for five minutes, with the token.
    """

    id: str
    mime_type: str = ""
    sha256: str = ""
    size: int = 0
    url: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class Graph(Dialect):
    """The Graph API for one business phone number.

    Attributes:
        access_token: A system user's or business token.
        phone_number_id: The sending number's id; also the account.
        api_version: Graph version.
        voice_mime_type: What a voice note's upload is called: Meta's table says `audio/ogg`, its run-time error asks
            for `audio/ogg; codecs=opus`.

    Example:
        >>> Graph(phone_number_id="100000000000001", access_token="…").sender
        'graph:100000000000001'

    Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/audio-messages
    """

    name: ClassVar[str] = "graph"
    carries_audio: ClassVar[AudioForm] = "media id"
    media_id_days: ClassVar[int] = MEDIA_ID_DAYS
    pair_limit: ClassVar[tuple[int, float] | None] = (45, 6.0)
    has_windows: ClassVar[bool] = True
    opt_out_code: ClassVar[str] = BLOCKED_BY_USER

    base_url: str = "https://graph.facebook.com"
    account: str = field(init=False, default="")
    credential: Credential = field(init=False, repr=False, default_factory=Credential)
    access_token: str = field(repr=False)
    phone_number_id: str
    api_version: str = DEFAULT_VERSION
    voice_mime_type: VoiceMimeType = "audio/ogg"

    def __post_init__(self) -> None:
        super().__post_init__()
        bearer = Credential(headers={"Authorization": f"Bearer {self.access_token}"})
        self._derive(account=self.phone_number_id, credential=bearer)

    # Building

    def check(self) -> Exchange[AccountStatus]:
        """Read the phone number: whether it can send, how fast, and the portfolio's limit for messages outside windows.

        Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/support/health-status
        """
        response = yield self._ask_for(f"{ACCOUNT_FIELDS},{HEALTH_FIELDS}")
        if withholds_a_field(response.json()):
            response = yield self._ask_for(ACCOUNT_FIELDS)
        return read_account(self._read(response, repeatable=True), redact=self.credential.redact)

    def subscriptions(self) -> Exchange[list[Subscription] | None]:
        """Ask where the number's webhooks are posted, and whether an app is subscribed to its business account at all.

        The token needs `whatsapp_business_management`.

        Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/solution-providers/manage-webhooks
        """
        response = yield self._ask_for(SUBSCRIPTION_FIELDS)
        number = self._read(response, repeatable=True)
        if account := read_business_account(number):
            response = yield Request("GET", f"/{self.api_version}/{account}/subscribed_apps", repeatable=True)
            if not self._read(response, repeatable=True).get("data"):
                return []
        address = read_callback(number)
        return [Subscription(address)] if address else []

    def _ask_for(self, fields: str) -> Request:
        path = f"/{self.api_version}/{self.phone_number_id}"
        return Request("GET", path, query={"fields": fields}, repeatable=True)

    def send_audio(
        self,
        audio: Attachment,
        to: Recipient,
        *,
        callback: str = "",
        identity_key_hash: str = "",
        messaging_account_id: str = "",
    ) -> Exchange[Receipt]:
        """Send one voice note or basic audio by media id or link.

        Args:
            audio: `media_id` (recommended), or a public `link` that Meta loads and keeps for ten minutes.
            to: A phone number, business-scoped user id or Graph group, with the message to quote.
            callback: `biz_opaque_callback_data`, at most 512 characters; comes back in status webhooks.
            identity_key_hash: Refuse with 137000 unless the recipient's identity key has this hash.
            messaging_account_id: The account to bill, where the business has several.

        Raises:
            UnsupportedError: Before any request: a chat id of the gateways, inline bytes, `convert`, ….
            ProviderError: One of the four verdicts.
            OutcomeUnknownError: The answer says neither yes nor no.
        """
        body = self._envelope("audio", to, callback, identity_key_hash, messaging_account_id)
        body["audio"] = self._audio(audio)
        return self._send(body, to)

    def send_contacts(
        self,
        contacts: Sequence[Contact],
        to: Recipient,
        *,
        callback: str = "",
        identity_key_hash: str = "",
        messaging_account_id: str = "",
    ) -> Exchange[Receipt]:
        """Send 1 to 257 contact cards in one message; arguments and errors as for `send_audio`.

        Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/contacts-messages
        """
        if to.kind is RecipientKind.GRAPH_GROUP:
            self.raise_unsupported("contacts", "groups take no contact cards (code 130501); send them to each person")
        if not 1 <= len(contacts) <= MAX_CARDS:
            self.raise_unsupported("contacts", f"a message takes 1 to {MAX_CARDS} cards, not {len(contacts)}")
        body = self._envelope("contacts", to, callback, identity_key_hash, messaging_account_id)
        body["contacts"] = [self._card(contact) for contact in contacts]
        return self._send(body, to)

    def send_text(self, text: str, to: Recipient) -> Exchange[Receipt]:
        """Send a text; like other free-form messages it reaches only those who wrote within 24 hours.

        Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/text-messages
        """
        body = self._envelope("text", to, "", "", "")
        body["text"] = {"body": self.require_text(text), "preview_url": False}
        return self._send(body, to)

    def upload(self, audio: Audio, content: bytes, *, ttl_minutes: int = 0) -> Exchange[str]:
        """Upload media; its id lives 30 days and belongs to this number.

        Args:
            audio: Whose name and type are told; a voice note is called `voice_mime_type`.
            content: Its bytes.
            ttl_minutes: How long a No-Storage number keeps it; 0 leaves that to Graph.

        Raises:
            AudioError: Before any request: empty, or over 16 MB.
            ProviderError: One of the four verdicts.

        Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/media
        """
        if not 0 < len(content) <= self.max_audio_bytes:
            raise AudioError(f"{audio.filename} has {len(content)} bytes; Graph takes 1 byte to 16 MB")
        mime_type = self.voice_mime_type if audio.voice_ready else audio.mime_type
        form = {"messaging_product": "whatsapp", "type": mime_type}
        if ttl_minutes:
            form["ttl_minutes"] = str(ttl_minutes)
        return self._upload(form, FilePart(audio.filename, content, mime_type))

    def media_info(self, media_id: str) -> Exchange[MediaInfo]:
        """Look an uploaded media id up.

        Raises:
            RequestRefusedError: With `ErrorKind.MEDIA_ID` where it is gone or another number's.
        """
        answer = yield from self._media("GET", media_id)
        size = str(answer.get("file_size", ""))
        return MediaInfo(
            id=str(answer.get("id", media_id)),
            mime_type=str(answer.get("mime_type", "")),
            sha256=str(answer.get("sha256", "")),
            size=int(size) if size.isdecimal() else 0,  # Graph gives it as a string
            url=str(answer.get("url", "")),
        )

    def delete_media(self, media_id: str) -> Exchange[bool]:
        """Delete an uploaded media id; whether Graph says that it did.

        Raises:
            RequestRefusedError: With `ErrorKind.MEDIA_ID` where there is none.
        """
        answer = yield from self._media("DELETE", media_id)
        return answer.get("success") is True

    def accepts_unconverted(self, audio: Audio) -> bool:
        """Whether basic audio may go as it is: AAC, AMR-NB, MP3, AAC in MP4 or mono Opus in OGG, up to 16 MB."""
        if audio.size > self.max_audio_bytes:
            return False
        mono_opus = (audio.container, audio.codec, audio.channels) == ("ogg", "opus", 1)
        return mono_opus or (audio.container, audio.codec) in _UNCONVERTED

    def _envelope(
        self, kind: str, to: Recipient, callback: str, identity_key_hash: str, messaging_account_id: str
    ) -> dict[str, Any]:
        if len(callback) > MAX_CALLBACK:
            self.raise_unsupported("callback", f"biz_opaque_callback_data holds at most {MAX_CALLBACK} characters")
        body: dict[str, Any] = {"messaging_product": "whatsapp", "recipient_type": "individual", "type": kind}
        match to.kind:
            case RecipientKind.PHONE:
                body["to"] = to.to  # with the `+`: without it the sender's own country code may be put in front
            case RecipientKind.USER_ID:
                body["recipient"] = to.to
            case RecipientKind.GRAPH_GROUP:
                body |= {"recipient_type": "group", "to": to.to}
            case _:
                self.raise_unsupported(
                    "to", f"a {to.kind} chat id ({to.masked}) is for the gateways; Graph takes phone numbers"
                )
        if to.reply_to:
            body["context"] = {"message_id": to.reply_to}
        optional = {
            "biz_opaque_callback_data": callback,
            "recipient_identity_key_hash": identity_key_hash,
            "messaging_account_id": messaging_account_id,
        }
        return body | _present(optional)

    def _audio(self, audio: Attachment) -> dict[str, Any]:
        if audio.convert:
            self.raise_unsupported("convert", "Graph transcodes nothing; make a voice note first")
        if audio.base64:
            self.raise_unsupported("audio", "Graph takes no inline bytes; upload them and send the media id")
        if audio.media_id and not (audio.media_id.isascii() and audio.media_id.isdigit() and len(audio.media_id) <= 32):
            self.raise_unsupported("media_id", "a Graph media id is a number of up to 32 digits")
        if audio.link and not re.match("https?://", audio.link):
            self.raise_unsupported("link", "Meta loads audio from a public http(s) address only")
        if audio.voice and not audio.mime_type.startswith("audio/ogg"):
            self.raise_unsupported(
                "voice", f"a voice note is Opus in OGG, not {audio.mime_type}; transcode it, or voice=False"
            )
        body: dict[str, Any] = {"id": audio.media_id} if audio.media_id else {"link": audio.link}
        return body | ({"voice": True} if audio.voice else {})

    def _card(self, contact: Contact) -> dict[str, Any]:
        if not contact.formatted_name:
            self.raise_unsupported("contacts", "Graph needs a name on each card")
        return contact.cloud_object()

    def _send(self, body: dict[str, Any], to: Recipient) -> Exchange[Receipt]:
        response = yield Request("POST", f"/{self.api_version}/{self.phone_number_id}/messages", json=body)
        answer = self._read(response, media_id=body.get("audio", {}).get("id", ""), recipient=to.to)
        return self._receipt(answer, response, to)

    def _upload(self, form: dict[str, str], part: FilePart) -> Exchange[str]:
        path = f"/{self.api_version}/{self.phone_number_id}/media"
        response = yield Request(
            "POST", path, form=form, files={"file": part}, repeatable=True, timeout=_UPLOAD_TIMEOUT
        )
        media_id = self._read(response, repeatable=True).get("id")
        if not media_id:
            self.raise_for_unreadable(response, repeatable=True)
        return str(media_id)

    def _media(self, method: Literal["GET", "DELETE"], media_id: str) -> Exchange[dict[str, Any]]:
        query = {"phone_number_id": self.phone_number_id}
        response = yield Request(method, f"/{self.api_version}/{media_id}", query=query, repeatable=True)
        return self._read(response, media_id=media_id, repeatable=True)

    # Reading

    def _read(
        self, response: Response, *, media_id: str = "", recipient: str = "", repeatable: bool = False
    ) -> dict[str, Any]:
        answer = response.json()
        if not isinstance(answer, dict):
            self.raise_for_unreadable(response, repeatable=repeatable)
        error = answer.get("error")
        if answer.get("messages") and (error or response.status >= 300):
            self.raise_unknown("a refusal and a message id in one answer", response, repeatable=repeatable)
        if isinstance(error, dict) and isinstance(error.get("code"), int):
            self._raise_refusal(error, response, media_id=media_id, recipient=recipient, repeatable=repeatable)
        if error or response.status >= 300:
            self.raise_for_unreadable(response, repeatable=repeatable)
        return answer

    def _receipt(self, answer: dict[str, Any], response: Response, to: Recipient) -> Receipt:
        match answer:
            case {"messages": [{"id": str(message_id), **rest}, *_]} if message_id:
                status = str(rest.get("message_status") or "")
            case _:
                self.raise_for_unreadable(response)
        return Receipt(
            provider=self.name,
            account=self.account,
            recipient=to.to,
            message_id=message_id,
            status="queued" if status in {"held_for_quality_assessment", "paused"} else "accepted",
            status_text=status,
            raw=answer,
        )

    def _raise_refusal(
        self, error: dict[str, Any], response: Response, *, media_id: str, recipient: str, repeatable: bool
    ) -> NoReturn:
        refusal = read_refusal(
            error,
            response,
            phone_number_id=self.phone_number_id,
            media_id=media_id,
            recipient=recipient,
            redact=self.credential.redact,
        )
        if refusal.meaning.verdict is None:
            self.raise_unknown(refusal.message, response, repeatable=repeatable, kind=ErrorKind.TROUBLE)
        self.raise_verdict(
            refusal.meaning.verdict,
            refusal.message,
            response,
            code=refusal.code,
            kind=refusal.meaning.kind,
            scope=refusal.meaning.scope,
            retry_after=refusal.retry_after,
            trace_id=refusal.trace_id,
        )


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    """Leave absent fields out: Graph's own description forbids nulls."""
    return {key: value for key, value in fields.items() if value}
