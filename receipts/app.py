"""The ASGI app that takes the services' webhooks.

Nothing is answered 200 that is not durable. A wrong or missing signature is 401 and leaves a log line, of a flood one a
minute; a body that is too large is 413; one that doesn't come to its end is 408; one that is no JSON, or no webhook of that
service, is 400; a ledger that is away, or more bodies at once than there is room for, is 503, and the service posts again.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..blocks import Ledger
from ..blocks.sender import Sender
from ..models.errors import InputError, LedgerError
from ..providers.webhooks import WebhookDialect, WebhookRefusedError, same_secret
from ..reporting.artifacts import refresh_reports
from .bounded_log import BoundedLog
from .receiver import Moved, Receiver
from .words import Words

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 4 * 1024 * 1024  # Meta sends 3 MB at most
_BODY_SECONDS = 30.0  # the services post in one go; whoever takes longer only holds a connection
_BODIES_AT_ONCE = 32  # whole ones that may be in memory together: whose they are is known after their last byte


def create_app(
    senders: Mapping[str, Sender],
    *,
    ledger: Ledger | None = None,
    words: Words | None = None,
    events: bool = True,
    moved: Moved | None = refresh_reports,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> Starlette:
    """Make the app that takes the webhooks of these accounts.

    Args:
        senders: The accounts' blocks by path, such as `{"graph/weekly": block}`: the first part names the service, and
            the webhook's address is that path below wherever the app is.
        ledger: The ledger that the broadcasts use; the embedded one by default.
        words: What opts out and in; the built-in lists by default.
        events: Whether each reply becomes an event `prefect-whatsapp.reply.received`.
        moved: Told at most every ten seconds which broadcasts' rows changed; by default it brings their reports among
            Prefect's artifacts up to date. None where there is no Prefect server.
        max_body_bytes: The largest body that is read.

    Returns:
        A Starlette app, for any ASGI server. Where it is mounted in another app, whose lifespan doesn't reach it, it
        opens the ledger with the first webhook.

    Raises:
        InputError: A path names another service than its block's, or a field that receiving needs is empty.

    Example:
        ```python
        import uvicorn
        from prefect_whatsapp.blocks import WahaCredentials
        from prefect_whatsapp.receipts import create_app

        office = WahaCredentials(base_url="http://localhost:3000", webhook_hmac_key="…")
        uvicorn.run(create_app({"waha/office": office}), host="127.0.0.1", port=8088)
        ```
    """
    accounts: dict[str, WebhookDialect] = {}
    for path, sender in senders.items():
        dialect = sender.webhooks()
        service, _, name = path.strip("/").partition("/")
        if service != dialect.name or not name or "/" in name:
            raise InputError(f"{path!r} can't be a receiver's path: write {dialect.name}/NAME for this block")
        accounts[f"{service}/{name}"] = dialect
    receiver = Receiver(accounts.values(), ledger=ledger or Ledger(), words=words, events=events, moved=moved)
    endpoints = _Endpoints(accounts, receiver, max_body_bytes)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        try:
            await receiver.start()
        except LedgerError as failure:  # webhooks get 503 until it is there
            logger.warning("The receiver starts without its ledger: %s", failure)
        try:
            yield
        finally:
            endpoints.log.close()
            await receiver.stop()

    app = Starlette(
        routes=[
            Route("/health", endpoints.health, methods=["GET"]),
            Route("/{service}/{name}", endpoints.webhook, methods=["GET", "HEAD", "POST"]),
            # A secret in base64 may hold slashes.
            Route("/{service}/{name}/{secret:path}", endpoints.webhook, methods=["GET", "HEAD", "POST"]),
        ],
        lifespan=lifespan,
    )
    app.state.receiver = receiver
    return app


class _Endpoints:
    def __init__(self, accounts: Mapping[str, WebhookDialect], receiver: Receiver, max_body_bytes: int) -> None:
        self._accounts, self._receiver, self._max = accounts, receiver, max_body_bytes
        self._held = 0  # bytes of all bodies that are being read or taken
        self.log = BoundedLog(logger)

    async def health(self, _request: Request) -> Response:
        """Whether webhooks would be taken now."""
        try:
            await self._receiver.check()
        except LedgerError:
            return JSONResponse({"status": "the ledger is unavailable"}, status_code=503)
        return JSONResponse({"status": "ok", "accounts": sorted(self._accounts)})

    async def webhook(self, request: Request) -> Response:
        path = f"{request.path_params['service']}/{request.path_params['name']}"
        dialect = self._accounts.get(path)
        if dialect is None or (request.path_params.get("secret") and not dialect.secret_in_path):
            return PlainTextResponse("no such receiver", status_code=404)
        if dialect.secret_in_path and not same_secret(request.path_params.get("secret", ""), dialect.secrets):
            return self._refused(path)
        if request.method == "HEAD":
            return Response()
        if request.method == "GET":
            return self._handshake(request, dialect, path)
        body = bytearray()
        try:
            return await self._read(request, body) or await self._take(request, dialect, path, bytes(body))
        finally:
            self._held -= len(body)

    async def _take(self, request: Request, dialect: WebhookDialect, path: str, body: bytes) -> Response:
        # The raw bytes, before anything parses them.
        if not dialect.secret_in_path and not dialect.verify(request.headers, body):
            return self._refused(path)
        try:
            taken = await self._receiver.take(dialect, json.loads(body))
        except WebhookRefusedError as refused:
            return PlainTextResponse(str(refused), status_code=400)
        except (ValueError, RecursionError):
            return PlainTextResponse("the body is not JSON", status_code=400)
        except LedgerError as failure:
            self.log.warning(f"A webhook to {path} has to be posted again: {failure}")
            return _later("the ledger is unavailable")
        return JSONResponse({"taken": taken})

    def _handshake(self, request: Request, dialect: WebhookDialect, path: str) -> Response:
        if not dialect.has_handshake:
            return PlainTextResponse("webhooks are posted here")
        challenge = dialect.handshake(request.query_params)
        if challenge is None:
            self.log.warning(f"A handshake of {path} was refused: its verify token is not the block's.")
            return PlainTextResponse("the verify token is wrong", status_code=403)
        return PlainTextResponse(challenge)

    async def _read(self, request: Request, body: bytearray) -> Response | None:
        """Read the body as it comes; the refusal, where it can't be read to its end, whatever its header said."""
        told = request.headers.get("content-length", "")
        if told.isdecimal() and int(told) > self._max:
            return PlainTextResponse("the body is too large", status_code=413)
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                async for chunk in request.stream():
                    body += chunk
                    self._held += len(chunk)
                    if len(body) > self._max:
                        return PlainTextResponse("the body is too large", status_code=413)
                    if self._held > _BODIES_AT_ONCE * self._max:
                        return _later("too many bodies at once")
        except TimeoutError:
            return PlainTextResponse("the body took too long", status_code=408, headers={"Connection": "close"})
        except ClientDisconnect:
            return PlainTextResponse("the connection ended early", status_code=400)
        return None

    def _refused(self, path: str) -> Response:
        self.log.warning(f"A webhook to {path} was refused: its signature is missing or wrong.")
        return PlainTextResponse("the signature is missing or wrong", status_code=401)


def _later(why: str) -> Response:
    return PlainTextResponse(f"{why}: post it again", status_code=503, headers={"Retry-After": "5"})
