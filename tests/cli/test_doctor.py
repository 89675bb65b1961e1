"""`prefect-whatsapp doctor`: each thing that is broken has its line, and says what to do."""

import base64
import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from findings_by_name import line
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect_whatsapp.blocks import GraphCredentials, Ledger, WahaCredentials
from prefect_whatsapp.blocks.sender import Sender
from prefect_whatsapp.cli import doctor, doctor_blocks
from prefect_whatsapp.cli.findings import looked
from prefect_whatsapp.ledger import LedgerStore
from prefect_whatsapp.ledger.schema import SCHEMA_VERSION
from prefect_whatsapp.media import ffmpeg
from prefect_whatsapp.models.errors import AudioError
from prefect_whatsapp.sandbox.processes import free_port
from prefect_whatsapp.sandbox.server import RunningSandbox
from pydantic import SecretStr
from senders import sender_of

TOKEN = "canary-of-the-doctor"


# This machine ---------------------------------------------------------------------------------------------------------


async def test_without_ffmpeg_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise AudioError("There is no ffmpeg with libopus: install ffmpeg.")

    monkeypatch.setattr(ffmpeg, "ffmpeg_executable", missing)
    (found,) = await looked("ffmpeg", doctor._ffmpeg)
    assert (found.status, "install ffmpeg" in found.found) == ("problem", True)


async def test_with_ffmpeg_it_names_its_version() -> None:
    (found,) = await doctor._ffmpeg()
    assert found.status == "ok"
    assert found.found.startswith("ffmpeg version")


@pytest.mark.parametrize(("free", "status"), [(50e9, "ok"), (1e9, "warning"), (1e6, "problem")])
async def test_a_full_disk_is_told_before_it_is_full(free: float, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=int(free)))
    (found,) = await doctor._disk()
    assert found.status == status


@pytest.mark.parametrize(("seconds", "status"), [(None, "warning"), (180, "warning"), (30, "ok")])
async def test_a_heartbeat_that_is_off_or_slow_is_a_warning(seconds: int | None, status: str) -> None:
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: seconds}):
        (found,) = await doctor._heartbeat()
    assert found.status == status


async def test_a_ledger_that_is_not_there_yet_is_no_problem(tmp_path: Path) -> None:
    (found,) = await doctor_blocks.look_at_ledger("embedded", str(tmp_path / "none.db"))
    assert found.status == "ok"
    assert not (tmp_path / "none.db").exists()


async def test_a_ledger_of_a_newer_version_says_to_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    async with LedgerStore.open(str(path)):
        pass
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE whatsapp_ledger_version SET version_num = '9999'")
        database.commit()
    (found,) = await looked("ledger", lambda: doctor_blocks.look_at_ledger("mine", str(path)))
    assert found.status == "problem"
    assert "upgrade the package" in found.found


