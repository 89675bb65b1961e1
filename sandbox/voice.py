"""What a phone could play: the bytes of an audio file, looked into without any library."""

import struct
from dataclasses import dataclass
from functools import lru_cache

from ..models.audio import MAX_AUDIO_MESSAGE_BYTES

MAX_BYTES = MAX_AUDIO_MESSAGE_BYTES
_CRC_UP_TO = 1024 * 1024


class NotVoice(ValueError):
    """The bytes are no voice note; the text says why."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A good voice note.

    Attributes:
        seconds: Its length.
        size: Its bytes.
    """

    seconds: float
    size: int


def container(content: bytes) -> str:
    """Name the container by its first bytes: `ogg`, `mp3`, `aac`, `amr`, `mp4`, or empty."""
    if content.startswith(b"OggS"):
        return "ogg"
    if content.startswith(b"#!AMR\n"):
        return "amr"
    if content[4:8] == b"ftyp":
        return "mp4"
    if content.startswith(b"ID3"):
        return "mp3"
    if len(content) > 1 and content[0] == 0xFF and content[1] & 0xE0 == 0xE0:
        layer = content[1] >> 1 & 3
        return {0: "aac" if content[1] & 0xF0 == 0xF0 else "", 1: "mp3"}.get(layer, "")
    return ""


def read_voice(content: bytes) -> Voice:
    """Look into a voice note: one mono Opus stream in OGG, whole, up to 16 MB.

    Raises:
        NotVoice: It is none.

    Source: RFC 3533 (OGG pages), RFC 7845 (Opus in OGG).
    """
    if not content:
        raise NotVoice("the file is empty")
    if len(content) > MAX_BYTES:
        raise NotVoice("the file is larger than 16 MB")
    if not content.startswith(b"OggS"):
        raise NotVoice("the file is not OGG")
    at, serial, sequence, granule, flags = 0, -1, 0, 0, 0
    packets: list[bytes] = []
    packet = b""
    while at < len(content):
        if content[at : at + 4] != b"OggS" or at + 27 > len(content):
            raise NotVoice("the file is cut off or damaged between two pages")
        header = struct.unpack_from("<xBqIIIB", content, at + 4)
        flags, page_granule, page_serial, page_sequence, checksum, segments = header
        lacing = content[at + 27 : at + 27 + segments]
        start = at + 27 + segments
        end = start + sum(lacing)
        if len(lacing) < segments or end > len(content):
            raise NotVoice("the file is cut off within a page")
        if serial not in (-1, page_serial):
            raise NotVoice("the file holds more than one stream, such as cover art")
        if page_sequence != sequence:
            raise NotVoice("a page is missing")
        if len(content) <= _CRC_UP_TO and checksum != _crc(content[at : at + 22] + bytes(4) + content[at + 26 : end]):
            raise NotVoice("a page's checksum is wrong")
        if page_granule != -1:
            if page_granule < granule:
                raise NotVoice("its time runs backwards")
            granule = page_granule
        if len(packets) < 3:
            for size in lacing:
                packet += content[start : start + size]
                start += size
                if size < 255:
                    packets.append(packet)
                    packet = b""
        serial, sequence, at = page_serial, sequence + 1, end
    return _opus(packets, granule, flags, len(content))


def _opus(packets: list[bytes], granule: int, last_flags: int, size: int) -> Voice:
    head = packets[0] if packets else b""
    if not head.startswith(b"OpusHead") or len(head) < 19:
        raise NotVoice("the OGG stream is not Opus")
    if head[9] != 1:
        raise NotVoice(f"the Opus stream has {head[9]} channels; mono only")
    if len(packets) < 2 or not packets[1].startswith(b"OpusTags"):
        raise NotVoice("the Opus stream has no comment header")
    if not last_flags & 4:
        raise NotVoice("the last page is missing")
    skip = int.from_bytes(head[10:12], "little")
    if granule <= skip:
        raise NotVoice("the Opus stream lasts no time")
    return Voice(seconds=(granule - skip) / 48000, size=size)


@lru_cache(maxsize=1)
def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value & 0x80000000 else value << 1) & 0xFFFFFFFF
        table.append(value)
    return tuple(table)


def _crc(page: bytes) -> int:
    table, value = _table(), 0
    for byte in page:
        value = (value << 8 & 0xFFFFFFFF) ^ table[value >> 24 ^ byte]
    return value
