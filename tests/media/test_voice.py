"""A voice note is one mono Opus stream and nothing else, the same bytes for the same input, within its bounds."""

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from prefect_whatsapp.media import (
    VoiceSettings,
    ffmpeg_executable,
    ffmpeg_version,
    inspect_audio,
    make_voice_note,
    read_ogg,
)
from prefect_whatsapp.models import Audio
from prefect_whatsapp.models.errors import AudioError
from pydantic import ValidationError


def sample(samples: Path, name: str) -> Audio:
    return inspect_audio(samples / name, source=f"s3://bucket/{name}", etag="abc")


def fake_ffmpeg(folder: Path, *, encoders: str, otherwise: str) -> str:
    """A program called ffmpeg that lists these encoders, and does something else when asked to convert."""
    program = folder / "ffmpeg"
    program.write_text(
        "#!/bin/sh\n"
        'case "$2" in\n'
        f'-encoders) echo " A....D {encoders} " ;;\n'
        '-version) echo "ffmpeg fake" ;;\n'
        f"*) {otherwise} ;;\n"
        "esac\n"
    )
    program.chmod(0o755)
    return str(program)


def test_the_note_of_an_mp3_with_cover_art_holds_one_mono_opus_stream_and_nothing_else(
    samples: Path, tmp_path: Path
) -> None:
    given = sample(samples, "speech_cover.mp3")
    note = make_voice_note(given, directory=tmp_path)
    with note.path.open("rb") as file:
        walked = read_ogg(file)
    assert (walked.codec, walked.streams, walked.problems) == ("opus", 1, ())
    assert walked.head
    assert (walked.head.channels, walked.head.sample_rate, walked.head.pre_skip) == (1, 48000, 312)
    assert (walked.vendor, walked.comments) == ("ffmpeg", ("encoder=Lavc libopus",))
    assert walked.duration == pytest.approx(given.duration, abs=0.02)
    with av.open(str(note.path)) as opened:
        assert [stream.type for stream in opened.streams] == ["audio"]
        assert opened.streams.audio[0].codec_context.layout.nb_channels == 1
        assert opened.streams.audio[0].codec_context.codec.canonical_name == "opus"
        assert "title" not in opened.metadata | opened.streams[0].metadata
    content = note.path.read_bytes()
    assert b"Weekly update" not in content
    assert b"Riverside" not in content
    assert (note.voice_ready, note.transcoded, note.mime_type, note.filename) == (
        True,
        True,
        "audio/ogg",
        "speech_cover.ogg",
    )
    assert (note.source, note.etag, note.size, note.warnings) == (given.source, "abc", len(content), ())


def test_the_same_input_gives_the_same_bytes(samples: Path, tmp_path: Path) -> None:
    given = sample(samples, "speech_cover.mp3")
    first = make_voice_note(given, directory=tmp_path / "a")
    second = make_voice_note(given, directory=tmp_path / "b")
    assert first.transcoded
    assert second.transcoded
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.path.name == second.path.name


@pytest.mark.parametrize("name", ["speech_ru.m4a", "speech.amr", "speech_vorbis.ogg"])
def test_every_other_good_sample_becomes_a_voice_note(samples: Path, tmp_path: Path, name: str) -> None:
    given = sample(samples, name)
    note = make_voice_note(given, directory=tmp_path)
    assert (note.codec, note.channels, note.container, note.warnings) == ("opus", 1, "ogg", ())
    assert note.voice_ready
    assert note.transcoded
    assert note.duration == pytest.approx(given.duration, abs=0.05)


def test_a_good_voice_note_is_not_touched(samples: Path, tmp_path: Path) -> None:
    given = sample(samples, "speech_voice.ogg")
    assert make_voice_note(given, directory=tmp_path / "none") is given
    assert not (tmp_path / "none").exists()


def test_a_truncated_mp3_becomes_a_note_that_keeps_the_warning(samples: Path, tmp_path: Path) -> None:
    note = make_voice_note(sample(samples, "truncated.mp3"), directory=tmp_path)
    assert note.duration == pytest.approx(1.54, abs=0.05)
    assert "is cut off" in note.warnings[0]


