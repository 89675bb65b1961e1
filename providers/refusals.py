"""What a gateway's refusal means, read from its words: none of the three publishes a table of codes.

Below 500, `classify` goes down `MEANINGS`, and where no words match, the status decides: a 4xx refuses the request. A 5xx
does not mean that nothing was sent, whatever it says of a session, a file or base64: WhatsApp Web's page may close after
the message left ("Session closed. Most likely the page has been closed", puppeteer's words). Only what a service's own
source is known to say *before* it sends counts there, and a dialect names it (`not_sent_on_500`).

Source: the gateways' recorded answers, such as devlikeapro/waha#1453 (files), #2129 (restricted accounts).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..models.errors import ErrorKind, Verdict
from ..models.masking import mask_numbers
from .http_types import Response

_LONGEST_WORDS = 300
_SAID_UNDER = ("error", "message", "description", "exception", "err", "reason", "detail", "data")
_FINE_CODE = re.compile(r"success|ok|2\d\d", re.IGNORECASE)
_FAILED_STATUSES = frozenset({"error", "fail", "failed", "failure"})
_CODE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}|\d{1,6}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a kind of refusal means.

    Attributes:
        verdict: One of the four; None where the message may have been accepted.
        kind: `ProviderError.kind`.
        sentence: What was wrong, before the service's own words.
        advice: What to do, after them.
        words: What such a refusal says; empty where only a status can say it.
    """

    verdict: Verdict | None
    kind: ErrorKind
    sentence: str
    advice: str = ""
    words: str = ""

    def said_in(self, text: str) -> bool:
        """Whether the text holds these words."""
        return bool(self.words) and re.search(self.words, text, re.IGNORECASE) is not None


