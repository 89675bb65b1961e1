"""What Graph's error codes mean for a broadcast: one table, read top to bottom.

Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

from ..models.errors import ErrorKind, Verdict
from .http_types import Response

# What is answered to a send by a media id that expired or is another number's isn't documented; 100, 131009 and 131053
# are the candidates, and the words decide.
_DISOWNED = re.compile(r"media[ _]?id|\bmedia\b.*(expired|not found|does not exist|no longer)", re.IGNORECASE)
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
    TRANSIENT = "transient"  # Meta's own trouble
    MAINTENANCE = "maintenance"  # the number is being upgraded, about a minute
    REQUEST = "request"  # the body is wrong
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
        verdict: One of the four.
        kind: `ProviderError.kind`.
        advice: What to do, added to Graph's own words.
        scope: Whom a retry concerns.
        wait: Seconds to wait where the answer names none.
        longest: The most seconds that make sense to wait.
    """

    verdict: Verdict
    kind: ErrorKind
    advice: str = ""
    scope: Literal["sender", "recipient"] = "sender"
    wait: float | None = None
    longest: float | None = None


MEANINGS: dict[ErrorClass, Meaning] = {
    ErrorClass.AUTH: Meaning(
        Verdict.ACCOUNT, ErrorKind.AUTH, "check that access_token is valid and may whatsapp_business_messaging"
    ),
    ErrorClass.POLICY: Meaning(Verdict.ACCOUNT, ErrorKind.POLICY, "see the account's quality in WhatsApp Manager"),
    ErrorClass.RESTRICTED: Meaning(
        Verdict.ACCOUNT, ErrorKind.RESTRICTED, "stop sending until WhatsApp Manager lifts it"
    ),
    ErrorClass.ACCOUNT: Meaning(Verdict.ACCOUNT, ErrorKind.ACCOUNT, "put the account right in WhatsApp Manager"),
    ErrorClass.THROTTLE: Meaning(Verdict.RETRY, ErrorKind.THROTTLE),
    # "You can still send to others"; Meta's wait of 4^X seconds needs the count of failures, which the pace keeps.
    ErrorClass.PAIR: Meaning(Verdict.RETRY, ErrorKind.PAIR, scope="recipient"),
    ErrorClass.TRANSIENT: Meaning(Verdict.RETRY, ErrorKind.TRANSIENT),
    ErrorClass.MAINTENANCE: Meaning(Verdict.RETRY, ErrorKind.TRANSIENT, wait=60.0, longest=60.0),
    ErrorClass.REQUEST: Meaning(Verdict.REQUEST, ErrorKind.REQUEST),
    ErrorClass.MEDIA: Meaning(Verdict.REQUEST, ErrorKind.MEDIA, "send audio that Graph takes"),
    ErrorClass.MEDIA_ID: Meaning(Verdict.REQUEST, ErrorKind.MEDIA_ID, "upload the audio once more from this number"),
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
        *(33, 131037, 131042, 131045, 131063),
        *(133000, 133005, 133006, 133008, 133009, 133010, 133015, 134011),
    ),
    ErrorClass.THROTTLE: (4, 17, 32, 341, 613, 80007, 80008, 130429, 133016),
    ErrorClass.PAIR: (131056,),
    ErrorClass.TRANSIENT: (1, 2, 131000, 131016, 133004),
    ErrorClass.MAINTENANCE: (131057,),
    ErrorClass.REQUEST: (100, 131008, 131051, 135000),
    ErrorClass.MEDIA: (131052, 131053),
    ErrorClass.TEMPLATE: (
        *(132000, 132001, 132005, 132007, 132012, 132015, 132016, 132018, 132068, 132069),
        *(131055, 134100, 134101, 134102),
    ),
    ErrorClass.PARAMETER: (131009,),
    ErrorClass.RECIPIENT: (130403, 130472, 131021, 131026, 131030, 131043, 131049, 131050, 131062, 137000),
    ErrorClass.WINDOW: (131047,),
    ErrorClass.COUNTRY: (130497,),
    ErrorClass.GROUP: (130501, 131020, 131041, 131059, *range(131200, 131300)),
}

CLASS_OF_CODE: dict[int, ErrorClass] = {code: group for group, codes in _CODES.items() for code in codes}


def classify(code: int, *, status: int, is_transient: bool | None = None) -> ErrorClass:
    """Find the class of an error code; one that the table lacks is judged by what else the answer says.

    Args:
        code: `error.code`.
        status: HTTP status of the answer.
        is_transient: `error.is_transient`; None where the answer has none.

    Returns:
        The class; an unknown code is transient if Graph says so, or, where it says nothing, if the status is 429 or
        5xx; else it is final for this recipient.

    Example:
        >>> classify(131047, status=400)
        <ErrorClass.WINDOW: 'window'>
    """
    if known := CLASS_OF_CODE.get(code):
        return known
    if is_transient is None:
        if status == 429:
            return ErrorClass.THROTTLE
        is_transient = status >= 500
    return ErrorClass.TRANSIENT if is_transient else ErrorClass.RECIPIENT


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
    redact: Callable[[str], str],
) -> Refusal:
    """Read an error object whose `code` is an integer.

    Args:
        error: The answer's `error`.
        response: The answer.
        phone_number_id: The number that was called for.
        media_id: The media id the request named; empty for none.
        redact: Takes the secrets out of a text; before it is cut, so that no half of one is left.
    """
    code, subcode, transient = error["code"], error.get("error_subcode"), error.get("is_transient")
    words = _words(error, redact)
    group = classify(code, status=response.status, is_transient=transient if isinstance(transient, bool) else None)
    meaning = MEANINGS[group]
    if code == 100 and subcode == 33:  # an object that isn't there, or isn't ours: the media, or the number itself
        meaning = MEANINGS[ErrorClass.MEDIA_ID]
        if not media_id or phone_number_id in words:
            advice = "check that phone_number_id is right and that the token may use it"
            meaning = replace(MEANINGS[ErrorClass.ACCOUNT], advice=advice)
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
    return _TOKEN.sub("…", redact(words))[:_LONGEST_WORDS].rstrip(". ") or "no words given"


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
    except (ValueError, AttributeError, TypeError):
        return None
    return max(minutes, default=0.0) * 60 or None
