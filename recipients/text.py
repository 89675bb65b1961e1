"""Bytes of a text list as lines, whatever program wrote them: encodings, line ends, and lines without an end."""

import codecs
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

BLOCK = 1 << 16
LONGEST_LINE = 1 << 16  # bytes of UTF-8; a row of a recipient list has some hundred

_BOMS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, ""),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Line(NamedTuple):
    """One line without its end; where it was too long to keep, `whole` is false and `text` its beginning."""

    number: int
    text: str
    whole: bool = True


def read_head(stream: BinaryIO) -> bytes:
    """Read the first block whole, however small the pieces are that a socket gives."""
    head = b""
    while len(head) < BLOCK and (piece := stream.read(BLOCK - len(head))):
        head += piece
    return head


def utf8_blocks(head: bytes, stream: BinaryIO) -> Iterator[bytes]:
    """Give the stream, `head` before it, as UTF-8 (or a one-byte encoding, which `decoded` reads) without a BOM."""
    encoding, mark = _wide_encoding(head)
    block = head[mark:]
    if not encoding:
        while block:
            yield block
            block = stream.read(BLOCK)
        return
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    while block:
        yield decoder.decode(block).encode()
        block = stream.read(BLOCK)
    yield decoder.decode(b"", final=True).encode()


def read_lines(blocks: Iterator[bytes]) -> Iterator[Line]:
    r"""Split blocks at `\n`, `\r\n` or `\r`, holding no more than one block and one line."""
    number, rest = 0, b""
    for block in blocks:
        parts = (rest + block).splitlines(keepends=True)
        # A carriage return at the end of a block may be the first half of \r\n.
        rest = parts.pop() if parts and not parts[-1].endswith(b"\n") else b""
        for part in parts:
            number += 1
            yield _line(number, part)
        if len(rest) > LONGEST_LINE and not rest.endswith(b"\r"):
            rest = rest[: LONGEST_LINE + 1]
    if rest:
        yield _line(number + 1, rest)


def decoded(raw: bytes) -> str:
    """Decode one line or value: UTF-8, else the Windows code page that spreadsheets write.

    Line by line, since lists pasted together from two sources hold both.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        pass
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _line(number: int, raw: bytes) -> Line:
    raw = raw.rstrip(b"\r\n")
    if len(raw) > LONGEST_LINE:
        return Line(number, decoded(raw[:1000]), whole=False)
    return Line(number, decoded(raw))


def _wide_encoding(head: bytes) -> tuple[str, int]:
    """The encoding where it has more than one byte a character, and the length of the mark to leave out."""
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding, len(mark)
    # Without a mark UTF-16 has a zero in every second byte of a digit, comma or line end; stray NULs lie anywhere.
    sample = head[: len(head) // 2 * 2]
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if odd > len(sample) // 8 and odd > 8 * even:
        return "utf-16-le", 0
    if even > len(sample) // 8 and even > 8 * odd:
        return "utf-16-be", 0
    return "", 0
