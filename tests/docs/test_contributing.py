"""CONTRIBUTING walks one send through the code: each station that it names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMED = sorted(set(re.findall(r"`([A-Z][a-zA-Z]*[a-z])\.([a-z_]+)`", (ROOT / "CONTRIBUTING.md").read_text())))


@pytest.mark.parametrize(("name", "member"), NAMED, ids=".".join)
def test_each_station_of_a_send_is_in_the_code(name: str, member: str) -> None:
    files = [path.read_text() for room in ("sending", "ledger", "providers") for path in (ROOT / room).rglob("*.py")]
    (owner,) = [text for text in files if re.search(rf"^class {name}\b", text, re.MULTILINE)]
    assert re.search(rf"def {member}\(|self\.{member}\b", owner), member


def test_there_are_stations_to_look_for() -> None:
    assert {name for name, _ in NAMED} >= {"Dispatcher", "Delivery", "Admission", "Lease", "AsyncClient"}
