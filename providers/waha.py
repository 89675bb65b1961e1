"""WAHA, the self-hosted WhatsApp HTTP API: voice notes and contact cards.

Set up: run `docker run -p 3000:3000 devlikeapro/waha` (2026.6.1 or newer, where voice is free), open its dashboard,
start a session and scan its QR code. The key is `WAHA_API_KEY` in the server's environment; where none is set, or a weak
one such as `admin` or `123`, WAHA makes its own and prints it at its start. `init-waha` writes one into `.env`.

Audio goes inline; a link works too, also a plain http one within your own network. Success is HTTP 201.

Source: https://waha.devlike.pro/docs/how-to/send-messages/
"""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal
from urllib.parse import quote, urlsplit

from ..models.contact import Contact
from ..models.errors import ErrorKind, Verdict
from ..models.receipt import Receipt
from ..models.recipient import Recipient, RecipientKind
from .dialect import Attachment, AudioForm, SentMessage, Subscription
from .history import read_message
from .http_types import HIDDEN, Credential, Exchange, Request
from .message_ids import message_id
from .refusals import EDITION, Meaning
from .waha_like import WahaLike

_BREAKS_AN_OBJECT = re.compile(r"[,;\r\n\\]")

ContactForm = Literal["auto", "object", "vcard"]


# NOWEB's, GOWS's and WEBJS's words for audio that could not be loaded or uploaded, each before the message is made; from
# a server of 2026.2.1.
UNREACHABLE_LINK = Meaning(
    Verdict.REQUEST,
    ErrorKind.MEDIA,
    "the audio could not be loaded",
    "check that WAHA's machine reaches the link",
    r"\bfailed to fetch stream\b|\bfetch failed\b|\bAxiosError\b|\bFetchError\b",
)


@dataclass(frozen=True, slots=True)
class NumberCheck:
    """What WhatsApp says of a number.

    Attributes:
        exists: Whether it has an account.
        chat_id: Its chat id, which may differ from the number (Brazil's ninth digit); empty where there is none.
    """

    exists: bool
    chat_id: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Server:
    """What a WAHA server says of itself.

    Attributes:
        version: Such as `2026.6.1`.
        engine: `NOWEB`, `GOWS` or `WEBJS`.

    Example:
        >>> Server("2026.4.3", "GOWS").takes_own_ids, Server("2026.4.3", "WEBJS").takes_own_ids
        (True, False)
    """

    version: str
    engine: str = ""

    @property
    def takes_own_ids(self) -> bool:
        """Whether a client may choose the ids of texts and cards: NOWEB and GOWS, from 2026.4.3 on."""
        numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", self.version)
        if numbers is None or self.engine not in {"NOWEB", "GOWS"}:
            return False
        return tuple(map(int, numbers.groups())) >= (2026, 4, 3)


