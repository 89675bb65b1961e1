"""Runs each provider to success and to failure with canaries as token and numbers, and writes down all that came of it.

Run as a program in a process of its own: `canary_runner.py SANDBOX_URL SETUP_JSON`; the set-up names the folders, so that
neither a token nor a number is on the command line.
"""

import asyncio
import itertools
import json
import logging
import pickle
import sys
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from canary_receiver import receive
from prefect import flow
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.flows import broadcast_audio, broadcast_contacts
from prefect_whatsapp.models import Contact, Scale
from prefect_whatsapp.sandbox.s3 import bucket_block
from prefect_whatsapp.sandbox.server import RunningSandbox
from prefect_whatsapp.tasks import afetch_audio, asend_audio, asend_contacts, aupload_media, send_audio, send_contacts
from pydantic import SecretStr
from senders import PROVIDERS, TOKEN_FIELD, sender_of
from web_server import Handler, WebServer

CARDS = [Contact(name="Ada Byron", phone="+16505550199")]
LIBRARIES = (
    "httpx",
    "httpcore",
    "aiohttp",
    "aiosqlite",
    "sqlalchemy",
    "asyncpg",
    "alembic",
    "botocore",
    "boto3",
    "urllib3",
    "uvicorn",
    "asyncio",
)
_keys = itertools.count(1)


