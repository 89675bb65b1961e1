"""Merge Opus packets of one frame into packets of several, as phones record them, without decoding anything.

WhatsApp's own voice notes are mono at 16 kHz with three 20 ms frames in each packet. ffmpeg writes one frame a packet at
that rate, whatever frame length it is asked for.

Source: RFC 6716, section 3.2.5 (code 3 packets) and section 3.2.1 (frame lengths).
"""

from collections.abc import Iterable, Iterator

_LONGEST_FRAME = 1275  # bytes, RFC 6716 section 3.4
_VARIABLE = 0x80


def merge_frames(packets: Iterable[bytes], frames: int = 3) -> Iterator[bytes]:
    """Merge packets of one frame (code 0) into packets of code 3.

    Only neighbours with the same configuration share a packet, as a packet states it once. A group may thus hold fewer
    frames, and so does the last one. A packet that holds several frames already is passed on as it is.

    Args:
        packets: Opus packets in order.
        frames: Frames in a packet; three of 20 ms is what phones record.

    Example:
        >>> [packet.hex(" ") for packet in merge_frames([b"\\x48ab", b"\\x48c", b"\\x48", b"\\x48def"])]
        ['4b 83 02 01 61 62 63', '4b 81 64 65 66']
    """
    group: list[bytes] = []
    for packet in packets:
        mergeable = packet[:1] != b"" and packet[0] & 3 == 0 and len(packet) - 1 <= _LONGEST_FRAME
        if group and (not mergeable or packet[0] != group[0][0] or len(group) == frames):
            yield _code_3(group)
            group = []
        if mergeable:
            group.append(packet)
        else:
            yield packet
    if group:
        yield _code_3(group)


def _code_3(group: list[bytes]) -> bytes:
    lengths = b"".join(_frame_length(len(packet) - 1) for packet in group[:-1])
    head = bytes([group[0][0] | 3, _VARIABLE | len(group)])
    return head + lengths + b"".join(packet[1:] for packet in group)


def _frame_length(length: int) -> bytes:
    if length < 252:
        return bytes([length])
    first = 252 + (length & 3)
    return bytes([first, (length - first) >> 2])
