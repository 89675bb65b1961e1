"""The commands of `prefect-whatsapp opt-outs`; `opt_outs` carries them out."""

import sys
from typing import Annotated

from cyclopts import App, Parameter

from .parameters import AsJson, DefaultRegion, FromStdin, LedgerUrl, People

opt_outs = App(name="opt-outs", help="People who want no more messages: import or export a list, add or remove people.")
OptOutFile = Annotated[str, Parameter(help="File in any format that a broadcast reads its recipients from.")]
OptOutOutput = Annotated[str, Parameter(help="Path of the file, or - for standard output.")]


@opt_outs.command(name="import")
def import_opt_outs(
    path: OptOutFile, *, default_region: DefaultRegion = "", ledger: LedgerUrl = "", as_json: AsJson = False
) -> int:
    """Import a list of people who opted out, such as another tool's. Nobody on it gets messages any more."""
    from .opt_outs import run_import

    return run_import(path, default_region=default_region, ledger=ledger, as_json=as_json)


@opt_outs.command(name="export")
def export_opt_outs(*, output: OptOutOutput = "-", ledger: LedgerUrl = "") -> int:
    """Write everybody who opted out as CSV, with whole numbers. The command import reads this file."""
    from .opt_outs import run_export

    return run_export(output, ledger=ledger)


@opt_outs.command(name="add")
def add_opt_out(
    *recipients: People,
    stdin: FromStdin = False,
    default_region: DefaultRegion = "",
    ledger: LedgerUrl = "",
    as_json: AsJson = False,
) -> int:
    """Opt people out manually."""
    return _change(recipients, stdin, True, default_region, ledger, as_json)


@opt_outs.command(name="remove")
def remove_opt_out(
    *recipients: People,
    stdin: FromStdin = False,
    default_region: DefaultRegion = "",
    ledger: LedgerUrl = "",
    as_json: AsJson = False,
) -> int:
    """Revoke opt-outs, whatever their source. Do this only if the people themselves asked for it."""
    return _change(recipients, stdin, False, default_region, ledger, as_json)


def _change(
    recipients: tuple[str, ...], stdin: bool, opted_out: bool, default_region: str, ledger: str, as_json: bool
) -> int:
    from .opt_outs import run_change

    given = (*recipients, *(sys.stdin if stdin else ()))
    return run_change(given, opted_out, default_region=default_region, ledger=ledger, as_json=as_json)
