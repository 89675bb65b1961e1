"""The ledger's block."""

from pathlib import Path

import pytest
from prefect.settings import PREFECT_HOME, temporary_settings
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.ledger import LedgerStore
from prefect_whatsapp.models.errors import LedgerError
from pydantic import SecretStr


async def test_an_empty_url_is_the_embedded_ledger_under_prefects_home(tmp_path: Path) -> None:
    with temporary_settings({PREFECT_HOME: tmp_path}):
        async with Ledger().open() as store:
            assert isinstance(store, LedgerStore)
            assert await store.broadcasts() == []
    assert _databases(tmp_path)


async def test_a_path_is_a_ledger_of_its_own(tmp_path: Path) -> None:
    async with Ledger(url=SecretStr(str(tmp_path / "my.db"))).open() as store:
        assert await store.broadcasts() == []
    assert (tmp_path / "my.db").exists()


@pytest.mark.parametrize(
    "url", ["mysql+aiomysql://me:canary@127.0.0.1/x", "postgresql+asyncpg://me:canary@127.0.0.1:9/x"]
)
async def test_a_database_that_cant_be_used_is_named_without_its_password(url: str) -> None:
    with pytest.raises(LedgerError) as refused:
        async with Ledger(url=SecretStr(url), patience_seconds=0).open():
            pass
    assert "canary" not in str(refused.value)
    assert "\n" not in str(refused.value)


def _databases(folder: Path) -> list[Path]:
    return [*folder.rglob("*.db")]
