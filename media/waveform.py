"""A picture of an audio file's loudness over time, for an artifact."""

import io
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..models import Audio
from ..models.errors import AudioError
from .formats import FORMAT_WHITELIST

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

_RATE = 8000  # Hz: enough for an outline
_FULL_SCALE = 32_768
_BAR, _GAP = 3, 2  # pixels
_SCALE = 4  # drawn larger and made smaller, for round ends without steps
_INK, _PAPER = (0x12, 0x8C, 0x7E), (0xFF, 0xFF, 0xFF)


def waveform_png(audio: Audio, *, width: int = 640, height: int = 120) -> bytes:
    """Draw the waveform of an audio file.

    Args:
        audio: What `inspect_audio` said of the file.
        width: Pixels, 16 or more.
        height: Pixels, 16 or more.

    Returns:
        A PNG, the same bytes for the same audio; bars are scaled to the loudest, and a silent file is a flat line.

    Raises:
        AudioError: The file can't be decoded.
    """
    from PIL import Image, ImageDraw

    width, height = max(16, width), max(16, height)
    loudness = _loudness(audio, (width - _GAP) // (_BAR + _GAP))
    loudest = max([*loudness, _FULL_SCALE // 100])
    picture = Image.new("RGB", (width * _SCALE, height * _SCALE), _PAPER)
    pen = ImageDraw.Draw(picture)
    for number, peak in enumerate(loudness):
        left = (_GAP + number * (_BAR + _GAP)) * _SCALE
        reach = max(_BAR, round((height - 8) * peak / loudest)) * _SCALE // 2
        box = (left, height * _SCALE // 2 - reach, left + _BAR * _SCALE - 1, height * _SCALE // 2 + reach - 1)
        pen.rounded_rectangle(box, radius=_BAR * _SCALE // 2, fill=_INK)
    file = io.BytesIO()
    picture.resize((width, height), Image.Resampling.BOX).save(file, "PNG", optimize=True)
    return file.getvalue()


def _loudness(audio: Audio, bars: int) -> list[int]:
    peaks = [0] * bars
    per_bar = max(1.0, audio.duration * _RATE / bars)
    position = 0
    for samples in _samples(audio):
        start = 0
        while start < len(samples):
            bar = min(int((position + start) / per_bar), bars - 1)
            end = len(samples)
            if bar < bars - 1:
                end = min(end, max(start + 1, int((bar + 1) * per_bar) + 1 - position))
            part = samples[start:end]
            loudest = max(max(part), -min(part))  # noqa: PLW3301 (unpacking would copy the samples)
            peaks[bar] = max(peaks[bar], loudest)
            start = end
        position += len(samples)
    return peaks


def _samples(audio: Audio) -> "Iterator[array[int]]":
    import av
    from av.audio.resampler import AudioResampler
    from av.error import FFmpegError

    resampler = AudioResampler(format="s16", layout="mono", rate=_RATE)
    options = {"format_whitelist": FORMAT_WHITELIST, "protocol_whitelist": "file"}
    heard = False
    try:
        with av.open(str(audio.path), options=options, metadata_errors="replace") as opened:
            for packet in opened.demux(opened.streams.audio[0]):
                try:
                    frames = packet.decode()
                except FFmpegError:
                    continue  # a damaged packet; the rest still makes a picture
                for frame in frames:
                    heard = True
                    yield from map(_values, resampler.resample(frame))
    except (FFmpegError, IndexError) as exc:
        if not heard:
            raise AudioError(f"{audio.source} can't be decoded ({type(exc).__name__}): check the file.") from None


def _values(frame: "AudioFrame") -> "array[int]":
    values = array("h")
    values.frombytes(bytes(frame.planes[0])[: frame.samples * 2])
    return values
