"""What a run refuses is named and never printed: on a real server, called and deployed."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.utilities.callables import parameter_schema
from prefect_whatsapp.blocks import GraphCredentials, Ledger
from prefect_whatsapp.cli.prefect_server import prefect_server
from prefect_whatsapp.flows import broadcast_audio, broadcast_contacts, send_audio_message, send_contact_message
from prefect_whatsapp.flows.parameters import CheckedFlow
from prefect_whatsapp.models.errors import InputError
from refusal_runner import NUMBER, PASSWORD, REFUSED, TOKEN

CANARIES = [NUMBER[1:], TOKEN[:10], TOKEN[-10:], PASSWORD]
FLOWS = [broadcast_audio, broadcast_contacts, send_audio_message, send_contact_message]
GIVEN = {"broadcast": "b", "sender": GraphCredentials(), "audio": "a.mp3"}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the callers were told, what the terminal showed, and each cell that the server wrote."""
    folder = tmp_path_factory.mktemp("refusals")
    runner = Path(__file__).parents[1] / "support" / "refusal_runner.py"
    with prefect_server(folder / "server") as server:
        done = subprocess.run(
            [sys.executable, str(runner), str(folder / "told.json")],
            env=os.environ
            | {
                "PREFECT_API_URL": f"{server.url}/api",
                "PREFECT_LOGGING_TO_API_ENABLED": "true",
                "PREFECT_LOGGING_LEVEL": "DEBUG",
                "PYTHONPATH": str(runner.parent),
            },
            capture_output=True,
            text=True,
            timeout=280,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    (database,) = (folder / "server").rglob("prefect.db")
    return {
        "told": json.loads((folder / "told.json").read_text()),
        "terminal": {"": done.stdout + done.stderr},
        "server": dict(_cells(database)),
    }


def _cells(database: Path) -> Iterator[tuple[str, str]]:
    """Each cell of Prefect's database but the parameters that a run was asked with: who reads those is in docs/."""
    with sqlite3.connect(database) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            cursor = connection.execute(f'SELECT * FROM "{table}"')
            for number, row in enumerate(cursor):
                for column, value in zip(cursor.description, row, strict=True):
                    if (table, column[0]) != ("flow_run", "parameters"):
                        yield f"{table}.{column[0]} {number}", str(value)


@pytest.mark.ci
@pytest.mark.slow
@pytest.mark.server
@pytest.mark.timeout(300)
def test_each_kind_of_wrong_parameter_is_refused_called_and_deployed(refused: dict[str, Any]) -> None:
    assert set(refused["told"]) == {f"{how}: {what}" for how in ("called", "deployed") for what in REFUSED}


@pytest.mark.ci
@pytest.mark.slow
@pytest.mark.server
@pytest.mark.timeout(300)
@pytest.mark.parametrize("where", ["told", "terminal", "server"])
def test_no_refused_parameter_is_printed(refused: dict[str, Any], where: str) -> None:
    found = [
        f"{place}: {text[max(0, text.index(canary) - 200) : text.index(canary) + 40]}"
        for place, text in refused[where].items()
        for canary in CANARIES
        if canary in text
    ]
    assert not found, "\n".join(found[:10])


@pytest.mark.ci
@pytest.mark.slow
@pytest.mark.server
@pytest.mark.timeout(300)
def test_the_run_says_which_parameter_is_wrong(refused: dict[str, Any]) -> None:
    """Else the search above looked at runs that failed for another reason."""
    states = "\n".join(text for place, text in refused["server"].items() if place.startswith("flow_run_state.message"))
    assert "Maximum messages (max_messages) can't be used: input should be a valid integer" in states
    terminal = refused["terminal"][""]
    for name in (
        *(
            "sender",
            "storage",
            "ledger",
            "Contact cards (contacts)",
            "recipients",
            "Unknown sends (on_unknown)",
            "dry_run",
        ),
    ):
        assert f"{name} can't be used" in terminal, name
        assert f"{name} can't be used" in states, name


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_each_flow_of_the_pack_checks_for_itself_with_any_options(flow: Any) -> None:
    assert isinstance(flow, CheckedFlow)
    assert isinstance(flow.with_options(retries=1), CheckedFlow)
    assert flow.with_options(name="other").name == "other"


@pytest.mark.parametrize("name", ["sender", "storage", "ledger"])
def test_fields_of_a_block_are_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(
        InputError, match=rf"^{name} can't be used: .*(choose a saved block|does not fit here)"
    ) as refusal:
        broadcast_audio.validate_parameters(GIVEN | {name: {"url": TOKEN, "access_token": TOKEN}})
    assert TOKEN not in str(refusal.value)
    assert refusal.value.__context__ is None


def test_a_block_that_was_made_in_python_is_taken() -> None:
    ledger = Ledger()
    read = broadcast_audio.validate_parameters(GIVEN | {"ledger": ledger, "max_messages": "7"})
    assert (read["sender"], read["ledger"], read["max_messages"]) == (GIVEN["sender"], ledger, 7)


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
def test_a_saved_block_is_loaded_and_one_of_another_type_is_refused() -> None:
    references = {}
    for name, block in {"ledger": Ledger(url=f"/{TOKEN}"), "sender": GraphCredentials()}.items():
        block.save("of-each-type", overwrite=True)  # type: ignore[unused-coroutine]  # no loop runs here
        references[name] = {"$ref": {"block_document_id": str(block._block_document_id)}}
    read = broadcast_audio.validate_parameters(GIVEN | references)
    assert (type(read["ledger"]), type(read["sender"])) == (Ledger, GraphCredentials)
    for name, other in (("sender", "ledger"), ("ledger", "sender"), ("storage", "ledger")):
        with pytest.raises(
            InputError, match=rf"^{name} can't be used: .*(choose a saved block|does not fit here)"
        ) as refusal:
            broadcast_audio.validate_parameters(GIVEN | references | {name: references[other]})
        assert TOKEN not in str(refusal.value)


def test_arguments_that_the_signature_does_not_have_are_not_printed() -> None:
    with pytest.raises(TypeError, match="missing a required argument: 'audio'") as refusal:
        broadcast_audio(NUMBER, TOKEN)  # type: ignore[call-arg, arg-type]
    assert not re.search(f"{NUMBER[1:]}|{TOKEN}", str(refusal.value))


@pytest.mark.server
@pytest.mark.parametrize("name", ["sender", "storage", "ledger"])
async def test_the_server_refuses_typed_fields_before_it_stores_them(prefect_api: str, name: str) -> None:
    schema = parameter_schema(broadcast_audio).model_dump_for_openapi()
    sender = GraphCredentials()
    await sender.asave("typed", overwrite=True)
    reference = {"$ref": {"block_document_id": str(sender._block_document_id)}}
    async with get_client() as client:
        deployment = await client.create_deployment(
            await client.create_flow(broadcast_audio),
            f"typed-{name}",
            parameter_openapi_schema=schema,
            enforce_parameter_schema=True,
        )
        good: dict[str, Any] = {"broadcast": "b", "sender": reference, "audio": "a.mp3"}
        assert await client.create_flow_run_from_deployment(deployment, parameters=good)
        with pytest.raises(PrefectHTTPStatusError) as refusal:
            await client.create_flow_run_from_deployment(deployment, parameters=good | {name: {"url": TOKEN}})
        assert TOKEN not in str(refusal.value)
        with pytest.raises(PrefectHTTPStatusError):
            await client.create_deployment(
                await client.create_flow(broadcast_audio),
                f"kept-{name}",
                parameters={name: {"url": TOKEN}},
                parameter_openapi_schema=schema,
                enforce_parameter_schema=True,
            )