def test_a_note_made_before_is_used_again(samples: Path, tmp_path: Path) -> None:
    given = sample(samples, "speech_ru.m4a")
    made = make_voice_note(given, directory=tmp_path)
    again = make_voice_note(given, directory=tmp_path)
    assert (made.transcoded, again.transcoded) == (True, False)
    assert again == made.model_copy(update={"transcoded": False})
    assert [path.name for path in tmp_path.iterdir()] == [made.path.name]


def test_a_kept_note_and_its_folder_are_their_owners_alone(samples: Path, tmp_path: Path) -> None:
    """Whatever the umask is, and as ffmpeg leaves a file."""
    before = os.umask(0o022)
    try:
        made = make_voice_note(sample(samples, "speech_ru.m4a"), directory=tmp_path / "notes")
    finally:
        os.umask(before)
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.path.parent.stat().st_mode) == 0o700


def test_a_note_that_is_used_is_not_old(samples: Path, tmp_path: Path) -> None:
    given = sample(samples, "speech_ru.m4a")
    made = make_voice_note(given, directory=tmp_path)
    os.utime(made.path, (1, 1))
    make_voice_note(given, directory=tmp_path)
    assert made.path.stat().st_mtime > time.time() - 60


def test_a_damaged_kept_note_is_made_anew(samples: Path, tmp_path: Path) -> None:
    given = sample(samples, "speech_ru.m4a")
    made = make_voice_note(given, directory=tmp_path)
    whole = made.path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]):
        made.path.write_bytes(damaged)
        assert make_voice_note(given, directory=tmp_path).transcoded
        assert made.path.read_bytes() == whole


def test_other_settings_make_another_note(samples: Path, tmp_path: Path) -> None:
    given = sample(samples, "speech_ru.m4a")
    plain = make_voice_note(given, directory=tmp_path)
    wide = make_voice_note(
        given, directory=tmp_path, settings=VoiceSettings(sample_rate=24000, frame_duration=60, application="audio")
    )
    assert wide.path != plain.path
    assert wide.sample_rate == 24000
    with wide.path.open("rb") as file:
        assert read_ogg(file).packet_codes == {3}  # three 20 ms frames a packet, as phones record
    slower = make_voice_note(given, directory=tmp_path, settings=VoiceSettings(time_limit_seconds=100))
    assert (slower.path, slower.transcoded) == (plain.path, False)


def test_the_bitrate_is_lowered_until_the_play_button_shows(noise: Callable[[float], Path], tmp_path: Path) -> None:
    given = inspect_audio(noise(150), source="noise.wav")
    note = make_voice_note(given, directory=tmp_path / "notes")
    assert 400_000 < note.size <= 512_000
    assert note.duration == pytest.approx(150, abs=0.01)
    assert note.warnings == ("The voice note of noise.wav lasts 2.5 minutes: services advise to stay below 2.",)


def test_a_note_that_no_speech_worthy_bitrate_fits_keeps_its_bitrate_and_warns(
    noise: Callable[[float], Path], tmp_path: Path
) -> None:
    given = inspect_audio(noise(4), source="noise.wav")
    plain = make_voice_note(given, directory=tmp_path / "notes")
    note = make_voice_note(given, directory=tmp_path / "notes", settings=VoiceSettings(play_button_bytes=3_000))
    assert note.sha256 == plain.sha256
    assert note.warnings == (
        f"The voice note of noise.wav has {note.size / 1000:.0f} kB, over the 3 kB up to which WhatsApp shows a play "
        "button: recipients will see a download icon.",
    )


def test_a_note_over_the_cap_takes_a_lower_bitrate_or_is_refused(samples: Path, tmp_path: Path) -> None:
    given = sample(samples, "speech_cover.mp3")
    lower = make_voice_note(
        given, directory=tmp_path / "notes", settings=VoiceSettings(play_button_bytes=100, max_bytes=50_000)
    )
    assert 40_000 < lower.size <= 50_000
    with pytest.raises(AudioError, match=r"even at 16 kbit/s the voice note is over 0\.03 MB; cut it into parts"):
        make_voice_note(
            given, directory=tmp_path / "notes", settings=VoiceSettings(play_button_bytes=100, max_bytes=30_000)
        )
    assert [path.name for path in (tmp_path / "notes").iterdir()] == [lower.path.name]


