"""What a dialect hands to a driver and gets back: plain data, no network."""

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file of a multipart body."""

    filename: str
    content: bytes = field(repr=False)
    mime_type: str


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request without its credential, which the driver puts on below httpx's logging.

    Attributes:
        method: `GET`, `POST` or `DELETE`.
        path: Path after the base URL, with a leading slash.
        query: Query parameters, no secrets.
        json: Body as JSON; None for none.
        form: Fields of a multipart body.
        files: Files of a multipart body, by field name.
        repeatable: Whether doing it twice harms nobody (reads, uploads): then a lost answer may be asked for again.
        timeout: Seconds to wait for the answer; None for the client's own.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, Any] | None = field(default=None, repr=False)
    form: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, FilePart] = field(default_factory=dict)
    repeatable: bool = False
    timeout: float | None = None


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
        """Parse the body; None where it is empty or not JSON."""
        if not self.body:
            return None
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def retry_after(self) -> float | None:
        """Seconds of a `Retry-After` header in its numeric form; None where there is none."""
        value = self.headers.get("retry-after", "").strip()
        return float(value) if value.isdecimal() else None


Exchange = Generator[Request, Response, T]
"""A conversation of one or more requests that ends in a `T`; a sync and an async driver run the same one."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What the driver adds to every request, and nobody prints."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
