"""Make a voice note: one mono Opus stream in Ogg, no picture, no tags, the same bytes for the same input.

Two passes, through WAV: on the live Cloud API that cured notes which one pass left undownloadable (error 131053), and
the second pass then sees plain samples that start at zero. Sample rate, frame length and bitrate are settings, because
the field disagrees on what phones from Apple want. `VoiceSettings.as_phones_record()` is the note that meets all reports of
2026 at once; gateways hand our bytes to phones as they are, so it is theirs.

Sources: https://developers.facebook.com/docs/whatsapp/cloud-api/messages/audio-messages#voice-messages,
https://ffmpeg.org/ffmpeg-codecs.html#libopus-1
"""

import hashlib
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..models import Audio
from ..models.errors import AudioError
from .ffmpeg import convert, ffmpeg_executable, ffmpeg_version
from .formats import FORMAT_WHITELIST, filename_for
from .inspect import inspect_audio, voice_warnings
from .limits import LONGEST_SECONDS, PLAY_BUTTON_BYTES, VOICE_MAX_BYTES
from .loudness import AIM_LUFS, measure_loudness
from .ogg import read_ogg, read_opus, write_opus
from .opus_packets import merge_frames

_RECIPE = 2  # in the cache key: raise it when the command below changes
_SHORTEST_SECONDS = 0.05
_SAFE = 0.97  # of a size limit, when a bitrate is chosen by proportion
_STEP = 1000  # bit/s
_LEAST_SHARE = 0.5  # variable bitrate stays above this share of the nominal for speech; silence can go below
_PHONE_VENDOR = "WhatsApp"
_WIDE_BAND_20_MS = {9, 23}  # SILK, and CELT where libopus hears music: RFC 6716 table 2
_SOUND = {"bitrate", "sample_rate", "frame_duration", "frames_per_packet", "application", "loudness"}


