"""The sandbox's own look into a voice note agrees with what the samples are, and finds each kind of damage."""

import struct
from pathlib import Path

import pytest
from prefect_whatsapp.sandbox.voice import NotVoice, container, read_voice


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("speech_voice.ogg", "ogg"),
        ("speech_vorbis.ogg", "ogg"),
        ("speech_cover.mp3", "mp3"),
        ("truncated.mp3", "mp3"),
        ("speech_ru.m4a", "mp4"),
        ("speech.amr", "amr"),
        ("not_audio.mp3", ""),
        ("empty.ogg", ""),
    ],
)
def test_the_first_bytes_name_the_container(audio_folder: Path, name: str, kind: str) -> None:
    assert container((audio_folder / name).read_bytes()) == kind


def test_adts_is_aac_and_a_bare_frame_is_mp3() -> None:
    assert container(b"\xff\xf1\x50\x80") == container(b"\xff\xf9\x50\x80") == "aac"
    assert container(b"\xff\xfb\x90\x00") == container(b"\xff\xf3\x90\x00") == "mp3"


def test_a_good_voice_note_is_read_to_its_end(voice_note: bytes) -> None:
    voice = read_voice(voice_note)
    assert 18 < voice.seconds < 19
    assert voice.size == len(voice_note)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("speech_vorbis.ogg", "not Opus"),
        ("speech_cover.mp3", "not OGG"),
        ("not_audio.mp3", "not OGG"),
        ("empty.ogg", "empty"),
    ],
)
def test_what_is_no_voice_note(audio_folder: Path, name: str, why: str) -> None:
    with pytest.raises(NotVoice, match=why):
        read_voice((audio_folder / name).read_bytes())


def pages(content: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(content):
        segments = content[at + 26]
        end = at + 27 + segments + sum(content[at + 27 : at + 27 + segments])
        found.append(content[at:end])
        at = end
    return found


def patched(content: bytes, at: int, value: bytes) -> bytes:
    return content[:at] + value + content[at + len(value) :]


def test_each_kind_of_damage_is_found(voice_note: bytes) -> None:
    all_pages = pages(voice_note)
    big = voice_note + bytes(16 * 1024 * 1024)
    other = patched(all_pages[-1], 14, struct.pack("<I", 4711))
    for damaged, why in (
        (big, "16 MB"),
        (voice_note[:-10], "cut off within a page"),
        (voice_note + b"trailing bytes that are no page", "between two pages"),
        (b"".join(all_pages[:-1]), "last page is missing"),
        (b"".join(all_pages[:3] + all_pages[4:]), "page is missing"),
        (b"".join([*all_pages, other]), "more than one stream"),
        (patched(voice_note, len(voice_note) - 5, b"\0\1\2"), "checksum"),
        (patched(voice_note, 28 + 9, b"\2"), "checksum"),
    ):
        with pytest.raises(NotVoice, match=why):
            read_voice(damaged)


def test_two_channels_are_not_mono(voice_note: bytes) -> None:
    stereo = patched(voice_note, 28 + 9, b"\2")
    # Long enough that checksums are left out, as for every file over a megabyte.
    first, second, *rest = pages(stereo)
    numbered = [patched(page, 18, struct.pack("<I", 2 + n)) for n, page in enumerate(rest[:-1] * 30)]
    granules = [patched(page, 6, struct.pack("<q", 1000 + n)) for n, page in enumerate(numbered)]
    last = patched(patched(rest[-1], 18, struct.pack("<I", 2 + len(granules))), 6, struct.pack("<q", 10**9))
    with pytest.raises(NotVoice, match="2 channels; mono only"):
        read_voice(b"".join([first, second, *granules, last]))
