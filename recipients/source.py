"""The recipient list of a broadcast, wherever it is, read in chunks; and what it came to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, cast

import phonenumbers

from ..ledger import RemovedRow
from ..media import MAX_LIST_BYTES, open_stream
from ..models import Recipient
from ..models.errors import RecipientListError
from .reader import ListChunk, read_recipients, recipients_of

if TYPE_CHECKING:  # two thirds of a second to import, which a run without S3 saves
    from prefect_aws import S3Bucket

_REMOVED_SHOWN = 50
_CALLING_CODES = phonenumbers.COUNTRY_CODE_TO_REGION_CODE


@dataclass
class Planned:
    """What the list came to.

    Attributes:
        usable: Rows that can be sent to.
        new: Of these, rows that the ledger didn't have yet.
        removed: Repeats and unusable rows.
        countries: Usable rows by region; groups and newsletters under their kind.
        completed: Usable rows that had no country code, by the country whose code was put in front.
        reasons: Removed rows by reason.
        removed_first: The first fifty removed rows.
    """

    usable: int = 0
    new: int = 0
    removed: int = 0
    countries: Counter[str] = field(default_factory=Counter)
    completed: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    removed_first: list[RemovedRow] = field(default_factory=list)


class RecipientList:
    """Reads the list once, without holding it.

    Args:
        recipients: `s3://bucket/key`, a key in `storage`, a path, or the rows themselves: see `recipients_of`.
        storage: Where a key is looked up.
        default_region: Two-letter region for numbers without a country code.
    """

    def __init__(self, recipients: object, storage: S3Bucket | None, default_region: str):
        self._recipients, self._storage, self._region = recipients, storage, default_region
        self.planned = Planned()

    async def chunks(self) -> AsyncIterator[ListChunk]:
        """Read it, a thread parsing while the ledger writes.

        Raises:
            SourceError: It isn't there or may not be read.
            RecipientListError: It has no usable column or no usable row.
        """
        stack = ExitStack()
        try:
            rows = await asyncio.to_thread(self._open, stack)
            while (chunk := await asyncio.to_thread(next, rows, None)) is not None:
                self._count(chunk)
                yield chunk
        finally:
            await asyncio.to_thread(stack.close)
        if not self.planned.usable:
            reason, _ = next(iter(self.planned.reasons.most_common(1)), ("", 0))
            raise RecipientListError(
                f"the recipient list has no usable row: {self.planned.removed} removed"
                + (f", most often because: {reason}" if reason else "")
            )

    def _open(self, stack: ExitStack) -> Iterator[ListChunk]:
        if not isinstance(self._recipients, str):
            return iter(recipients_of(self._recipients, default_region=self._region))
        opened = open_stream(self._recipients, self._storage, seekable=True, max_bytes=MAX_LIST_BYTES)
        stream = stack.enter_context(opened)
        name = self._recipients.partition("?")[0].rsplit("/", 1)[-1]
        return iter(read_recipients(cast(BinaryIO, stream), filename=name, default_region=self._region))

    def _count(self, chunk: ListChunk) -> None:
        self.planned.usable += len(chunk.usable)
        self.planned.removed += len(chunk.removed)
        self.planned.removed_first += chunk.removed[: _REMOVED_SHOWN - len(self.planned.removed_first)]
        self.planned.completed.update(chunk.completed)
        self.planned.countries.update(map(_country, chunk.usable))
        self.planned.reasons.update(row.reason.partition(":")[0] for row in chunk.removed)


def _country(recipient: Recipient) -> str:
    if not recipient.digits:
        return recipient.kind.value
    code = next((int(recipient.digits[:n]) for n in (1, 2, 3) if int(recipient.digits[:n]) in _CALLING_CODES), 0)
    return phonenumbers.region_code_for_country_code(code)
