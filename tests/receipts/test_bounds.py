"""What comes too slowly, too often or too much at once, and what happens while something else is away."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.ledger import LedgerStore
from prefect_whatsapp.receipts import create_app
from prefect_whatsapp.receipts.receiver import Receiver
from pydantic import SecretStr
from receiver_process import SENDERS, graph_body, signature, status
from starlette.applications import Starlette

NUMBER = "16505550123"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(url=SecretStr(str(tmp_path / "ledger.db")))


@asynccontextmanager
async def running(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        yield client


async def test_a_body_that_takes_too_long_is_408(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect_whatsapp.receipts.app._BODY_SECONDS", 0.05)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)

    async with running(create_app(SENDERS, ledger=ledger, events=False, moved=None)) as client:
        assert (await client.post("/graph/weekly", content=slow())).status_code == 408


async def test_bodies_that_are_still_coming_are_bounded_together(ledger: Ledger) -> None:
    """Before the last byte nobody knows who signed: strangers must not fill the memory with halves."""
    app = create_app(SENDERS, ledger=ledger, events=False, moved=None, max_body_bytes=1000)
    go_on = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield b"x" * 900
        await go_on.wait()
        yield b"x"

    async with running(app) as client:
        posts = [asyncio.create_task(client.post("/graph/weekly", content=half())) for _ in range(100)]
        async with asyncio.timeout(30):
            while sum(post.done() for post in posts) < 65:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.01)
        go_on.set()
        codes = Counter(answer.status_code for answer in await asyncio.gather(*posts))
        assert codes == {503: 65, 401: 35}, "held together are no more than the bytes of 32 whole bodies"
        raw = graph_body(statuses=[status("wamid.1")])
        assert (await client.post("/graph/weekly", content=raw, headers=signature(raw))).status_code == 200


async def test_a_flood_of_wrong_signatures_is_one_line_a_minute(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    monkeypatch.setattr("prefect_whatsapp.receipts.bounded_log._clock", lambda: now)

    async def flood(paths: tuple[str, ...], count: int) -> None:
        answers = await asyncio.gather(*(client.post(path, content=b"{}") for path in paths for _ in range(count)))
        assert {answer.status_code for answer in answers} == {401}

    def told() -> list[str]:
        lines = [line for line in caplog.messages if "refused" in line]
        caplog.clear()
        return lines

    async with running(create_app(SENDERS, ledger=ledger, events=False, moved=None)) as client:
        await flood(("/graph/weekly", "/waha/office"), 200)
        assert len(told()) == 2, "one for each account"
        now += 30
        await flood(("/graph/weekly",), 10)
        assert told() == []
        now += 31
        await flood(("/graph/weekly",), 5)
        (line,) = told()
        assert "209 more" in line
        for _ in range(50):
            assert (await client.get("/graph/weekly", params={"hub.verify_token": "x"})).status_code == 403
        assert len(told()) == 1
    assert sorted("4 more" in line or "199 more" in line or "49 more" in line for line in told()) == [True] * 3


async def test_the_house_keeping_outlives_whatever_goes_wrong_in_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("prefect_whatsapp.receipts.receiver._SWEEP_SECONDS", 0.01)
    rounds = 0

    async def broken(*_: Any, **__: Any) -> None:
        nonlocal rounds
        rounds += 1
        raise RuntimeError(f"no row of {NUMBER}")

    monkeypatch.setattr("prefect_whatsapp.ledger.receipts.ReceiptBook.match_parked", broken)
    accounts = [SENDERS["graph/weekly"].webhooks()]
    receiver = Receiver(accounts, ledger=ledger, events=False)
    await receiver.start()
    async with asyncio.timeout(20):
        while rounds < 3:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
    await receiver.stop()
    (line,) = [record for record in caplog.records if "cleanup failed" in record.getMessage()]
    text = logging.Formatter().format(line)
    assert "RuntimeError" in text
    assert "broken" in text, "where it failed"
    assert NUMBER not in text, "what a database says may hold what is in the row"


@pytest.mark.parametrize("way", ["post", "health"])
async def test_while_the_ledger_is_away_everybody_hears_it_soon(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred that wait for a ledger one after the other would wait for minutes."""
    (tmp_path / "file").write_text("no folder")
    opened = 0
    original = LedgerStore.open

    def counted(*arguments: Any, **more: Any) -> Any:
        nonlocal opened
        opened += 1
        return original(*arguments, **more)

    monkeypatch.setattr(LedgerStore, "open", counted)
    ledger = Ledger(url=SecretStr(str(tmp_path / "file" / "ledger.db")))
    app = create_app(SENDERS, ledger=ledger, events=False, moved=None)
    raw = graph_body(statuses=[status("wamid.1")])
    async with running(app) as client:
        ask: Callable[[], Any] = (
            (lambda: client.post("/graph/weekly", content=raw, headers=signature(raw)))
            if way == "post"
            else (lambda: client.get("/health"))
        )
        answers = await asyncio.gather(*(ask() for _ in range(100)))
    assert {answer.status_code for answer in answers} == {503}
    assert opened <= 3
