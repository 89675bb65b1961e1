"""Wawp, v2: voice notes and contact cards through a hosted WAHA.

Set up: create an instance at https://wawp.net, log it in by scanning its QR code, and copy its instance id and access
token from the dashboard.

Audio goes as a link that Wawp loads when it sends, which may be later: the link must outlive its queue. Whether it
takes inline bytes is not documented, so they are refused.

Where the documents disagree, a setting decides. The instance id and the token stand in the JSON body by default (the
document's prose, the vendor's MCP server and five clients), else in the query (its samples), or the token in the header
`access-token` (its OpenAPI); `auto` lets `check` try them in this order. The file goes by flat keys such as `file[url]`
(its documents and their samples), else nested, as the vendor's MCP server and its WordPress plugin send it. `convert` is
a boolean (the document's table), else the string `"true"` or `"false"` (its only sample).

Source: https://api.wawp.net/en/docs/v2/send/voice
"""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from ..models.contact import Contact
from ..models.errors import AccountError, ProviderError, RequestRefusedError
from ..models.receipt import Receipt
from ..models.recipient import Recipient, RecipientKind
from .dialect import AccountStatus, Attachment, AudioForm, SentMessage
from .http_types import Credential, Exchange, Request
from .waha_like import WahaLike

Place = Literal["body", "query", "header"]
CredentialPlace = Literal["auto", "body", "query", "header"]
ConvertForm = Literal["boolean", "string"]
FileForm = Literal["flat", "nested"]


@dataclass(frozen=True, kw_only=True)
class Wawp(WahaLike):
    """Wawp for one instance.

    Attributes:
        instance_id: The instance; also the account.
        access_token: The account's API token.
        credential_in: Where the credential stands; `auto` begins with the body.
        convert_as: How `convert` is written.
        file_as: Whether the file goes by flat keys (`file[url]`) or nested.
        places: The credential in each place that is tried.
        reads_with: The credential of requests without a body.

    Example:
        >>> Wawp(instance_id="ABC123", access_token="…").sender
        'wawp:ABC123@api.wawp.net'
    """

    name: ClassVar[str] = "wawp"
    accounts_by_server: ClassVar[bool] = True
    carries_audio: ClassVar[AudioForm] = "link"
    reaches: ClassVar[frozenset[RecipientKind]] = frozenset(
        {RecipientKind.PHONE, RecipientKind.GROUP, RecipientKind.NEWSLETTER}
    )

    base_url: str = "https://api.wawp.net"
    account: str = field(init=False, default="")
    credential: Credential = field(init=False, repr=False, default_factory=Credential)
    instance_id: str
    access_token: str = field(repr=False)
    credential_in: CredentialPlace = "auto"
    convert_as: ConvertForm = "boolean"
    file_as: FileForm = "flat"
    places: Mapping[Place, Credential] = field(init=False, repr=False, default_factory=dict)
    reads_with: Credential = field(init=False, repr=False, default_factory=Credential)

    def __post_init__(self) -> None:
        super().__post_init__()
        both = {"instance_id": self.instance_id, "access_token": self.access_token}
        header = Credential(headers={"access-token": self.access_token}, query={"instance_id": self.instance_id})
        places: dict[Place, Credential] = {
            "body": Credential(body=both),
            "query": Credential(query=both),
            "header": header,
        }
        # A GET has no body.
        reads_with = places["header" if self.credential_in == "header" else "query"]
        if self.credential_in != "auto":
            places = {self.credential_in: places[self.credential_in]}
        first = next(iter(places.values()))
        self._derive(account=self.instance_id, places=places, reads_with=reads_with, credential=first)

    def check(self) -> Exchange[AccountStatus]:
        """Read the session's state, and where the credential may stand in several places find the one that is taken."""
        refused: ProviderError | None = None
        for place, credential in self.places.items():
            response = yield replace(self.session_request(), credential=credential)
            try:
                status = self._account_status(self.read(response, repeatable=True))
            except (AccountError, RequestRefusedError) as refusal:
                # The first refusal is told: the later ones are of guesses.
                refused = refused or refusal
            else:
                return replace(status, credential_in=place)
        assert refused
        raise refused

    def session_request(self) -> Request:
        """Read the session: `POST /v2/session/info`."""
        return Request("POST", "/v2/session/info", repeatable=True)

    def send_audio(self, audio: Attachment, to: Recipient, *, callback: str = "") -> Exchange[Receipt]:
        """Send one voice note by link.

        Args:
            audio: An https link to Opus in OGG, or to any audio with `convert`.
            to: A person, group or newsletter, with the message to quote.
            callback: Unused: Wawp has no such field.

        Raises:
            UnsupportedError: Before any request: inline bytes, plain http, `voice=False`, ….
            ProviderError: One of the four verdicts.
            OutcomeUnknownError: The answer says neither yes nor no.
        """
        self.require_voice(audio)
        if not audio.link:
            self.raise_unsupported(
                "audio", "inline bytes are not documented; pass a public https link, such as a presigned one"
            )
        self.require_https(audio.link)
        file = {"url": audio.link, "filename": audio.filename, "mimetype": self.mime_type(audio)}
        flat = {f"file[{name}]": value for name, value in file.items()}
        body: dict[str, Any] = {"file": file} if self.file_as == "nested" else dict(flat)
        body["convert"] = audio.convert if self.convert_as == "boolean" else str(audio.convert).lower()
        return self._message("voice", body, to)

    def send_contacts(self, contacts: Sequence[Contact], to: Recipient, *, callback: str = "") -> Exchange[Receipt]:
        """Send one or more contact cards in one bubble; other arguments and errors as for `send_audio`.

        Source: https://api.wawp.net/en/docs/v2/send/contact
        """
        if not contacts:
            self.raise_unsupported("contacts", "a message needs at least one card")
        for contact in contacts:
            if not (contact.formatted_name and contact.all_phones):
                self.raise_unsupported("contacts", "each card needs a name and a phone number")
            if beyond := contact.beyond_gateway_object:
                self.raise_unsupported(
                    "contacts", f"a card holds a name, an organisation and one number; leave out {', '.join(beyond)}"
                )
        return self._message("contact", {"contacts": [contact.gateway_object() for contact in contacts]}, to)

    def send_text(self, text: str, to: Recipient) -> Exchange[Receipt]:
        """Send a text.

        Source: https://api.wawp.net/en/docs/v2/send/text
        """
        return self._message("text", {"message": self.require_text(text)}, to)

    def sent_messages(
        self, to: Recipient, since: datetime.datetime, until: datetime.datetime
    ) -> Exchange[list[SentMessage]]:
        """Read the chat's history: `GET /v2/chats/messages`.

        Source: https://api.wawp.net/en/docs/v2/chats/messages
        """
        self.require_reachable(to)
        return self._sent_messages(to, since, until)

    def _sent_messages(
        self, to: Recipient, since: datetime.datetime, until: datetime.datetime
    ) -> Exchange[list[SentMessage]]:
        response = yield Request(
            "GET",
            "/v2/chats/messages",
            query={"limit": "100", "downloadMedia": "false"},
            hidden_query={"chatId": to.chat_id},
            repeatable=True,
            credential=self.reads_with,  # a GET has no body
        )
        return self.read_history(response, since, until)

    def _message(self, kind: str, body: dict[str, Any], to: Recipient) -> Exchange[Receipt]:
        self.require_reachable(to)
        body = {"chatId": to.chat_id, **body}
        if to.reply_to:
            body["reply_to"] = to.reply_to
        return self.send(Request("POST", f"/v2/send/{kind}", json=body), to)
