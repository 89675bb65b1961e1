"""What several commands take, declared once."""

from typing import Annotated

from cyclopts import Parameter

AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print the result as JSON.")]
LedgerUrl = Annotated[
    str,
    Parameter(
        name="--ledger",
        env_var="PREFECT_WHATSAPP_LEDGER",
        help="Where the send history is stored: a path or postgresql+asyncpg://…; empty for a SQLite file under PREFECT_HOME.",
    ),
]
DefaultRegion = Annotated[
    str, Parameter(help="Default country: two-letter code, such as US, for numbers without a country code.")
]
FromStdin = Annotated[
    bool,
    Parameter(
        name="--stdin",
        negative="",
        help="Read them from standard input, a line each, so that they don't appear in the process list.",
    ),
]
People = Annotated[str, Parameter(help="Phone numbers or chat ids.")]
