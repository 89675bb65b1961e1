"""The page walk agrees with the standards and sees what decoders forgive."""

import io
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect_whatsapp.media import read_ogg
from prefect_whatsapp.media.ogg import crc, packet_samples


def bitwise_crc(page: bytes) -> int:
    """RFC 3533's checksum as it is defined, bit by bit."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value


def pages_of(data: bytes) -> list[bytes]:
    pages, start = [], 0
    while start < len(data):
        count = data[start + 26]
        end = start + 27 + count + sum(data[start + 27 : start + 27 + count])
        pages.append(data[start:end])
        start = end
    return pages


def resealed(page: bytes) -> bytes:
    """The page with the checksum that its bytes need."""
    bare = page[:22] + bytes(4) + page[26:]
    return bare[:22] + struct.pack("<I", crc(bare)) + bare[26:]


def problems(data: bytes) -> tuple[str, ...]:
    return read_ogg(io.BytesIO(data)).problems


@pytest.fixture(scope="module")
def voice(samples: Path) -> bytes:
    return (samples / "speech_voice.ogg").read_bytes()


@given(st.binary(max_size=300))
def test_checksum_is_the_one_of_the_standard(page: bytes) -> None:
    assert crc(page) == bitwise_crc(page)


@pytest.mark.parametrize(
    ("first", "second", "milliseconds"),
    [
        (0 << 3, 0, 10),
        (3 << 3, 0, 60),
        (9 << 3, 0, 20),
        (12 << 3, 0, 10),
        (15 << 3, 0, 20),
        (16 << 3, 0, 2.5),
        (31 << 3, 0, 20),
        (31 << 3 | 1, 0, 40),
        (31 << 3 | 2, 0, 40),
        (31 << 3 | 3, 3, 60),
        (3 << 3 | 3, 3, 0),  # 180 ms, more than a packet may hold
    ],
)
def test_packet_length_follows_its_first_bytes(first: int, second: int, milliseconds: float) -> None:
    assert packet_samples(bytes([first, second])) == milliseconds * 48


def test_a_good_voice_note_has_no_problem(voice: bytes) -> None:
    found = read_ogg(io.BytesIO(voice))
    assert (found.codec, found.streams, found.ended, found.problems) == ("opus", 1, True, ())
    assert found.head
    assert (found.head.channels, found.head.pre_skip, found.head.version) == (1, 312, 1)
    assert found.duration == pytest.approx(18.3133, abs=1e-4)


def test_vorbis_is_not_mistaken_for_opus(samples: Path) -> None:
    found = read_ogg(io.BytesIO((samples / "speech_vorbis.ogg").read_bytes()))
    assert (found.codec, found.head, found.problems) == ("vorbis", None, ("it is not Opus",))


@given(position=st.integers(min_value=0), bit=st.integers(0, 7))
def test_any_flipped_bit_is_a_problem(voice: bytes, position: int, bit: int) -> None:
    broken = bytearray(voice)
    broken[position % len(voice)] ^= 1 << bit
    assert problems(bytes(broken))


@given(st.binary(max_size=400))
def test_any_bytes_can_be_walked(data: bytes) -> None:
    assert problems(data)
    assert problems(b"OggS" + data)


def test_a_cut_off_file_lacks_its_last_page(voice: bytes) -> None:
    whole_pages = b"".join(pages_of(voice)[:-1])
    assert problems(whole_pages) == ("its last page is missing",)
    assert problems(voice[: len(voice) // 2]) == ("the last page is cut off", "its last page is missing")


def test_a_second_stream_is_a_problem(voice: bytes) -> None:
    head, *rest = pages_of(voice)
    other = resealed(head[:14] + struct.pack("<I", 77) + head[18:])
    assert problems(head + other + b"".join(rest)) == ("it holds more than one stream",)


def test_of_a_file_that_has_a_stream_a_page_only_the_beginning_is_read(voice: bytes) -> None:
    """Looked up one by one among those before, a hundred thousand of them take minutes."""
    pages = (resealed(struct.pack("<4sBBqIIIB", b"OggS", 0, 2, 0, serial, 0, 0, 0)) for serial in range(100_000))
    file = io.BytesIO(pages_of(voice)[0] + b"".join(pages))
    read = read_ogg(file)
    assert read.streams == 1001
    assert "it holds more than one stream" in read.problems
    assert file.tell() < 40_000


def test_stereo_and_zero_pre_skip_are_problems(voice: bytes) -> None:
    head, *rest = pages_of(voice)
    stereo = resealed(head[:37] + b"\x02" + head[38:])
    assert problems(stereo + b"".join(rest)) == ("it is not mono",)
    no_skip = resealed(head[:38] + b"\x00\x00" + head[40:])
    assert problems(no_skip + b"".join(rest)) == ("its pre-skip is 0, which phones from Apple refuse",)


def test_wrong_granules_are_problems(voice: bytes) -> None:
    pages = pages_of(voice)
    shifted = [resealed(p[:6] + struct.pack("<q", 10**9) + p[14:]) for p in pages[-1:]]
    assert problems(b"".join(pages[:-1] + shifted)) == ("its time does not fit its audio (wrong granules)",)
    falling = [resealed(p[:6] + struct.pack("<q", 48000) + p[14:]) for p in pages[-1:]]
    assert "its time runs backwards (granules fall)" in problems(b"".join(pages[:-1] + falling))


def test_a_missing_page_is_a_problem(voice: bytes) -> None:
    pages = pages_of(voice)
    assert "a page is missing or doubled" in problems(b"".join(pages[:4] + pages[5:]))


def test_a_picture_in_the_tags_is_a_problem(voice: bytes) -> None:
    head, _, *rest = pages_of(voice)
    comment = b"METADATA_BLOCK_PICTURE=AAAA"
    tags = b"OpusTags" + struct.pack("<I", 1) + b"x" + struct.pack("<II", 1, len(comment)) + comment
    page = resealed(
        b"OggS\0\0" + bytes(8) + head[14:18] + struct.pack("<II", 1, 0) + b"\x01" + bytes([len(tags)]) + tags
    )
    assert problems(head + page + b"".join(rest)) == ("it holds a picture",)
