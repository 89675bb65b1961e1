"""The commands and what they share. Each imports what it needs when it runs, so that `--help` is quick."""

import os
import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from ..models.errors import InputError, WhatsAppError
from ..models.escaping import printable
from ..models.options import AudioOptions, BroadcastOptions, Runs, Scale
from ..providers.registry import providers
from .opt_out_commands import opt_outs
from .parameters import AsJson, DefaultRegion, FromStdin, LedgerUrl, People


def _shown_default(value: object) -> str | None:
    """A default as help shows it; an empty text, no item and a switch that is off go without saying."""
    return None if value in ("", ()) or value is False else str(value)


app = App(
    name="prefect-whatsapp",
    help="Broadcast WhatsApp voice notes and contact cards with Prefect: rehearse, send, report.",
    version_flags=["--version"],
    default_parameter=Parameter(negative_iterable=(), show_default=_shown_default),
)

_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]+@")
_OPTIONS, _MESSAGE, _SCALE = BroadcastOptions(), AudioOptions(), Scale()
_SANDBOX_NEEDS = {"uvicorn", "starlette", "python_multipart", "moto"}

if TYPE_CHECKING:
    ProviderName = str
else:
    ProviderName = Literal[tuple(providers())]


@app.command
def demo(
    *,
    provider: ProviderName = "graph",
    kind: Literal["audio", "contacts"] = "audio",
    recipients: Annotated[int, Parameter(validator=Number(gte=1, lte=157_100))] = 200,
    runs: Runs = "send",
    as_json: AsJson = False,
) -> int:
    """Run a whole broadcast on this machine with a local S3, a Prefect server and a simulated service, then stop them all.

    The exit status is 0 only if the report, the simulated service and Prefect agree.

    Args:
        provider: The service that is simulated.
        kind: Voice notes or contact cards.
        recipients: Number of people on the list, up to 157,100.
        runs: One task run per send (send, or engine for Prefect's task engine, which is slower) or per batch.
        as_json: Print the report and what the simulator received as JSON.

    Returns:
        0 only if the report, the simulator and Prefect's API agree.
    """
    from .demo import run_demo

    return run_demo(provider=provider, kind=kind, recipients=recipients, runs=runs, as_json=as_json)


@app.command
def sandbox(
    *,
    host: Literal["127.0.0.1", "localhost", "::1"] = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))] = 8090,
) -> None:
    """Run the simulators of the services until Ctrl-C, so that you can rehearse.

    Set a block's base_url to the printed address followed by the service, such as /graph or /waha, and its token to
    sandbox-token. /_sandbox/truth shows what arrived; post faults to /_sandbox/faults, and where webhooks go and what phones
    do to /_sandbox/webhooks and /_sandbox/phones.

    Args:
        host: Loopback address to listen on.
        port: Port; 0 chooses a free one.
    """
    from ..sandbox.server import serve

    try:
        serve(host=host, port=port)
    except OSError as error:
        raise InputError(f"port {port} on {host} can't be used: {error.strerror or error}") from None


@app.command
def broadcast(
    name: str,
    *,
    sender: str,
    audio: str = "",
    contacts: str = "",
    recipients: tuple[str, ...] = (),
    storage: str = "",
    options: Annotated[BroadcastOptions, Parameter(name="*")] = _OPTIONS,
    message: Annotated[AudioOptions, Parameter(name="*")] = _MESSAGE,
    scale: Annotated[Scale, Parameter(name="*")] = _SCALE,
    ledger: LedgerUrl = "",
    as_json: AsJson = False,
) -> int:
    """Send a voice note or contact cards to everyone on a list; the same name resumes and never repeats a send.

    The exit status is 0 if nobody is left over: each message was accepted, or its recipient had asked for no more messages. It
    is 3 if the broadcast ended and somebody is left over: failed, skipped, unknown or still pending. It is 1 if the broadcast
    did not start, or stopped early.

    Args:
        name: Name of the broadcast; {:%G-W%V} in it becomes the ISO week, such as 2026-W47.
        sender: The account: the service and a saved block, such as graph/weekly or waha/office.
        audio: Audio file as s3://bucket/key, a key in storage, an https link or a path.
        contacts: JSON file of contact cards, in place of audio.
        recipients: The list as s3://bucket/key, a key in storage or a path; or phone numbers and chat ids. Repeat the
            option for several.
        storage: Name of a saved S3 bucket block.
        options: What the run does.
        message: How audio is sent.
        scale: How a large broadcast is sent.
        ledger: Where the send history is stored.
        as_json: Print the report as JSON.

    Returns:
        0 if nobody is left over, 3 if somebody is.
    """
    from .broadcast import Order, run_broadcast

    order = Order(
        name=name,
        sender=sender,
        audio=audio,
        contacts=contacts,
        recipients=recipients,
        storage=storage,
        ledger=ledger,
        options=options,
        message=message,
        scale=scale,
    )
    return run_broadcast(order, as_json=as_json)


