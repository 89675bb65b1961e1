"""With a key, whoever reads the database reads no number and no name; without the key nobody opens the ledger."""

import base64
import io
from pathlib import Path

import pytest
import sqlalchemy as sa
from named_people import ACCOUNT, LID, NOW, NUMBER, OTHER, begin, rows, send_all, wamid
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.ledger import LedgerStore, Outcome, RemovedRow
from prefect_whatsapp.ledger.schema import metadata
from prefect_whatsapp.ledger.vault import KEY_VARIABLE, Vault, new_hash_key
from prefect_whatsapp.models import Recipient, SendState
from prefect_whatsapp.models.errors import LedgerError, OptedOutError
from prefect_whatsapp.models.updates import Inbound, StatusUpdate, Unread
from pydantic import SecretStr
from rich.console import Console
from rich.traceback import Traceback

KEY, ANOTHER = (base64.b64encode(bytes([byte]) * 32).decode() for byte in (1, 2))  # the same in every worker's test ids


@pytest.fixture(autouse=True)
def _no_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


async def stored(store: LedgerStore) -> str:
    """Every cell as the database has it."""
    cells = []
    async with store._database.reading() as connection:
        for table in metadata.sorted_tables:
            columns = ", ".join(f'"{column.name}"' for column in table.columns)
            found = await connection.execute(sa.text(f"SELECT {columns} FROM {table.name}"))
            cells += [repr(tuple(row)) for row in found]
    return "\n".join(cells)


async def test_no_number_name_or_id_can_be_read_and_everything_is_found(url: str) -> None:
    async with LedgerStore.open(url, encryption_key=KEY) as store:
        record = await begin(store, [NUMBER, OTHER])
        await store.remove(record, [RemovedRow(3, NUMBER, "repeats an earlier row")])
        assert await send_all(store, record) == [NUMBER, OTHER]
        mine, _ = await rows(store, record)
        await store.receipts.record(
            "graph",
            [
                StatusUpdate(ACCOUNT, mine.message_id, SendState.READ, NOW, aliases=(LID,)),
                StatusUpdate(ACCOUNT, wamid(NUMBER, 99), SendState.FAILED, NOW, text=f"{NUMBER} is not there"),
                Inbound(ACCOUNT, "in-1", NOW, "text", (LID,), answers=mine.message_id, word="stop", opted_out=True),
                Unread(ACCOUNT, "calls", {"from": NUMBER}),
            ],
        )
        left = await stored(store)
        for trace in (NUMBER[1:], OTHER[1:], LID, wamid(NUMBER, 1)[:25], "name of", "in-1"):
            assert trace not in left, trace
        mine, _ = await rows(store, record)
        assert (mine.recipient, mine.name, mine.state) == (NUMBER, f"name of {NUMBER}", SendState.READ)
        assert [row.value async for row in store.removed_rows(record)] == [NUMBER]
        assert await store.plan(record, [Recipient.stored(NUMBER)]) == 0
        assert await store.people.opted_out([NUMBER, OTHER]) == {NUMBER}
        assert [each.address async for each in store.people.opt_outs()] == [NUMBER]
        following = await begin(store, [NUMBER], "next")
        async with store.join(following, messages_per_second=0) as lease:
            (row,) = await lease.take(1)
            with pytest.raises(OptedOutError):
                await lease.claim(row)
    async with LedgerStore.open(url, encryption_key=KEY) as store:
        record = await begin(store, [])
        assert [row.recipient for row in await rows(store, record)] == [NUMBER, OTHER]


@pytest.mark.parametrize(("key", "says"), [("", "is encrypted: give"), (ANOTHER, "encrypted with another key")])
async def test_it_is_opened_with_its_key_alone(url: str, key: str, says: str) -> None:
    async with LedgerStore.open(url, encryption_key=KEY) as store:
        await begin(store, [NUMBER])
    with pytest.raises(LedgerError, match=says) as refused:
        async with LedgerStore.open(url, encryption_key=key):
            pass
    assert KEY not in str(refused.value)
    assert ANOTHER not in str(refused.value)


