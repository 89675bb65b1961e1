"""What WAHA and Wawp share: chat ids, contact objects, the session's five states and the shapes of a message's id.

Wawp is built on WAHA or a fork of it; the two differ in paths, in where the fields stand, and in the status of success.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..models.errors import AccountError, ErrorKind, Verdict
from ..models.receipt import Receipt
from ..models.recipient import Recipient
from .dialect import AccountStatus, Attachment
from .gateway import Gateway, bare_type
from .http_types import Exchange, Request, Response
from .refusals import says_failed

OPUS_IN_OGG = "audio/ogg; codecs=opus"
# A session that answers WORKING again has only just come back; the vendor polls every 3 to 5 s.
_SESSION_PAUSE = 5.0

_NEXT_STEP = {
    "STOPPED": "start the session",
    "STARTING": "it is starting: try again in a few seconds",
    "SCAN_QR_CODE": "scan the session's QR code with the phone",
    "FAILED": "restart the session, or log in again",
}
_QUEUED = frozenset({"queued", "scheduled"})
# Also Baileys' words for a message that it has just sent, so they mean a queue only where there is no id.
_QUEUED_WITHOUT_ID = _QUEUED | {"accepted", "pending"}


@dataclass(frozen=True, kw_only=True)
class WahaLike(Gateway, ABC):
    """WAHA or a service built on it.

    Attributes:
        created: The status that is success by itself, where the body's shape is undocumented; 0 for none.
    """

    created: ClassVar[int] = 0

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

    def take_voice(self, audio: Attachment) -> None:
        """Refuse audio that can't become a voice note here."""
        if not audio.voice:
            self.refuse("voice", "it sends voice notes only; leave voice on and let the audio be transcoded")
        self.take(audio)

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
        if (yield from self.check()).ready:
            message = "the session was down and works again"
            self.raise_verdict(Verdict.RETRY, message, response, kind=ErrorKind.SESSION, retry_after=_SESSION_PAUSE)
        raise down

    def _read_message(self, response: Response, to: Recipient) -> Receipt:
        answer = self.read(response)
        if says_failed(answer):
            self.judge_words(response, answer)
        found, words = message_id(answer), queue_words(answer, bool(message_id(answer)))
        if words:
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
        return AccountStatus(ready=state == "WORKING", state=state, detail=_NEXT_STEP.get(state, who))


def message_id(answer: Mapping[str, Any]) -> str:
    """Find a message's id in each of the shapes that the engines answer with; empty where there is none.

    Example:
        >>> message_id({"_data": {"id": {"_serialized": "true_1@c.us_3EB0"}}})
        'true_1@c.us_3EB0'
        >>> message_id({"key": {"remoteJid": "1@s.whatsapp.net", "fromMe": True, "id": "3EB0"}})
        '3EB0'
    """
    return next((found for place in _id_places(answer) if (found := _id(place))), "")


def _id_places(answer: Mapping[str, Any]) -> Iterator[Any]:
    yield answer.get("id")
    yield answer.get("key")
    for wrapper in ("_data", "data", "message"):
        if isinstance(inner := answer.get(wrapper), Mapping):
            yield from _id_places(inner)


def _id(value: object) -> str:
    if isinstance(value, Mapping):
        value = value.get("_serialized") or value.get("id")
    return value if isinstance(value, str) else ""


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
