"""The bench's figures: the table, the ratios that stand in the README, and the plot."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path


@dataclass
class Measured:
    """One run of one contender."""

    case: str
    contender: str
    recipients: int
    latency_ms: float
    sends_per_second: float
    recorded_per_second: float
    runs_recorded: int
    accepted: int
    twice: int
    uploads: int
    cpu_ms_per_send: float
    server_cpu_ms_per_send: float
    memory_mb: float
    seconds: float
    peak_per_second: int
    refused_after_10_s: float
    start_seconds: float = 0.0  # until the first send: reading, planning, the audio, the plan's page
    tail_seconds: float = 0.0  # from the last send on: recording, the report


def line(m: Measured) -> str:
    """One run in words."""
    recorded = f"{m.recorded_per_second:7.1f} recorded/s, {m.runs_recorded:6d} runs" if m.recorded_per_second else ""
    return (
        f"{m.contender:15s} {m.sends_per_second:8.1f} sends/s  peak {m.peak_per_second:5d}/s  {recorded:32s} "
        f"CPU {m.cpu_ms_per_send:5.2f} ms, server {m.server_cpu_ms_per_send:5.2f} ms a send  {m.memory_mb:5.0f} MB  "
        f"start {m.start_seconds:.1f} s, tail {m.tail_seconds:.1f} s  "
        f"accepted {m.accepted}, twice {m.twice}, uploads {m.uploads}"
    )


def summary(results: list[Measured]) -> str:
    """The table and the ratios, as Markdown."""
    lines = [
        "| case | contender | n | sends/s | recorded/s | runs | CPU a send | server CPU | memory | start | tail | twice |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str], list[Measured]] = {}
    for measured in results:
        groups.setdefault((measured.case, measured.contender), []).append(measured)
    for (case, contender), group in groups.items():
        sends = [m.sends_per_second for m in group]
        recorded = [m.recorded_per_second for m in group if m.recorded_per_second]
        lines.append(
            f"| {case} | {contender} | {group[0].recipients:,} | {_spread(sends)} | {_spread(recorded)} | "
            f"{group[-1].runs_recorded or ''} | {statistics.median(m.cpu_ms_per_send for m in group):.2f} ms | "
            f"{statistics.median(m.server_cpu_ms_per_send for m in group):.2f} ms | "
            f"{max(m.memory_mb for m in group):.0f} MB | {statistics.median(m.start_seconds for m in group):.1f} s | "
            f"{statistics.median(m.tail_seconds for m in group):.1f} s | {sum(m.twice for m in group)} |"
        )
    return "\n".join([*lines, "", *_ratios(groups), ""])


def _ratios(groups: dict[tuple[str, str], list[Measured]]) -> list[str]:
    def middle(case: str, contender: str, what: str) -> float:
        return statistics.median(getattr(m, what) for m in groups.get((case, contender), []) or [_NONE])

    def better(case: str, *contenders: str) -> str:
        return max(contenders, key=lambda each: middle(case, each, "sends_per_second"))

    def ratio(case: str, one: str, other: str, value: Callable[[Measured], float]) -> str:
        """The median of the ratios of the runs that followed each other, and their spread."""
        pairs = zip(groups.get((case, one), []), groups.get((case, other), []), strict=False)
        each = [value(a) / value(b) for a, b in pairs if value(b)]
        if not each:
            return ""
        spread = f" ({min(each):.2f}–{max(each):.2f})" if len(each) > 1 else ""
        return f"{statistics.median(each):.2f}{spread}"

    def cpu(m: Measured) -> float:
        return m.cpu_ms_per_send + m.server_cpu_ms_per_send

    said = []
    for case in ("tracked", "scale", "scale-postgresql"):
        if found := ratio(case, "ours", "floor", cpu):
            said.append(f"- {case}: CPU of client and server, ours / floor = {found}")
    for case, one, other, what in (
        ("tracked", "ours", "floor", "recorded_per_second"),
        ("tracked", "ours-engine", "floor", "recorded_per_second"),
        ("scale", "ours", "floor", "recorded_per_second"),
        ("scale-postgresql", "ours", "floor", "recorded_per_second"),
        *(
            (case, "ours-batch", better(case, "celery-threads", "celery-prefork"), "sends_per_second")
            for case in ("sends-0ms", "sends-50ms")
        ),
        ("sends-0ms", "ours-batch", "pywa", "sends_per_second"),
        ("sends-0ms", "ours-batch", "without-ledger", "sends_per_second"),
    ):
        if found := ratio(case, one, other, attrgetter(what)):
            said.append(f"- {case}: {one} / {other} = {found}")
    plain = middle("tracked-default-server", "map", "recorded_per_second")
    if plain:
        said.append(f"- ours on the tuned server / plain map on the default server = "
                    f"{middle('tracked', 'ours', 'recorded_per_second') / plain:.2f}")  # fmt: skip
    thousand, hundred = groups.get(("scale-batch", "ours-batch")), groups.get(("scale-batch-100000", "ours-batch"))
    if thousand and hundred:
        said.append(f"- memory in batches at {hundred[0].recipients:,} / at {thousand[0].recipients:,} = "
                    f"{hundred[0].memory_mb / thousand[0].memory_mb:.2f}")  # fmt: skip
    small, large = groups.get(("tracked", "ours")), groups.get(("scale", "ours"))
    if small and large:
        said.append(f"- memory at {large[0].recipients:,} / at {small[0].recipients:,} = "
                    f"{large[0].memory_mb / statistics.median(m.memory_mb for m in small):.2f}")  # fmt: skip
        said.append(f"- CPU a send at {large[0].recipients:,} / at {small[0].recipients:,} = "
                    f"{large[0].cpu_ms_per_send / statistics.median(m.cpu_ms_per_send for m in small):.2f}")  # fmt: skip
    for (case, _), group in groups.items():
        if case.startswith("rate-"):
            said.append(f"- {case}: {group[0].sends_per_second / 80:.1%} of 80 a second, "
                        f"at most {group[0].peak_per_second} in any second")  # fmt: skip
        if case.startswith("bucket-"):
            said.append(f"- {case}: {group[0].accepted:,} of {group[0].recipients:,} accepted, "
                        f"{group[0].refused_after_10_s:.1%} of the calls refused after the first 10 s")  # fmt: skip
    return said


_NONE = Measured("", "", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def _spread(values: list[float]) -> str:
    if not values:
        return ""
    middle = f"{statistics.median(values):,.0f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):,.0f}–{max(values):,.0f})"


def plot(results: list[Measured], path: Path) -> None:
    """Horizontal bars, a group a case: recorded runs a second where each send is one, else sends a second."""
    from PIL import Image, ImageDraw, ImageFont

    shown = {"tracked": "task runs recorded", "sends-0ms": "sends, where the service answers at once",
             "sends-50ms": "sends, where the service answers in 50 ms"}  # fmt: skip
    groups: dict[tuple[str, str], list[float]] = {}
    for m in results:
        if m.case == "tracked-default-server":
            groups.setdefault(("tracked", f"{m.contender}, default server"), []).append(m.recorded_per_second)
        elif m.case in shown:
            value = m.recorded_per_second if m.case == "tracked" else m.sends_per_second
            groups.setdefault((m.case, m.contender), []).append(value)
    row, left, width = 26, 190, 860
    image = Image.new("RGB", (width, row * (len(groups) + len({case for case, _ in groups})) + 16), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    top, before = 8, ""
    for (case, contender), values in groups.items():
        if case != before:
            draw.text((8, top), f"{shown[case]}, a second (median and spread)", "#555555", font)
            top, before = top + row, case
        scale = (width - left - 80) / max(max(v) for (other, _), v in groups.items() if other == case)
        middle = statistics.median(values)
        colour = "#128c7e" if contender.startswith("ours") else "#9aa5ab"
        draw.text((24, top), contender, "black", font)
        draw.rectangle((left, top, left + middle * scale, top + row - 9), fill=colour)
        draw.line((left + min(values) * scale, top + 9, left + max(values) * scale, top + 9), fill="black", width=2)
        draw.text((left + max(values) * scale + 6, top), f"{middle:,.0f}", "black", font)
        top += row
    image.save(path, optimize=True)