@app.command
def report(broadcast: str, *, ledger: LedgerUrl = "", as_json: AsJson = False) -> int:
    """Print the state of a broadcast, and what to do next.

    Args:
        broadcast: Name of the broadcast.
        ledger: Where the send history is stored.
        as_json: Print the result as JSON.
    """
    from .reports import print_report

    return print_report(broadcast, ledger, as_json=as_json)


@app.command
def broadcasts(*, ledger: LedgerUrl = "", as_json: AsJson = False) -> int:
    """List the broadcasts of a ledger.

    Args:
        ledger: Where the send history is stored.
        as_json: Print the result as JSON.
    """
    from .reports import print_broadcasts

    return print_broadcasts(ledger, as_json=as_json)


@app.command
def export(
    broadcast: str,
    *,
    format: Literal["csv", "jsonl", "parquet", "xlsx"] | None = None,  # the option's name
    output: str = "-",
    removed: Annotated[bool, Parameter(negative="")] = False,
    state: tuple[str, ...] = (),
    ledger: LedgerUrl = "",
) -> int:
    """Write every row of a broadcast with its whole number, state, times and reason.

    Args:
        broadcast: Name of the broadcast.
        format: xlsx for Excel; csv, jsonl or parquet for other programs. By default, what the file's name ends with, else csv.
        output: Path of the file, or - for standard output.
        removed: Write instead the rows that were removed from the list, with the reasons.
        state: Only rows in this state, such as skipped, failed or unknown. Repeat the option for several.
        ledger: Where the send history is stored.
    """
    from .reports import write_export

    return write_export(broadcast, ledger, form=format, output=output, removed=removed, states=state)


@app.command
def receive(
    *accounts: str,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))] = 8088,
    stop_word: tuple[str, ...] = (),
    start_word: tuple[str, ...] = (),
    ledger: LedgerUrl = "",
) -> None:
    """Receive the webhooks of saved accounts (delivery receipts, replies and opt-outs) until Ctrl-C.

    The address of a webhook is this address followed by the account, such as /graph/weekly. GET /health tells whether the
    receiver works.

    Args:
        accounts: Kind and name of saved blocks, such as graph/weekly waha/office.
        host: Address to listen on. For access from the internet, put a proxy with TLS in front.
        port: Port to listen on.
        stop_word: Word that opts out, in place of the built-in list. Repeat the option for several.
        start_word: Word that revokes an opt-out, in place of the built-in list. Repeat the option for several.
        ledger: The ledger that the broadcasts use.
    """
    from .receive import run_receiver

    run_receiver(accounts, host=host, port=port, stop_words=stop_word, start_words=start_word, ledger=ledger)


app.command(opt_outs)


@app.command
def resolve(broadcast: str, *, sender: str, ledger: LedgerUrl = "", as_json: AsJson = False) -> int:
    """Look up the sends of a broadcast whose outcome is unknown: in receipts, and in the chat history if the service has one.

    The exit status is 0 if nothing remains unknown, otherwise 1.

    Args:
        broadcast: Name of the broadcast.
        sender: Kind and name of the saved block that sent it, such as waha/office.
        ledger: Where the send history is stored.
        as_json: Print the result as JSON.

    Returns:
        0 if nothing remains unknown.
    """
    from .resolve import run_resolve

    return run_resolve(broadcast, sender=sender, ledger=ledger, as_json=as_json)


DryRun = Annotated[bool, Parameter(name="--dry-run", negative="", help="Only print what would be erased.")]
Confirmed = Annotated[bool, Parameter(name="--yes", negative="", help="Erase without asking.")]


