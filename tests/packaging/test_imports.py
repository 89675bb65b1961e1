"""What an import costs: heavy libraries wait until they are used."""

import subprocess
import sys
from pathlib import Path

import pytest

DRIVERS = ("prefect_aws", "boto3", "aiobotocore", "asyncpg", "aiohttp", "av", "pyarrow", "PIL", "uvicorn", "moto")


def loaded(code: str, names: tuple[str, ...], **environment: str) -> set[str]:
    """Which of these modules a fresh interpreter has loaded after this code."""
    tell = f"\nimport sys\nprint(*[name for name in {names!r} if name in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code + tell], capture_output=True, text=True, check=True, env=environment or None
    )
    return set(run.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("package", ["prefect_whatsapp.tasks", "prefect_whatsapp.blocks", "prefect_whatsapp.models"])
def test_an_import_loads_no_driver(package: str) -> None:
    assert not loaded(f"import {package}", DRIVERS)


@pytest.mark.parametrize("command", ["--help", "broadcasts --help", "report weekly", "broadcasts"])
def test_a_command_that_needs_no_prefect_does_not_import_it(command: str, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom prefect_whatsapp.cli import main\n"
        f"sys.argv = ['prefect-whatsapp', *{command.split()!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )
    assert not loaded(code, ("prefect",), PREFECT_HOME=str(tmp_path), PATH="/usr/bin:/bin")
