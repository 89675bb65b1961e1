"""The text of the artifacts: the plan before anything is sent, the report at the end."""

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import phonenumbers

from ..ledger import RemovedRow, Row, RunPart
from ..models import Report, SendState, mask, mask_numbers
from ..models.errors import ErrorKind
from ..models.escaping import cell, markdown, printable
from ..models.plurals import counted
from ..providers.dialect import AccountStatus
from ..recipients.source import Planned
from ..sending.content import Content

_SHOWN_AT_MOST = 30
_NEXT_STEP = {
    SendState.UNKNOWN: "Ask the recipient, or wait for a delivery receipt. To send again, run it with Unknown sends: resend.",
    SendState.FAILED: "Correct what the service names, then run it again with Retry failed sends turned on.",
}
_AGAIN = "start a new broadcast with Recipients: broadcast:NAME?state=skipped."
_NEXT_STEP_OF_SKIPPED: dict[str, str] = {
    ErrorKind.WINDOW: f"They must write to you first. Then {_AGAIN}",
    ErrorKind.OPTED_OUT: "None: they asked for no more messages. Only they can revoke that, by writing START.",
    ErrorKind.UNSUPPORTED: f"This service can't send it to them. With the sender of a service that can, {_AGAIN}",
    ErrorKind.FORGOTTEN: "None: their data was erased.",
}
WAITING = "Waiting for approval"


class Reason(NamedTuple):
    """Why a row needs a person.

    Attributes:
        state: What became of it.
        code: The service's code; may be empty.
        kind: What kind of problem it is; a skipped row's next step depends on it.
        why: One sentence, numbers masked.
    """

    state: SendState
    code: str
    kind: str
    why: str


def next_step(state: SendState, kind: str) -> str:
    """Say what a person can do about rows that need one.

    Args:
        state: What became of them.
        kind: The kind of problem, an `ErrorKind`.
    """
    if state is not SendState.SKIPPED:
        return _NEXT_STEP[state]
    return _NEXT_STEP_OF_SKIPPED.get(kind, f"Correct what the reason names, then {_AGAIN}")


def plan(
    name: str,
    planned: Planned,
    message: Content,
    account: AccountStatus,
    counts: Mapping[SendState, int],
    seconds: float,
    *,
    notices: Sequence[str] = (),
    picture: str = "",
) -> str:
    """Write the plan.

    Args:
        name: The broadcast, numbers masked.
        planned: What the list came to.
        message: What is sent.
        account: What the service says of the account.
        counts: The ledger's rows by state.
        seconds: How long it will take at the account's pace; 0 for no pace.
        notices: What a person should know first: what the run waits for, who is left out.
        picture: Address of the audio's waveform.
    """
    queued = counts.get(SendState.QUEUED, 0)
    skipped = counts.get(SendState.SKIPPED, 0)
    settled = sum(counts.values()) - queued - skipped
    lines = [
        f"# Plan of {markdown(name)}",
        "",
        f"**{counted(queued, 'message')}** to send with {markdown(mask_numbers(message.label))}.",
        "",
        *(line for notice in notices for line in (f"> {_cell(notice)}", "")),
        *_table(
            ("what", "value"),
            [
                ("messages to send", f"{queued:,}"),
                ("finished in earlier runs", f"{settled:,}"),
                *([("skipped", f"{skipped:,}")] if skipped else []),
                ("removed from the list", f"{planned.removed:,}"),
                *_completed(planned),
                ("account", f"{account.state} {account.detail}".strip()),
                *([("messaging limit", _limit(account))] if account.messaging_limit else []),
                ("estimated time", duration(seconds) if seconds else "as fast as the service answers"),
                ("cost", f"{counted(queued, 'message')} at most, one per recipient"),
            ],
        ),
    ]
    facts = message.facts()
    if facts:
        lines += ["", "## Message", ""]
        lines += [f"![Waveform]({picture})", ""] if picture else []
        lines += _table(("what", "value"), facts)
    lines += [f"\n> {_cell(warning)}" for warning in message.warnings]
    if planned.countries:
        lines += [
            "",
            "## Recipients by country",
            "",
            *_counted(("country or kind", "recipients"), planned.countries, _country),
        ]
    if planned.reasons:
        lines += ["", "## Removed from the list", "", *_counted(("reason", "rows"), planned.reasons)]
    return "\n".join(lines)


