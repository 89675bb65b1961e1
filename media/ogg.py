"""Walk the pages of an Ogg file, and write them: what phones need to be right, and no decoder looks at.

Sources: RFC 3533 (Ogg pages), RFC 7845 (Opus in Ogg), RFC 6716 section 3 (Opus packets).
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

OPUS_RATE = 48_000  # granules and pre-skip count at this rate, whatever the input's was
_HEADER = struct.Struct("<4sBBqIIIB")
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_NO_PACKET_ENDS = -1
_TOLERANCE = OPUS_RATE  # granules may be off by a start offset or an end trim, not by more than a second
_LONGEST_PACKET = 5760  # 120 ms
_MOST_STREAMS = 1000
_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
_PICTURES = ("METADATA_BLOCK_PICTURE=", "COVERART=")


@dataclass(frozen=True)
class OpusHead:
    """The first packet of an Opus stream (RFC 7845, section 5.1).

    Attributes:
        version: 1.
        channels: 1 is mono.
        pre_skip: Samples at 48 kHz that a decoder drops at the start.
        sample_rate: Hz of what was encoded; informative.
        gain: dB × 256.
        mapping_family: 0 for mono and stereo.
    """

    version: int
    channels: int
    pre_skip: int
    sample_rate: int
    gain: int
    mapping_family: int


@dataclass(frozen=True)
class OggFile:
    """What a walk over all pages found.

    Attributes:
        codec: Of the first stream: `opus`, `vorbis`, `flac`, `speex`, `theora` or `unknown`.
        streams: Logical streams; a good voice note has one. Beyond a thousand nothing more is read.
        head: The Opus header of the first stream.
        duration: Seconds, (last granule − pre-skip) / 48,000; 0 for what is not Opus.
        packets: Audio packets of the first stream.
        vendor: Who wrote the tags.
        comments: The tags, each `NAME=value`.
        packet_codes: Frames a packet as its first byte states: 0 one, 1 and 2 two, 3 any number.
        configurations: Mode, bandwidth and frame length as the first bytes state them: 9 is SILK, wide band, 20 ms.
        ended: Whether the last page is marked as such; a file that was cut off is not.
        problems: Why it is not a good voice note; empty if it is one.
    """

    codec: str
    streams: int
    head: OpusHead | None
    duration: float
    packets: int
    vendor: str
    comments: tuple[str, ...]
    packet_codes: frozenset[int]
    configurations: frozenset[int]
    ended: bool
    problems: tuple[str, ...]


@dataclass(frozen=True)
class OpusStream:
    """An Opus stream taken out of its Ogg pages.

    Attributes:
        head: The `OpusHead` packet.
        packets: The audio packets, in order.
        granule: Samples at 48 kHz, pre-skip included, at the end of the sound.
        serial: The logical stream's number.
    """

    head: bytes
    packets: tuple[bytes, ...]
    granule: int
    serial: int


def crc(page: bytes) -> int:
    """Compute the checksum of a page whose own checksum field is zero.

    Ogg's polynomial is zlib's (0x04C11DB7), but unreflected and without inversions: with the bits of each byte turned
    round it is zlib's, which runs at C speed.
    """
    reflected = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(_REVERSED), "big")


def packet_samples(packet: bytes) -> int:
    """Count the samples at 48 kHz that an Opus packet holds, by its first bytes; 0 where they make no sense."""
    if not packet:
        return 0
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        frame = (480, 960, 1920, 2880)[config % 4]
    elif config < 16:
        frame = (480, 960)[config % 2]
    else:
        frame = (120, 240, 480, 960)[config % 4]
    frames = (1, 2, 2, packet[1] & 63 if len(packet) > 1 else 0)[code]
    return frame * frames if frame * frames <= _LONGEST_PACKET else 0


def read_ogg(file: IO[bytes]) -> OggFile:
    """Walk an Ogg file from its beginning to its end.

    Args:
        file: Binary, at its beginning. Memory grows with the largest packet only.

    Returns:
        What is in it, with each reason why it is not a good voice note.
    """
    walk = _Walk()
    walk.through(file)
    return walk.result()


def read_opus(file: IO[bytes]) -> OpusStream:
    """Take a good voice note apart into its packets.

    Args:
        file: Binary, at its beginning: one Opus stream in OGG without a problem.

    Raises:
        ValueError: It is none.
    """
    packets: list[bytes] = []
    walk = _Walk(keep=packets.append)
    walk.through(file)
    if walk.result().problems:
        raise ValueError("not a single valid Opus stream in Ogg")
    return OpusStream(walk.headers[0], tuple(packets), walk.granule, next(iter(walk.serials)))


def write_opus(stream: OpusStream, *, vendor: str) -> bytes:
    """Write an Opus stream as an Ogg file, with tags that hold the vendor alone.

    Args:
        stream: Its packets may hold any number of frames; granules are counted from them anew.
        vendor: Who is said to have encoded it.

    Returns:
        The file: the two header pages, then pages of at most a second.

    Source: RFC 7845, sections 3 to 5.
    """
    tags = b"OpusTags" + struct.pack("<I", len(vendor.encode())) + vendor.encode() + struct.pack("<I", 0)
    pages = [_page(_FIRST, 0, stream.serial, 0, [stream.head]), _page(0, 0, stream.serial, 1, [tags])]
    held: list[bytes] = []
    samples = granule = segments = 0

    def flush(*, last: bool) -> None:
        # The last granule may lie before the end of the last packet: what follows it is padding that is not played.
        at = stream.granule if last else granule
        pages.append(_page(_LAST if last else 0, at, stream.serial, len(pages), held))
        held.clear()

    for packet in stream.packets:
        needed = len(packet) // 255 + 1
        if held and (samples >= OPUS_RATE or segments + needed > 255):
            flush(last=False)
            samples = segments = 0
        held.append(packet)
        samples += packet_samples(packet)
        granule += packet_samples(packet)
        segments += needed
    flush(last=True)
    return b"".join(pages)


def _page(flags: int, granule: int, serial: int, sequence: int, packets: list[bytes]) -> bytes:
    lacing = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    head = _HEADER.pack(b"OggS", 0, flags, granule, serial, sequence, 0, len(lacing))
    page = head + lacing + b"".join(packets)
    return page[:22] + crc(page).to_bytes(4, "little") + page[26:]


@dataclass
class _Walk:
    keep: Callable[[bytes], object] | None = None
    serials: dict[int, None] = field(default_factory=dict)  # in order
    firsts: int = 0
    ended: bool = False
    sequence: int = -1
    granule: int = 0
    samples: int = 0
    packets: int = 0
    codes: set[int] = field(default_factory=set)
    configurations: set[int] = field(default_factory=set)
    open_packet: bytearray = field(default_factory=bytearray)
    headers: list[bytes] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def problem(self, words: str) -> None:
        if words not in self.problems:
            self.problems.append(words)

    def through(self, file: IO[bytes]) -> None:
        while header := file.read(_HEADER.size):
            if len(header) < _HEADER.size or not header.startswith(b"OggS"):
                self.problem("there are bytes that are no Ogg page")
                break
            lacing = file.read(header[26])
            body = file.read(sum(lacing))
            if len(lacing) < header[26] or len(body) < sum(lacing):
                self.problem("the last page is cut off")
                break
            self.page(header, lacing, body)
            if len(self.serials) > _MOST_STREAMS:
                break  # what it is, is known, and each further stream would take memory

    @property
    def opus(self) -> bool:
        return bool(self.headers) and self.headers[0].startswith(b"OpusHead")

    def page(self, header: bytes, lacing: bytes, body: bytes) -> None:
        _, version, flags, granule, serial, sequence, checksum, _ = _HEADER.unpack(header)
        if version or crc(header[:22] + bytes(4) + header[26:] + lacing + body) != checksum:
            self.problem("a page is damaged (wrong checksum)")
        self.firsts += bool(flags & _FIRST)
        self.serials.setdefault(serial)
        if serial != next(iter(self.serials)):
            return
        if self.ended:
            self.problem("pages follow the one marked as last")
        if self.sequence >= 0 and sequence != self.sequence + 1:
            self.problem("a page is missing or doubled")
        self.sequence = sequence
        if bool(flags & _CONTINUED) != bool(self.open_packet):
            self.problem("a packet is broken over two pages")
            self.open_packet.clear()
        self._packets(lacing, body)
        self.ended = bool(flags & _LAST)
        if granule != _NO_PACKET_ENDS and self.packets:
            if granule < self.granule:
                self.problem("its time runs backwards (granules fall)")
            if self.opus and abs(granule - self.samples) > _TOLERANCE:
                self.problem("its time does not fit its audio (wrong granules)")
            self.granule = granule

    def _packets(self, lacing: bytes, body: bytes) -> None:
        start = 0
        for length in lacing:
            self.open_packet += body[start : start + length]
            start += length
            if length < 255:
                self._packet(bytes(self.open_packet))
                self.open_packet.clear()

    def _packet(self, packet: bytes) -> None:
        if len(self.headers) < 2:
            self.headers.append(packet)
            return
        self.packets += 1
        if self.keep:
            self.keep(packet)
        if self.opus:
            samples = packet_samples(packet)
            self.samples += samples
            if not samples:
                self.problem("a packet is not an Opus packet")
            elif packet[0] & 4:
                self.problem("a packet is stereo")
            if packet:
                self.codes.add(packet[0] & 3)
                self.configurations.add(packet[0] >> 3)

    def result(self) -> OggFile:
        first = self.headers[0] if self.headers else b""
        head = _opus_head(first)
        vendor, comments = _tags(self.headers[1]) if len(self.headers) > 1 else ("", ())
        duration = max(0, self.granule - head.pre_skip) / OPUS_RATE if head else 0.0
        self._judge(head, comments, duration)
        return OggFile(
            codec=_codec(first),
            streams=len(self.serials),
            head=head,
            duration=duration,
            packets=self.packets,
            vendor=vendor,
            comments=comments,
            packet_codes=frozenset(self.codes),
            configurations=frozenset(self.configurations),
            ended=self.ended,
            problems=tuple(self.problems),
        )

    def _judge(self, head: OpusHead | None, comments: tuple[str, ...], duration: float) -> None:
        if head is None:
            self.problem("it is not Opus")
            return
        wrong = {
            "it holds more than one stream": len(self.serials) != 1 or self.firsts != 1,
            "it is not mono": head.channels != 1 or head.mapping_family != 0,
            "its Opus version is unknown": head.version & 0xF0 != 0,
            "its pre-skip is 0, which phones from Apple refuse": head.pre_skip == 0,
            "it has no tags packet": len(self.headers) < 2 or not self.headers[1].startswith(b"OpusTags"),
            "it holds a picture": any(comment.upper().startswith(_PICTURES) for comment in comments),
            "its last page is missing": not self.ended,
            "it holds no audio": duration <= 0,
        }
        for words, is_so in wrong.items():
            if is_so:
                self.problem(words)


def _opus_head(packet: bytes) -> OpusHead | None:
    if not packet.startswith(b"OpusHead") or len(packet) < 19:
        return None
    return OpusHead(*struct.unpack_from("<BBHIhB", packet, 8))


def _codec(packet: bytes) -> str:
    known = {
        b"OpusHead": "opus",
        b"\x01vorbis": "vorbis",
        b"\x7fFLAC": "flac",
        b"Speex   ": "speex",
        b"\x80theora": "theora",
    }
    return next((name for magic, name in known.items() if packet.startswith(magic)), "unknown")


def _tags(packet: bytes) -> tuple[str, tuple[str, ...]]:
    if not packet.startswith(b"OpusTags"):
        return "", ()
    texts: list[str] = []
    position = 8

    def text() -> str:
        nonlocal position
        (length,) = struct.unpack_from("<I", packet, position)
        position += 4 + length
        return packet[position - length : position].decode("utf-8", "replace")

    try:
        vendor = text()
        (count,) = struct.unpack_from("<I", packet, position)
        position += 4
        while len(texts) < count:
            texts.append(text())
    except struct.error:
        return "", tuple(texts)
    return vendor, tuple(texts)
