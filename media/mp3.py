"""The few facts of an MP3 that tell whether it is all there: its tag's size, its length header, its last frame.

Source: ISO 11172-3 section 2.4.1.3 (frame header), id3.org/id3v2.4.0-structure.
"""

_RATES = {
    3: (44_100, 48_000, 32_000),
    2: (22_050, 24_000, 16_000),
    0: (11_025, 12_000, 8_000),
}
_BITRATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_BITRATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_LENGTH_HEADERS = (b"Xing", b"Info", b"VBRI")


def id3_bytes(head: bytes) -> int:
    """Compute the size of the ID3v2 tag at the start of a file; 0 where there is none.

    Args:
        head: The first ten bytes or more.
    """
    if not head.startswith(b"ID3") or len(head) < 10:
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return size + (20 if head[5] & 0x10 else 10)


def frame_bytes(frame: bytes) -> int:
    """Compute how many bytes a layer III frame has by its header; 0 where the bytes are no such header.

    Args:
        frame: The frame's first four bytes or more.
    """
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE6 != 0xE2:
        return 0
    version, bitrate, rate = frame[1] >> 3 & 3, frame[2] >> 4, frame[2] >> 2 & 3
    if version not in _RATES or rate == 3 or bitrate in (0, 15):
        return 0
    kilobits, factor = (_BITRATES_1[bitrate], 144) if version == 3 else (_BITRATES_2[bitrate], 72)
    return factor * kilobits * 1000 // _RATES[version][rate] + (frame[2] >> 1 & 1)


def states_length(body: bytes) -> bool:
    """Tell whether the first frame holds a length header; without one, the length can only be estimated.

    Args:
        body: The first 4 KiB behind any ID3 tag.
    """
    return any(mark in body for mark in _LENGTH_HEADERS)