class VoiceSettings(BaseModel):
    """How a voice note is encoded.

    Attributes:
        bitrate: Bit/s to begin with.
        min_bitrate: The lowest bit/s to which it goes to stay within a size; below 16,000 speech suffers.
        sample_rate: Hz that the encoder is given and that the note's header states.
        frame_duration: Milliseconds a frame. 60 gives three 20 ms frames a packet at 24 and 48 kHz, as phones record.
        frames_per_packet: Frames that share an Opus packet. 3 needs frames of 20 ms and writes the file anew, with the
            vendor that phones write.
        application: libopus's tuning.
        loudness: LUFS that one constant gain aims at, as far as the peak allows (−1 dBTP); None leaves the recording
            as loud as it is.
        play_button_bytes: The size to stay within if a speech-worthy bitrate allows; larger notes show a download icon.
        max_bytes: The size above which a note is refused.
        time_limit_seconds: Seconds after which ffmpeg is ended.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bitrate: int = Field(default=32_000, ge=6_000, le=256_000)
    min_bitrate: int = Field(default=16_000, ge=6_000, le=256_000)
    sample_rate: Literal[8000, 12000, 16000, 24000, 48000] = 48000
    frame_duration: Literal[20, 40, 60] = 20
    frames_per_packet: Literal[1, 3] = 1
    application: Literal["voip", "audio"] = "voip"
    loudness: float | None = Field(default=AIM_LUFS, ge=-40, le=-10)
    play_button_bytes: int = Field(default=PLAY_BUTTON_BYTES, gt=0)
    max_bytes: int = Field(default=VOICE_MAX_BYTES, gt=0)
    time_limit_seconds: float = Field(default=300.0, gt=0)

    @model_validator(mode="after")
    def _bitrates_in_order(self) -> Self:
        if self.min_bitrate > self.bitrate:
            raise ValueError(f"min_bitrate {self.min_bitrate:,} is above bitrate {self.bitrate:,}")
        if self.frames_per_packet == 3 and self.frame_duration != 20:
            raise ValueError(f"frames_per_packet 3 needs frames of 20 ms, not {self.frame_duration}")
        return self

    @classmethod
    def as_phones_record(cls, **changes: Any) -> Self:
        """Settings of a note like those that phones record: mono at 16 kHz, three 20 ms frames in each packet.

        Args:
            **changes: Other fields.

        Example:
            >>> VoiceSettings.as_phones_record(loudness=None).sample_rate
            16000
        """
        return cls(**{"sample_rate": 16000, "frame_duration": 20, "frames_per_packet": 3, **changes})

    def sound(self) -> str:
        """Write what was chosen and changes the sound; limits and defaults, which an update may change, are left out."""
        chosen = self.model_dump(include=_SOUND, exclude_defaults=True)
        return json.dumps(chosen, sort_keys=True)


def make_voice_note(audio: Audio, *, directory: Path, settings: VoiceSettings | None = None) -> Audio:
    """Make a voice note of any audio; what already is a good one comes back as it is.

    Args:
        audio: What `inspect_audio` said of the file.
        directory: Where notes are kept; one made before, of the same bytes by the same ffmpeg and settings,
            is used again.
        settings: How to encode; None for the defaults.

    Returns:
        The note: `voice_ready`, with `transcoded` true if ffmpeg made it in this call.

    Raises:
        AudioError: ffmpeg refused it or ran out of time, the result is empty, or it is over `max_bytes` at any bitrate.
    """
    settings = settings or VoiceSettings()
    if is_ready(audio, settings):
        return audio
    if audio.duration * settings.min_bitrate / 8 * _LEAST_SHARE > settings.max_bytes:
        raise AudioError(_too_large(audio, settings))
    if audio.duration > LONGEST_SECONDS:
        raise AudioError(_too_long(audio))
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = directory / f"{_cache_key(audio, settings)}.ogg"
    if kept.is_file():
        try:
            note = inspect_audio(kept, source=audio.source)
        except AudioError:
            note = None
        if note and note.voice_ready:
            os.utime(kept)  # what is used is not old: see `remove_cached`
            return _as_note(audio, note, settings, transcoded=False)
    with tempfile.TemporaryDirectory(dir=directory, prefix=".voice-", ignore_cleanup_errors=True) as work:
        made = _encode(audio, Path(work), settings)
        note = inspect_audio(made, source=audio.source)
        if not note.voice_ready:
            raise AudioError(
                f"What ffmpeg made of {audio.source} is not a valid voice note: check the file, or try another version of ffmpeg."
            )
        made.chmod(0o600)  # as ffmpeg leaves it, everybody on the machine may read it
        os.replace(made, kept)
    return _as_note(audio, note.model_copy(update={"path": kept}), settings, transcoded=True)


def is_ready(audio: Audio, settings: VoiceSettings) -> bool:
    """Tell whether audio is a voice note of this form already.

    With three frames a packet, only a note whose packets are all like those of a phone passes; with one, any good note.
    """
    if not audio.voice_ready or settings.frames_per_packet == 1:
        return audio.voice_ready
    try:
        with audio.path.open("rb") as file:
            walked = read_ogg(file)
    except OSError:  # kept by the service alone
        return True
    return walked.packet_codes == {3} and walked.configurations <= _WIDE_BAND_20_MS


def _encode(audio: Audio, work: Path, settings: VoiceSettings) -> Path:
    limit = settings.time_limit_seconds
    deadline = time.monotonic() + limit
    wav = work / "samples.wav"
    convert(
        audio.path,
        wav,
        source=audio.source,
        deadline=deadline,
        limit=limit,
        input_options={"format_whitelist": FORMAT_WHITELIST, "protocol_whitelist": "file"},
        output_options={
            "vn": None,
            "sn": None,
            "dn": None,
            "map": "0:a:0",
            "map_metadata": -1,
            "ac": 1,
            "ar": settings.sample_rate,
            "c:a": "pcm_s16le",
            # Headers lie: a small file can decode to days of samples.
            "t": LONGEST_SECONDS + 1,
            "fs": (LONGEST_SECONDS + 2) * settings.sample_rate * 2,
        },
    )
    if wav.stat().st_size > LONGEST_SECONDS * settings.sample_rate * 2 + 4096:
        raise AudioError(_too_long(audio))
    if wav.stat().st_size < _SHORTEST_SECONDS * settings.sample_rate * 2:
        raise AudioError(f"{audio.source} holds no sound, or none that can be decoded: check the file.")

    gain = 0.0
    if settings.loudness is not None:
        measured = measure_loudness(wav, source=audio.source, deadline=deadline, limit=limit)
        gain = measured.gain(settings.loudness)

    def encoded(bitrate: int) -> Path:
        made = work / f"{bitrate}.ogg"
        if not made.exists():
            convert(
                wav,
                made,
                source=audio.source,
                deadline=deadline,
                limit=limit,
                input_options={},
                output_options=_opus_options(settings, bitrate, gain),
            )
            if settings.frames_per_packet > 1:
                _repacketize(made, settings.frames_per_packet)
        return made

    best = encoded(settings.bitrate)
    for size in (settings.play_button_bytes, settings.max_bytes):
        bitrate, made = settings.bitrate, best
        while made.stat().st_size > size:
            lower = int(bitrate * size / made.stat().st_size * _SAFE) // _STEP * _STEP
            # Bytes do not fall quite as fast as the bitrate, so the lowest is tried when it is nearly enough.
            if lower < settings.min_bitrate * 0.9 or bitrate == settings.min_bitrate:
                break
            bitrate = max(min(lower, bitrate - _STEP), settings.min_bitrate)
            made = encoded(bitrate)
        if made.stat().st_size <= size:
            return made
    raise AudioError(_too_large(audio, settings))


def _repacketize(made: Path, frames: int) -> None:
    with made.open("rb") as file:
        stream = read_opus(file)
    merged = replace(stream, packets=tuple(merge_frames(stream.packets, frames)))
    made.write_bytes(write_opus(merged, vendor=_PHONE_VENDOR))


def _opus_options(settings: VoiceSettings, bitrate: int, gain: float) -> dict[str, str | int | None]:
    return {
        **({"af": f"volume={gain:.1f}dB:precision=float"} if gain else {}),
        "map_metadata": -1,
        "ac": 1,
        "ar": settings.sample_rate,
        "c:a": "libopus",
        "b:a": bitrate,
        "application": settings.application,
        "frame_duration": settings.frame_duration,
        # Otherwise the stream's serial number is random, and ffmpeg's version is in the tags.
        "fflags": "+bitexact",
        "flags:a": "+bitexact",
        "f": "ogg",
    }


def _cache_key(audio: Audio, settings: VoiceSettings) -> str:
    parts = {
        "input": audio.sha256,
        "settings": settings.model_dump(exclude={"time_limit_seconds"}),
        "ffmpeg": ffmpeg_version(ffmpeg_executable()),
        "recipe": _RECIPE,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _as_note(audio: Audio, note: Audio, settings: VoiceSettings, *, transcoded: bool) -> Audio:
    noticed = voice_warnings(audio.source, note.size, note.duration, play_button_bytes=settings.play_button_bytes)
    return note.model_copy(
        update={
            "filename": filename_for(audio.source, "ogg"),
            "etag": audio.etag,
            "transcoded": transcoded,
            "warnings": (*audio.warnings, *noticed),
        }
    )


def _too_large(audio: Audio, settings: VoiceSettings) -> str:
    return (
        f"{audio.source} lasts {audio.duration / 60:.0f} minutes: even at {settings.min_bitrate / 1000:g} kbit/s the "
        f"voice note is over {settings.max_bytes / 1e6:g} MB; cut it into parts."
    )


def _too_long(audio: Audio) -> str:
    return f"{audio.source} holds more than {LONGEST_SECONDS / 3600:.1f} hours of sound: cut it into parts."
