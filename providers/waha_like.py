"""What WAHA and Wawp share: chat ids, contact objects, the session's five states and the shapes of a message's id.

Wawp is built on WAHA or a fork of it; the two differ in paths, in where the fields stand, and in the status of success.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..models.errors import AccountError, ErrorKind, Verdict
from ..models.receipt import Receipt
from ..models.recipient import Recipient
from .dialect import AccountStatus, Attachment
from .gateway import Gateway, bare_type
from .http_types import Exchange, Request, Response
from .message_ids import message_id
from .refusals import MEDIA, RECIPIENT, RESTRICTED, UNEXPLAINED, Meaning, says_failed

OPUS_IN_OGG = "audio/ogg; codecs=opus"
# A session that answers WORKING again has only just come back; the vendor polls every 3 to 5 s.
_SESSION_PAUSE = 5.0

_NEXT_STEP = {
    "STOPPED": "start the session",
    "STARTING": "it is starting: try again in a few seconds",
    "SCAN_QR_CODE": "scan the session's QR code with the phone",
    "FAILED": "restart the session, or log in again",
    "PASSKEY_REQUIRED": "WhatsApp asks for the account's passkey: log in once more from WAHA's dashboard and confirm it "
    "on the phone",
    "PASSKEY_CONFIRMATION_REQUIRED": "confirm the passkey on the phone; the session then goes on by itself",
}
_QUEUED = frozenset({"queued", "scheduled"})
# Also Baileys' words for a message that it has just sent, so they mean a queue only where there is no id.
_QUEUED_WITHOUT_ID = _QUEUED | {"accepted", "pending"}


@dataclass(frozen=True, kw_only=True)
class WahaLike(Gateway, ABC):
    """WAHA or a service built on it.

    Attributes:
        created: The status that is success by itself, also with an empty body (devlikeapro/waha#721, #1083, #1087:
            the message was sent); 0 for none.
    """

    created: ClassVar[int] = 0
    not_sent_on_500: ClassVar[tuple[Meaning, ...]] = (
        # whatsmeow's word for the server's own answer to the message: it was refused (its send.go, ErrServerReturnedError).
        replace(RESTRICTED, words=r"\bserver returned error:? ?463\b|^463\b"),
        replace(UNEXPLAINED, words=r"\bserver returned error:? ?4\d\d\b"),  # devlikeapro/waha#2093 (403), #1551 (401)
        # WhatsApp Web's page and whatsmeow (devlikeapro/waha#2094), which look the person up before they send.
        replace(RECIPIENT, words=r"\bno lid for user\b|\bno lid found for\b.{1,80}\bfrom server\b"),
        # `convert` runs before the message is made.
        replace(MEDIA, words=r"\bffmpeg exited\b"),
    )

    def check(self) -> Exchange[AccountStatus]:
        """Read the session's state: only `WORKING` sends."""
        response = yield self.session_request()
        return self._account_status(self.read(response, repeatable=True))

    @abstractmethod
    def session_request(self) -> Request:
        """The request that reads the session's state."""

    def mime_type(self, audio: Attachment) -> str:
        """What the audio is called: the exact type WhatsApp wants of a voice note, or its own if it is converted."""
        return OPUS_IN_OGG if bare_type(audio.mime_type) == "audio/ogg" else audio.mime_type

    def require_voice(self, audio: Attachment) -> None:
        """Refuse audio that can't become a voice note here.

        Raises:
            UnsupportedError: Basic audio, or what `require_audio` refuses.
        """
        if not audio.voice:
            self.raise_unsupported("voice", "it sends voice notes only; leave voice on and let the audio be transcoded")
        self.require_audio(audio)

    def send(self, request: Request, to: Recipient) -> Exchange[Receipt]:
        """Send a message, and where the session was down ask afresh whether it still is.

        Raises:
            RetryLaterError: It was refused for the session's state, and the session works again.
        """
        response = yield request
        try:
            return self._read_message(response, to)
        except AccountError as refused:
            if refused.kind is not ErrorKind.SESSION:
                raise
            down = refused
        try:
            works = (yield from self.check()).ready
        except AccountError:  # it says the same of the session, less well
            works = False
        if works:
            message = "the session was down and works again"
            self.raise_verdict(Verdict.RETRY, message, response, kind=ErrorKind.SESSION, retry_after=_SESSION_PAUSE)
        raise down

    def _read_message(self, response: Response, to: Recipient) -> Receipt:
        if response.status == self.created and not response.body.strip():
            return self.receipt(to, None, "")
        answer = self.read(response)
        found = message_id(answer)
        if says_failed(answer):
            if found:
                self.raise_unknown("a failure and a message id in one answer", response)
            self.raise_by_words(response, answer)
        if words := queue_words(answer, bool(found)):
            return self.receipt(to, answer, found, status="queued", status_text=words)
        if not found and response.status != self.created:
            self.raise_for_unreadable(response, what="without a message id")
        return self.receipt(to, answer, found)

    def _account_status(self, answer: dict[str, Any]) -> AccountStatus:
        places = (answer, answer.get("data"), answer.get("session"))
        words = (p.get(key) for p in places if isinstance(p, Mapping) for key in ("status", "state"))
        state = next((word.upper() for word in words if isinstance(word, str)), "UNKNOWN")
        me: Mapping[str, Any] = next(
            (p["me"] for p in places if isinstance(p, Mapping) and isinstance(p.get("me"), Mapping)), {}
        )
        who = self.clean(" ".join(str(me[key]) for key in ("pushName", "id") if me.get(key)))
        return AccountStatus(
            ready=state == "WORKING", state=state, detail=_NEXT_STEP.get(state, who), phone=_phone(me.get("id"))
        )


def _phone(jid: Any) -> str:
    """The digits of a phone's own id, `16505550100@c.us` or `16505550100:12@s.whatsapp.net`; an `@lid` has none."""
    name, _, domain = str(jid or "").partition("@")
    digits = name.partition(":")[0]
    return digits if digits.isdecimal() and domain in ("c.us", "s.whatsapp.net") else ""


def queue_words(answer: Mapping[str, Any], has_id: bool) -> str:
    """Say in the service's words that it holds the message for later; empty where it doesn't.

    Example:
        >>> queue_words({"code": "success", "job_id": "41", "message": "Added to the smart queue"}, False)
        'Added to the smart queue'
    """
    for place in (answer, answer.get("data")):
        if isinstance(place, Mapping):
            status = str(place.get("status") or "").lower()
            if place.get("job_id") or status in (_QUEUED if has_id else _QUEUED_WITHOUT_ID):
                said = place.get("message")
                return said if isinstance(said, str) and said else status or "queued"
    return ""
