"""What is sent: fetching audio from where it lies, looking into it, and making a voice note of it."""

from .ffmpeg import ffmpeg_executable, ffmpeg_version
from .formats import container_of, filename_for
from .inspect import inspect_audio, voice_warnings
from .limits import LONGEST_SECONDS, MAX_AUDIO_BYTES, MAX_LIST_BYTES, PLAY_BUTTON_BYTES, VOICE_MAX_BYTES
from .linked_audio import check_linked_audio
from .ogg import OggFile, OpusHead, read_ogg
from .publishing import cache_directory, publish
from .s3 import LONGEST_LINK_SECONDS, StoredObject, presign, put
from .sources import Downloaded, download, open_source, open_stream
from .stream import Source
from .voice import VoiceSettings, is_ready, make_voice_note
from .waveform import waveform_png

__all__ = [
    "LONGEST_LINK_SECONDS",
    "LONGEST_SECONDS",
    "MAX_AUDIO_BYTES",
    "MAX_LIST_BYTES",
    "PLAY_BUTTON_BYTES",
    "VOICE_MAX_BYTES",
    "Downloaded",
    "OggFile",
    "OpusHead",
    "Source",
    "StoredObject",
    "VoiceSettings",
    "cache_directory",
    "check_linked_audio",
    "container_of",
    "download",
    "ffmpeg_executable",
    "ffmpeg_version",
    "filename_for",
    "inspect_audio",
    "is_ready",
    "make_voice_note",
    "open_source",
    "open_stream",
    "presign",
    "publish",
    "put",
    "read_ogg",
    "voice_warnings",
    "waveform_png",
]