@app.command
def forget(
    *recipients: People,
    stdin: FromStdin = False,
    default_region: DefaultRegion = "",
    dry_run: DryRun = False,
    yes: Confirmed = False,
    ledger: LedgerUrl = "",
    as_json: AsJson = False,
) -> int:
    """Erase people from the ledger by every address that is known of them. This can't be undone.

    Their rows, replies, receipts and the removed lines of lists lose whatever tells whose they are. Counts stay, and so does
    an opt-out, as a keyed hash. No broadcast sends to them again under its name. Remove them from your lists as well.

    Args:
        recipients: Phone numbers or chat ids.
        stdin: Read them from standard input, a line each, so that they don't appear in the process list.
        default_region: Default country for numbers without a country code.
        dry_run: Only print what would be erased.
        yes: Erase without asking.
        ledger: Where the send history is stored.
        as_json: Print the result as JSON.
    """
    from .privacy import run_forget

    given = (*recipients, *(sys.stdin if stdin else ()))
    return run_forget(given, default_region=default_region, dry_run=dry_run, yes=yes, ledger=ledger, as_json=as_json)


@app.command
def purge(
    *,
    older_than: str,
    storage: str = "",
    dry_run: DryRun = False,
    yes: Confirmed = False,
    ledger: LedgerUrl = "",
    as_json: AsJson = False,
) -> int:
    """Keep only the counts of old broadcasts, and delete old receipts, replies and audio. This can't be undone.

    A broadcast is old if nothing happened in it for that time. It can't be run again under its name: nobody would know
    who got it. Opt-outs stay.

    Args:
        older_than: Number of days, such as 180d; at least 8d.
        storage: Name of a saved S3 bucket block, to delete the audio that was put there for services that load it by link.
        dry_run: Only print what would be deleted.
        yes: Delete without asking.
        ledger: Where the send history is stored.
        as_json: Print the result as JSON.
    """
    from .privacy import run_purge

    return run_purge(older_than, storage=storage, dry_run=dry_run, yes=yes, ledger=ledger, as_json=as_json)


@app.command
def doctor(
    *,
    ledger: LedgerUrl = "",
    receiver: Annotated[str, Parameter(env_var="PREFECT_WHATSAPP_RECEIVER")] = "",
    as_json: AsJson = False,
) -> int:
    """Check everything that a broadcast needs, and say what to do about each problem.

    Prefect's server and its settings, automations, workers, saved accounts, webhooks, ledgers, ffmpeg, disk, clock, receiver.
    The exit status is 1 if something is a problem; warnings do not count.

    Args:
        ledger: Where the send history is stored.
        receiver: Address of the webhook receiver, to check that it responds.
        as_json: Print the findings as JSON.

    Returns:
        0 if a broadcast can run.
    """
    from .doctor import run_doctor

    return run_doctor(ledger=ledger, receiver=receiver, as_json=as_json)


@app.command
def history(broadcast: str = "", *, ledger: LedgerUrl = "", as_json: AsJson = False) -> int:
    """Print who planned, asked for approval, approved, resent, exported, changed opt-outs, erased and purged, newest first.

    Args:
        broadcast: Name of one broadcast; empty for all.
        ledger: Where the send history is stored.
        as_json: Print the result as JSON.
    """
    from .reports import print_history

    return print_history(broadcast, ledger, as_json=as_json)


def _refuse_a_password(words: Sequence[str]) -> None:
    """Everybody on the machine reads a command line.

    Raises:
        InputError: `--ledger` holds a password.
    """
    for word, following in pairwise([*words, ""]):
        value = following if word == "--ledger" else word.partition("=")[2] if word.startswith("--ledger=") else ""
        if _PASSWORD.search(value):
            raise InputError(
                "--ledger holds a password, which everybody on this machine can read (ps): put the address into "
                "PREFECT_WHATSAPP_LEDGER, or the password into PGPASSWORD or ~/.pgpass"
            )


def main() -> None:
    """Run the command line; one sentence on standard error and exit status 1 for what goes wrong on purpose."""
    try:
        _refuse_a_password(sys.argv[1:])
        status = app(result_action="return_value")
    except WhatsAppError as error:
        print(f"prefect-whatsapp: {printable(str(error))}", file=sys.stderr)
        status = 1
    except ModuleNotFoundError as error:
        if error.name not in _SANDBOX_NEEDS:
            raise
        print(
            f"prefect-whatsapp: {error.name} is missing: install prefect-whatsapp with its sandbox extra, "
            "prefect-whatsapp[sandbox]",
            file=sys.stderr,
        )
        status = 1
    except BrokenPipeError:  # `… | head` has read enough; what is still buffered goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except KeyboardInterrupt:
        status = 130
    sys.exit(status or 0)
