"""What the four services' webhooks say, in one vocabulary; each service's own file reads its dialect. No I/O.

A webhook is verified over the bytes as they came, then read into items: a status of one message of ours, a message or
call of a person, a person's preference, or what this version doesn't know (`models.updates`).
"""

import datetime
import hashlib
import hmac
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..models.updates import Item

_MILLISECONDS = 10_000_000_000  # a Unix time above this counts milliseconds


class WebhookRefusedError(ValueError):
    """A body that is none of this service's webhooks; the text holds nothing of it."""


@dataclass(frozen=True, kw_only=True)
class WebhookDialect(ABC):
    """One service's webhooks for one account.

    Attributes:
        name: The provider, as in the ledger.
        has_handshake: Whether the service asks a question before its first webhook.
        account: The account of the saved block.
        secrets: What signs, or stands in the path; the old and the new one during a rotation.
    """

    name: ClassVar[str]
    has_handshake: ClassVar[bool] = False

    account: str
    secrets: tuple[str, ...] = field(repr=False)

    @abstractmethod
    def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether the service signed these bytes.

        Args:
            headers: Names in lower case.
            body: As it came, before any parsing.
        """

    @abstractmethod
    def items(self, body: Any, received_at: datetime.datetime) -> Iterable[Item]:
        """Read a parsed body.

        Args:
            body: What `json.loads` gave.
            received_at: In place of times that the service leaves out.

        Raises:
            WebhookRefusedError: It is none of this service's.
        """

    @property
    def secret_in_path(self) -> bool:
        """Whether a secret at the end of the path stands in for a signature."""
        return False

    def handshake(self, query: Mapping[str, str]) -> str | None:
        """Answer the service's question before its first webhook; None refuses it."""
        return None


def signed(body: bytes, given: str, secrets: Iterable[str], *, algorithm: str, prefix: str = "") -> bool:
    """Whether a hex HMAC over raw bytes was made with one of the secrets; a missing one is a wrong one.

    Args:
        body: The bytes as they came: Meta escapes what is not ASCII, and re-encoding would lose that.
        given: The header's value.
        secrets: Candidates; empty ones never match.
        algorithm: `sha256` or `sha512`.
        prefix: What must stand before the hex digits.
    """
    digest = given[len(prefix) :].strip().lower().encode("utf-8", "replace") if given.startswith(prefix) else b""
    matched = False
    for secret in secrets:
        expected = hmac.new(secret.encode(), body, getattr(hashlib, algorithm)).hexdigest().encode()
        matched |= bool(secret) and hmac.compare_digest(expected, digest)
    return matched


def same_secret(given: str, secrets: Iterable[str]) -> bool:
    """Compare a secret in constant time with each that is allowed; empty ones never match."""
    plain, matched = given.encode("utf-8", "replace"), False
    for secret in secrets:
        matched |= bool(secret) and hmac.compare_digest(secret.encode(), plain)
    return matched


def moment(value: object, otherwise: datetime.datetime) -> datetime.datetime:
    """Read Unix seconds or milliseconds, number or string; what is none, or lies in the future, is `otherwise`.

    Example:
        >>> now = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)
        >>> moment("1789000000", now).isoformat()
        '2026-09-10T00:26:40+00:00'
    """
    try:
        seconds = float(value)  # type: ignore[arg-type]  # what is no number is caught below
        seconds = seconds / 1000 if seconds > _MILLISECONDS else seconds
        at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return otherwise
    return min(at, otherwise) if seconds > 0 else otherwise


def text_of(value: object, limit: int = 1000) -> str:
    """A string, number or nothing as a text of bounded length."""
    return str(value)[:limit] if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def objects(value: object) -> list[dict[str, Any]]:
    """The objects of a list; whatever else stands there is left out, so that one bad item fails no batch."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def child(value: object, name: str) -> dict[str, Any]:
    """A member that is an object; empty where it is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def distinct(addresses: Iterable[str]) -> tuple[str, ...]:
    """Addresses without empty ones and repeats, in order."""
    return tuple(dict.fromkeys(filter(None, addresses)))
