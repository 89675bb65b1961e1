"""What the three unofficial gateways have in common; a gateway's own file holds what only it does.

None keeps media, none takes an idempotency key, and none publishes error codes. WAHA lets a client choose some ids.
"""

import datetime
import re
from abc import ABC
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NoReturn
from urllib.parse import urlsplit

from ..models.hosts import is_loopback
from ..models.masking import mask_numbers
from ..models.receipt import Receipt
from ..models.recipient import Recipient, RecipientKind
from .dialect import Attachment, Dialect, SentMessage
from .history import read_history
from .http_types import Response
from .message_ids import message_id
from .refusals import AUTH, MISSING, Meaning, classify, code_of, denies, says_no, words_of


@dataclass(frozen=True, kw_only=True)
class Gateway(Dialect, ABC):
    """A gateway to the WhatsApp of somebody's phone.

    Attributes:
        reaches: Kinds of recipients that its documents name.
        not_sent_on_500: What it is known to say, under a 500, before it sends; read under no other 5xx.
        auth_advice: What to do where the credential is refused; empty for what holds for all.
    """

    reaches: ClassVar[frozenset[RecipientKind]]
    has_history: ClassVar[bool] = True
    not_sent_on_500: ClassVar[tuple[Meaning, ...]] = ()
    auth_advice: ClassVar[str] = ""

    # Building

    def require_reachable(self, to: Recipient) -> None:
        """Refuse a recipient of a kind that the gateway's documents don't name.

        Raises:
            UnsupportedError: It does not send to this kind.
        """
        if to.kind not in self.reaches:
            kinds = ", ".join(sorted(kind.value for kind in self.reaches))
            self.raise_unsupported("to", f"{to.masked} is a {to.kind}; it sends to: {kinds}")

    def require_audio(self, audio: Attachment) -> None:
        """Refuse audio in a form or of a type that no gateway takes.

        Raises:
            UnsupportedError: A media id, or a voice note that isn't Opus in OGG.
        """
        if audio.media_id:
            self.raise_unsupported("media_id", "the service keeps no media; pass the audio's bytes or a link")
        if audio.voice and not audio.convert and not _may_be_opus(audio.mime_type):
            self.raise_unsupported("voice", f"a voice note is Opus in OGG, not {audio.mime_type}; transcode it first")

    def require_https(self, link: str) -> None:
        """Refuse a link that the service can't or shouldn't load; plain http goes to this machine alone.

        Raises:
            UnsupportedError: No https link.
        """
        parts = urlsplit(link)
        if not parts.hostname or not (
            parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))
        ):
            self.raise_unsupported("link", "the service loads audio from a public https address only")

    # Reading

    def read(self, response: Response, *, repeatable: bool = False) -> dict[str, Any]:
        """Give the parsed body of an answer that doesn't refuse.

        Args:
            response: The answer.
            repeatable: Whether to ask again harms nobody.

        Raises:
            ProviderError: One of the four verdicts.
            OutcomeUnknownError: The answer says neither yes nor no.
        """
        answer = self.parse(response)
        if isinstance(answer, list) and len(answer) == 1:  # of several, one may refuse and another have been sent
            answer = answer[0]
        if not isinstance(answer, dict):
            self._raise_for_text(response, repeatable=repeatable)
        if 300 <= response.status < 400:
            self.raise_for_unreadable(response, repeatable=repeatable, what="with a redirection")
        yes = self.says_yes(answer)
        if says_no(answer) or (response.status >= 300 and not yes):
            if not repeatable and (yes or message_id(answer)):
                self.raise_unknown("a refusal and a sent message in one answer", response)
            self.raise_by_words(response, answer, repeatable=repeatable)
        return answer

    def read_history(self, response: Response, since: datetime.datetime, until: datetime.datetime) -> list[SentMessage]:
        """Give what a chat's history holds of ours between two moments.

        Raises:
            ProviderError: It can't be read now.
        """
        answer = self.parse(response)
        if not isinstance(answer, list):
            answer = self.read(response, repeatable=True)
        elif response.status >= 300:
            self.raise_for_unreadable(response, repeatable=True)
        return read_history(answer, since, until)

    def parse(self, response: Response) -> Any:
        """Parse the body; None where it is empty or not JSON."""
        return response.json()

    def says_yes(self, answer: dict[str, Any]) -> bool:
        """Whether a body is success whatever its status; no, unless the service has a word for it."""
        return False

    def raise_by_words(self, response: Response, answer: dict[str, Any], *, repeatable: bool = False) -> NoReturn:
        """Raise the error of what a refusal says.

        Raises:
            ProviderError: One of the four verdicts.
            OutcomeUnknownError: Trouble or a time-out at the service: the message may have been accepted.
        """
        words, code = words_of(answer, self.clean), code_of(answer, response)
        meaning = classify(response, f"{code} {words}", denies=denies(answer), not_sent_on_500=self.not_sent_on_500)
        told = meaning.sentence + (f' ("{words}")' if words else f" (HTTP {response.status})")
        if meaning.verdict is None:
            self.raise_unknown(told, response, repeatable=repeatable, kind=meaning.kind)
        advice = self.auth_advice if meaning is AUTH and self.auth_advice else meaning.advice
        message = f"{told}; {advice}" if advice else told
        self.raise_verdict(meaning.verdict, message, response, code=code, kind=meaning.kind)

    def _raise_for_text(self, response: Response, *, repeatable: bool) -> NoReturn:
        """Raise the error of a body that isn't a JSON object; one service names a missing parameter as text or XML."""
        text = " ".join(re.sub(r"<[^<>]*>", " ", response.body[:2000].decode(errors="replace")).split())
        if response.status == 400 and MISSING.said_in(text):
            self.raise_by_words(response, {"message": text})
        self.raise_for_unreadable(response, repeatable=repeatable)

    def clean(self, words: str) -> str:
        """Take secrets and whole numbers out of a service's words."""
        return mask_numbers(self.credential.redact(words))

    def receipt(
        self,
        to: Recipient,
        answer: Any,
        message_id: str,
        *,
        status: Literal["accepted", "queued"] = "accepted",
        status_text: str = "",
    ) -> Receipt:
        """Write the receipt of an accepted or queued message."""
        return Receipt(
            provider=self.name,
            account=self.account,
            recipient=to.to,
            message_id=message_id,
            status=status,
            status_text=self.credential.redact(status_text),
            raw=answer,
        )


def bare_type(mime_type: str) -> str:
    """Give a MIME type without its parameters.

    Example:
        >>> bare_type("audio/ogg; codecs=opus")
        'audio/ogg'
    """
    return mime_type.partition(";")[0].strip().lower()


def _may_be_opus(mime_type: str) -> bool:
    return bare_type(mime_type) == "audio/ogg" and ("codecs" not in mime_type or "opus" in mime_type)
