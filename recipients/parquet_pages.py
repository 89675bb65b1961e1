"""How large a Parquet file's pages unpack, by their own headers: what the file's footer says of it need not be true.

A reader makes room for a page by what its header says, and for a column's chunk by nothing but its pages. So a footer that
speaks of a few bytes can stand for pages of gigabytes; the headers can't lie in that way, as each is what the room is made by.

Source: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift (PageHeader), in Thrift's compact
protocol: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from dataclasses import dataclass
from typing import Any, BinaryIO

# A header is some dozens of bytes, and of statistics up to two values.
_HEADER_BYTES = 1 << 16
_DEEPEST = 8
# PageHeader's fields, and where its kinds of data pages have their encoding; 7 is DELTA_BYTE_ARRAY.
_TYPE, _UNPACKED, _PACKED = 1, 2, 3
_ENCODINGS = ((5, 2), (8, 4))
_DICTIONARY_PAGE, _DELTA = 2, 7
_TRUE, _FALSE, _BYTE, _INTEGERS, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, (4, 5, 6), 7, 8, 12  # what a field is


@dataclass(slots=True)
class Pages:
    """What the pages of a column's chunk come to.

    Attributes:
        unpacked: Bytes of all of them.
        dictionary: Bytes of the dictionary, whose values may be repeated in each row; 0 for none.
        delta: Whether a cell may repeat the beginning of the one before.
    """

    unpacked: int = 0
    dictionary: int = 0
    delta: bool = False


def read_pages(stream: BinaryIO, start: int, end: int) -> Pages:
    """Read the headers of a column's chunk.

    Args:
        stream: The file; is sought.
        start: Where the chunk begins.
        end: Where it ends.

    Raises:
        ValueError: A header can't be read; no reader could read that page.
    """
    place, found = start, Pages()
    while place < end:
        stream.seek(place)
        reader = _Compact(stream.read(_HEADER_BYTES))
        header = reader.struct()
        unpacked, packed = header.get(_UNPACKED, -1), header.get(_PACKED, -1)
        if not (isinstance(unpacked, int) and isinstance(packed, int)) or unpacked < 0 or packed < 0:
            raise ValueError("a page without a size")
        found.unpacked += unpacked
        if header.get(_TYPE) == _DICTIONARY_PAGE:
            found.dictionary = max(found.dictionary, unpacked)
        parts = [(header.get(page), field) for page, field in _ENCODINGS]
        found.delta |= any(isinstance(part, dict) and part.get(field) == _DELTA for part, field in parts)
        place += reader.place + packed
    return found


class _Compact:
    """Reads Thrift's compact protocol as far as sizes need it."""

    def __init__(self, content: bytes) -> None:
        self._content, self.place = content, 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Read a struct to its end; its integers and structs by their field's number."""
        if depth > _DEEPEST:
            raise ValueError("a header in a header in a header")
        found: dict[int, Any] = {}
        field = 0
        while kind := self._byte():
            step, kind = kind >> 4, kind & 15
            field = field + step if step else self._signed()
            if kind in _INTEGERS:
                found[field] = self._signed()
            elif kind == _STRUCT:
                found[field] = self.struct(depth + 1)
            else:
                self._skip(kind)
        return found

    def _skip(self, kind: int) -> None:
        if kind in (_TRUE, _FALSE):
            return
        if kind == _BYTE:
            self.place += 1
        elif kind == _DOUBLE:
            self.place += 8
        elif kind == _BINARY:
            length = self._varint()  # which moves the place itself
            self.place += length
        else:  # no page's header has a list or a map
            raise ValueError("an unknown field")

    def _byte(self) -> int:
        if self.place >= len(self._content):
            raise ValueError("a header that does not end")
        self.place += 1
        return self._content[self.place - 1]

    def _varint(self) -> int:
        number = shift = 0
        while shift < 70:
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
        raise ValueError("an endless number")

    def _signed(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)
