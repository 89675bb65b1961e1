"""Audio is told by its content; what is none is refused in one sentence."""

import io
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prefect_whatsapp.media import container_of, ffmpeg_executable, filename_for, inspect_audio
from prefect_whatsapp.media.mp3 import frame_bytes, id3_bytes
from prefect_whatsapp.models.errors import AudioError


def made_by_ffmpeg(path: Path, *arguments: str) -> Path:
    subprocess.run([ffmpeg_executable(), "-v", "error", "-nostdin", "-y", *arguments, str(path)], check=True)
    return path


@pytest.mark.parametrize(
    ("name", "container", "codec", "channels", "rate", "duration", "mime_type"),
    [
        ("speech_cover.mp3", "mp3", "mp3", 2, 44100, 18.313, "audio/mpeg"),
        ("speech_ru.m4a", "mp4", "aac", 1, 22050, 7.913, "audio/mp4"),
        ("speech.amr", "amr", "amr_nb", 1, 8000, 18.32, "audio/amr"),
        ("speech_vorbis.ogg", "ogg", "vorbis", 2, 22050, 18.313, "audio/ogg"),
        ("speech_voice.ogg", "ogg", "opus", 1, 48000, 18.313, "audio/ogg"),
    ],
)
def test_each_sample_is_told_by_its_content_under_any_name(
    samples: Path,
    tmp_path: Path,
    name: str,
    container: str,
    codec: str,
    channels: int,
    rate: int,
    duration: float,
    mime_type: str,
) -> None:
    disguised = tmp_path / "audio.bin"
    shutil.copy(samples / name, disguised)
    audio = inspect_audio(disguised, source=f"s3://bucket/{name}", etag="abc")
    assert (audio.container, audio.codec, audio.channels, audio.sample_rate) == (container, codec, channels, rate)
    assert audio.duration == pytest.approx(duration, abs=0.01)
    assert (audio.mime_type, audio.filename, audio.etag, audio.warnings) == (mime_type, name, "abc", ())
    assert audio.voice_ready == (name == "speech_voice.ogg")
    assert audio.size == disguised.stat().st_size


def test_a_truncated_mp3_is_accepted_with_a_warning(samples: Path) -> None:
    audio = inspect_audio(samples / "truncated.mp3", source="truncated.mp3")
    assert audio.duration == pytest.approx(1.55, abs=0.05)
    (warning,) = audio.warnings
    assert warning.startswith("truncated.mp3 is cut off: its header says 18.3 s, 1.6 s are there")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "weekly.mp3 is empty (0 bytes): upload the audio again."),
        (b"\xef\xbb\xbf <!DOCTYPE html><p>hi", "weekly.mp3 is a web page (HTML) under an audio name"),
        (b'{"error": "expired"}', "weekly.mp3 is text, perhaps an error message, not audio"),
        (b"<?xml version='1.0'?><Error/>", "weekly.mp3 is text, perhaps an error message, not audio"),
        (b"#EXTM3U\n#EXTINF:5,\n/etc/hosts\n", "weekly.mp3 is a playlist, not audio"),
        (b"ffconcat version 1.0\nfile /etc/hosts\n", "weekly.mp3 is a playlist, not audio"),
        (b"hello world" * 99, "weekly.mp3 is not in a known audio format"),
        (b"OggS" + bytes(99), "weekly.mp3 begins like ogg but can't be read"),
        (b"\xff\xfb" + b"junk" * 99, "weekly.mp3 begins like mp3 but can't be read"),
        (b"\0\0\0\x20ftypM4A " + bytes(99), "weekly.mp3 begins like mp4 but can't be read"),
    ],
)
def test_what_is_no_audio_is_refused_in_one_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "weekly.mp3"
    path.write_bytes(content)
    with pytest.raises(AudioError) as caught:
        inspect_audio(path, source="weekly.mp3")
    assert str(caught.value).startswith(sentence)
    assert str(tmp_path) not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_html_sample_and_the_empty_one_are_refused(samples: Path) -> None:
    with pytest.raises(AudioError, match="web page"):
        inspect_audio(samples / "not_audio.mp3", source="not_audio.mp3")
    with pytest.raises(AudioError, match="empty"):
        inspect_audio(samples / "empty.ogg", source="empty.ogg")


