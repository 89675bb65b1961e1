"""What Graph's error codes mean for a broadcast: one table, read top to bottom.

Sent again is only what Meta's own words say was not sent. Four codes were weighed by what is documented of them:

| code | Meta says of it | so here |
|---|---|---|
| 1 | "Invalid request or possible server error" | unknown: a server error says nothing of the message |
| 2 | "Temporary due to downtime or due to being overloaded" (503) | unknown, for the same reason |
| 131016 | "A service is temporarily unavailable" (500) | unknown, unless the answer says that the message failed to send |
| 131000 | "Message failed to send due to an unknown error. Try again." (500) | tried again where the answer has these \
words; unknown where it has the title "Something went wrong" alone |

A code that this table lacks, or words of a timeout, on a 5xx is unknown too, as is a 5xx without an error object. Status
and code are both needed: 1 and 2 are Graph-wide codes for whatever a backend raised, before or after it took the message.

Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

from ..models.errors import ErrorKind, Verdict
from .http_types import Response

# A send by a media id that expired or is another number's: "(#100) Param audio['id'] is not a valid whatsapp business
# account media attachment ID", also with `audio.id`, recorded verbatim by users of n8n and kapso.
_DISOWNED = re.compile(
    r"media[ _]?(?:attachment[ _]?)?id|\bparam\W{1,3}(?:audio|document|image|video)\W{1,3}id\b"
    r"|\bmedia\b.*(?:expired|not found|does not exist|no longer)",
    re.IGNORECASE,
)
_TOO_BIG = re.compile(r"\bfile size too (?:big|large)\b", re.IGNORECASE)
_SAYS_NOT_SENT = re.compile(r"\bfailed to send\b|\b(?:was|were|been) not sent\b|\bnot been sent\b", re.IGNORECASE)
TIMEOUT_WORDS = re.compile(r"\btim(?:ed|e)[ -]?out\b|\bETIMEDOUT\b|\bdeadline exceeded\b", re.IGNORECASE)
_BSUID = re.compile(r"'([A-Z]{2}\.(?:ENT\.)?[0-9A-Za-z]{1,128})'")
_ROW_PARAMETER = re.compile(r"\bparam(eter)?\W{1,3}(to|recipient|context|message_id)\b", re.IGNORECASE)
_FILE_PARAMETER = re.compile(r"\bparam(eter)?\W{1,3}file\b", re.IGNORECASE)
# Graph repeats a malformed token in its answer ("Malformed access token EAA…").
_TOKEN = re.compile(r"\bEAA\w{6,}")
_LONGEST_WORDS = 500


class ErrorClass(StrEnum):
    """Classes of Graph errors, by what follows from them."""

    AUTH = "auth"  # token or permission
    POLICY = "policy"  # the business account is restricted
    RESTRICTED = "restricted"  # the number is held back for spam: going on makes it worse
    ACCOUNT = "account"  # payment, registration, terms
    THROTTLE = "throttle"  # the number or app is too fast
    PAIR = "pair"  # too many messages to this one recipient
    TRANSIENT = "transient"  # Meta's own trouble, and it says that the message was not sent
    AMBIGUOUS = "ambiguous"  # Meta's own trouble, and it doesn't say what became of the message
    MAINTENANCE = "maintenance"  # the number is being upgraded, about a minute
    REQUEST = "request"  # the body is wrong
    VERSION = "version"  # no such path, or a version that Meta has switched off
    MEDIA = "media"  # this media fails for everyone
    MEDIA_ID = "media id"  # the media id is gone or another number's: upload once more
    TEMPLATE = "template"  # the opener's template
    PARAMETER = "parameter"  # a value of this row, such as its `to`
    RECIPIENT = "recipient"  # this person can't get it
    WINDOW = "window"  # the 24-hour window is closed: an opener is needed
    COUNTRY = "country"  # the account may not write to this country
    GROUP = "group"  # the group can't get it


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an error class means.

    Attributes:
        verdict: One of the four; None where the message may have been accepted.
        kind: `ProviderError.kind`.
        advice: What to do, added to Graph's own words.
        scope: Whom a retry concerns.
        wait: Seconds to wait where the answer names none.
        longest: The most seconds that make sense to wait.
    """

    verdict: Verdict | None
    kind: ErrorKind
    advice: str = ""
    scope: Literal["sender", "recipient"] = "sender"
    wait: float | None = None
    longest: float | None = None


