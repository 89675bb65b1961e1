"""One contender of the benchmark, in a process of its own: sends N messages, prints what it took as a JSON line.

Usage: contender.py NAME --sandbox URL --recipients N --in-flight N [--ledger URL]
"""

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

TOKEN = "sandbox-token"
NUMBER_ID = "100000000000001"


def _numbers(count: int) -> list[str]:
    from prefect_whatsapp.sandbox.samples import sample_numbers

    return list(sample_numbers(count))


def _media_id(sandbox: str) -> str:
    """Upload the sample voice note, outside the measured time."""
    import httpx

    content = (Path(__file__).parents[1] / "data" / "audio" / "speech_voice.ogg").read_bytes()
    answer = httpx.post(
        f"{sandbox}/graph/v26.0/{NUMBER_ID}/media",
        headers={"Authorization": f"Bearer {TOKEN}"},
        data={"messaging_product": "whatsapp", "type": "audio/ogg"},
        files={"file": ("voice.ogg", content, "audio/ogg")},
        trust_env=False,
    )
    return str(answer.raise_for_status().json()["id"])


def _body(media_id: str, to: str) -> dict[str, Any]:
    return {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": to,
        "type": "audio",
        "audio": {"id": media_id, "voice": True},
    }


def floor(args: argparse.Namespace) -> Callable[[], Any]:
    """An async flow that does one plain httpx POST in an empty task per recipient."""
    import httpx
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE

    media, url = _media_id(args.sandbox), f"{args.sandbox}/graph/v26.0/{NUMBER_ID}/messages"
    headers = {"Authorization": f"Bearer {TOKEN}"}

    @task(name="send-floor", cache_policy=NO_CACHE, persist_result=False)
    async def send(client: Any, to: str) -> None:
        (await client.post(url, json=_body(media, to), headers=headers)).raise_for_status()

    @flow(name="floor")
    async def broadcast() -> None:
        from prefect.utilities.annotations import quote

        gate, running = asyncio.Semaphore(args.in_flight), set()
        async with httpx.AsyncClient(trust_env=False) as client:

            async def one(to: str) -> None:
                try:
                    await send(quote(client), to)
                finally:
                    gate.release()

            for to in _numbers(args.recipients):
                await gate.acquire()
                running.add(started := asyncio.create_task(one(to)))
                started.add_done_callback(running.discard)
            await asyncio.gather(*running)

    return lambda: asyncio.run(broadcast(return_state=True))


def ours(args: argparse.Namespace, runs: str = "send") -> Callable[[], Any]:
    """This package's broadcast, durable claims included."""
    from prefect_whatsapp.blocks import GraphCredentials, Ledger
    from prefect_whatsapp.flows import broadcast_audio
    from prefect_whatsapp.models import Scale
    from prefect_whatsapp.sandbox.samples import write_recipients

    home = Path(tempfile.mkdtemp(prefix="bench-"))
    people = write_recipients(home / "list.csv", args.recipients)
    sender = GraphCredentials(
        access_token=TOKEN, phone_number_id=NUMBER_ID, base_url=f"{args.sandbox}/graph", messages_per_second=args.rate
    )
    return lambda: asyncio.run(
        broadcast_audio(
            broadcast=args.broadcast or f"bench-{os.getpid()}",
            sender=sender,
            audio=str(Path(__file__).parents[1] / "data" / "audio" / "speech_voice.ogg"),
            recipients=str(people),
            ledger=Ledger(url=args.ledger or str(home / "ledger.db")),
            scale=Scale.model_validate({"in_flight": args.in_flight, "runs": runs}),
            return_state=True,
        )
    )


def ours_batch(args: argparse.Namespace) -> Callable[[], Any]:
    """This package's broadcast in batches, durable claims included."""
    return ours(args, "batch")


def plain_map(args: argparse.Namespace) -> Callable[[], Any]:
    """What a Prefect user writes first: `.map` over the recipients."""
    import httpx
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE
    from prefect.task_runners import ThreadPoolTaskRunner

    media, url = _media_id(args.sandbox), f"{args.sandbox}/graph/v26.0/{NUMBER_ID}/messages"
    client = httpx.Client(trust_env=False, headers={"Authorization": f"Bearer {TOKEN}"})

    @task(name="send-map", cache_policy=NO_CACHE, persist_result=False)
    def send(to: str) -> None:
        client.post(url, json=_body(media, to)).raise_for_status()

    @flow(name="plain-map", task_runner=ThreadPoolTaskRunner(max_workers=args.in_flight))
    def broadcast() -> None:
        send.map(_numbers(args.recipients)).wait()

    return lambda: broadcast(return_state=True)


def plain_httpx(args: argparse.Namespace) -> Callable[[], Any]:
    """No Prefect and no ledger: one httpx client."""
    import httpx

    media, url = _media_id(args.sandbox), f"{args.sandbox}/graph/v26.0/{NUMBER_ID}/messages"

    async def main() -> None:
        async with httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {TOKEN}"}) as client:

            async def one(to: str) -> None:
                (await client.post(url, json=_body(media, to))).raise_for_status()

            await _bounded(one, _numbers(args.recipients), args.in_flight)

    return lambda: asyncio.run(main())