# The words of something that broke while, or after, the message left, whatever the status.
AFTERWARDS = Meaning(
    None,
    ErrorKind.TROUBLE,
    "trouble at the service",
    words=r"page has been closed|target closed|protocol error|execution context|before (?:the )?ack"
    r"|\bmessage (?:was |has been |is )?sent\b|upstream",
)
RESTRICTED = Meaning(
    Verdict.ACCOUNT,
    ErrorKind.RESTRICTED,
    "WhatsApp restricts this account",
    "stop sending from it; trying again makes it worse",
    r"\berror:? ?463\b|reputation|\brestricted\b|\bbanned\b",
)
UNPAID = Meaning(
    Verdict.ACCOUNT,
    ErrorKind.PAYMENT,
    "the plan allows no more",
    "check the plan and its quota at the service",
    r"quota|\bnot[ _]?paid\b|unpaid|payment required",
)
EDITION = Meaning(
    Verdict.ACCOUNT,
    ErrorKind.ACCOUNT,
    "this edition of the server can't do it",
    "update WAHA to 2026.6.1 or newer, where voice messages and several sessions are free; earlier versions of "
    "WAHA Core have only the session default, and no voice messages",
    r"only in plus version|core support only 'default' session|\bwaha plus\b",
)
TIMEOUT = Meaning(None, ErrorKind.TIMEOUT, "ran out of time", words=r"\btim(?:ed|e)[ -]?out\b|\bETIMEDOUT\b")
SESSION = Meaning(
    Verdict.ACCOUNT,
    ErrorKind.SESSION,
    "the session can't send",
    "check its name or id, start it and log in with the phone, then run again",
    r"invalid_session|session status"
    r"|session (?:\S+ )?(?:was |is |has been )?(?:closed|stopped|not |failed|does(?: not|n't) exist)|find a session"
    r"|instance (?:\S+ )?(?:was |is )?(?:stopped|not )|not (?:equals )?authenticated|logged[ -]?out|scan.{0,12}\bqr\b"
    r"|(?:phone|device|account) (?:is )?(?:offline|disconnected|not connected|not authori[sz]ed)",
)
THROTTLE = Meaning(
    Verdict.RETRY,
    ErrorKind.THROTTLE,
    "too many requests",
    "",
    r"rate.?(?:over)?limit|too many (?:requests|messages)|throttl|slow down|limit.{0,20}per (?:second|minute)",
)
AUTH = Meaning(
    Verdict.ACCOUNT,
    ErrorKind.AUTH,
    "the credential is refused",
    "check the account's id and its token or key",
    # Not the bare word: a 500 may repeat a URL with `token=`, and a parser calls a character an unexpected token.
    r"(?:wrong|invalid|expired|missing|incorrect|bad|no)[\W_]+(?:(?:access|api|auth|x)[\W_]*)*(?:token|key|credentials?)\b"
    r"|(?:token|api.?key) (?:is |was |has )?(?:wrong|invalid|expired|missing|incorrect|not )"
    r"|unauthori[sz]ed|forbidden|access denied",
)
RECIPIENT = Meaning(
    Verdict.RECIPIENT,
    ErrorKind.RECIPIENT,
    "this recipient can't get it",
    "check the number or chat id",
    r"wrong (?:chat ?id|phone)|(?:chat ?id|phone) format|contain only numbers|\bno lid (?:for user|found for)\b"
    r"|invalid (?:phone|number|chat ?id|jid|wid|recipient)|not (?:a participant|registered|(?:a |an |on )+whats ?app)"
    r"|(?:number|chat|user|contact|recipient|group|channel) (?:\S+ )?"
    r"(?:not found|not exists?|does ?n[o']t exist|is (?:invalid|not valid))",
)
QUOTE = Meaning(
    Verdict.RECIPIENT,
    ErrorKind.QUOTE,
    "the message to quote is refused",
    "check reply_to",
    r"\bquoted|\breply[_ ]?to\b",
)
MEDIA = Meaning(
    Verdict.REQUEST,
    ErrorKind.MEDIA,
    "the audio or card is refused",
    "",
    r"ffmpeg|mime ?type|base64|\bvcard\b|contactid|invalid url|unsupported (?:media|format|file|audio)"
    r"|(?:file|audio|media)\b.{0,30}(?:too (?:large|big)|size|invalid|not supported|format)"
    r"|(?:download|fetch|load).{0,30}\b(?:file|url|media|audio)\b",
)
MISSING = Meaning(
    Verdict.REQUEST,
    ErrorKind.REQUEST,
    "the request is refused",
    "",
    r"missing[_ ](?:required )?(?:param|field|argument)",
)
PAYMENT = replace(UNPAID, words=r"payment|subscription|trial|\blimit\b")
REQUEST = Meaning(Verdict.REQUEST, ErrorKind.REQUEST, "the request is refused")
# A status of 429 alone proves nothing: a proxy may have passed the message on.
BARE_THROTTLE = Meaning(Verdict.RETRY, ErrorKind.BARE_THROTTLE, THROTTLE.sentence)
# Nothing about this message: a proxy whose service is away says it to all, and so does a server without this path.
ADDRESS = Meaning(
    Verdict.REQUEST, ErrorKind.ADDRESS, "there is no such path", "check the base URL, and the path where it can be set"
)
UNEXPLAINED = Meaning(Verdict.RECIPIENT, ErrorKind.UNEXPLAINED, "the service says that it was not sent")
TROUBLE = Meaning(None, ErrorKind.TROUBLE, "trouble at the service")

MEANINGS = (
    *(AFTERWARDS, TIMEOUT, RESTRICTED, UNPAID, EDITION, SESSION, THROTTLE),
    *(AUTH, RECIPIENT, QUOTE, MEDIA, MISSING, PAYMENT),
)

_OF_STATUS = {401: AUTH, 402: PAYMENT, 403: AUTH, 404: ADDRESS, 405: ADDRESS, 407: AUTH, 408: TIMEOUT}