def approved(page: str, at: dt.datetime) -> str:
    """Write in a plan that it was approved, in the place of what it waited for.

    Args:
        page: The plan.
        at: When it was approved.
    """
    said = f"> Approved on {at.astimezone(dt.UTC):%d %b %Y at %H:%M:%S UTC}."
    return "\n".join(said if line.startswith(f"> {WAITING}") else line for line in page.split("\n"))


def _limit(account: AccountStatus) -> str:
    return f"{account.messaging_limit}; people who wrote to you within the last 24 hours don't count towards it"


def _completed(planned: Planned) -> list[tuple[str, str]]:
    """How many numbers had no country code: the first thing to look at where strangers would get a message."""
    by = ", ".join(f"{number:,} with that of {country}" for country, number in planned.completed.most_common(5))
    return [("numbers completed with a country code", by)] if by else []


def report(
    name: str,
    report: Report,
    reasons: Counter[Reason],
    *,
    outcome: str = "",
    over_time: str = "",
    receipts: str = "",
    resolved: Mapping[str, int] | None = None,
    runs: Sequence[RunPart] = (),
    earlier: int = 0,
    ledger: str = "",
) -> str:
    """Write the report.

    Args:
        name: The broadcast, numbers masked.
        report: Its counts.
        reasons: Rows that need a person, by why.
        outcome: Address of the picture of the outcome.
        over_time: Address of the picture of the sends over time.
        receipts: Address of the picture of the receipts over time.
        resolved: How many sends whose fate was unknown were resolved, by what resolved them.
        runs: The runs that sent it, the first one first.
        earlier: How many were accepted before this run began.
        ledger: Where the ledger is, without password, if the command line needs to be told.
    """
    lines = [f"# Report of {markdown(name)}", ""]
    lines += [f"{STOPPED} {_cell(report.stopped)}", ""] if report.stopped else []
    lines += [f"{NOW} {by_runs(report, earlier)}.", ""] if earlier else []
    lines += [f"![Outcome]({outcome})", ""] if outcome else []
    numbers = [(_LABELS.get(each, each), getattr(report, each)) for each in _REPORTED]
    lines += _table(("what", "messages"), [(label, f"{number:,}") for label, number in numbers])
    took = f"{TOOK} {duration(report.seconds)}, with {counted(report.uploads, 'upload')} and "
    lines += ["", f"{took}{counted(report.transcodes, 'conversion')} of the audio."] if report.seconds else []
    lines += [
        "",
        "Accepted is not delivered: the service confirmed that it took the message. Sent, delivered, read and played "
        "are what the phones reported; each counts the messages that got at least that far.",
    ]
    if resolved:
        told = ", ".join(f"{number:,} by {_cell(by)}" for by, number in sorted(resolved.items()))
        lines += ["", f"Unknown sends that were resolved: {told}. {report.unknown:,} remain unknown."]
    lines += _resumed(runs)
    if over_time:
        lines += ["", "## Over time", "", f"![Messages over time]({over_time})"]
    if receipts:
        lines += ["", "## Receipts over time", "", f"![Receipts over time]({receipts})"]
    if reasons:
        lines += ["", "## What needs a person", "", "| messages | reason | state | next step |", "|--:|---|---|---|"]
        for reason, number in reasons.most_common(_SHOWN_AT_MOST):
            what = _cell(f"{reason.state} {reason.code}".strip())
            lines.append(f"| {number:,} | {_cell(reason.why)} | {what} | {next_step(reason.state, reason.kind)} |")
        lines += _rest(len(reasons), "reasons")
    name, ledger = printable(name), printable(ledger)
    quoted = name if re.fullmatch(r"[\w.-]+", name) else "'" + name.replace("'", "'\\''") + "'"
    lines += ["", "## Export every row with its number, for Excel", "", "```bash"]
    lines += [f"export PREFECT_WHATSAPP_LEDGER=…  # {ledger}"] if ledger else []
    lines += [f"prefect-whatsapp export {quoted} --output rows.xlsx"]
    lines += [f"prefect-whatsapp export {quoted} --removed --output removed.xlsx"] if report.removed else []
    return "\n".join([*lines, "```"])


def _resumed(runs: Sequence[RunPart]) -> list[str]:
    """How often a broadcast was resumed, when, and what each run that ended before left unknown."""
    again = resumed(runs)
    if not again:
        return []
    parts = [runs[0], *again]
    rows = [
        (part.joined_at.strftime("%d %b %Y at %H:%M:%S UTC"), f"{part.unknown:,}" if part.unknown else "")
        for part in parts[-_SHOWN_AT_MOST:]
    ]
    times = counted(len(again), "time")
    return ["", "## Resumed", "", f"It was resumed {times}.", "", *_table(("run began", "sends left unknown"), rows)]


