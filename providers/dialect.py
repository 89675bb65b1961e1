"""The contract that a provider's file fills in: build, then read; no I/O.

Which service carries a message is not the flows' business. They ask a dialect how audio reaches it
(`carries_audio`), make an `Attachment` of that form, and run its exchanges with either driver.
"""

import datetime
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NoReturn
from urllib.parse import urlsplit

from ..models.audio import MAX_AUDIO_MESSAGE_BYTES, Audio
from ..models.contact import Contact
from ..models.errors import VERDICT_ERRORS, ErrorKind, OutcomeUnknownError, UnsupportedError, Verdict
from ..models.receipt import Receipt
from ..models.recipient import Recipient
from .http_types import Credential, Exchange, Response

AudioForm = Literal["media id", "inline", "link"]
MAX_TEXT = 4096  # characters, on each of the services

_SAME_REQUEST_ELSEWHERE = frozenset({301, 307, 308})
# A time-out that a server, AWS's load balancer or nginx gives a 4xx for.
_LATE = frozenset({408, 460, 499})


@dataclass(frozen=True, slots=True)
class Attachment:
    """Audio in the form a provider takes it; exactly one of `media_id`, `link` and `base64` is set.

    Attributes:
        mime_type: MIME type of the bytes.
        filename: Name the service is told.
        media_id: The service's id of an upload.
        link: Public address the service loads.
        base64: The bytes, base64 without prefix.
        voice: Whether it is to arrive as a voice note; otherwise as basic audio.
        convert: Whether the service is to transcode it (Wawp and WAHA).
    """

    mime_type: str = "audio/ogg"
    filename: str = "voice.ogg"
    media_id: str = ""
    link: str = field(default="", repr=False)
    base64: str = field(default="", repr=False)
    voice: bool = True
    convert: bool = False

    def __post_init__(self) -> None:
        if sum(map(bool, (self.media_id, self.link, self.base64))) != 1:
            raise ValueError("an attachment takes exactly one of media_id, link and base64")


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """What the service says of the sending account.

    Attributes:
        ready: Whether a message sent now goes out now.
        state: The service's own word: `authenticated`, `WORKING`, ….
        detail: Who it is or what is wrong, numbers masked.
        phone: The digits of the number that is logged in, where the service says it and another may take its place under the
            same account; empty elsewhere.
        messages_per_second: What the service says it allows; None where it doesn't say.
        messaging_limit: How many people the business may write to first, in the service's measure; empty where it
            doesn't say. Messages to those who wrote within 24 hours don't count against it.
        credential_in: Where the service takes the credential, where `check` found that out; empty elsewhere.
    """

    ready: bool
    state: str
    detail: str = ""
    phone: str = field(default="", repr=False, kw_only=True)
    messages_per_second: float | None = None
    messaging_limit: str = ""
    credential_in: Literal["", "body", "query", "header"] = ""


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message of ours in a chat's history.

    Attributes:
        message_id: Bare id.
        kind: `audio`, `contacts`, `text`, or empty where the service doesn't say.
        at: When it was sent, as the service says.
    """

    message_id: str
    kind: str
    at: datetime.datetime


@dataclass(frozen=True, slots=True)
class Subscription:
    """An address to which the service posts an account's webhooks.

    Attributes:
        address: The URL.
        events: What is posted there, in the service's words; empty where it doesn't say.
    """

    address: str = field(repr=False)
    events: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Dialect(ABC):
    """One provider's dialect for one account.

    Attributes:
        name: The provider, as in receipts and error messages.
        carries_audio: How audio reaches the service.
        max_audio_bytes: Largest file it takes.
        has_history: Whether `sent_messages` can look a message up whose answer was lost.
        reserves_ids: Whether a message may have an id that is known before it is sent: see `reserve_id`.
        media_id_days: How long an upload's id lives; 0 where the service keeps no media.
        pair_limit: Messages that one recipient may get at once, and seconds between two of them on average; None
            where the service sets no such limit.
        base_url: Where the service answers, without trailing slash.
        accounts_by_server: Whether an account's id is another account's on another server.
        has_windows: Whether it delivers to a person only within 24 hours after they wrote.
        opt_out_code: The error code by which it tells that a person has blocked the account; empty for none.
        account: The account's public id, part of receipts and of the ledger's keys.
        credential: What the driver puts on each request.
    """

    name: ClassVar[str]
    carries_audio: ClassVar[AudioForm]
    max_audio_bytes: ClassVar[int] = MAX_AUDIO_MESSAGE_BYTES
    media_id_days: ClassVar[int] = 0
    has_history: ClassVar[bool] = False
    reserves_ids: ClassVar[bool] = False
    pair_limit: ClassVar[tuple[int, float] | None] = None
    accounts_by_server: ClassVar[bool] = False
    has_windows: ClassVar[bool] = False
    opt_out_code: ClassVar[str] = ""

    base_url: str
    account: str
    credential: Credential = field(repr=False, default_factory=Credential)

    def __post_init__(self) -> None:
        self._derive(base_url=self.base_url.rstrip("/"))

    def _derive(self, **fields: object) -> None:
        """Set what follows from the other fields; for `__post_init__`."""
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def sender(self) -> str:
        """The key under which the ledger keeps media ids and the pace, and that a broadcast keeps to.

        `provider:account`, and `@host` where each server has accounts of its own: a session called `default` is on every
        WAHA.
        """
        host = urlsplit(self.base_url).netloc.lower() if self.accounts_by_server else ""
        return f"{self.name}:{self.account}" + (f"@{host}" if host else "")

    @abstractmethod
    def check(self) -> Exchange[AccountStatus]:
        """Ask whether the account can send now.

        Raises:
            AccountError: The service doesn't know the account or refuses its credential.
        """

    def subscriptions(self) -> Exchange[list[Subscription] | None]:
        """Ask where the service posts this account's webhooks.

        Returns:
            The addresses; None where the service can't be asked.

        Raises:
            AccountError: The credential may not ask.
        """
        yield from ()
        return None

    @abstractmethod
    def send_audio(self, audio: Attachment, to: Recipient, *, callback: str = "") -> Exchange[Receipt]:
        """Send one voice note or audio.

        Args:
            audio: In the form `carries_audio` names, or any other that the service takes.
            to: Recipient, with the message to quote.
            callback: What comes back in status webhooks: an opaque id, where the service has such a field; the message's
                own id, where the service `reserves_ids`.

        Raises:
            UnsupportedError: Before any request: the recipient's kind or a parameter isn't for this service.
            ProviderError: One of the four verdicts.
            OutcomeUnknownError: The answer says neither yes nor no.
        """

    @abstractmethod
    def send_contacts(self, contacts: Sequence[Contact], to: Recipient, *, callback: str = "") -> Exchange[Receipt]:
        """Send one or more contact cards in one message; arguments and errors as for `send_audio`."""

    def contact_losses(self, contacts: Sequence[Contact], *, quotes: bool = False) -> tuple[str, ...]:
        """Say what of these cards the service can't carry and leaves out without refusing them; empty for nothing.

        Args:
            contacts: The cards of one message.
            quotes: Whether the message quotes another.
        """
        return ()

    @abstractmethod
    def send_text(self, text: str, to: Recipient) -> Exchange[Receipt]:
        """Send a text, as a notification to a person of one's own; errors as for `send_audio`.

        Args:
            text: 1 to 4,096 characters.
            to: Recipient, with the message to quote.
        """

    def reserve_id(self) -> Exchange[str]:
        """Ask for the id of a message to come, to be sent along as `callback`; empty where this server has none to give.

        Raises:
            UnsupportedError: Before any request: the service doesn't let us choose.
        """
        self.raise_unsupported("reserve_id", "the service chooses the ids of messages itself")

    def find_message(self, message_id: str) -> Exchange[SentMessage | None]:
        """Look up a message of ours by the id that was reserved for it; None, which proves nothing, where it isn't found.

        Raises:
            UnsupportedError: Before any request: the service has no such look-up.
        """
        self.raise_unsupported("find_message", "the service has no look-up by an id of our choice")

    def sent_messages(
        self, to: Recipient, since: datetime.datetime, until: datetime.datetime
    ) -> Exchange[list[SentMessage]]:
        """Read from the chat's history what this account sent to a recipient, where the service keeps one.

        Args:
            to: The recipient.
            since: The earliest moment.
            until: The latest moment.

        Raises:
            UnsupportedError: Before any request: the service has no such look-up.
        """
        self.raise_unsupported("sent_messages", "the service has no history to look a message up in")

    def require_text(self, text: str) -> str:
        """Refuse a text that WhatsApp carries nowhere.

        Raises:
            UnsupportedError: It is empty or too long.
        """
        if not text.strip() or len(text) > MAX_TEXT:
            self.raise_unsupported("text", f"a text has 1 to {MAX_TEXT:,} characters, not {len(text):,}")
        return text

    def upload(self, audio: Audio, content: bytes) -> Exchange[str]:
        """Upload media and return its id, where the service keeps media.

        Raises:
            UnsupportedError: The service keeps none.
        """
        self.raise_unsupported("upload", f"the service keeps no media; it takes audio as {self.carries_audio}")

    def accepts_unconverted(self, audio: Audio) -> bool:
        """Whether basic audio (`voice=False`) of this type may go as it is."""
        return audio.voice_ready

    def raise_unsupported(self, parameter: str, reason: str) -> NoReturn:
        """Refuse a parameter before any request.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError(self.name, parameter, reason)

    def raise_verdict(self, verdict: Verdict, message: str, response: Response, **facts: Any) -> NoReturn:
        """Raise the error of a verdict, with the answer's status and `Retry-After`.

        Args:
            verdict: One of the four.
            message: One sentence, led by the provider's name.
            response: The answer that was read.
            facts: `code`, `kind`, `scope`, `retry_after`, `trace_id` of `ProviderError`.

        Raises:
            ProviderError: Always.
        """
        facts.setdefault("retry_after", response.retry_after())
        facts.setdefault("code", str(response.status))
        words = self.credential.redact(f"{self.name}: {message}")
        raise VERDICT_ERRORS[verdict](words, provider=self.name, http_status=response.status, **facts) from None

    def raise_for_unreadable(
        self, response: Response, *, repeatable: bool = False, what: str = "without a readable body"
    ) -> NoReturn:
        """Raise the error of what every service's proxy may answer in its stead: HTML, an empty body, half of a JSON.

        A 429 was refused before it reached the service: that is what its name says (RFC 6585 §4), and the proxies that
        answer it decide before they pass a request on (nginx's `limit_req` runs in the preaccess phase, Envoy's and
        Cloudflare's limits likewise). Nothing proves it, so its kind is one that is tried a few times only. 401, 402, 403
        and 407 concern the account, other 4xx the address; 301, 307 and 308 send the very same request elsewhere.
        Everything else may hide an accepted message: a 5xx whatever headers it carries (Varnish's default error page has
        `Retry-After` for every failure, timeouts included), a 302 or 303, which answer a POST that was carried out, a
        time-out in the clothes of a 4xx, and a 2xx that says nothing.

        Args:
            response: The answer.
            repeatable: Whether to ask again harms nobody: then nothing is unknown.
            what: What is wrong with the body.

        Raises:
            RetryLaterError, AccountError, RequestRefusedError, OutcomeUnknownError: As above.
        """
        status = response.status
        if status == 429:
            self.raise_verdict(
                Verdict.RETRY, f"HTTP {status} {what}: too many requests", response, kind=ErrorKind.BARE_THROTTLE
            )
        if status in (401, 403, 407):
            self.raise_verdict(
                Verdict.ACCOUNT, f"HTTP {status} {what}: the credential is refused", response, kind=ErrorKind.AUTH
            )
        if status == 402:
            self.raise_verdict(
                Verdict.ACCOUNT, f"HTTP 402 {what}: the plan is not paid", response, kind=ErrorKind.PAYMENT
            )
        elsewhere = 300 <= status < 400 and (repeatable or status in _SAME_REQUEST_ELSEWHERE)
        if elsewhere or (400 <= status < 500 and status not in _LATE):
            message = f"HTTP {status} {what}: is base_url the service's address?"
            self.raise_verdict(Verdict.REQUEST, message, response, kind=ErrorKind.ADDRESS)
        self.raise_unknown(f"HTTP {status} {what}", response, repeatable=repeatable)

    def raise_unknown(
        self,
        message: str,
        response: Response,
        *,
        repeatable: bool = False,
        kind: ErrorKind = ErrorKind.NO_ANSWER,
    ) -> NoReturn:
        """Raise the error of an answer that says neither yes nor no.

        Args:
            message: What the answer was.
            response: The answer.
            repeatable: Whether to ask again harms nobody: then that is what to do.
            kind: What kind of trouble it is, where the answer says so.

        Raises:
            OutcomeUnknownError: The message may have been accepted.
            RetryLaterError: Where it is repeatable.
        """
        if repeatable:
            self.raise_verdict(Verdict.RETRY, message, response, kind=ErrorKind.TRANSIENT)
        words = self.credential.redact(f"{self.name}: {message}: the message may have been accepted")
        unknown = OutcomeUnknownError(words, provider=self.name)
        unknown.kind = kind
        raise unknown from None