async def test_a_traceback_with_locals_shows_no_key(tmp_path: Path) -> None:
    path = str(tmp_path / "ledger.db")
    async with Ledger(url=SecretStr(path), encryption_key=SecretStr(KEY)).open():
        pass
    for key in (ANOTHER, ANOTHER[:-4]):
        with pytest.raises(LedgerError) as refused:
            async with Ledger(url=SecretStr(path), encryption_key=SecretStr(key)).open():
                pass
        assert refused.tb.tb_next  # the first frame is this test's own
        trace = Traceback.from_exception(
            *(refused.type, refused.value, refused.tb.tb_next), show_locals=True, locals_max_string=None
        )
        stream = io.StringIO()
        Console(file=stream, width=400).print(trace)
        assert "encryption_key" in stream.getvalue()
        assert key not in stream.getvalue()
        assert repr(base64.b64decode(key))[2:20] not in stream.getvalue()


async def test_a_ledger_with_plain_rows_takes_no_key(url: str) -> None:
    async with LedgerStore.open(url) as store:
        record = await begin(store, [NUMBER])
    with pytest.raises(LedgerError, match="is not encrypted"):
        async with LedgerStore.open(url, encryption_key=KEY):
            pass
    async with LedgerStore.open(url) as store:
        assert [row.recipient for row in await rows(store, record)] == [NUMBER]


async def test_the_key_of_the_environment_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "ledger.db")
    with monkeypatch.context() as set_up:
        set_up.setenv(KEY_VARIABLE, KEY)
        async with LedgerStore.open(path) as store:
            await begin(store, [NUMBER])
    with pytest.raises(LedgerError, match="is encrypted"):
        async with LedgerStore.open(path):
            pass
    assert NUMBER[1:].encode() not in _bytes_below(tmp_path)


def _bytes_below(folder: Path) -> bytes:
    return b"".join(each.read_bytes() for each in folder.iterdir())


@pytest.mark.parametrize("key", ["secret", "c2hvcnQ=", base64.b64encode(bytes(33)).decode(), "ü" * 32])
async def test_what_is_no_key_is_refused_and_not_repeated(tmp_path: Path, key: str) -> None:
    with pytest.raises(LedgerError, match="32 random bytes in base64") as refused:
        async with LedgerStore.open(str(tmp_path / "ledger.db"), encryption_key=key):
            pass
    assert key not in str(refused.value)


async def test_a_value_that_was_changed_is_not_taken_for_another(tmp_path: Path) -> None:
    async with LedgerStore.open(str(tmp_path / "ledger.db"), encryption_key=KEY) as store:
        record = await begin(store, [NUMBER])
        async with store._database.writing() as connection:
            await connection.execute(sa.text("UPDATE whatsapp_sends SET recipient = '+16505550199'"))
        with pytest.raises(LedgerError, match="can't be decrypted"):
            await rows(store, record)


async def test_a_late_outcome_keeps_its_ids_encrypted(tmp_path: Path) -> None:
    async with LedgerStore.open(str(tmp_path / "ledger.db"), encryption_key=KEY) as store:
        record = await begin(store, [NUMBER])
        async with store.join(record, messages_per_second=0) as lease:
            (row,) = await lease.take(1)
            await lease.claim(row)
            await lease.settle(row, Outcome(SendState.FAILED, error_code="7", error_text=f"{NUMBER} refused"))
        assert NUMBER not in await stored(store)
        (row,) = await rows(store, record)
        assert (row.error_code, row.error_text) == ("7", f"{NUMBER} refused")


def test_what_is_looked_up_is_the_same_twice_and_the_rest_is_not() -> None:
    vault = Vault()
    vault.unlock(Vault.sealed_key(new_hash_key(), SecretStr(KEY)), SecretStr(KEY))
    assert vault.seal(NUMBER, matched=True) == vault.seal(NUMBER, matched=True)
    assert vault.seal(NUMBER, matched=False) != vault.seal(NUMBER, matched=False)
    assert vault.open(vault.seal(NUMBER, matched=False)) == NUMBER
    assert vault.seal("", matched=True) == ""


async def test_each_ledger_hashes_with_a_key_of_its_own(tmp_path: Path) -> None:
    found = set()
    for name in ("a.db", "b.db"):
        async with LedgerStore.open(str(tmp_path / name)) as store:
            await begin(store, [NUMBER])
            async with store._database.reading() as connection:
                query = sa.text("SELECT account_key FROM whatsapp_sends")
                found.add((await connection.execute(query)).scalar_one())
    assert len(found) == 2
    assert not any(NUMBER[1:] in each for each in found)
