"""Sample input for demonstrations: an MP3 with cover art, and recipients with numbers that no one has."""

import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from ..media.ffmpeg import ffmpeg_executable

# +1 NPA 555 01xx is set aside for fiction, a hundred numbers in each area code.
_AREA_CODES = [code for code in range(201, 990) if code % 100 != 11 and not 370 <= code <= 379]
# So are 5550 xxxx and 7010 xxxx in each of Australia's four areas.
# Source: https://www.acma.gov.au/phone-numbers-use-tv-shows-films-and-creative-works
_AUSTRALIAN = [f"+61{area}{block}" for block in (5550, 7010) for area in (2, 3, 7, 8)]
MOST_NUMBERS = len(_AREA_CODES) * 100 + len(_AUSTRALIAN) * 10_000


def sample_numbers(count: int) -> Iterator[str]:
    """Give that many different E.164 numbers of the ranges set aside for fiction: 77,100 American, 80,000 Australian.

    Raises:
        ValueError: There are not so many.
    """
    if count > MOST_NUMBERS:
        raise ValueError(f"there are {MOST_NUMBERS:,} numbers for fiction, not {count:,}")
    american = (f"+1{code}55501{n:02d}" for code in _AREA_CODES for n in range(100))
    australian = (f"{prefix}{n:04d}" for prefix in _AUSTRALIAN for n in range(10_000))
    return itertools.islice(itertools.chain(american, australian), count)


def write_recipients(path: Path, count: int) -> Path:
    """Write a CSV list with the columns `phone` and `name`."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("phone,name\n")
        file.writelines(f"{number},Sample {n}\n" for n, number in enumerate(sample_numbers(count), 1))
    return path


def write_sample_mp3(path: Path, *, seconds: int = 12) -> Path:
    """Write a stereo MP3 with ID3 tags and cover art, as a podcast editor leaves it."""
    cover = path.with_suffix(".cover.png")
    Image.linear_gradient("L").resize((240, 240)).save(cover)
    command = [
        ffmpeg_executable(), "-v", "error", "-nostdin", "-y",
        "-f", "lavfi", "-i", f"sine=frequency=220:duration={seconds}",
        "-f", "lavfi", "-i", f"sine=frequency=330:duration={seconds}",
        "-i", str(cover),
        "-filter_complex", "[0:a][1:a]join=inputs=2:channel_layout=stereo,tremolo=f=4:d=0.8[a]",
        "-map", "[a]", "-map", "2:v", "-c:a", "libmp3lame", "-b:a", "96k", "-c:v", "copy",
        "-disposition:v", "attached_pic", "-id3v2_version", "3",
        "-metadata", "title=Weekly greeting", "-metadata", "artist=Sandbox", str(path),
    ]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)  # noqa: S603  # our own command line
    finally:
        cover.unlink()
    return path
