"""The sandbox answers the programs of this machine, and no page of another site."""

from typing import Any

import httpx
import pytest
from prefect_whatsapp.sandbox import __main__ as program
from prefect_whatsapp.sandbox.links import Links

FAULT = b'[{"kind": "drop"}]'


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8090", "127.0.0.1.evil.example", "0.0.0.0"])
def test_a_name_that_only_points_here_is_refused(simulator: Any, host: str) -> None:
    answer = httpx.get(f"{simulator.url}/_sandbox/messages", headers={"Host": host}, trust_env=False)
    assert answer.status_code == 421


def test_another_origin_is_refused(simulator: Any) -> None:
    headers = {"Origin": "https://evil.example", "Content-Type": "application/json"}
    answer = httpx.post(f"{simulator.url}/_sandbox/faults", content=FAULT, headers=headers, trust_env=False)
    assert answer.status_code == 421


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_faults_are_told_in_json_alone(simulator: Any, kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    answer = httpx.post(f"{simulator.url}/_sandbox/faults", content=FAULT, headers=headers, trust_env=False)
    assert answer.status_code == 415
    assert httpx.get(f"{simulator.url}/_sandbox/faults", trust_env=False).json() == []


def test_it_listens_for_others_only_where_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program.main(["--host", "0.0.0.0"])
    assert "no login" in capsys.readouterr().err


@pytest.mark.parametrize(
    "address", ["http://169.254.169.254/latest/meta-data", "http://10.0.0.1/x", "http://[fe80::1]/x"]
)
async def test_no_address_within_a_network_is_fetched(address: str) -> None:
    assert await Links(fetch=True).fault(address, voice=True) == "not a public address"