async def test_a_ledger_of_an_older_version_is_looked_at_and_not_migrated(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    async with LedgerStore.open(str(path)):
        pass
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE whatsapp_ledger_version SET version_num = '0001'")
        database.execute("DROP TABLE whatsapp_history")  # as it was not there yet
        database.commit()
    (found,) = await looked("ledger", lambda: doctor_blocks.look_at_ledger("mine", str(path)))
    assert (found.status, "schema 0001" in found.found, "migrates it" in found.advice) == ("warning", True, True), found
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT version_num FROM whatsapp_ledger_version").fetchall() == [("0001",)]
        assert not database.execute("SELECT name FROM sqlite_master WHERE name = 'whatsapp_history'").fetchall()


async def test_an_empty_file_stays_one_and_another_programs_database_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.touch()
    (found,) = await looked("ledger", lambda: doctor_blocks.look_at_ledger("mine", str(path)))
    assert (found.status, "empty" in found.found, path.stat().st_size) == ("ok", True, 0), found
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE accounts (id)")
        database.commit()
    (found,) = await looked("ledger", lambda: doctor_blocks.look_at_ledger("mine", str(path)))
    assert (found.status, "another program" in found.found) == ("problem", True), found


async def test_a_key_that_is_not_the_ledgers_is_a_problem_and_none_is_taken(tmp_path: Path) -> None:
    path, key = str(tmp_path / "ledger.db"), base64.b64encode(bytes(range(32))).decode()
    async with LedgerStore.open(path):
        pass
    assert (await doctor_blocks.look_at_ledger("mine", path, key))[0].status == "ok"
    async with LedgerStore.open(path) as store:  # still without a key
        await store.start_broadcast("weekly", kind="audio", provider="graph", account="1", content="aa")
    (found,) = await looked("ledger", lambda: doctor_blocks.look_at_ledger("mine", path, key))
    assert (found.status, "is not encrypted" in found.found) == ("problem", True), found


async def test_a_ledger_that_can_t_be_reached_is_named_without_its_password() -> None:
    url = f"postgresql+asyncpg://me:{TOKEN}@127.0.0.1:{free_port()}/ledger"
    (found,) = await looked("ledger", lambda: doctor_blocks.look_at_ledger("mine", url))
    assert found.status == "problem"
    assert "127.0.0.1" in found.found
    assert TOKEN not in found.found


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no /dev/shm on this machine")  # its point
async def test_a_ledger_in_memory_would_forget_who_was_sent_what() -> None:
    path = Path("/dev/shm") / f"doctor-{free_port()}.db"
    try:
        async with LedgerStore.open(str(path)):
            pass
        (found,) = await doctor_blocks.look_at_ledger("mine", str(path))
    finally:
        for file in path.parent.glob(path.name + "*"):
            file.unlink()
    assert (found.status, "tmpfs" in found.found) == ("problem", True)


async def test_the_default_ledger_in_a_container_is_told_before_a_broadcast_refuses_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PREFECT_WHATSAPP_LEDGER", raising=False)
    monkeypatch.setattr(doctor_blocks, "read_mounts", lambda: "overlay / overlay rw 0 0\n")
    monkeypatch.setattr(doctor_blocks, "in_container", lambda: True)
    (found,) = await doctor_blocks.look_at_ledger("embedded", "")
    assert (found.status, "with this container" in found.found) == ("problem", True)
    (named,) = await doctor_blocks.look_at_ledger("named", str(tmp_path / "ledger.db"))
    assert named.status == "ok", "whoever names a file says that it lasts"


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
async def test_a_saved_ledger_is_opened_with_its_own_key(tmp_path: Path) -> None:
    key = SecretStr(base64.b64encode(bytes(range(32))).decode())
    ledger = Ledger(url=SecretStr(str(tmp_path / "ledger.db")), encryption_key=key)
    async with ledger.open():
        pass
    await ledger.asave("doctored", overwrite=True)
    try:
        async with get_client() as client:
            found = line(await doctor_blocks.look_at_blocks(client), "ledger doctored")
    finally:
        await Ledger.adelete("doctored")
    assert (found.status, found.found.partition(": ")[2]) == ("ok", f"0 broadcasts, schema {SCHEMA_VERSION}"), found


# Accounts -------------------------------------------------------------------------------------------------------------


class Saved:
    """A server with one saved account, or none, and no deployment."""

    def __init__(self, *names: str) -> None:
        self._names = names

    async def read_block_types(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(slug=WahaCredentials.get_block_type_slug())]

    async def read_block_documents_by_type(self, _: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=name) for name in self._names]

    async def read_deployments(self, **_: Any) -> list[SimpleNamespace]:
        return []


async def test_a_block_that_can_t_be_loaded_has_its_line_and_the_others_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    async def load(name: str) -> WahaCredentials:
        if name == "old":
            raise RuntimeError(f"it held {TOKEN}")
        return WahaCredentials(base_url="http://127.0.0.1:1")

    monkeypatch.setattr(WahaCredentials, "aload", load)
    found = await doctor_blocks.look_at_blocks(Saved("old", "new"))  # type: ignore[arg-type]
    old = line(found, "whatsapp-waha-credentials/old")
    assert (old.status, "can't be loaded: RuntimeError" in old.found) == ("problem", True)
    assert "save it again" in old.advice
    assert TOKEN not in str(found)
    assert line(found, "whatsapp-waha-credentials/new").status == "problem", "nobody listens there"