class Notes:
    """Everything a caller may do with what a run gave: print it, format its traceback, pickle it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, 0
        self.told: list[str] = []

    def keep(self, what: str, value: Any) -> None:
        """Write a result or an exception in every form."""
        self._number += 1
        self.told.append(f"{what}: {type(value).__name__}")
        stem = self._folder / f"{self._number:03}"
        texts = [repr(value), str(value)]
        if isinstance(value, BaseException):
            texts += traceback.format_exception(value)
            report = getattr(value, "report", None)
            texts += [repr(vars(value)), repr(report)]
        else:
            texts.append(value.model_dump_json())
        stem.with_suffix(".txt").write_text("\n".join(texts), encoding="utf-8")
        stem.with_suffix(".pickle").write_bytes(pickle.dumps(value))


class Echo(Handler):
    """A service that repeats the whole request, its URL and its body in each refusal."""

    def do_POST(self) -> None:
        body = self.body().decode()
        words = f"no {self.path} {body} {self.headers.get('Authorization', '')} {self.headers.get('X-Api-Key', '')}"
        status = 500 if "0101" in body else 400
        refusal = {"error": {"code": 100, "message": words}} if "/v2" not in self.path else {"message": words}
        answer = words.encode() if "0102" in body else json.dumps(refusal | {"sent": False}).encode()
        self.say(status, answer)

    do_GET = do_POST


@flow(name="tell", persist_result=True, log_prints=True)
async def tell(provider: str, where: str, serializer: str, numbers_file: str) -> Any:
    """Send to each number of a file, and keep every receipt and every exception in the result storage."""
    setup = SETUP
    sender = sender_of(provider, where, **{TOKEN_FIELD[provider]: SecretStr(setup["token"])})
    good = sender_of(provider, setup["sandbox"], **{TOKEN_FIELD[provider]: SecretStr(setup["token"])})
    audio = await aupload_media(await afetch_audio(setup["audio"]), good, storage=bucket(setup))

    def options() -> Any:
        # Without a key of its own a result isn't stored: the tasks have no cache policy.
        key = f"{provider}-{serializer}-{next(_keys)}"
        return {"persist_result": True, "result_serializer": serializer, "result_storage_key": key}

    for number in (await asyncio.to_thread(Path(numbers_file).read_text)).split()[:4]:
        for task, sent in ((asend_audio, audio), (asend_contacts, CARDS)):
            state = await task.with_options(**options())(sent, number, sender, return_state=True)
            try:
                NOTES.keep(f"{task.name} {provider} {serializer}", await state.aresult())
            except Exception as error:
                NOTES.keep(f"{task.name} {provider} {serializer}", error)
        for sync, sent in ((send_audio, audio), (send_contacts, CARDS)):
            try:
                sync.with_options(**options())(sent, number, sender)
            except Exception as error:
                NOTES.keep(f"sync {sync.name} {provider}", error)
    return await asend_contacts.with_options(**options())(CARDS, number, sender)


def bucket(setup: dict[str, Any]) -> Any:
    """The bucket for services that load by link."""
    return bucket_block(setup["s3"], "canaries")


async def attempt(what: str, run: Any) -> None:
    """Keep what a run gives, or the exception that it ends with."""
    try:
        NOTES.keep(what, await run)
    except Exception as error:
        NOTES.keep(what, error)


async def main() -> None:
    """Run all."""
    setup, control = SETUP, RunningSandbox()
    control.url = setup["sandbox"]
    open_until = ExitStack()
    echo = open_until.enter_context(WebServer(Echo))
    numbers = (await asyncio.to_thread(Path(setup["numbers"]).read_text)).split()
    kept = {"persist_result": True, "result_serializer": "json"}
    storage = bucket(setup)
    await storage.aupload_from_path(setup["audio"], "voice.ogg")
    await storage.aupload_from_path(setup["list"], "list.csv")
    for provider in PROVIDERS:
        field = TOKEN_FIELD[provider]
        right = sender_of(provider, setup["sandbox"], **{field: SecretStr(setup["token"])})
        wrong = sender_of(provider, setup["sandbox"], **{field: SecretStr(setup["wrong_token"])})
        await right.asave(f"canary-{provider}", overwrite=True)
        common: dict[str, Any] = {"recipients": setup["list"], "ledger": Ledger(url=SecretStr(setup["ledger"]))}
        audio = common | {"audio": "voice.ogg", "recipients": "list.csv", "storage": storage}
        contacts = common | {"contacts": CARDS}
        for kind, broadcast, arguments in (
            ("audio", broadcast_audio, audio),
            ("contacts", broadcast_contacts, contacts),
        ):
            name = f"{provider}-{kind}"
            stored = broadcast.with_options(**kept)
            control.behave()
            await attempt(f"{name} succeeds", stored(broadcast=name, sender=right, **arguments))
            await attempt(f"{name} refused", stored(broadcast=f"{name}-wrong", sender=wrong, **arguments))
            words = f"no message for {numbers[1]} ({numbers[1][1:]}) with {setup['token']}"
            control.faults(kind="drop", accepted=True, recipients=[numbers[0]])
            control.faults(kind="html", recipients=[numbers[2]])
            control.faults(kind="error", code=131026, details=words, recipients=[numbers[1]])
            control.faults(kind="sent_false", details=words, recipients=[numbers[1]])
            control.faults(kind="expired_token", on="send", after=6)
            stopped = stored(broadcast=f"{name}-stopped", sender=right, scale=Scale(in_flight=2), **arguments)
            await attempt(f"{name} stopped", stopped)
            control.behave()
        for where, serializer in ((setup["sandbox"], "json"), (setup["sandbox"], "pickle"), (echo.url, "pickle")):
            flow_run = tell(provider, where, serializer, setup["numbers"])
            await attempt(f"{provider} tells {serializer}", flow_run)
    open_until.close()
    for url in setup["postgres"]:
        right = sender_of("graph", setup["sandbox"], access_token=SecretStr(setup["token"]))
        broadcast = broadcast_audio(
            broadcast="graph-audio", sender=right, **audio | {"ledger": Ledger(url=SecretStr(url))}
        )
        await attempt("graph-audio in PostgreSQL", broadcast)
    await receive(setup, NOTES.told.append)


if __name__ == "__main__":
    SETUP: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    NOTES = Notes(Path(SETUP["notes"]))
    handler = logging.FileHandler(SETUP["log"], encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
    for logger_name in ("", "prefect", *LIBRARIES, "prefect_whatsapp"):
        logger = logging.getLogger(logger_name)
        logger.setLevel(logging.DEBUG)
        if not logger.propagate or not logger_name:
            logger.addHandler(handler)
    asyncio.run(main())
    Path(SETUP["told"]).write_text(json.dumps(NOTES.told))
