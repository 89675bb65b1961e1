"""The Chat-API dialect: voice notes and contact cards, spoken by several hosts since chat-api.com closed in 2023.

Set up: take base URL, instance id and token from the account page of a service that speaks it. Most answer at
`…/instance{instance_id}/{method}` (the default); 1msg.io at `/{instance_id}/{method}`, with
`voice_method="sendFile"` and `contact_form="contacts"`.

Audio goes inline, as `data:audio/ogg;base64,…`; a link works too. `sent: true` means that the service holds the
message: where its phone isn't logged in it sends it later, which a receipt calls `queued`.

Source: https://github.com/Zodt/ChatApi (the C# SDK, which outlived the service's own pages)
"""

import datetime
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal
from urllib.parse import quote

from ..models.audio import Audio
from ..models.contact import Contact
from ..models.receipt import Receipt
from ..models.recipient import Recipient, RecipientKind
from .dialect import AccountStatus, Attachment, AudioForm, SentMessage
from .gateway import Gateway, bare_type
from .http_types import Credential, Exchange, Request, Response

VoiceMethod = Literal["sendPTT", "sendFile"]
ContactForm = Literal["contactId", "contacts"]
ContactMethod = Literal["auto", "sendContact", "sendVCard"]
AddressBy = Literal["phone", "chatId"]

