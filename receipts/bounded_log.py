"""Log lines that strangers can cause, bounded: a flood of forged webhooks must not fill the disk."""

import logging
import time

_EVERY_SECONDS = 60.0
_clock = time.monotonic


class BoundedLog:
    """Writes each line once a minute at most, and with the next one how many were left out.

    Args:
        logger: Where they go.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._left_out: dict[str, tuple[float, int]] = {}

    def warning(self, line: str) -> None:
        """Write a line, or count it.

        Args:
            line: One of a few: nothing in it may be a stranger's choice.
        """
        written_at, left_out = self._left_out.get(line, (None, 0))
        now = _clock()
        if written_at is not None and now - written_at < _EVERY_SECONDS:
            self._left_out[line] = written_at, left_out + 1
        else:
            self._write(line, left_out)
            self._left_out[line] = now, 0

    def close(self) -> None:
        """Say what was counted since."""
        for line, (_, left_out) in self._left_out.items():
            if left_out:
                self._write(line, left_out)
        self._left_out.clear()

    def _write(self, line: str, left_out: int) -> None:
        self._logger.warning(
            "%s%s", line, f" ({left_out:,} more like it since the last such line.)" if left_out else ""
        )