async def test_where_no_account_is_saved_it_says_so() -> None:
    accounts = line(await doctor_blocks.look_at_blocks(Saved()), "accounts")  # type: ignore[arg-type]
    assert (accounts.status, "save one in the UI" in accounts.advice) == ("warning", True)


@pytest.fixture
def _no_block() -> Iterator[None]:
    yield
    with contextlib.suppress(ValueError):
        WahaCredentials.delete("doctor", _sync=True)


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api", "_no_block")
async def test_a_saved_account_that_can_t_send_is_a_problem_without_its_token(sandbox: RunningSandbox) -> None:
    await sender_of("waha", sandbox.url).asave("doctor", overwrite=True)
    what = "whatsapp-waha-credentials/doctor"
    async with get_client() as client:
        assert line(await doctor_blocks.look_at_blocks(client), what).status == "ok"
        sandbox.faults(kind="session_down", service="waha")
        assert line(await doctor_blocks.look_at_blocks(client), what).status == "problem"
        sandbox.behave()
        away = sender_of("waha", f"http://127.0.0.1:{free_port()}")
        await away.asave("doctor", overwrite=True)
        found = line(await doctor_blocks.look_at_blocks(client), what)
    assert found.status == "problem"
    assert "sandbox-token" not in str(found)


GRAPH = {
    "access_token": TOKEN,
    "phone_number_id": "100000000000001",
    "app_secret": "s",
    "base_url": "http://127.0.0.1:1",
}
WAHA = {"base_url": "http://127.0.0.1:1", "api_key": TOKEN, "webhook_hmac_key": "k"}
HEALTH = {"entities": [{"entity_type": "WABA", "id": "200000000000002", "can_send_message": "AVAILABLE"}]}
EVENTS = ["message", "message.any", "message.ack", "message.reaction"]
HERE, OTHER = "https://hooks.example.com/graph/weekly", "https://other.example.com/elsewhere"