_BASIC_AUDIO = frozenset({"audio/ogg", "audio/mpeg", "audio/mp4", "audio/aac", "audio/amr"})
_READY = frozenset({"authenticated", "connected"})
# The vendor's documents print an answer's fields as the C# SDK's, a clone its flags as text.
_WRITTEN_AS = {"Id": "id", "Sent": "sent", "Message": "message"}
# "Status of the account not equals authenticated. Message will be sent after …", with sent: true.
_HELD = re.compile(r"not equals authenticated", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """A message that the service holds.

    Attributes:
        id: Its number in the queue.
        type: `chat`, `ptt`, `vcard`, ….
        last_try: Unix seconds of the last attempt; 0 for none.
        body: What it holds.
        metadata: What else the service keeps with it, such as the recipient.
    """

    id: int
    type: str = ""
    last_try: float = 0.0
    body: str = field(default="", repr=False)
    metadata: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class MessageQueue:
    """What the service still has to send.

    Attributes:
        total: How many messages.
        first: The first hundred of them.
    """

    total: int
    first: tuple[QueuedMessage, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ChatApi(Gateway):
    """The Chat-API dialect for one instance.

    Attributes:
        instance_id: The instance; also the account.
        token: The instance's token.
        path_template: Path of a method, with `{instance_id}` and `{method}`.
        voice_method: What carries a voice note: `sendPTT`, or 1msg's `sendFile` with `voice: true`.
        contact_form: What `sendContact` takes: chat ids, or 1msg's contact objects of the Cloud API.
        contact_method: `auto` sends one card that says more than a chat id by `sendVCard`, so that its name is shown,
            and everything else by `sendContact`; `contact_losses` says what that leaves out.
        address_by: How a person is addressed; groups always go by `chatId`.

    Example:
        >>> ChatApi(instance_id="12345", token="…", base_url="https://api.example.com").sender
        'chat-api:12345@api.example.com'

    Raises:
        UnsupportedError: `path_template` is no path with `{method}`.
    """

    name: ClassVar[str] = "chat-api"
    accounts_by_server: ClassVar[bool] = True
    carries_audio: ClassVar[AudioForm] = "inline"
    reaches: ClassVar[frozenset[RecipientKind]] = frozenset({RecipientKind.PHONE, RecipientKind.GROUP})

    account: str = field(init=False, default="")
    credential: Credential = field(init=False, repr=False, default_factory=Credential)
    instance_id: str
    token: str = field(repr=False)
    path_template: str = "/instance{instance_id}/{method}"
    voice_method: VoiceMethod = "sendPTT"
    contact_form: ContactForm = "contactId"
    contact_method: ContactMethod = "auto"
    address_by: AddressBy = "phone"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._derive(account=self.instance_id, credential=Credential(query={"token": self.token}))
        plain = self.path_template.replace("{instance_id}", "").replace("{method}", "")
        if not re.fullmatch(r"/[\w./-]*", plain) or "{method}" not in self.path_template:
            self.raise_unsupported("path_template", "it must be a path such as /instance{instance_id}/{method}")

    # Building

    def check(self) -> Exchange[AccountStatus]:
        """Read the instance's status: only `authenticated` (1msg: `connected`) sends now; otherwise messages are held."""
        response = yield Request("GET", self._path("status"), repeatable=True)
        return self._account_status(self.read(response, repeatable=True))

    def queue(self) -> Exchange[MessageQueue]:
        """Read the queue of messages that the service accepted and hasn't sent.

        Raises:
            AccountError: The service refuses the instance or its token.
        """
        response = yield Request("GET", self._path("showMessagesQueue"), repeatable=True)
        answer = self.read(response, repeatable=True)
        first = tuple(_queued(entry) for entry in answer.get("first100") or () if isinstance(entry, dict))
        return MessageQueue(total=_whole(answer.get("totalMessages"), len(first)), first=first)

    def send_audio(self, audio: Attachment, to: Recipient, *, callback: str = "") -> Exchange[Receipt]:
        """Send one voice note, or basic audio as a file.

        Args:
            audio: Inline bytes or an https link; a voice note must be Opus in OGG.
            to: A person or a group, with the message to quote.
            callback: Unused: the dialect has no such field.

        Raises:
            UnsupportedError: Before any request: a media id, `convert`, another kind of recipient, ….
            ProviderError: One of the four verdicts.
            OutcomeUnknownError: The answer says neither yes nor no.
        """
        self.require_audio(audio)
        if audio.convert:
            self.raise_unsupported("convert", "transcoding is not documented here; make a voice note first")
        if audio.link:
            self.require_https(audio.link)
        mime_type = bare_type(audio.mime_type)
        content = audio.link or f"data:{mime_type};base64,{audio.base64}"
        if audio.voice and self.voice_method == "sendPTT":
            return self._send("sendPTT", {"audio": content}, to)
        if mime_type not in _BASIC_AUDIO:
            self.raise_unsupported(
                "audio", f"WhatsApp plays no {mime_type}; it takes {', '.join(sorted(_BASIC_AUDIO))}"
            )
        voice = {"voice": True} if audio.voice else {}
        return self._send("sendFile", {"body": content, "filename": audio.filename, **voice}, to)

    def send_contacts(self, contacts: Sequence[Contact], to: Recipient, *, callback: str = "") -> Exchange[Receipt]:
        """Send contact cards in one message, by `contact_method`; other arguments and errors as for `send_audio`.

        By `sendContact` contacts are an array of chat ids, repeats left out; the names shown are the phone book's.
        `sendVCard` shows the card's own name and holds one card, without a quote.
        """
        if not contacts:
            self.raise_unsupported("contacts", "a message needs at least one card")
        if self._by_vcard(contacts):
            if self.contact_method == "auto":
                to = to.model_copy(update={"reply_to": ""})
            return self._send_vcard(contacts, to)
        if self.contact_form == "contacts":
            if not all(contact.formatted_name for contact in contacts):
                self.raise_unsupported("contacts", "contact objects need a name on each card")
            if to.reply_to and self.contact_method != "auto":
                self.raise_unsupported("reply_to", "sendContact quotes no message where it takes contact objects")
            to = to.model_copy(update={"reply_to": ""})
            return self._send("sendContact", {"contacts": [contact.cloud_object() for contact in contacts]}, to)
        ids = list(dict.fromkeys(contact.chat_id for contact in contacts))
        if not all(ids):
            self.raise_unsupported(
                "contacts",
                "sendContact needs a WhatsApp number on each card; send a card without one alone, as a vCard",
            )
        return self._send("sendContact", {"contactId": ids}, to)

    def contact_losses(self, contacts: Sequence[Contact], *, quotes: bool = False) -> tuple[str, ...]:
        """Say what the dialect can't carry of these cards.

        Names by `sendContact`, the quote by `sendVCard` and by 1msg's `sendContact`.

        Source: https://github.com/1msg/1msg-sdk (SendContactRequest: a phone and contacts, nothing else)
        """
        drops_quote = quotes and self.contact_method == "auto"
        if self._by_vcard(contacts):
            return ("the message to quote: a vCard quotes none here",) if drops_quote else ()
        if self.contact_form == "contacts":
            return ("the message to quote: contact objects quote none here",) if drops_quote else ()
        if self._says_more(contacts):
            return (
                "everything on the cards but their WhatsApp numbers; the names shown are those of the recipient's phone book",
            )
        return ()

    def send_text(self, text: str, to: Recipient) -> Exchange[Receipt]:
        """Send a text by `sendMessage`."""
        return self._send("sendMessage", {"body": self.require_text(text)}, to)

    def accepts_unconverted(self, audio: Audio) -> bool:
        """Whether basic audio may go as it is: AAC, AMR, MP3, MP4 or OGG."""
        return bare_type(audio.mime_type) in _BASIC_AUDIO

    def _by_vcard(self, contacts: Sequence[Contact]) -> bool:
        if self.contact_method != "auto":
            return self.contact_method == "sendVCard"
        return self.contact_form == "contactId" and len(contacts) == 1 and self._says_more(contacts)

    def _says_more(self, contacts: Sequence[Contact]) -> bool:
        return not all(contact.only_a_chat_id for contact in contacts)

    def _send_vcard(self, contacts: Sequence[Contact], to: Recipient) -> Exchange[Receipt]:
        if len(contacts) > 1:
            self.raise_unsupported(
                "contacts",
                "sendVCard holds one card; send them one by one, or by contact_method=auto",
            )
        if to.reply_to:
            self.raise_unsupported(
                "reply_to", "sendVCard quotes no message; contact_method=sendContact does, without the name"
            )
        return self._send("sendVCard", {"vcard": contacts[0].vcard()}, to)

    def _send(self, method: str, body: dict[str, Any], to: Recipient) -> Exchange[Receipt]:
        self.require_reachable(to)
        by_phone = to.kind is RecipientKind.PHONE and self.address_by == "phone"
        body |= {"phone": to.digits} if by_phone else {"chatId": to.chat_id}
        if to.reply_to:
            body["quotedMsgId"] = to.reply_to
        return self._exchange(Request("POST", self._path(method), json=body), to)

    def _exchange(self, request: Request, to: Recipient) -> Exchange[Receipt]:
        response = yield request
        answer = self.read(response)
        if not self.says_yes(answer):
            self.raise_for_unreadable(response, what="without a word on whether it was sent")
        said = str(answer.get("message") or "")
        status: Literal["accepted", "queued"] = "queued" if _HELD.search(said) else "accepted"
        return self.receipt(to, answer, str(answer.get("id") or ""), status=status, status_text=said)

    def _path(self, method: str) -> str:
        instance = quote(self.instance_id, safe="")
        return self.path_template.replace("{instance_id}", instance).replace("{method}", method)

    def sent_messages(
        self, to: Recipient, since: datetime.datetime, until: datetime.datetime
    ) -> Exchange[list[SentMessage]]:
        """Read the chat's history by `messages`; what still waits in the service's queue is not in it."""
        self.require_reachable(to)
        return self._sent_messages(to, since, until)

    def _sent_messages(
        self, to: Recipient, since: datetime.datetime, until: datetime.datetime
    ) -> Exchange[list[SentMessage]]:
        times = {"min_time": str(int(since.timestamp())), "max_time": str(int(until.timestamp()) + 1)}
        response = yield Request(
            "GET",
            self._path("messages"),
            query={"limit": "100", **times},
            hidden_query={"chatId": to.chat_id},
            repeatable=True,
        )
        return self.read_history(response, since, until)

    # Reading

    def parse(self, response: Response) -> Any:
        """Parse the body, its fields under the names and types that the recordings have."""
        answer = response.json()
        if not isinstance(answer, dict):
            return answer
        renamed = {_WRITTEN_AS.get(key, key): value for key, value in answer.items()}
        if str(renamed.get("sent")).lower() in ("true", "false"):
            renamed["sent"] = str(renamed["sent"]).lower() == "true"
        return renamed

    def says_yes(self, answer: dict[str, Any]) -> bool:
        """Whether the body says that it was sent, or that the service holds it."""
        return answer.get("sent") is True or answer.get("status") is True  # whats2api says {"status": true}

    def _account_status(self, answer: dict[str, Any]) -> AccountStatus:
        # 1msg.io says {"status": "connected" | "connecting" | "disconnected"}.
        state = str(answer.get("accountStatus") or answer.get("status") or "unknown")
        data = answer.get("statusData")
        told = [data.get(key) for key in ("title", "msg", "substatus", "reason")] if isinstance(data, dict) else []
        detail = "; ".join(dict.fromkeys(word for word in told if isinstance(word, str) and word))
        return AccountStatus(ready=state in _READY, state=state, detail=self.clean(detail))


def _queued(entry: dict[str, Any]) -> QueuedMessage:
    tried = float(_whole(entry.get("last_try"), 0))
    return QueuedMessage(
        id=_whole(entry.get("id"), 0),
        type=str(entry.get("type") or ""),
        last_try=tried / 1000 if tried > 1e11 else tried,  # seconds by the service's swagger, milliseconds by a client
        body=str(entry.get("body") or ""),
        metadata=entry.get("metadata"),
    )


def _whole(value: object, otherwise: int) -> int:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else otherwise
