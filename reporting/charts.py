"""Pictures for the artifacts: the outcome as one bar, the sends over time as many.

Both of Prefect's UIs show a picture in markdown by a data URI, and neither shows inline SVG; an image artifact prints
its whole address beneath the picture.
"""

import base64
import datetime
import io
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont
    from PIL.ImageFont import ImageFont as BitmapFont

COLOURS: Mapping[str, str] = {
    "accepted": "#128c7e",
    "sent": "#8fb8b2",
    "delivered": "#34a293",
    "read": "#2f80c3",
    "played": "#7b5ea7",
    "failed": "#c0392b",
    "skipped": "#7f8c8d",
    "unknown": "#e6a700",
    "pending": "#b8c4cc",
}
_PAPER, _INK, _RULE = "#ffffff", "#33404d", "#d8dee3"
_WIDTH, _MARGIN = 640, 12
_SCALE = 2  # for screens with two pixels a point; without it text is blurred there
# Seconds a bar may stand for.
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400)
_BARS_AT_MOST = 60


def outcome_png(counts: Mapping[str, int]) -> bytes:
    """Draw what became of the messages as one bar in parts, with a legend.

    Args:
        counts: Messages by outcome, in the order of the bar; outcomes without messages are left out.

    Returns:
        A PNG, 640 points wide, the same bytes for the same counts.
    """
    picture, pen = _sheet(108)
    total = sum(counts.values()) or 1
    parts = [(name, number) for name, number in counts.items() if number]
    # A part of one in a hundred thousand is still to be seen; the largest gives way to it.
    widths = [max(4.0, (_WIDTH - 2 * _MARGIN) * number / total) for _, number in parts]
    if parts:
        widths[widths.index(max(widths))] -= sum(widths) - (_WIDTH - 2 * _MARGIN)
    x = float(_MARGIN)
    for (name, _), width in zip(parts, widths, strict=True):
        _box(pen, (x, 12, x + width, 44), COLOURS.get(name, _INK))
        x += width
    x, y = float(_MARGIN), 58
    for name, number in parts:
        label = f"{name} {number:,} ({_share(number, total)})"
        if x + 18 + _length(pen, label) > _WIDTH - _MARGIN:
            x, y = float(_MARGIN), y + 24
        _box(pen, (x, y, x + 12, y + 12), COLOURS.get(name, _INK))
        _text(pen, (x + 18, y - 2), label)
        x += 18 + _length(pen, label) + 18
    return _png(picture.crop((0, 0, _WIDTH * _SCALE, (y + 26) * _SCALE)))


def sends_png(by_second: Mapping[int, Mapping[str, int]]) -> bytes:
    """Draw how many messages were settled when, in bars of a round number of seconds.

    Args:
        by_second: Messages by outcome, by second since 1970 (UTC).

    Returns:
        A PNG of 640 × 200 points; empty where nothing was settled.
    """
    if not by_second:
        return b""
    first, last = min(by_second), max(by_second)
    step = next((s for s in _STEPS if (last - first) / s < _BARS_AT_MOST), (last - first) // _BARS_AT_MOST + 1)
    start = first - first % step
    bars: list[dict[str, int]] = [{} for _ in range((last - start) // step + 1)]
    for second, counts in by_second.items():
        bar = bars[(second - start) // step]
        for name, number in counts.items():
            bar[name] = bar.get(name, 0) + number
    return _bars_png(bars, start, step)


def data_uri(png: bytes) -> str:
    """Write a PNG as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _bars_png(bars: Sequence[Mapping[str, int]], start: int, step: int) -> bytes:
    picture, pen = _sheet(200)
    most = max(sum(bar.values()) for bar in bars) or 1
    top, bottom, left, right = 34, 170, 58, _WIDTH - _MARGIN
    _text(pen, (_MARGIN, 8), f"Messages per {_span(step)}")
    for value in sorted({most, most // 2} - {0}):
        y = bottom - (bottom - top) * value / most
        _box(pen, (left, y, right, y + 1), _RULE)
        label = f"{value:,}"
        _text(pen, (left - 8 - _length(pen, label), y - 7), label)
    slot = (right - left) / max(len(bars), 12)  # one bar alone isn't to be as wide as the sheet
    for number, bar in enumerate(bars):
        y = float(bottom)
        for name, count in bar.items():
            height = (bottom - top) * count / most
            _box(pen, (left + number * slot + 1, y - height, left + (number + 1) * slot - 1, y), COLOURS[name])
            y -= height
    _box(pen, (left, bottom, right, bottom + 1), _INK)
    end = start + len(bars) * step
    _text(pen, (left, bottom + 7), _moment(start, dated=True))
    last = _moment(end, dated=_day(end) != _day(start))
    _text(pen, (max(left + 180.0, left + len(bars) * slot - _length(pen, last)), bottom + 7), last)
    return _png(picture)


def _sheet(height: int) -> "tuple[Image, ImageDraw]":
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (_WIDTH * _SCALE, height * _SCALE), _PAPER)
    return picture, ImageDraw.Draw(picture)


def _box(pen: "ImageDraw", box: tuple[float, float, float, float], colour: str) -> None:
    left, top, right, bottom = (round(value * _SCALE) for value in box)
    pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), fill=colour)


@cache
def _font() -> "FreeTypeFont | BitmapFont":
    from PIL import ImageFont

    return ImageFont.load_default(size=13 * _SCALE)


def _text(pen: "ImageDraw", at: tuple[float, float], words: str) -> None:
    pen.text((at[0] * _SCALE, at[1] * _SCALE), words, fill=_INK, font=_font())


def _length(pen: "ImageDraw", words: str) -> float:
    return float(pen.textlength(words, font=_font())) / _SCALE


def _png(picture: "Image") -> bytes:
    file = io.BytesIO()
    picture.quantize(64).save(file, "PNG", optimize=True)
    return file.getvalue()


def _share(number: int, total: int) -> str:
    share = 100 * number / total
    if 0 < share < 0.1:
        return "< 0.1 %"
    return "100 %" if number == total else f"{min(share, 99.9):.1f} %"


def _span(seconds: int) -> str:
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds % size == 0:
            return unit if seconds == size else f"{seconds // size} {unit}s"
    return "second" if seconds == 1 else f"{seconds} seconds"


def _day(second: int) -> datetime.date:
    return datetime.datetime.fromtimestamp(second, datetime.UTC).date()


def _moment(second: int, *, dated: bool) -> str:
    return datetime.datetime.fromtimestamp(second, datetime.UTC).strftime(
        "%Y-%m-%d %H:%M:%S UTC" if dated else "%H:%M:%S"
    )
