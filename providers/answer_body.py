"""The body of an answer as it arrives: counted, unpacked, and broken off where no honest answer is as large.

Neither httpx nor aiohttp bounds a body, and both unpack a chunk whole: a few bytes of gzip are gigabytes then.
"""

import zlib
from collections.abc import AsyncIterator, Iterator

import httpx

# A hundred messages of a chat's history, each with its thumbnail, are about as much.
MAX_ANSWER_BYTES = 8 * 1024 * 1024

_PACKED = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class AnswerTooLargeError(httpx.DecodingError):
    """The answer goes on and on."""


class BoundedBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body's bytes, unpacked, up to a bound; for either driver.

    An encoding that was not asked for is left as it is: whoever reads it finds no JSON in it.

    Args:
        wrapped: The bytes as they arrive.
        encoding: The answer's `Content-Encoding`.
        limit: Bytes, as they arrive and unpacked.

    Raises:
        AnswerTooLargeError: While it is read: there is more.
        httpx.DecodingError: While it is read: it isn't what its encoding says.
    """

    def __init__(
        self, wrapped: httpx.SyncByteStream | httpx.AsyncByteStream, *, encoding: str = "", limit: int
    ) -> None:
        self._wrapped, self._limit = wrapped, limit
        self._unpacker = zlib.decompressobj(_GZIP_OR_ZLIB) if encoding.strip().lower() in _PACKED else None
        self._arrived = self._given = 0

    def __iter__(self) -> Iterator[bytes]:
        assert isinstance(self._wrapped, httpx.SyncByteStream)
        for chunk in self._wrapped:
            if part := self._take(chunk):
                yield part

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert isinstance(self._wrapped, httpx.AsyncByteStream)
        async for chunk in self._wrapped:
            if part := self._take(chunk):
                yield part

    def close(self) -> None:
        """Close what is wrapped."""
        assert isinstance(self._wrapped, httpx.SyncByteStream)
        self._wrapped.close()

    async def aclose(self) -> None:
        """Close what is wrapped."""
        assert isinstance(self._wrapped, httpx.AsyncByteStream)
        await self._wrapped.aclose()

    def _take(self, chunk: bytes) -> bytes:
        self._arrived += len(chunk)
        if self._unpacker:
            try:
                chunk = self._unpacker.decompress(chunk, self._limit - self._given + 1)
            except zlib.error:
                raise httpx.DecodingError("the body isn't what its encoding says") from None
        self._given += len(chunk)
        if max(self._arrived, self._given) > self._limit:
            raise AnswerTooLargeError(f"more than {self._limit / 1e6:.0f} MB")
        return chunk