def classify(
    response: Response, text: str, *, denies: bool = False, not_sent_on_500: Sequence[Meaning] = ()
) -> Meaning:
    """Give the meaning of a parsed refusal.

    Args:
        response: The answer.
        text: Its code and words.
        denies: Whether the body says in so many words that nothing was sent, such as `sent: false`.
        not_sent_on_500: What the service is known to say, under a 500, before it sends.

    Example:
        >>> classify(Response(401), "Wrong token. Please provide token as a GET parameter.").kind.value
        'auth'
        >>> classify(Response(500), "Session closed").verdict is None
        True
    """
    status = response.status
    if status == 429 and "quota" not in text.lower() and not AFTERWARDS.said_in(text):
        return THROTTLE if THROTTLE.said_in(text) else BARE_THROTTLE
    if status >= 500:  # a 502, 503 or 504 is a proxy's, whose words ("Backend fetch failed") are not the service's
        known: Sequence[Meaning] = (AFTERWARDS, TIMEOUT, *(not_sent_on_500 if status == 500 else ()), TROUBLE)
    else:
        known = MEANINGS
    for meaning in known:
        if meaning is TROUBLE or meaning.said_in(text):
            return meaning
    if status < 300:
        return UNEXPLAINED if denies else TROUBLE
    return _OF_STATUS.get(status, REQUEST)


def says_no(answer: Mapping[str, Any]) -> bool:
    """Whether a parsed body is a refusal, whatever its HTTP status: 200 is not success until the body says so.

    Example:
        >>> says_no({"code": "invalid_session", "message": "Session closed"}), says_no({"result": False})
        (True, True)
        >>> says_no({"sent": True, "id": "true_1@c.us_3EB0"})
        False
    """
    if any(answer.get(key) for key in ("error", "err", "exception")) or _has_false_flag(answer):
        return True
    code = answer.get("code")
    if isinstance(code, str | int) and code and not _FINE_CODE.fullmatch(str(code)):
        return True
    # WAHA's `statusCode`, and the `status` of Wawp's OpenAPI (ErrorResponse: an integer, a message and an error).
    return any(isinstance(status, int) and status >= 400 for status in (answer.get("statusCode"), answer.get("status")))


def denies(answer: Mapping[str, Any]) -> bool:
    """Whether a parsed body says in so many words that nothing was sent: a flag that is false, or a word for failure.

    Example:
        >>> denies({"sent": "false"}), denies({"error": "Page crashed"})
        (True, False)
    """
    return _has_false_flag(answer) or says_failed(answer)


def _has_false_flag(answer: Mapping[str, Any]) -> bool:
    return any(str(answer.get(key)).lower() == "false" for key in ("sent", "result", "success", "status"))


def says_failed(answer: Mapping[str, Any]) -> bool:
    """Whether the `status` of a send is a word for failure; a session's `status` is a state instead."""
    return str(answer.get("status")).lower() in _FAILED_STATUSES


def words_of(answer: Mapping[str, Any], clean: Callable[[str], str] = mask_numbers) -> str:
    """Gather what a service says in one line, wherever it puts it.

    Args:
        answer: The parsed body.
        clean: Takes secrets and whole numbers out, before the line is cut, so that no part of one is left.

    Example:
        >>> words_of({"statusCode": 400, "message": ["chatId must be a string"], "error": "Bad Request"})
        'Bad Request; chatId must be a string'
    """
    parts = dict.fromkeys(" ".join(part.split()) for part in _said(answer))
    text = clean("; ".join(part for part in parts if part))
    return text if len(text) <= _LONGEST_WORDS else text[:_LONGEST_WORDS] + "…"


def _said(value: object, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str) and depth:
        if value != "Error":  # the plainest of an exception's names
            yield value
    elif isinstance(value, list) and depth:
        yield from (item for item in value if isinstance(item, str))
    elif isinstance(value, Mapping) and depth < 3:
        for key in _SAID_UNDER if depth == 0 else (*_SAID_UNDER, "name"):  # an exception's: `AxiosError`
            yield from _said(value.get(key), depth + 1)


def code_of(answer: Mapping[str, Any], response: Response) -> str:
    """Give the service's own error code, or the HTTP status as text."""
    for place in (answer, answer.get("error"), answer.get("data")):
        code = str(place.get("code", "")) if isinstance(place, Mapping) else ""
        if _CODE.fullmatch(code):
            return code
    return str(response.status)