MEANINGS: dict[ErrorClass, Meaning] = {
    ErrorClass.AUTH: Meaning(
        Verdict.ACCOUNT,
        ErrorKind.AUTH,
        "check that access_token is valid and has the permission whatsapp_business_messaging",
    ),
    ErrorClass.POLICY: Meaning(Verdict.ACCOUNT, ErrorKind.POLICY, "see the account's quality in WhatsApp Manager"),
    ErrorClass.RESTRICTED: Meaning(
        Verdict.ACCOUNT,
        ErrorKind.RESTRICTED,
        "stop sending until WhatsApp Manager shows that the restriction is lifted",
    ),
    ErrorClass.ACCOUNT: Meaning(
        Verdict.ACCOUNT, ErrorKind.ACCOUNT, "resolve the problem of the account in WhatsApp Manager"
    ),
    ErrorClass.THROTTLE: Meaning(Verdict.RETRY, ErrorKind.THROTTLE),
    # "You can still send to others"; Meta's wait of 4^X seconds needs the count of failures, which the pace keeps.
    ErrorClass.PAIR: Meaning(Verdict.RETRY, ErrorKind.PAIR, scope="recipient"),
    ErrorClass.TRANSIENT: Meaning(Verdict.RETRY, ErrorKind.TRANSIENT),
    ErrorClass.AMBIGUOUS: Meaning(None, ErrorKind.TROUBLE),
    ErrorClass.MAINTENANCE: Meaning(Verdict.RETRY, ErrorKind.TRANSIENT, wait=60.0, longest=60.0),
    ErrorClass.REQUEST: Meaning(Verdict.REQUEST, ErrorKind.REQUEST),
    ErrorClass.MEDIA: Meaning(Verdict.REQUEST, ErrorKind.MEDIA, "send audio in a format that Graph accepts"),
    ErrorClass.MEDIA_ID: Meaning(Verdict.REQUEST, ErrorKind.MEDIA_ID, "upload the audio again from this number"),
    ErrorClass.VERSION: Meaning(
        Verdict.REQUEST,
        ErrorKind.REQUEST,
        "check that api_version is one that Meta still runs and that base_url is right",
    ),
    ErrorClass.TEMPLATE: Meaning(Verdict.REQUEST, ErrorKind.TEMPLATE),
    ErrorClass.PARAMETER: Meaning(
        Verdict.RECIPIENT, ErrorKind.PARAMETER, "check this recipient's address and reply_to"
    ),
    ErrorClass.RECIPIENT: Meaning(Verdict.RECIPIENT, ErrorKind.RECIPIENT),
    ErrorClass.WINDOW: Meaning(Verdict.RECIPIENT, ErrorKind.WINDOW, "they must write first, or get an opener template"),
    ErrorClass.COUNTRY: Meaning(Verdict.RECIPIENT, ErrorKind.COUNTRY),
    ErrorClass.GROUP: Meaning(Verdict.RECIPIENT, ErrorKind.GROUP),
}

_CODES: dict[ErrorClass, tuple[int, ...]] = {
    ErrorClass.AUTH: (0, 3, 10, 104, 190, *range(200, 300), 131005),
    ErrorClass.POLICY: (368, 131031),
    ErrorClass.RESTRICTED: (131048, 131064),
    ErrorClass.ACCOUNT: (
        *(33, 131037, 131042, 131044, 131045, 131063),
        *(133000, 133005, 133006, 133008, 133009, 133010, 133015, 134011),
    ),
    ErrorClass.THROTTLE: (4, 17, 32, 341, 613, 80007, 80008, 130429, 133016),
    ErrorClass.PAIR: (131056,),
    ErrorClass.AMBIGUOUS: (1, 2, 131000, 131016, 133004),
    ErrorClass.MAINTENANCE: (131057,),
    ErrorClass.REQUEST: (100, 131008, 131051, 135000),
    ErrorClass.VERSION: (2500, 2635),
    ErrorClass.MEDIA: (131052, 131053),
    ErrorClass.TEMPLATE: (
        *(132000, 132001, 132005, 132007, 132008, 132012, 132015, 132016, 132018, 132068, 132069),
        *(131055, 134100, 134101, 134102),
    ),
    ErrorClass.PARAMETER: (131009,),
    ErrorClass.RECIPIENT: (130403, 130472, 131021, 131026, 131030, 131043, 131049, 131050, 131062, 137000),
    ErrorClass.WINDOW: (131047,),
    ErrorClass.COUNTRY: (130497,),
    ErrorClass.GROUP: (130501, 131020, 131041, 131059, *range(131200, 131300)),
}

_MAY_SAY_NOT_SENT = frozenset({131000, 131016})

CLASS_OF_CODE: dict[int, ErrorClass] = {code: group for group, codes in _CODES.items() for code in codes}


def classify(code: int, *, status: int, words: str = "", is_transient: bool | None = None) -> ErrorClass:
    """Find the class of an error code; one that the table lacks is judged by what else the answer says.

    Args:
        code: `error.code`.
        status: HTTP status of the answer.
        words: What the answer says.
        is_transient: `error.is_transient`; None where the answer has none.

    Returns:
        The class. An unknown code is ambiguous on a 5xx or if Graph calls it transient, a throttle on a 429, else final
        for this recipient: Graph's error object stands for a request that failed.

    Example:
        >>> classify(131047, status=400)
        <ErrorClass.WINDOW: 'window'>
        >>> classify(131000, status=500, words="Message failed to send due to an unknown error.")
        <ErrorClass.TRANSIENT: 'transient'>
        >>> classify(131000, status=500, words="Something went wrong")
        <ErrorClass.AMBIGUOUS: 'ambiguous'>
    """
    if status >= 500 and TIMEOUT_WORDS.search(words):
        return ErrorClass.AMBIGUOUS
    known = CLASS_OF_CODE.get(code)
    if code in _MAY_SAY_NOT_SENT and _SAYS_NOT_SENT.search(words) and not TIMEOUT_WORDS.search(words):
        return ErrorClass.TRANSIENT
    if known:
        return known
    if status == 429 and is_transient is None:
        return ErrorClass.THROTTLE
    return ErrorClass.AMBIGUOUS if is_transient or status >= 500 else ErrorClass.RECIPIENT


