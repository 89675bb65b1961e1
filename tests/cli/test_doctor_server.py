"""What `prefect-whatsapp doctor` says of the Prefect server: its settings, the automations and the workers."""

import datetime
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from findings_by_name import line
from prefect import flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL, Settings, temporary_settings
from prefect.states import Crashed, Submitting
from prefect_whatsapp.cli import doctor, doctor_server
from prefect_whatsapp.cli.findings import Finding
from prefect_whatsapp.cli.prefect_server import SERVER_SETTINGS
from prefect_whatsapp.sandbox.processes import free_port


def as_client(stand_in: object) -> PrefectClient:
    """What answers in the place of a server."""
    return cast("PrefectClient", stand_in)


async def settings_looked_at(url: str, **changed: Any) -> list[Finding]:
    """What the doctor says of a server at this address whose settings are those of the environment, but for these."""
    told = Settings().model_dump(mode="json")["server"]

    class Client:
        api_url = httpx.URL(url)

        async def request(self, *_: Any) -> httpx.Response:
            return httpx.Response(200, json={"server": {**told, **changed}})

    return await doctor_server.look_at_server_settings(as_client(Client()))


async def test_without_a_server_s_address_it_says_how_to_start_one() -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        findings = await doctor.examine()
    assert line(findings, "Prefect server").status == "problem"
    assert "make server" in line(findings, "Prefect server").advice


async def test_a_server_that_is_away_is_one_line_and_no_traceback() -> None:
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        findings = await doctor.examine()
    assert line(findings, "Prefect server").status == "problem"
    assert {"ffmpeg", "disk", "receiver"} <= {finding.what for finding in findings}


@pytest.mark.parametrize(
    ("batch", "auth", "url", "recorder", "guard"),
    [
        (1, None, "http://127.0.0.1:4200/api", "warning", "warning"),
        (500, None, "http://prefect.internal:4200/api", "ok", "problem"),
        (500, "********", "http://prefect.internal:4200/api", "ok", "ok"),
    ],
)
async def test_a_slow_recorder_and_an_open_server_have_their_lines(
    batch: int, auth: str | None, url: str, recorder: str, guard: str
) -> None:
    services, api = {"task_run_recorder": {"batch_size": batch}}, {"auth_string": auth}
    findings = await settings_looked_at(url, services=services, api=api)
    assert [line(findings, what).status for what in ("recorder", "server auth")] == [recorder, guard]


@pytest.mark.parametrize(
    ("missing", "status"),
    [
        (None, "ok"),
        ("PREFECT_SERVER_EVENTS_CAUSAL_ORDERING", "warning"),
        ("PREFECT_SERVER_EVENTS_EXPIRED_BUCKET_BUFFER", "warning"),
    ],
)
async def test_a_server_that_forgets_at_a_restart_what_crashed_has_its_line(
    missing: str | None, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SERVER_SETTINGS.items():
        if name != missing:
            monkeypatch.setenv(name, value)
    findings = await settings_looked_at("http://127.0.0.1:4200/api")
    assert line(findings, "server restart").status == status


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
async def test_a_server_is_fine_but_for_what_is_not_set_up_yet() -> None:
    findings = await doctor.examine()
    assert line(findings, "recorder").status == "warning", "the tests' server records each send at once"
    open_here = line(findings, "server auth")
    assert open_here.status == "warning"
    assert "a web page open on it" in open_here.found, "the API accepts calls from any origin"
    assert line(findings, "runs").status != "problem", "the server was asked"
    missing = line(findings, "automations")
    assert missing.status == "warning"
    assert "--walk-away" in missing.advice


@pytest.mark.parametrize(
    ("missing", "off", "status", "says"),
    [
        (None, None, "ok", "run again automatically"),
        (None, "Run a crashed broadcast again", "warning", "Run a crashed broadcast again: off"),
        ("Ask for attention after three crashes", None, "warning", "Ask for attention after three crashes: missing"),
    ],
)
async def test_an_automation_that_is_off_or_missing_is_named(
    missing: str | None, off: str | None, status: str, says: str
) -> None:
    class Client:
        async def read_automations(self) -> list[SimpleNamespace]:
            return [
                SimpleNamespace(name=name, enabled=name != off) for name in doctor_server.AUTOMATIONS if name != missing
            ]

    (found,) = await doctor_server.look_at_automations(as_client(Client()))
    assert (found.status, says in found.found) == (status, True), found
    assert ("--walk-away" in found.advice) is (status == "warning")


async def test_prefect_cloud_has_no_settings_to_look_at() -> None:
    class Client:
        async def request(self, *_: Any) -> httpx.Response:
            request = httpx.Request("GET", "http://127.0.0.1/api/admin/settings")
            raise httpx.HTTPStatusError("no", request=request, response=httpx.Response(404, request=request))

    (found,) = await doctor_server.look_at_server_settings(as_client(Client()))
    assert (found.status, "Prefect Cloud" in found.found) == ("ok", True)


async def test_where_nothing_is_deployed_it_says_so() -> None:
    class Client:
        async def read_deployments(self, **_: Any) -> list[SimpleNamespace]:
            return []

    deployments = line(await doctor_server.look_at_workers(Client()), "deployments")  # type: ignore[arg-type]
    assert (deployments.status, "deploy --all" in deployments.advice) == ("warning", True)


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
async def test_a_pool_without_a_worker_is_a_problem_until_one_is_there() -> None:
    @flow(name="broadcast-audio")
    def broadcast() -> None: ...

    async with get_client() as client:
        await client.create_work_pool(WorkPoolCreate(name="doctor", type="process"))
        deployment = await client.create_deployment(
            await client.create_flow(broadcast), "doctored", work_pool_name="doctor"
        )
        try:
            assert line(await doctor_server.look_at_workers(client), "worker of doctor").status == "problem"
            await client.send_worker_heartbeat("doctor", "one")
            assert line(await doctor_server.look_at_workers(client), "worker of doctor").status == "ok"
        finally:
            await client.delete_deployment(deployment)
            await client.delete_work_pool("doctor")


@pytest.mark.parametrize(
    ("state", "minutes", "status"),
    [
        (Crashed(), 6, "warning"),
        (Crashed(name="Needs attention"), 6, "warning"),
        (Crashed(), 1, "ok"),
        (Crashed(), 8 * 24 * 60, "ok"),
        (Submitting(), 16, "warning"),
        (Submitting(), 6, "ok"),
    ],
)
async def test_a_broadcast_that_stays_crashed_or_does_not_start_is_named(
    state: State[Any], minutes: int, status: str
) -> None:
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=minutes)
    state = state.model_copy(update={"timestamp": since})

    class Client:
        async def read_flow_runs(self, **_: Any) -> list[SimpleNamespace]:
            return [SimpleNamespace(name="spring\x1b[31m +16505550123", state=state, state_name=state.name)] * 7

    (found,) = await doctor_server.look_at_runs(as_client(Client()))
    assert found.status == status
    if status == "warning":
        assert f"is {state.name}, " in found.found
        assert found.found.endswith(", and 2 more")
        assert "\x1b" not in found.found
        assert "650555" not in found.found
        assert "Retry" in found.advice
