"""What `prefect-whatsapp doctor` finds: a line each."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..models.errors import WhatsAppError

LOOK_SECONDS = 60.0

Status = Literal["ok", "warning", "problem"]
_SHOWN: dict[Status, str] = {
    "ok": "[green]ok[/green]",
    "warning": "[yellow]warning[/yellow]",
    "problem": "[red]problem[/red]",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line.

    Attributes:
        what: What was looked at.
        status: `ok`, `warning`: a broadcast runs, but not as well as it could; `problem`: it does not run.
        found: What was found.
        advice: What to do; empty where there is nothing to do.
    """

    what: str
    status: Status
    found: str
    advice: str = ""


async def looked(what: str, look: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    """Look; whatever is raised is a finding too, without secrets and whole numbers."""
    try:
        return await asyncio.wait_for(look(), LOOK_SECONDS)
    except WhatsAppError as failure:
        return [Finding(what, "problem", failure.message)]
    except TimeoutError:
        return [Finding(what, "problem", "no answer", "check that what it depends on is running")]
    except Exception as failure:  # whatever it was: the doctor has a line for it, and looks at the rest
        return [Finding(what, "problem", f"{type(failure).__name__} while looking at it", "see the lines above")]


def print_findings(findings: Sequence[Finding]) -> None:
    """Print a table: each finding, and what to do about it."""
    table = Table(box=None, pad_edge=False)
    for column in ("", "what", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        table.add_row(_SHOWN[finding.status], *(escape(text) for text in (finding.what, finding.found, finding.advice)))
    width = None if os.isatty(1) else 160
    Console(width=width).print(table)
