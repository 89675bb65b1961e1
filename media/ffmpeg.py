"""Which ffmpeg runs, and running it: with a time limit, and its failure told in one sentence.

The one on PATH if it has libopus, else the one that the package imageio-ffmpeg brings. The commands are built by
ffmpeg-python.
"""

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from ..models.errors import AudioError

_TAIL_BYTES = 4096
_TAIL_CHARACTERS = 300
_PROBE_SECONDS = 30
_COMPONENT = re.compile(r"\[[^\]]*@ 0x[0-9a-f]+\] ")


def ffmpeg_executable() -> str:
    """Find an ffmpeg that can encode Opus.

    Returns:
        The path of the one on PATH if it has libopus, else of the one that imageio-ffmpeg brings.

    Raises:
        AudioError: There is neither.
    """
    on_path = shutil.which("ffmpeg")
    if on_path and _has_libopus(on_path):
        return on_path
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        bundled = str(get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        bundled = ""
    if bundled and _has_libopus(bundled):
        return bundled
    raise AudioError("There is no ffmpeg with libopus to make a voice note: install ffmpeg, or imageio-ffmpeg by pip.")


@lru_cache(maxsize=8)
def ffmpeg_version(executable: str) -> str:
    """Read the first line of what ffmpeg says about itself: notes of two builds need not be the same bytes."""
    return _ask(executable, "-version").partition("\n")[0].strip()


@lru_cache(maxsize=8)
def _has_libopus(executable: str) -> bool:
    return " libopus " in _ask(executable, "-encoders")


def _ask(executable: str, question: str) -> str:
    try:
        answer = subprocess.run(  # noqa: S603 (the executable is the one found above)
            [executable, "-hide_banner", question],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.decode("utf-8", "replace")


def convert(
    given: Path,
    made: Path,
    *,
    source: str,
    deadline: float,
    limit: float,
    input_options: Mapping[str, str | int | None],
    output_options: Mapping[str, str | int | None],
) -> None:
    """Run ffmpeg once, from a file into a file.

    Args:
        given: The input. A file, never a pipe: piped, the same MP3 gave other bytes, 15 ms longer.
        made: The output.
        source: What a message calls the audio.
        deadline: `time.monotonic()` at which ffmpeg is killed.
        limit: The seconds that a message names as the limit.
        input_options: As ffmpeg-python takes them; None for a switch.
        output_options: Likewise.

    Raises:
        AudioError: ffmpeg failed, said so in its last words, or was killed.
    """
    import ffmpeg

    command = (
        ffmpeg.input(str(given), **input_options)
        .output(str(made), **output_options)
        .global_args("-v", "error", "-nostdin", "-hide_banner")
        .overwrite_output()
        .compile(cmd=ffmpeg_executable())
    )
    names = {str(given): source, str(made): "the voice note", str(made.parent): ""}
    _run(command, source=source, names=names, deadline=deadline, limit=limit)


def filter_report(given: Path, audio_filter: str, *, source: str, deadline: float, limit: float) -> str:
    """Run one audio filter over a file and return what it reports at its end, such as the summary of `ebur128`.

    Args:
        given: The input.
        audio_filter: As `-af` takes it.
        source: What a message calls the audio.
        deadline: `time.monotonic()` at which ffmpeg is killed.
        limit: The seconds that a message names as the limit.

    Raises:
        AudioError: As for `convert`.

    Source: https://ffmpeg.org/ffmpeg-filters.html#ebur128-1
    """
    import ffmpeg

    command = (
        ffmpeg.input(str(given), protocol_whitelist="file")
        .output("-", af=audio_filter, f="null")
        .global_args("-v", "info", "-nostats", "-nostdin", "-hide_banner")
        .compile(cmd=ffmpeg_executable())
    )
    return _run(command, source=source, names={str(given): source}, deadline=deadline, limit=limit)


def _run(command: list[str], *, source: str, names: Mapping[str, str], deadline: float, limit: float) -> str:
    """Run ffmpeg and return its last words."""
    with tempfile.TemporaryFile() as said:
        # A file and not a pipe: a damaged input makes ffmpeg say megabytes.
        with subprocess.Popen(  # noqa: S603 (an argument list, no shell)
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
        ) as process:
            try:
                status = process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise AudioError(
                    f"ffmpeg did not finish with {source} within {limit:g} s and was stopped: raise time_limit_seconds, "
                    "or pass a shorter file."
                ) from None
            finally:
                process.kill()
        said.seek(max(0, said.seek(0, 2) - _TAIL_BYTES))
        words = said.read()
    if status:
        raise AudioError(f"ffmpeg can't convert {source} (exit status {status}): {_tail(words, names)}")
    return words.decode("utf-8", "replace")


def _tail(said: bytes, names: Mapping[str, str]) -> str:
    text = said.decode("utf-8", "replace")
    for path, name in sorted(names.items(), key=lambda pair: -len(pair[0])):
        text = text.replace(path, name)
    lines = [_COMPONENT.sub("", line).strip() for line in text.splitlines()]
    words = " | ".join(dict.fromkeys(line for line in lines if line))
    return "…" + words[-_TAIL_CHARACTERS:] if len(words) > _TAIL_CHARACTERS else words or "it gave no reason."
