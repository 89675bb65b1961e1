"""What an audio file really is: told by its content, never by its name."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models import Audio
from ..models.errors import AudioError
from .formats import FORMAT_WHITELIST, MIME_TYPES, container_of, container_of_format, filename_for
from .limits import ADVISED_VOICE_SECONDS, PLAY_BUTTON_BYTES, VOICE_MAX_BYTES
from .mp3 import frame_bytes, id3_bytes, states_length
from .ogg import OggFile, read_ogg

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

_OPEN_OPTIONS = {"format_whitelist": FORMAT_WHITELIST, "protocol_whitelist": "file"}

# No header of these says how long the whole is: ffmpeg estimates it from bitrate and size, 3 % off for AMR.
_LENGTH_NOT_STATED = {"aac", "amr"}


@dataclass
class _Sound:
    """What PyAV found: codec, shape and length of the first audio stream."""

    container: str
    codec: str
    channels: int
    sample_rate: int
    stated: float = 0.0  # seconds, by the container's header
    present: float = 0.0  # seconds, by the packets that are there
    video: bool = False
    problems: list[str] = field(default_factory=list)


def inspect_audio(path: Path, *, source: str, etag: str = "") -> Audio:
    """Look into an audio file.

    Args:
        path: The local file.
        source: Where it came from, for messages and for the name a service is told; without query string.
        etag: The object store's own digest, where it gave one.

    Returns:
        What it holds, with a sentence in `warnings` where a person should know something.

    Raises:
        AudioError: It is empty, a web page, a playlist, damaged, or has no audio stream.

    Example:
        >>> audio = inspect_audio(Path("tests/data/audio/speech_voice.ogg"), source="speech_voice.ogg")
        >>> audio.codec, audio.channels, audio.voice_ready
        ('opus', 1, True)

    Source: https://developers.facebook.com/docs/whatsapp/cloud-api/reference/media#supported-media-types
    """
    size, sha256, head, body = _first_look(path, source)
    container = container_of(head, body)
    _refuse_text(head, source)
    ogg = _walk(path) if container == "ogg" else None
    sound = _listen(path, source, container)
    container = container or sound.container
    if container == "wav" and _wav_is_short(head, size):
        sound.problems.append("cut")
    stated = container not in _LENGTH_NOT_STATED and (container != "mp3" or states_length(body))
    warnings = list(_warnings(source, sound, stated, ogg))
    duration, sample_rate, voice_ready = sound.stated if stated and sound.stated else sound.present, 0, False
    if ogg and ogg.head and sound.codec == "opus":
        voice_ready = not ogg.problems and size <= VOICE_MAX_BYTES
        duration, sample_rate = ogg.duration or duration, ogg.head.sample_rate
    if _cut_off(sound, stated) or sound.present > duration * 1.02 + 0.25:  # a header may lie in either direction
        duration = sound.present
    mime_type, _ = MIME_TYPES[container]
    return Audio(
        source=source,
        path=path,
        container=container,
        codec=sound.codec,
        channels=sound.channels,
        sample_rate=sample_rate or sound.sample_rate,
        duration=round(duration, 4),
        size=size,
        sha256=sha256,
        mime_type="audio/amr-wb" if sound.codec == "amr_wb" else mime_type,
        filename=filename_for(source, container),
        voice_ready=voice_ready,
        warnings=tuple(warnings) + (voice_warnings(source, size, duration) if voice_ready else ()),
        etag=etag,
    )


def voice_warnings(
    source: str, size: int, duration: float, *, play_button_bytes: int = PLAY_BUTTON_BYTES
) -> tuple[str, ...]:
    """Say what a recipient will notice about a voice note of this size and length.

    Args:
        source: What the sentence calls it.
        size: Bytes of the note.
        duration: Seconds.
        play_button_bytes: The size up to which a play button shows.

    Returns:
        Sentences; none for a note that shows a play button and is not long.
    """
    warnings: list[str] = []
    if size > play_button_bytes:
        warnings.append(
            f"The voice note of {source} has {size / 1000:.0f} kB, over the {play_button_bytes / 1000:.0f} kB up to "
            "which WhatsApp shows a play button: recipients will see a download icon."
        )
    if duration > ADVISED_VOICE_SECONDS:
        warnings.append(
            f"The voice note of {source} lasts {duration / 60:.1f} minutes: services advise to stay below 2."
        )
    return tuple(warnings)


def _first_look(path: Path, source: str) -> tuple[int, str, bytes, bytes]:
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
            file.seek(0)
            head = file.read(4096)
            file.seek(id3_bytes(head))
            body = file.read(4096)
    except OSError as exc:
        raise AudioError(f"{source} can't be read: {exc.strerror or type(exc).__name__}.") from None
    if not size:
        raise AudioError(f"{source} is empty (0 bytes): upload the audio again.")
    return size, sha256, head, body


def _refuse_text(head: bytes, source: str) -> None:
    start = head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<!--")):
        raise AudioError(f"{source} is a web page (HTML) under an audio name: check where the file came from.")
    if start.startswith((b"#extm3u", b"ffconcat", b"[playlist]")):
        raise AudioError(f"{source} is a playlist, not audio: pass the audio file that it names.")
    if start.startswith((b"<?xml", b"{", b"[")):
        raise AudioError(f"{source} is text, perhaps an error message, not audio: check where the file came from.")


def _walk(path: Path) -> OggFile:
    with path.open("rb") as file:
        return read_ogg(file)


def _listen(path: Path, source: str, container: str) -> _Sound:
    import av
    from av.error import FFmpegError

    try:
        # replace: tags in an old encoding must not make good audio unreadable.
        with av.open(str(path), options=_OPEN_OPTIONS, metadata_errors="replace") as opened:
            if not opened.streams.audio:
                raise AudioError(f"{source} has no audio stream: pass a file with sound in it.")
            sound = _measure(opened, opened.streams.audio[0])
    except FFmpegError as exc:
        if container:
            raise AudioError(
                f"{source} begins like {container} but can't be read ({type(exc).__name__}): it is damaged or cut off; "
                "upload it again."
            ) from None
        raise AudioError(
            f"{source} is not in a known audio format: pass MP3, M4A, AAC, AMR, OGG, WAV or FLAC."
        ) from None
    return sound


def _measure(opened: "InputContainer", stream: "AudioStream") -> _Sound:
    import av
    from av.error import FFmpegError, InvalidDataError
    from av.stream import Disposition

    context = stream.codec_context
    sound = _Sound(
        container_of_format(opened.format.name),
        context.codec.canonical_name,
        context.layout.nb_channels,
        context.sample_rate,
    )
    if stream.duration and stream.time_base:
        sound.stated = float(stream.duration * stream.time_base)
    elif opened.duration:
        sound.stated = opened.duration / av.time_base
    sound.video = any(not video.disposition & Disposition.attached_pic for video in opened.streams.video)
    heard, first, end, last = False, None, 0.0, b""
    try:
        for packet in opened.demux(stream):
            if not packet.size:
                continue
            if not heard:
                heard = _decodes(packet)
            length = float((packet.duration or 0) * packet.time_base)
            start = float(packet.pts * packet.time_base) if packet.pts is not None else end
            first = start if first is None else first
            end = max(end, start + length)
            last = bytes(packet)
    except FFmpegError:
        sound.problems.append("damaged")
    if not heard:
        raise InvalidDataError(0, "no packet decodes")
    sound.present = max(0.0, end - (first or 0.0))
    if sound.codec == "mp3" and 0 < len(last) < frame_bytes(last):
        sound.problems.append("cut")
    return sound


def _decodes(packet: Any) -> bool:
    from av.error import FFmpegError

    try:
        return bool(packet.decode())
    except FFmpegError:
        return False


def _wav_is_short(head: bytes, size: int) -> bool:
    # ffmpeg takes the length from what is there. Writers to a pipe leave 0 or all ones, which state nothing.
    stated = int.from_bytes(head[4:8], "little")
    return head.startswith(b"RIFF") and size < stated + 8 and stated < 0xFFFF_0000


def _cut_off(sound: _Sound, stated: bool) -> bool:
    # The decoder's delay and padding are in the packets and not in the header's length, and the other way round.
    return stated and sound.present < sound.stated * 0.98 - 0.25


def _warnings(source: str, sound: _Sound, stated: bool, ogg: OggFile | None) -> Iterator[str]:
    if _cut_off(sound, stated):
        yield (
            f"{source} is cut off: its header says {sound.stated:.1f} s, {sound.present:.1f} s are there; it plays "
            "as far as it goes."
        )
    elif sound.problems or (ogg and not ogg.ended):
        yield f"{source} is cut off or damaged at its end, after {sound.present:.1f} s; it plays as far as it goes."
    if sound.video:
        yield f"{source} holds video too; a voice note carries its sound alone."
