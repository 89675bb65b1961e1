"""What a dialect hands to a driver and gets back: plain data, no network."""

import base64
import datetime
import json
import re
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Literal, NoReturn, Self, TypeVar

from ..models.errors import InputError

T = TypeVar("T")

# No service nests deeper; what does would end in a RecursionError somewhere, after the message was taken.
_DEEPEST = 64
# Half of a character, as an escape or as bytes: json takes it, and nothing that stores or shows text does.
_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file of a multipart body."""

    filename: str
    content: bytes = field(repr=False)
    mime_type: str


HIDDEN = "-hidden-"  # in a request's path: where its `hidden_part` goes


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request without its credential, which the driver puts on.

    Attributes:
        method: `GET`, `POST` or `DELETE`.
        path: Path after the base URL, with a leading slash.
        query: Query parameters, neither secrets nor phone numbers.
        hidden_query: Query parameters that hold a phone number; put on with the credential.
        hidden_part: A part of the path that holds a phone number, where the path has `HIDDEN`; put on likewise.
        json: Body as JSON; None for none.
        form: Fields of a multipart body.
        files: Files of a multipart body, by field name.
        repeatable: Whether doing it twice harms nobody (reads, uploads): then a lost answer may be asked for again.
        timeout: Seconds to wait for the answer; None for the client's own.
        credential: What is put on in place of the account's own; None for that.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    hidden_query: Mapping[str, str] = field(default_factory=dict, repr=False)
    hidden_part: str = field(default="", repr=False)
    json: Mapping[str, Any] | None = field(default=None, repr=False)
    form: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, FilePart] = field(default_factory=dict)
    repeatable: bool = False
    timeout: float | None = None
    credential: "Credential | None" = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP answer.

    Attributes:
        status: HTTP status.
        headers: Names in lower case.
        body: The whole body.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)

    def json(self) -> Any:
        """Parse the body; None where it is empty, not JSON, or nested as no honest answer is."""
        if not self.body:
            return None
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        if self.body.count(b"[") + self.body.count(b"{") > _DEEPEST and _is_deeper(found, _DEEPEST):
            return None
        return _whole_characters(found) if _HALF_CHARACTER.search(self.body) else found

    def retry_after(self) -> float | None:
        """Seconds of a `Retry-After` header, a date in it counted from the answer's own `Date`; None without one."""
        value = self.headers.get("retry-after", "").strip()
        if value.isascii() and value.isdecimal():
            return float(value[:9])
        until = _http_date(value)
        if until is None:
            return None
        now = _http_date(self.headers.get("date", "")) or datetime.datetime.now(datetime.UTC)
        return max(0.0, (until - now).total_seconds())


def _is_deeper(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)


def _whole_characters(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case list():
            return [_whole_characters(item) for item in value]
        case dict():
            return {_whole_characters(key): _whole_characters(item) for key, item in value.items()}
        case _:
            return value


def _http_date(value: str) -> datetime.datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=datetime.UTC)


Exchange = Generator[Request, Response, T]
"""A conversation of one or more requests that ends in a `T`; a sync and an async driver run the same one."""


_SHORTEST_SECRET = 4  # anything shorter would be found in every sentence


def _in_base64(secret: str) -> Iterator[str]:
    """Patterns of a secret within something in base64, in both alphabets: there are three, by where in it the secret begins."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret.encode()).decode()
        # The characters at both ends hold bits of a neighbour as well.
        first, last = (0, 2, 3)[before], len(encoded) - (0, 3, 2)[(before + len(secret)) % 3]
        same = encoded[first:last]
        yield re.escape(same).replace(r"\+", "[+-]").replace("/", "[/_]") + "[A-Za-z0-9+/_-]?=*"


@dataclass(frozen=True, slots=True)
class Credential:
    """What the driver adds to every request, and nobody prints or pickles.

    Attributes:
        headers: Headers, such as `Authorization`.
        query: Query parameters, such as Chat-API's `token`.
        body: Members of a JSON body, such as Wawp's `access_token`.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Mapping[str, str] = field(default_factory=dict, repr=False)

    def validate(self) -> None:
        """Refuse what an HTTP library would refuse too, with the secret in its words.

        Raises:
            InputError: A value that can't be sent as it is, such as a token that was copied with a line break.
        """
        for name, value in (*self.headers.items(), *self.query.items(), *self.body.items()):
            if not (value.isascii() and value.isprintable() and value == value.strip()):
                raise InputError(
                    f"the credential {name} contains a space, a line break or a character outside ASCII: copy it again"
                )

    def redact(self, text: str) -> str:
        """Take the secrets out of a service's words: plain, as any URL spells them, in base64 and in hex."""
        for value in (*self.headers.values(), *self.query.values(), *self.body.values()):
            secret = value.rpartition(" ")[2]  # `Bearer EAA…`
            if len(secret) >= _SHORTEST_SECRET:
                spelled = "".join(f"(?:{re.escape(c)}|%(?i:{ord(c):02x}))" for c in secret)
                text = re.sub(
                    "|".join((spelled, f"(?i:{secret.encode().hex()})", *_in_base64(secret))), "[secret]", text
                )
        return text

    def __reduce__(self) -> NoReturn:
        raise TypeError("a credential is not pickled: pass the block that holds it")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self