def test_what_can_never_fit_is_refused_without_running_ffmpeg(samples: Path, tmp_path: Path) -> None:
    day = sample(samples, "speech.amr").model_copy(update={"duration": 24 * 3600.0})
    with pytest.raises(AudioError, match="lasts 1440 minutes"):
        make_voice_note(day, directory=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_failure_of_ffmpeg_is_one_sentence_with_its_last_words_and_no_path(samples: Path, tmp_path: Path) -> None:
    given = sample(samples, "speech_ru.m4a")
    junk = tmp_path / "junk"
    junk.write_bytes(b"no longer what was inspected")
    with pytest.raises(AudioError) as caught:
        make_voice_note(given.model_copy(update={"path": junk}), directory=tmp_path / "notes")
    said = str(caught.value)
    assert said.startswith("ffmpeg can't convert s3://bucket/speech_ru.m4a (exit status ")
    assert "Invalid data found when processing input" in said
    assert str(tmp_path) not in said
    assert "\n" not in said
    assert list((tmp_path / "notes").iterdir()) == []


def test_ffmpeg_is_ended_at_the_time_limit(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = tmp_path / "pid"
    fake_ffmpeg(tmp_path, encoders="libopus", otherwise=f'echo $$ > "{pid}"; exec sleep 90')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    began = time.monotonic()
    with pytest.raises(AudioError, match=r"did not finish with s3://bucket/speech\.amr within 0\.5 s and was stopped"):
        make_voice_note(
            sample(samples, "speech.amr"),
            directory=tmp_path / "notes",
            settings=VoiceSettings(time_limit_seconds=0.5),
        )
    assert time.monotonic() - began < 60, "it was not waited for"
    if pid.exists():  # a machine that stands still for half a second ends it before it has begun
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)
    assert list((tmp_path / "notes").iterdir()) == []


def test_without_ffmpeg_on_path_the_bundled_one_is_used(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "imageio_ffmpeg" in ffmpeg_executable()
    assert ffmpeg_version(ffmpeg_executable()).startswith("ffmpeg version")
    assert make_voice_note(sample(samples, "speech_ru.m4a"), directory=tmp_path / "notes").transcoded


def test_an_ffmpeg_on_path_is_preferred_if_it_has_libopus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, encoders in (("with", "libopus"), ("without", "opus")):
        (tmp_path / folder).mkdir()
        fake_ffmpeg(tmp_path / folder, encoders=encoders, otherwise="exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "with"))
    assert ffmpeg_executable() == str(tmp_path / "with" / "ffmpeg")
    monkeypatch.setenv("PATH", str(tmp_path / "without"))
    assert "imageio_ffmpeg" in ffmpeg_executable()


def test_without_any_ffmpeg_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", none)
    with pytest.raises(AudioError, match="no ffmpeg with libopus"):
        ffmpeg_executable()


@pytest.mark.parametrize(
    "wrong", [{"sample_rate": 44100}, {"bitrate": 1}, {"min_bitrate": 64_000}, {"time_limit_seconds": 0}]
)
def test_settings_that_libopus_refuses_are_refused_at_once(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        VoiceSettings.model_validate(wrong)


def test_a_small_file_that_decodes_to_days_is_refused_and_leaves_no_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Silence in FLAC takes a few bytes a block; its header is made to say that there is one second of it.
    flac = tmp_path / "long.flac"
    with av.open(str(flac), "w") as file:
        stream = file.add_stream("flac", rate=8_000, layout="mono", format="s16")
        frame = av.AudioFrame(format="s16", layout="mono", samples=4_608)
        frame.sample_rate = 8_000
        frame.planes[0].update(bytes(4_608 * 2))
        for _ in range(1_000):
            frame.pts = None
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    content = bytearray(flac.read_bytes())
    content[8 + 13 : 8 + 18] = bytes([content[8 + 13] & 0xF0]) + (8_000).to_bytes(4)
    flac.write_bytes(content)
    monkeypatch.setattr("prefect_whatsapp.media.voice.LONGEST_SECONDS", 60)
    given = inspect_audio(flac, source="long.flac")
    assert given.duration == pytest.approx(576, abs=1)
    for lies in (given, given.model_copy(update={"duration": 1.0})):
        with pytest.raises(AudioError, match=r"holds more than 0\.0 hours of sound: cut it into parts"):
            make_voice_note(lies, directory=tmp_path / "notes")
    assert not (tmp_path / "notes").exists() or not list((tmp_path / "notes").iterdir())
