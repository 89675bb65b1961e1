"""Which container a file is by its first bytes, and what a service is told about it: MIME type and name."""

import re
from pathlib import PurePosixPath
from urllib.parse import unquote

from .mp3 import id3_bytes

# Without this, a text that looks like a playlist would make ffmpeg open whatever files and hosts it names.
FORMAT_WHITELIST = "mp3,aac,amr,amrnb,amrwb,ogg,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,wav,w64,flac,aiff,caf,asf"

# container → (MIME type, endings that agree with it, the first of which is given)
MIME_TYPES: dict[str, tuple[str, tuple[str, ...]]] = {
    "ogg": ("audio/ogg", (".ogg",)),
    "mp3": ("audio/mpeg", (".mp3",)),
    "aac": ("audio/aac", (".aac",)),
    "amr": ("audio/amr", (".amr",)),
    "mp4": ("audio/mp4", (".m4a", ".mp4")),
    "webm": ("audio/webm", (".webm",)),
    "matroska": ("audio/x-matroska", (".mka", ".mkv")),
    "wav": ("audio/wav", (".wav",)),
    "flac": ("audio/flac", (".flac",)),
    "aiff": ("audio/aiff", (".aiff", ".aif")),
    "caf": ("audio/x-caf", (".caf",)),
    "asf": ("audio/x-ms-wma", (".wma",)),
}
_FIRST_BYTES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"OggS", "ogg"),
    (0, b"#!AMR", "amr"),
    (4, b"ftyp", "mp4"),
    (0, b"fLaC", "flac"),
    (0, b"caff", "caf"),
    (8, b"WAVE", "wav"),
    (8, b"AIF", "aiff"),
    (0, bytes.fromhex("3026b275"), "asf"),
)


def container_of(head: bytes, body: bytes | None = None) -> str:
    """Tell the container by the first bytes of a file.

    Args:
        head: The first 64 bytes or more.
        body: As many bytes from behind an ID3 tag, where `head` begins with one that is longer than `head`.

    Returns:
        `ogg`, `mp3`, `aac`, `amr`, `mp4`, `webm`, `matroska`, `wav`, `flac`, `aiff`, `caf`, `asf`, or empty.

    Example:
        >>> container_of(b"#!AMR\\n")
        'amr'
    """
    if body is None:
        body = head[id3_bytes(head) :]
    if head.startswith(bytes.fromhex("1a45dfa3")):
        return "webm" if b"webm" in head[:64] else "matroska"
    for offset, magic, name in _FIRST_BYTES:
        if body[offset : offset + len(magic)] == magic:
            return name
    if len(body) > 1 and body[0] == 0xFF and body[1] & 0xE0 == 0xE0:
        # Layer bits 00 after twelve sync bits is ADTS, 01 is layer III.
        return "aac" if body[1] & 0xF6 == 0xF0 else "mp3"
    return "mp3" if head.startswith(b"ID3") else ""


def container_of_format(name: str) -> str:
    """Translate ffmpeg's name of a format, for files whose first bytes say nothing; empty for an unknown one."""
    first = name.split(",", 1)[0]
    container = {"mov": "mp4", "w64": "wav", "amrnb": "amr", "amrwb": "amr"}.get(first, first)
    return container if container in MIME_TYPES else ""


def filename_for(source: str, container: str) -> str:
    """Name a file so that its ending agrees with its content, as services go by the ending.

    Example:
        >>> filename_for("s3://bucket/news/weekly%20update.mp3", "ogg")
        'weekly update.ogg'
    """
    name = PurePosixPath(unquote(source).replace("\\", "/")).name
    name = re.sub(r'[\x00-\x1f\x7f"*:<>?|;%]', "_", name).strip(" .") or "audio"
    _, endings = MIME_TYPES[container]
    if name.lower().endswith(endings):
        return name[-100:]
    stem = re.sub(r"\.[A-Za-z0-9]{1,5}$", "", name)[-90:] or "audio"
    return stem + endings[0]