@dataclass(frozen=True, slots=True)
class Refusal:
    """One error object, read.

    Attributes:
        meaning: What its class means.
        message: Its code, Graph's own words without the token, and what to do.
        code: `error.code`.
        retry_after: Seconds to wait; None where nothing says.
        trace_id: Graph's id of the request, for Meta's support.
    """

    meaning: Meaning
    message: str
    code: str
    retry_after: float | None
    trace_id: str


def read_refusal(
    error: dict[str, Any],
    response: Response,
    *,
    phone_number_id: str,
    media_id: str,
    recipient: str = "",
    redact: Callable[[str], str],
) -> Refusal:
    """Read an error object whose `code` is an integer.

    Args:
        error: The answer's `error`.
        response: The answer.
        phone_number_id: The number that was called for.
        media_id: The media id the request named; empty for none.
        recipient: Whom the request was for; empty for nobody.
        redact: Takes the secrets out of a text; before it is cut, so that no half of one is left.
    """
    code, subcode, transient = error["code"], error.get("error_subcode"), error.get("is_transient")
    words = _words(error, redact)
    group = classify(
        code,
        status=response.status,
        words=words,
        is_transient=transient if isinstance(transient, bool) else None,
    )
    meaning = MEANINGS[group]
    if group is ErrorClass.AMBIGUOUS:
        pass
    elif code == 100 and subcode == 33:
        meaning = _missing_object(words, phone_number_id=phone_number_id, media_id=media_id, recipient=recipient)
    elif _TOO_BIG.search(words):  # "Media file size too big. Max file size we currently support: 100MB."
        meaning = MEANINGS[ErrorClass.MEDIA]
    elif media_id and code in {100, 131009, 131053} and _DISOWNED.search(words):
        meaning = MEANINGS[ErrorClass.MEDIA_ID]
    elif code in {100, 131008} and _ROW_PARAMETER.search(words):
        meaning = MEANINGS[ErrorClass.PARAMETER]
    elif code == 100 and _FILE_PARAMETER.search(words):
        meaning = MEANINGS[ErrorClass.MEDIA]
    named = f"#{code}, subcode {subcode}" if subcode else f"#{code}"
    return Refusal(
        meaning=meaning,
        message=f"({named}) {words}" + (f"; {meaning.advice}" if meaning.advice else ""),
        code=str(code),
        retry_after=_wait(meaning, response),
        trace_id=str(error.get("fbtrace_id") or response.headers.get("x-fb-trace-id", "")),
    )


def _missing_object(words: str, *, phone_number_id: str, media_id: str, recipient: str) -> Meaning:
    """Say whose fault "Object with ID '…' does not exist" is: it names the person, the number or the media."""
    if phone_number_id not in words:
        named = _BSUID.search(words)
        if (recipient and recipient in words) or (recipient and named):
            return MEANINGS[ErrorClass.RECIPIENT]
        if media_id:
            return MEANINGS[ErrorClass.MEDIA_ID]
    advice = "check that phone_number_id is right and that the token may use it"
    return replace(MEANINGS[ErrorClass.ACCOUNT], advice=advice)


def _words(error: dict[str, Any], redact: Callable[[str], str]) -> str:
    data = error.get("error_data")
    if isinstance(data, str):  # some Graph endpoints; it may hold JSON
        try:
            data = json.loads(data)
        except ValueError:
            data = {"details": data}
    details = str(data.get("details", "")) if isinstance(data, dict) else ""
    title = re.sub(r"^\(#\d+\)\s*", "", str(error.get("message", ""))).strip()
    words = title if details in title else ": ".join(filter(None, (title, details)))
    return _TOKEN.sub("…", redact(words))[:_LONGEST_WORDS].rstrip(". ") or "no reason given"


def _wait(meaning: Meaning, response: Response) -> float | None:
    seconds = response.retry_after()
    if seconds is None and meaning.kind is ErrorKind.THROTTLE:
        seconds = _regain_access(response)
    if seconds is None:
        seconds = meaning.wait
    return seconds if seconds is None or meaning.longest is None else min(seconds, meaning.longest)


def _regain_access(response: Response) -> float | None:
    """Seconds until Graph says that a throttle ends: `X-Business-Use-Case-Usage` counts minutes."""
    try:
        usage = json.loads(response.headers.get("x-business-use-case-usage", ""))
        minutes = [
            float(entry.get("estimated_time_to_regain_access") or 0) for some in usage.values() for entry in some
        ]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return None
    return max((each for each in minutes if math.isfinite(each) and each > 0), default=0.0) * 60 or None
