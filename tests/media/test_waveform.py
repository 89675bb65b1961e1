"""The waveform's picture is a PNG of the size asked for, shows where it is loud, and repeats byte for byte."""

import io
import wave
from array import array
from collections.abc import Callable
from math import pi, sin
from pathlib import Path

import pytest
from PIL import Image
from prefect_whatsapp.media import inspect_audio, waveform_png
from prefect_whatsapp.models.errors import AudioError


def ink(png: bytes, left: float, right: float) -> int:
    """Count the pixels that are not paper between two shares of the width."""
    with Image.open(io.BytesIO(png)) as picture:
        part = picture.convert("L").crop((int(left * picture.width), 0, int(right * picture.width), picture.height))
        return sum(part.histogram()[:250])


@pytest.mark.parametrize("name", ["speech_cover.mp3", "speech.amr", "speech_voice.ogg", "truncated.mp3"])
def test_a_picture_of_each_kind_of_audio_repeats(samples: Path, name: str) -> None:
    audio = inspect_audio(samples / name, source=name)
    png = waveform_png(audio, width=320, height=60)
    with Image.open(io.BytesIO(png)) as picture:
        assert (picture.format, picture.size) == ("PNG", (320, 60))
    assert png == waveform_png(audio, width=320, height=60)
    assert len(png) < 20_000


def test_loud_parts_are_tall_and_silent_ones_flat(tmp_path: Path) -> None:
    path = tmp_path / "half.wav"
    tone = array("h", (int(20_000 * sin(2 * pi * 440 * n / 8000)) for n in range(8000)))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16_000) + tone.tobytes())
    png = waveform_png(inspect_audio(path, source="half.wav"))
    assert ink(png, 0.52, 1.0) > 10 * ink(png, 0.0, 0.48) > 0


def test_silence_is_a_flat_line(tmp_path: Path) -> None:
    path = tmp_path / "silence.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16_000))
    png = waveform_png(inspect_audio(path, source="silence.wav"))
    assert 0 < ink(png, 0, 1) < 640 * 8


def test_a_file_that_changed_since_is_refused(samples: Path, tmp_path: Path, noise: Callable[[float], Path]) -> None:
    audio = inspect_audio(noise(0.5), source="noise.wav")
    audio.path.write_bytes(b"gone")
    with pytest.raises(AudioError, match=r"noise\.wav can't be decoded"):
        waveform_png(audio)
