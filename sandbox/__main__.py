"""`python -m prefect_whatsapp.sandbox`: run the sandbox and print where it answers."""

import argparse
import json
import sys

from .faults import Fault
from .server import serve
from .settings import SandboxSettings


def main(arguments: list[str] | None = None) -> None:
    """Run the sandbox until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m prefect_whatsapp.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="loopback address; others only with --open-to-others")
    parser.add_argument(
        "--open-to-others", action="store_true", help="let --host be any address: no login, faults for all"
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--settings", type=SandboxSettings.model_validate_json, help="SandboxSettings as JSON")
    parser.add_argument("--fault", type=json.loads, action="append", default=[], help="a Fault as JSON; repeatable")
    parser.add_argument("--while-open", action="store_true", help="end when standard input ends")
    given = parser.parse_args(arguments)
    if given.host not in ("127.0.0.1", "localhost", "::1") and not given.open_to_others:
        parser.error(f"--host {given.host}: the sandbox has no login; add --open-to-others if others are to reach it")
    settings: SandboxSettings = given.settings or SandboxSettings()
    if given.open_to_others:
        settings = settings.model_copy(update={"hosts": (*settings.hosts, given.host)})
    serve(
        host=given.host,
        port=given.port,
        settings=settings,
        faults=[Fault.model_validate(fault) for fault in given.fault],
        announce=lambda url: print(url, flush=True),
        while_open=sys.stdin.fileno() if given.while_open else None,
    )


if __name__ == "__main__":
    main()