@dataclass(frozen=True, kw_only=True)
class Waha(WahaLike):
    """WAHA for one session.

    Attributes:
        session: The session's name; also the account.
        api_key: The server's key; empty where it asks for none.
        contact_form: How a card goes: `vcard`, `object` (name, organisation, one number), or `auto`: the object where
            it holds the whole card and nothing that WAHA breaks. Its objects become a vCard without `N`, so that some
            clients show no name (WhiskeySockets/Baileys#87), and without escaping `,` `;` and line ends.

    Example:
        >>> Waha(api_key="…", base_url="http://localhost:3000").sender
        'waha:default@localhost:3000'
    """

    name: ClassVar[str] = "waha"
    accounts_by_server: ClassVar[bool] = True
    reserves_ids: ClassVar[bool] = True
    carries_audio: ClassVar[AudioForm] = "inline"
    reaches: ClassVar[frozenset[RecipientKind]] = frozenset(
        {RecipientKind.PHONE, RecipientKind.GROUP, RecipientKind.NEWSLETTER, RecipientKind.LID}
    )
    created: ClassVar[int] = 201
    not_sent_on_500: ClassVar[tuple[Meaning, ...]] = (*WahaLike.not_sent_on_500, UNREACHABLE_LINK, EDITION)
    auth_advice: ClassVar[str] = (
        "the API key is WAHA_API_KEY in the server's environment or .env, or, where none is set, the one that WAHA generated "
        "and printed when it started; versions 2026.1.4 to 2026.2 without a key accept any value but an empty one"
    )

    account: str = field(init=False, default="")
    credential: Credential = field(init=False, repr=False, default_factory=Credential)
    session: str = "default"
    api_key: str = field(default="", repr=False)
    contact_form: ContactForm = "vcard"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._derive(
            account=self.session, credential=Credential(headers={"X-Api-Key": self.api_key} if self.api_key else {})
        )

    def session_request(self) -> Request:
        """Read the session: `GET /api/sessions/{name}`."""
        return Request("GET", f"/api/sessions/{quote(self.session, safe='')}", repeatable=True)

    def server(self) -> Exchange[Server]:
        """Ask for the server's version and engine: `GET /api/version`."""
        response = yield Request("GET", "/api/version", repeatable=True)
        answer = self.read(response, repeatable=True)
        return Server(version=str(answer.get("version") or ""), engine=str(answer.get("engine") or ""))

    def reserve_id(self) -> Exchange[str]:
        """Ask for an id, as `new_message_id`: a message that is sent with it is found again though its answer was lost."""
        return self.new_message_id()

    def find_message(self, message_id: str) -> Exchange[SentMessage | None]:
        """Look up a message by its bare id: `GET /api/{session}/chats/all/messages/{id}`.

        404 proves nothing: NOWEB keeps messages only with `config.noweb.store`, and GOWS may be told to keep none.

        Source: https://waha.devlike.pro/docs/how-to/chats/ (get message by id)
        """
        session = quote(self.session, safe="")
        path = f"/api/{session}/chats/all/messages/{quote(message_id, safe='')}"
        response = yield Request("GET", path, query={"downloadMedia": "false"}, repeatable=True)
        if response.status == 404:
            return None
        found = read_message(self.read(response, repeatable=True))
        return found if found and found.message_id == message_id else None

    def new_message_id(self) -> Exchange[str]:
        """Ask the server for the id of a message to come; empty where it gives none (before 2026.4.3).

        Texts and cards that are sent with it have this id. For a voice note that is not documented: a server that doesn't
        take it there ignores it, and the message has an id of the server's own.

        Raises:
            ProviderError: The server refuses for another reason than that it has no such endpoint.
        """
        path = f"/api/{quote(self.session, safe='')}/new-message-id"
        response = yield Request("GET", path, repeatable=True)
        if response.status in (404, 405):
            return ""
        return message_id(self.read(response, repeatable=True))

    def sent_messages(
        self, to: Recipient, since: datetime.datetime, until: datetime.datetime
    ) -> Exchange[list[SentMessage]]:
        """Read the chat's history: `GET /api/{session}/chats/{chatId}/messages`.

        Source: https://waha.devlike.pro/docs/how-to/chats/ (get messages)
        """
        self.require_reachable(to)
        return self._sent_messages(to, since, until)

    def _sent_messages(
        self, to: Recipient, since: datetime.datetime, until: datetime.datetime
    ) -> Exchange[list[SentMessage]]:
        query = {
            "limit": "100",
            "downloadMedia": "false",
            "filter.fromMe": "true",
            "filter.timestamp.gte": str(int(since.timestamp())),
            "filter.timestamp.lte": str(int(until.timestamp()) + 1),
        }
        path = f"/api/{quote(self.session, safe='')}/chats/{HIDDEN}/messages"
        response = yield Request("GET", path, query=query, hidden_part=to.chat_id, repeatable=True)
        return self.read_history(response, since, until)

    def subscriptions(self) -> Exchange[list[Subscription] | None]:
        """Read the session's own webhooks; those of the whole server, `WHATSAPP_HOOK_URL`, can't be asked for.

        Source: https://waha.devlike.pro/docs/how-to/events/ (session webhooks)
        """
        response = yield self.session_request()
        config = self.read(response, repeatable=True).get("config")
        webhooks = config.get("webhooks") if isinstance(config, dict) else None
        return [
            Subscription(str(each["url"]), frozenset(map(str, each.get("events") or ())))
            for each in (webhooks if isinstance(webhooks, list) else [])
            if isinstance(each, dict) and each.get("url")
        ]

    def check_number(self, to: Recipient) -> Exchange[NumberCheck]:
        """Ask whether a phone number is on WhatsApp.

        Raises:
            UnsupportedError: Before any request: not a phone number.

        Source: https://waha.devlike.pro/docs/how-to/contacts/ (check phone number exists)
        """
        if to.kind is not RecipientKind.PHONE:
            self.raise_unsupported("to", f"{to.masked} is a {to.kind}; only a phone number can be checked")
        return self._check_number(to)

    def send_audio(self, audio: Attachment, to: Recipient, *, callback: str = "") -> Exchange[Receipt]:
        """Send one voice note.

        Args:
            audio: Inline bytes or a link: Opus in OGG, or any audio with `convert`.
            to: A person, group, newsletter or lid, with the message to quote.
            callback: The message's id, from `new_message_id`; empty to let the server choose.

        Raises:
            UnsupportedError: Before any request: a media id, `voice=False`, another kind of recipient, ….
            ProviderError: One of the four verdicts.
            OutcomeUnknownError: The answer says neither yes nor no.
        """
        self.require_voice(audio)
        if audio.link and not (urlsplit(audio.link).scheme in {"http", "https"} and urlsplit(audio.link).hostname):
            self.raise_unsupported("link", "WAHA loads audio from an http(s) address only")
        content = {"url": audio.link} if audio.link else {"data": audio.base64}
        file = {"mimetype": self.mime_type(audio), "filename": audio.filename, **content}
        # Top level: inside `file` it did nothing (devlikeapro/waha#1453).
        return self._message("sendVoice", {"file": file, "convert": audio.convert}, to, callback)

    def send_contacts(self, contacts: Sequence[Contact], to: Recipient, *, callback: str = "") -> Exchange[Receipt]:
        """Send one or more contact cards in one message; other arguments and errors as for `send_audio`."""
        if not contacts:
            self.raise_unsupported("contacts", "a message needs at least one card")
        body: dict[str, Any] = {"contacts": [self._card(contact) for contact in contacts]}
        return self._message("sendContactVcard", body, to, callback)

    def send_text(self, text: str, to: Recipient) -> Exchange[Receipt]:
        """Send a text by `sendText`."""
        return self._message("sendText", {"text": self.require_text(text)}, to)

    def _card(self, contact: Contact) -> dict[str, str]:
        if not (contact.formatted_name and contact.all_phones):
            self.raise_unsupported("contacts", "each card needs a name and a phone number")
        beyond = contact.beyond_gateway_object
        if self.contact_form == "object" and beyond:
            self.raise_unsupported("contacts", f"contact_form=object has no place for {', '.join(beyond)}; vcard has")
        breaks = any(_BREAKS_AN_OBJECT.search(value) for value in contact.gateway_object().values())
        if self.contact_form == "vcard" or (self.contact_form == "auto" and (beyond or breaks)):
            return {"vcard": contact.vcard()}
        return contact.gateway_object()

    def _message(self, method: str, body: dict[str, Any], to: Recipient, own_id: str = "") -> Exchange[Receipt]:
        self.require_reachable(to)
        body = {"session": self.session, "chatId": to.chat_id, **body}
        if own_id:
            body["id"] = own_id
        if to.reply_to:
            body["reply_to"] = to.reply_to
        return self.send(Request("POST", f"/api/{method}", json=body), to)

    def _check_number(self, to: Recipient) -> Exchange[NumberCheck]:
        response = yield Request(
            "GET",
            "/api/contacts/check-exists",
            query={"session": self.session},
            hidden_query={"phone": to.digits},
            repeatable=True,
        )
        answer = self.read(response, repeatable=True)
        exists = answer.get("numberExists")
        if not isinstance(exists, bool):
            self.raise_for_unreadable(response, repeatable=True, what="without numberExists")
        return NumberCheck(exists=exists, chat_id=str(answer.get("chatId") or "") if exists else "")
