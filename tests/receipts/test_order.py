"""Whatever the order in which statuses come, twice, early or not at all: the same rows are left, and none is taken back."""

import itertools
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prefect_whatsapp.ledger import LedgerStore, matching
from prefect_whatsapp.models.errors import LedgerError
from receipt_order import LIVES, Life, compare, lives_of, refuse_lowering

_names = itertools.count(1)
_LIFE = st.builds(
    Life,
    st.sampled_from(LIVES).flatmap(lambda life: st.sets(st.sampled_from(life)) if life else st.just(set()))
    .map(lambda told: tuple(state for state in dict.fromkeys(sum(LIVES, ())) if state in told)),
    st.booleans(),
    st.booleans(),
)  # fmt: skip


@pytest.fixture(scope="module")
async def store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LedgerStore]:
    """A ledger whose database refuses to take a row back."""
    async with LedgerStore.open(str(tmp_path_factory.mktemp("order") / "ledger.db")) as opened:
        await refuse_lowering(opened)
        yield opened


@given(lives=st.lists(_LIFE, min_size=1, max_size=8), seed=st.integers(0, 10**6))
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
async def test_shuffled_doubled_and_early_statuses_leave_what_the_same_in_order_leave(
    store: LedgerStore, lives: list[Life], seed: int
) -> None:
    found = await compare(store, f"b{next(_names)}", lives, random.Random(seed))
    assert found["differing"] == []
    assert found["parked"] == 0


@pytest.mark.ci
@pytest.mark.slow
async def test_twenty_thousand_of_them_on_each_database(ledger_url: str) -> None:
    """`python tests/support/receipt_order.py 1000000` for a million."""
    chance = random.Random(11)
    async with LedgerStore.open(ledger_url) as store:
        await refuse_lowering(store)
        found = await compare(store, "large", list(lives_of(chance, 17_000)), chance)
    assert found["differing"] == []
    assert (found["parked"], found["in_disorder"] > 20_000) == (0, True)


async def test_a_row_that_is_taken_back_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tests above show nothing."""
    monkeypatch.setattr(matching, "advance", lambda row, update, **_: replace(row, state=update.state))
    async with LedgerStore.open(str(tmp_path / "ledger.db")) as store:
        await refuse_lowering(store)
        with pytest.raises(LedgerError, match="lowered"):
            await compare(store, "lowered", list(lives_of(random.Random(5), 500)), random.Random(5))