def test_a_missing_file_is_named_by_its_source(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"^s3://b/a\.mp3 can't be read: No such file"):
        inspect_audio(tmp_path / "gone", source="s3://b/a.mp3")


def test_video_without_sound_is_refused(tmp_path: Path) -> None:
    film = made_by_ffmpeg(tmp_path / "film.mp4", "-f", "lavfi", "-i", "testsrc=d=0.2:s=64x64", "-c:v", "mpeg4")
    with pytest.raises(AudioError, match=r"film\.mp4 has no audio stream"):
        inspect_audio(film, source="film.mp4")


def test_video_with_sound_is_taken_with_a_warning(tmp_path: Path, noise: Callable[[float], Path]) -> None:
    film = made_by_ffmpeg(
        tmp_path / "film.mp4",
        *("-f", "lavfi", "-i", "testsrc=d=0.5:s=64x64", "-i", str(noise(0.5)), "-c:v", "mpeg4", "-c:a", "aac"),
    )
    assert "holds video too" in inspect_audio(film, source="film.mp4").warnings[0]


def test_a_picture_under_an_audio_name_is_refused(tmp_path: Path) -> None:
    picture = made_by_ffmpeg(tmp_path / "cover.png", "-f", "lavfi", "-i", "testsrc=s=64x64", "-frames:v", "1")
    with pytest.raises(AudioError, match="not in a known audio format"):
        inspect_audio(picture, source="weekly.mp3")


def test_tags_in_an_old_encoding_do_no_harm(tmp_path: Path, samples: Path) -> None:
    plain = made_by_ffmpeg(tmp_path / "a.mp3", "-i", str(samples / "speech.amr"), "-vn", "-map_metadata", "-1")
    tagged = plain.read_bytes() + b"TAG" + "Еженедельно".encode("cp1251").ljust(125, b"\0")
    (tmp_path / "b.mp3").write_bytes(tagged)
    assert inspect_audio(tmp_path / "b.mp3", source="b.mp3").warnings == ()


def test_a_constant_bitrate_mp3_without_length_header_that_ends_inside_a_frame_is_called_cut_off(
    tmp_path: Path, samples: Path
) -> None:
    whole = made_by_ffmpeg(
        tmp_path / "a.mp3",
        *("-i", str(samples / "speech.amr"), "-b:a", "32k", "-write_xing", "0", "-id3v2_version", "0"),
    )
    assert inspect_audio(whole, source="a.mp3").warnings == ()
    (tmp_path / "b.mp3").write_bytes(whole.read_bytes()[:10_007])
    cut = inspect_audio(tmp_path / "b.mp3", source="b.mp3")
    assert cut.warnings[0].startswith("b.mp3 is cut off or damaged at its end")
    assert cut.duration < 4


@pytest.mark.parametrize(("name", "arguments"), [("a.wav", ()), ("a.flac", ()), ("a.m4a", ("-movflags", "+faststart"))])
def test_any_container_that_states_its_length_shows_a_cut(
    tmp_path: Path, samples: Path, name: str, arguments: tuple[str, ...]
) -> None:
    whole = made_by_ffmpeg(tmp_path / name, "-i", str(samples / "speech.amr"), "-vn", *arguments)
    assert inspect_audio(whole, source=name).warnings == ()
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    cut = inspect_audio(whole, source=name)
    assert "cut off" in cut.warnings[0]
    assert cut.duration < 12