def resumed(runs: Sequence[RunPart]) -> list[RunPart]:
    """Those of a broadcast's runs that began when no other was sending any more: shards beside each other are no resume.

    Args:
        runs: All of them, the first one first.
    """
    # A run that is gone is found to be so by the next one, at its very beginning.
    found = dt.timedelta(seconds=5)
    return [
        part
        for place, part in enumerate(runs)
        if place and all(each.left_at and each.left_at <= part.joined_at + found for each in runs[:place])
    ]


def needy_row(row: Row) -> dict[str, str]:
    """What the table of rows that need a person says of one: its line in the list and last four digits, no name."""
    return {
        "row": str(row.id),
        "line": str(row.line or ""),
        "recipient": mask(row.recipient),
        "reason": shown(row.error_text),
        "state": row.state.value,
        "next step": "None: their data was erased." if row.forgotten else next_step(row.state, row.error_kind),
        "code": shown(row.error_code),
        "when": row.settled_at.isoformat(sep=" ", timespec="seconds") if row.settled_at else "",
    }


def removed_row(row: RemovedRow) -> dict[str, str]:
    """What the table of removed rows says of one: its line and why, nothing of what stood there."""
    return {"line": f"{row.line:,}", "reason": shown(row.reason)}


def shown(text: str) -> str:
    """A text of anybody for a cell of a table artifact, numbers masked."""
    return cell(mask_numbers(text))


def by_runs(report: Report, earlier: int) -> str:
    """Say how many of the accepted messages this run sent.

    Example:
        >>> by_runs(Report(broadcast="weekly", planned=200, accepted=200), 200)
        '0 now, 200 by earlier runs'
    """
    return f"{report.accepted - earlier:,} now, {earlier:,} by earlier runs"


def duration(seconds: float) -> str:
    """Write seconds in hours, minutes and seconds.

    Example:
        >>> duration(3_725)
        '1 h 2 min 5 s'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return " ".join(f"{n} {unit}" for n, unit in ((hours, "h"), (minutes, "min"), (rest, "s")) if n) or "less than 1 s"


def progress(done: int, total: int, *, in_flight: int = 0, seconds_left: float | None = None) -> str:
    """Say how far a broadcast is.

    Args:
        done: Recipients with an outcome.
        total: All recipients.
        in_flight: Requests that have left and have no answer yet: no task run of theirs is there to be seen.
        seconds_left: How long the rest takes at the pace so far; None where nobody knows, or nothing is left.

    Example:
        >>> progress(412, 1_000, in_flight=16, seconds_left=9)
        '412 of 1,000 done, 16 in flight, about 9 s left'
    """
    said = [f"{done:,} of {total:,} done"]
    if in_flight:
        said.append(f"{in_flight:,} in flight")
    if seconds_left is not None:
        said.append(f"about {duration(seconds_left)} left")
    return ", ".join(said)


TOOK, STOPPED, NOW = "This run took", "**Stopped:**", "**Accepted:**"
_REPORTED = (
    "planned",
    "accepted",
    "sent",
    "delivered",
    "read",
    "played",
    "failed",
    "failed_late",
    "skipped",
    "opted_out",
    "unknown",
    "pending",
    "removed",
)
_LABELS = {"failed_late": "of these, failed after they were accepted", "opted_out": "of these, opted out"}


def _country(region: str) -> str:
    code = phonenumbers.country_code_for_region(region) if len(region) == 2 else 0
    return f"{region} (+{code})" if code else region


def _counted(head: tuple[str, str], counts: Counter[str], label: Any = str) -> list[str]:
    rows = [(label(each), f"{number:,}") for each, number in counts.most_common(_SHOWN_AT_MOST)]
    return [*_table(head, rows), *_rest(len(counts), head[0])]


def _rest(number: int, of_what: str) -> list[str]:
    return ["", f"… and {number - _SHOWN_AT_MOST} more ({of_what})."] if number > _SHOWN_AT_MOST else []


def _table(head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> list[str]:
    cells = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    return cells + [f"| {_cell(left)} | {_cell(right)} |" for left, right in rows]


def _cell(value: str) -> str:
    return markdown(mask_numbers(value))
