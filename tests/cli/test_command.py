"""The command itself: its help, its refusals, the sandbox that it runs."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version

import httpx
import pytest
from cyclopts import ValidationError
from prefect_whatsapp.cli.app import app
from prefect_whatsapp.cli.opt_out_commands import opt_outs
from prefect_whatsapp.sandbox.samples import MOST_NUMBERS

Command = Callable[..., subprocess.CompletedProcess[str]]
COMMANDS = [name for name in app if not name.startswith("-")]
PARTS = [*([name] for name in COMMANDS), *(["opt-outs", name] for name in opt_outs if not name.startswith("-"))]


def test_help_names_each_command_with_what_it_does(command: Command) -> None:
    told = command("--help")
    assert told.returncode == 0
    for name in COMMANDS:
        (line,) = [line for line in told.stdout.splitlines() if line.strip("│ ").startswith(name + " ")]
        assert len(line.strip("│ ").split()) > 4, line


@pytest.mark.parametrize("words", PARTS, ids=" ".join)
def test_each_commands_help_explains_each_option_and_offers_none_that_nobody_needs(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    app([*words, "--help"], result_action="return_value")
    told = capsys.readouterr().out
    assert told.startswith("Usage: prefect-whatsapp " + " ".join(words))
    options = [line.strip("│ *") for line in told.splitlines() if line.strip("│ *").startswith("--")]
    assert all(len(line.split("  ")) > 1 and len(line.split()) > 3 for line in options), options
    for noise in ("--empty-", "[default: ()]", '[default: ""]', "[default: False]"):
        assert noise not in told, noise


def test_the_demo_takes_as_many_people_as_its_help_says(capsys: pytest.CaptureFixture[str]) -> None:
    app(["demo", "--help"], result_action="return_value")
    assert f"up to {MOST_NUMBERS:,}" in " ".join(capsys.readouterr().out.split())
    app.parse_args(["demo", "--recipients", str(MOST_NUMBERS)], exit_on_error=False)
    with pytest.raises(ValidationError):
        app.parse_args(["demo", "--recipients", str(MOST_NUMBERS + 1)], exit_on_error=False, print_error=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("demo", "--provider", "telegram"),
        ("demo", "--recipients", "0"),
        ("demo", "--recipients", "1000000"),
        ("demo", "--kind", "video"),
        ("sandbox", "--host", "0.0.0.0"),
        ("sandbox", "--port", "70000"),
        ("export", "x", "--format", "docx"),
        ("report",),
        ("nonsense",),
    ],
    ids=" ".join,
)
def test_what_cant_be_asked_is_refused_without_a_traceback(command: Command, arguments: tuple[str, ...]) -> None:
    told = command(*arguments)
    assert told.returncode != 0
    assert "Traceback" not in told.stderr + told.stdout
    assert "Error" in told.stderr + told.stdout


def test_version_is_that_of_the_package(command: Command) -> None:
    assert command("--version").stdout.strip() == version("prefect-whatsapp")


def test_a_port_that_is_taken_is_one_sentence(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        told = command("sandbox", "--port", str(taken.getsockname()[1]))
    assert told.returncode == 1
    assert told.stderr.count("\n") == 1
    assert "can't be used" in told.stderr


def test_the_sandbox_says_where_it_is_and_ends_by_an_interrupt() -> None:
    running = subprocess.Popen(
        [sys.executable, "-u", "-m", "prefect_whatsapp.cli", "sandbox", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    try:
        assert running.stdout
        url = running.stdout.readline().strip()
        truth = httpx.get(f"{url}/_sandbox/truth", trust_env=False).json()
        assert truth["calls"] == 0
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=20)
    finally:
        running.kill()
        running.wait()
    assert "Traceback" not in said


def test_a_reader_that_has_enough_ends_the_command_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "prefect_whatsapp.cli", "--help"],
            stdout=gone,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert "Traceback" not in done.stderr