def without_ledger(args: argparse.Namespace) -> Callable[[], Any]:
    """Our client and dialect without claims, settles and runs: what durability and tracking are added to."""
    from prefect_whatsapp.blocks import GraphCredentials
    from prefect_whatsapp.models import Recipient
    from prefect_whatsapp.providers.dialect import Attachment

    media = _media_id(args.sandbox)
    sender = GraphCredentials(access_token=TOKEN, phone_number_id=NUMBER_ID, base_url=f"{args.sandbox}/graph")

    async def main() -> None:
        attachment = Attachment(media_id=media)
        async with sender.get_async_client(connections=args.in_flight) as client:

            async def one(to: str) -> None:
                await client.run(client.dialect.send_audio(attachment, Recipient(to=to)))

            await _bounded(one, _numbers(args.recipients), args.in_flight)

    return lambda: asyncio.run(main())


def pywa(args: argparse.Namespace) -> Callable[[], Any]:
    """The pywa library in a thread pool."""
    from concurrent.futures import ThreadPoolExecutor

    import httpx
    from pywa import WhatsApp

    media = _media_id(args.sandbox)
    session = httpx.Client(trust_env=False)
    client = WhatsApp(phone_id=NUMBER_ID, token=TOKEN, session=session, api_version="25.0")
    session.base_url = f"{args.sandbox}/graph/v26.0"

    def run() -> None:
        with ThreadPoolExecutor(args.in_flight) as pool:
            list(pool.map(lambda to: client.send_voice(to=to, voice=media), _numbers(args.recipients)))

    return run


def celery(args: argparse.Namespace, pool: str = "threads") -> Callable[[], Any]:
    """Celery on Redis without results; the worker runs in this process's child, and the service counts what arrived."""
    import subprocess

    import httpx
    from celery_app import app, send

    media = _media_id(args.sandbox)
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "--pool", pool,
         "--concurrency", str(args.in_flight), "--loglevel", "ERROR", "--without-gossip", "--without-mingle"],
        cwd=Path(__file__).parent,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not app.control.ping(timeout=1.0):
        if time.monotonic() > deadline:
            raise SystemExit("the Celery worker did not start")

    def run() -> None:
        for to in _numbers(args.recipients):
            send.delay(args.sandbox, media, to)
        with httpx.Client(trust_env=False, timeout=60) as client:
            truth = f"{args.sandbox}/_sandbox/truth?brief=1"
            while int(client.get(truth).raise_for_status().json()["accepted_total"]) < args.recipients:
                time.sleep(0.2)

    def stop() -> None:
        worker.terminate()
        worker.wait(20)

    run.stop = stop  # type: ignore[attr-defined]
    return run


def celery_prefork(args: argparse.Namespace) -> Callable[[], Any]:
    """Celery with processes in the place of threads."""
    return celery(args, "prefork")


def ours_engine(args: argparse.Namespace) -> Callable[[], Any]:
    """This package's broadcast, each send run by Prefect's task engine."""
    return ours(args, "engine")


async def _bounded(one: Callable[[str], Awaitable[None]], numbers: list[str], in_flight: int) -> None:
    waiting = iter(numbers)

    async def worker() -> None:
        for to in waiting:
            await one(to)

    await asyncio.gather(*(worker() for _ in range(in_flight)))


CONTENDERS: dict[str, Callable[[argparse.Namespace], Callable[[], Any]]] = {
    "floor": floor,
    "ours": ours,
    "ours-engine": ours_engine,
    "ours-batch": ours_batch,
    "map": plain_map,
    "httpx": plain_httpx,
    "without-ledger": without_ledger,
    "pywa": pywa,
    "celery-threads": celery,
    "celery-prefork": celery_prefork,
}


def _watch_memory(peak: list[int]) -> None:
    while True:
        with open("/proc/self/statm", encoding="ascii") as file:
            peak[0] = max(peak[0], int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        time.sleep(0.1)


def main() -> None:
    """Run one contender and print what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("--sandbox", required=True)
    parser.add_argument("--recipients", type=int, default=1000)
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--ledger", default="")
    parser.add_argument("--broadcast", default="")
    parser.add_argument("--profile", default="")
    args = parser.parse_args()
    run = CONTENDERS[args.name](args)
    peak = [0]
    threading.Thread(target=_watch_memory, args=(peak,), daemon=True).start()
    usage, started, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic(), time.time()
    if args.profile:
        import cProfile

        profile = cProfile.Profile()
        state = profile.runcall(run)
        profile.dump_stats(args.profile)
    else:
        state = run()
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    if stop := getattr(run, "stop", None):
        stop()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime + children.ru_utime + children.ru_stime
    details = getattr(state, "state_details", None)
    print(
        json.dumps(
            {
                "seconds": seconds,
                "began": began,
                "cpu": cpu,
                "memory": peak[0],
                "flow_run_id": str(details.flow_run_id) if details else "",
                "failed": bool(details) and not state.is_completed(),
            }
        )
    )


if __name__ == "__main__":
    main()
