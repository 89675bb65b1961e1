"""Lists that are read, and streams that can't be sought."""

import io
from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.parquet as pq
from prefect_whatsapp.recipients.reader import ListChunk, read_recipients

ADA, BOB, ZED = "+16505550123", "+16505550124", "+16505550125"


def outcome(chunks: Iterable[ListChunk]) -> tuple[list[str], list[tuple[int, str]]]:
    """All usable addresses, and line and reason of all removed rows."""
    usable: list[str] = []
    removed: list[tuple[int, str]] = []
    for chunk in chunks:
        assert chunk.rows <= 2_000
        usable += [recipient.to for recipient in chunk.usable]
        removed += [(row.line, row.reason) for row in chunk.removed]
    return usable, removed


def read(content: str | bytes, filename: str = "list.csv", region: str = "") -> tuple[list[str], list[tuple[int, str]]]:
    data = content.encode() if isinstance(content, str) else content
    return outcome(read_recipients(io.BytesIO(data), filename=filename, default_region=region))


def parquet(columns: Mapping[str, object], **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **options)
    return sink.getvalue()


class Pipe(io.RawIOBase):
    """A stream as a socket gives it: it can't be sought and reads short."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, 1_000) if size > 0 else size)
