"""How loud a recording is, and the one gain that brings it towards a common loudness without clipping.

Measured by EBU R 128 over the whole recording. One constant gain keeps the dynamics as they are; ffmpeg's `loudnorm`
does not: where its aim is out of reach it falls back to compression.

Source: https://tech.ebu.ch/publications/r128, https://ffmpeg.org/ffmpeg-filters.html#ebur128-1
"""

import re
from dataclasses import dataclass
from pathlib import Path

from .ffmpeg import filter_report

AIM_LUFS = -16.0  # the usual aim for speech on phones
PEAK_DBTP = -1.0  # lossy codecs overshoot: EBU R 128 leaves this much room
QUIETEST_LUFS = -50.0  # what is quieter is noise or silence, which a gain would only make audible
_INTEGRATED = re.compile(r"\bI:\s*(-?[\d.]+|-inf|nan) LUFS")
_PEAK = re.compile(r"\bPeak:\s*(-?[\d.]+|-inf|nan) dBFS")


@dataclass(frozen=True)
class Loudness:
    """What was measured.

    Attributes:
        integrated: LUFS over the whole; −70 or less where nothing was loud or long enough (0.4 s) to be measured.
        true_peak: dBTP.
    """

    integrated: float
    true_peak: float

    def gain(self, aim: float = AIM_LUFS) -> float:
        """Decibels, to a tenth, that bring the recording to the aim or as near as its peak allows.

        Example:
            >>> Loudness(integrated=-22.0, true_peak=-9.0).gain(), Loudness(-22.0, -3.0).gain(), Loudness(-70.0, -70.0).gain()
            (6.0, 2.0, 0.0)
        """
        if not self.integrated > QUIETEST_LUFS:
            return 0.0
        return round(min(aim - self.integrated, PEAK_DBTP - self.true_peak), 1) + 0.0


def measure_loudness(path: Path, *, source: str, deadline: float, limit: float) -> Loudness:
    """Measure a recording.

    Args:
        path: A file that ffmpeg reads.
        source: What a message calls it.
        deadline: `time.monotonic()` at which ffmpeg is killed.
        limit: The seconds that a message names as the limit.

    Raises:
        AudioError: ffmpeg failed or was ended.
    """
    told = filter_report(path, "ebur128=peak=true:framelog=quiet", source=source, deadline=deadline, limit=limit)
    return Loudness(_number(_INTEGRATED, told), _number(_PEAK, told))


def _number(pattern: re.Pattern[str], told: str) -> float:
    found = pattern.findall(told)
    return float(found[-1]) if found and found[-1] != "nan" else float("-inf")