def answering(answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the services answer with these by the last part of the path."""

    def answer(request: httpx.Request) -> httpx.Response:
        found = answers[request.url.path.rpartition("/")[2]]
        return httpx.Response(found.pop("http", 200), json=found)

    client = Sender.get_async_client
    transport = httpx.MockTransport(answer)
    monkeypatch.setattr(Sender, "get_async_client", lambda self, **more: client(self, **more, transport=transport))


@pytest.mark.parametrize(
    ("answers", "status", "says"),
    [
        ({"webhook_configuration": {"application": HERE}, "health_status": HEALTH}, "ok", "hooks.example.com"),
        ({"webhook_configuration": {"application": HERE}}, "ok", "hooks.example.com"),
        ({"webhook_configuration": {"application": HERE, "phone_number": OTHER}}, "warning", "other.example.com"),
        ({"webhook_configuration": {}, "health_status": HEALTH}, "warning", "posts nowhere"),
        ({"http": 400, "error": {"code": 100, "message": "nonexisting field"}}, "warning", "did not say"),
    ],
    ids=["subscribed", "the account isn't shown", "the number posts elsewhere", "no address", "may not ask"],
)
async def test_graph_is_asked_where_it_posts_receipts(
    answers: dict[str, Any], status: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering({"100000000000001": answers, "subscribed_apps": {"data": [{"name": "ours"}]}}, monkeypatch)
    (found,) = await doctor_blocks.look_at_webhooks("webhooks", "weekly", GraphCredentials(**GRAPH))
    assert (found.status, says in found.found) == (status, True), found
    assert "elsewhere" not in str(found)
    assert TOKEN not in str(found)


async def test_the_sandbox_s_graph_tells_where_it_posts_and_needs_no_permission_for_that(
    sandbox: RunningSandbox,
) -> None:
    account = sender_of("graph", sandbox.url).model_copy(update={"app_secret": SecretStr("s")})
    (found,) = await doctor_blocks.look_at_webhooks("webhooks", "weekly", account)
    assert (found.status, "posts nowhere" in found.found, "permission" in found.advice) == ("warning", True, False), (
        found
    )


async def test_an_app_that_is_not_subscribed_to_the_account_gets_no_receipts(monkeypatch: pytest.MonkeyPatch) -> None:
    number = {"webhook_configuration": {"application": HERE}, "health_status": HEALTH}
    answering({"100000000000001": number, "subscribed_apps": {"data": []}}, monkeypatch)
    (found,) = await doctor_blocks.look_at_webhooks("webhooks", "weekly", GraphCredentials(**GRAPH))
    assert (found.status, "posts nowhere" in found.found) == ("warning", True)
    assert "/graph/weekly" in found.advice


@pytest.mark.parametrize(
    ("webhooks", "status", "says"),
    [
        ([{"url": "https://hooks.example.com/waha/office", "events": EVENTS}], "ok", "hooks.example.com"),
        ([{"url": "https://hooks.example.com/waha/office", "events": ["*"]}], "ok", "hooks.example.com"),
        ([{"url": "https://hooks.example.com/waha/office", "events": ["message"]}], "warning", "message.ack"),
        ([{"url": "https://other.example.com/elsewhere", "events": EVENTS}], "warning", "other.example.com"),
        ([], "warning", "posts nowhere"),
    ],
    ids=["subscribed", "to everything", "without acknowledgements", "elsewhere", "to nothing"],
)
async def test_waha_is_asked_for_its_session_s_webhooks(
    webhooks: list[Any], status: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering({"default": {"name": "default", "status": "WORKING", "config": {"webhooks": webhooks}}}, monkeypatch)
    (found,) = await doctor_blocks.look_at_webhooks("webhooks", "office", WahaCredentials(**WAHA))
    assert (found.status, says in found.found) == (status, True), found


async def test_who_wants_no_receipts_is_asked_nothing_and_who_names_a_receiver_is_told_what_is_missing() -> None:
    account = WahaCredentials(base_url="http://127.0.0.1:1")
    assert await doctor_blocks.look_at_webhooks("webhooks", "office", account) == []
    (found,) = await doctor_blocks.look_at_webhooks("webhooks", "office", account, receiver="http://127.0.0.1:1")
    assert (found.status, "webhook_hmac_key" in found.found) == ("warning", True)


async def test_a_service_that_can_t_be_asked_is_told_by_the_path_to_enter() -> None:
    account = sender_of("wawp", "http://127.0.0.1:1").model_copy(update={"webhook_secret": SecretStr("k" * 20)})
    (found,) = await doctor_blocks.look_at_webhooks("webhooks", "office", account)
    assert (found.status, "/wawp/office" in found.found) == ("ok", True)


@pytest.mark.parametrize(("date", "status"), [("Sat, 21 Nov 2020 12:00:00 GMT", "problem"), ("", None)])
async def test_a_clock_that_is_wrong_by_the_service_s_is_a_problem(
    date: str, status: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(404, headers={"date": date} if date else {}))
    plain = httpx.AsyncClient
    monkeypatch.setattr(doctor_blocks.httpx, "AsyncClient", lambda **_: plain(transport=transport))
    findings = await doctor_blocks.look_at_clock("waha", sender_of("waha", "http://127.0.0.1:1"))
    assert [finding.status for finding in findings] == ([status] if status else [])
    assert all("ahead of" in finding.found for finding in findings)


async def test_a_receiver_that_is_away_or_no_receiver_is_a_problem(sandbox: RunningSandbox) -> None:
    (away,) = await doctor_blocks.look_at_receiver(f"http://127.0.0.1:{free_port()}")
    (other,) = await doctor_blocks.look_at_receiver(sandbox.url)
    (unnamed,) = await doctor_blocks.look_at_receiver("")
    assert (away.status, other.status, unnamed.status) == ("problem", "problem", "ok")


# The command ----------------------------------------------------------------------------------------------------------


def test_the_exit_status_is_1_where_there_is_a_problem_and_the_json_has_each_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        assert doctor.run_doctor(ledger=str(tmp_path / "ledger.db"), receiver="", as_json=True) == 1
        told = json.loads(capsys.readouterr().out)
        assert {"what", "status", "found", "advice"} == set(told[0])
        assert doctor.run_doctor(ledger="", receiver="", as_json=False) == 1
    assert "Prefect server" in capsys.readouterr().out
