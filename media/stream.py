"""A source of bytes that is read piece by piece, whatever it comes from."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from ..models.errors import SourceError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True)
class Source:
    """An opened source.

    Attributes:
        name: Where it is, without credentials or query string: `s3://bucket/key`, `https://host/path` or a path.
        stream: Its bytes, read as they arrive; not seekable unless it is a local file.
        size: Bytes, as the store says; None where it does not.
        etag: The store's own digest of the bytes, without quotes; empty where it gives none.
    """

    name: str
    stream: IO[bytes]
    size: int | None = None
    etag: str = ""


class ChunkReader(io.RawIOBase):
    """A binary file over chunks that arrive one after another, with an upper bound.

    Args:
        name: What an error calls the source.
        chunks: The bytes in order; whatever fails inside is raised to the reader.
        max_bytes: Most bytes that may come; 0 for no bound.
    """

    def __init__(self, name: str, chunks: Iterator[bytes], *, max_bytes: int = 0) -> None:
        super().__init__()
        self._name, self._chunks, self._max_bytes = name, chunks, max_bytes
        self._rest = memoryview(b"")
        self._seen = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fill as much of the buffer as the current chunk holds."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._seen += len(chunk)
            check_size(self._name, self._seen, self._max_bytes)
            self._rest = memoryview(chunk)
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def check_size(name: str, size: int, max_bytes: int) -> None:
    """Refuse what is larger than allowed.

    Args:
        name: What the error calls the source.
        size: Bytes, or as many as have come so far.
        max_bytes: Most bytes allowed; 0 for no bound.

    Raises:
        SourceError: It is larger.
    """
    if max_bytes and size > max_bytes:
        raise SourceError(f"{name} is larger than the {max_bytes / 1e6:.4g} MB that are read: pass a smaller file.")