def test_a_cut_off_voice_note_is_no_voice_note(tmp_path: Path, samples: Path) -> None:
    path = tmp_path / "voice.ogg"
    path.write_bytes((samples / "speech_voice.ogg").read_bytes()[:30_000])
    cut = inspect_audio(path, source="voice.ogg")
    assert (cut.codec, cut.voice_ready) == ("opus", False)
    assert "cut off" in cut.warnings[0]


@pytest.mark.parametrize(
    ("head", "container"),
    [
        (b"ID3\x04\0\0\0\0\0\x05\0\0\0\0\0\xff\xfb\x90\x00", "mp3"),
        (b"ID3\x04\0\0\0\0\0\x05\0\0\0\0\0\xff\xf1\x50\x80", "aac"),
        (b"ID3\x04\0\0\0\0\0\x05\0\0\0\0\0fLaC", "flac"),
        (b"\xff\xf3\x40\xc0", "mp3"),
        (b"\xff\xf9\x50\x80", "aac"),
        (bytes.fromhex("1a45dfa3") + b"\x9f\x42\x82\x84webm", "webm"),
        (b"RIFF\0\0\0\0WAVEfmt ", "wav"),
        (b"FORM\0\0\0\0AIFF", "aiff"),
        (b"GIF89a", ""),
        (b"", ""),
    ],
)
def test_first_bytes_tell_the_container(head: bytes, container: str) -> None:
    assert container_of(head) == container


@pytest.mark.parametrize(
    ("source", "container", "name"),
    [
        ("s3://bucket/a/weekly.mp3", "ogg", "weekly.ogg"),
        ("s3://bucket/weekly.mp3", "mp3", "weekly.mp3"),
        ("https://host/film.MP4", "mp4", "film.MP4"),
        ("https://host/", "mp3", "host.mp3"),
        ("recording", "amr", "recording.amr"),
        ('we"ek\r\nly.v2', "aac", "we_ek__ly.aac"),
        ("..", "ogg", "audio.ogg"),
        ("https://host/%D0%B7%D0%B0%D0%BF%D0%B8%D1%81%D1%8C.wav", "ogg", "запись.ogg"),
        ("x" * 300 + ".mp3", "ogg", "x" * 90 + ".ogg"),
    ],
)
def test_a_name_agrees_with_the_content(source: str, container: str, name: str) -> None:
    assert filename_for(source, container) == name


def test_frame_length_follows_the_header(samples: Path) -> None:
    data = (samples / "speech_cover.mp3").read_bytes()
    start, frames = id3_bytes(data), 0
    while length := frame_bytes(data[start : start + 4]):
        start, frames = start + length, frames + 1
    assert (start, frames) == (len(data), 704)  # each frame begins where the one before ends; one is the length header


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    head=st.sampled_from(
        [b"OggS", b"ID3\x04", b"\xff\xfb\x90", b"#!AMR\n", b"\0\0\0\x20ftyp", b"RIFF\0\0\0\0WAVE", b"fLaC"]
    ),
    rest=st.binary(max_size=600),
)
def test_hostile_bytes_end_as_audio_or_in_one_error(tmp_path: Path, head: bytes, rest: bytes) -> None:
    path = tmp_path / "hostile"
    path.write_bytes(head + rest)
    with suppress(AudioError):
        assert not inspect_audio(path, source="hostile").voice_ready


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 60_000), noise_bytes=st.binary(min_size=1, max_size=3000))
def test_damage_inside_a_file_is_no_crash(tmp_path: Path, samples: Path, start: int, noise_bytes: bytes) -> None:
    for name in ("speech_ru.m4a", "truncated.mp3", "speech_vorbis.ogg"):
        file = io.BytesIO((samples / name).read_bytes())
        file.seek(start)
        file.write(noise_bytes)
        path = tmp_path / name
        path.write_bytes(file.getvalue())
        with suppress(AudioError):
            assert inspect_audio(path, source=name).size == len(file.getvalue())
