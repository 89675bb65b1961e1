"""The sandbox as an ASGI app: the services under their prefixes, and `/_sandbox` to see the truth and tell faults.

| address | what it is |
|---|---|
| `/graph/v26.0/…`, also `/v26.0/…` | Graph; `base_url` is `http://host:port/graph` |
| `/chat-api/instance{ID}/…` | Chat-API |
| `/wawp/v2/…` | Wawp |
| `/waha/api/…` | WAHA |
| `/{name}/…` | what an installed package adds |
| `GET /_sandbox/truth` | calls, uploads, accepted sends per recipient; `?since=` seconds, `?brief=1` without the maps |
| `DELETE /_sandbox/truth` | forget all of it |
| `GET /_sandbox/messages` | each accepted message whole; `?recipient=`, `?since=` |
| `GET`, `POST`, `DELETE /_sandbox/faults` | list, tell (one `Fault` or a list), stop all |
| `GET`, `POST`, `DELETE /_sandbox/webhooks` | where webhooks go (one `Webhook` or a list), with counts; post none |
| `GET /_sandbox/webhooks/taken` | what receivers took; `?since=` seconds since the epoch |
| `GET /_sandbox/webhooks/reached` | how many messages are delivered, read, played or failed by what they took |
| `POST /_sandbox/webhooks/flush` | post at once whatever waits |
| `GET`, `POST`, `DELETE /_sandbox/phones` | what phones do (one `Phone` or a list); switch all off |
| `POST /_sandbox/writings` | let people write unasked (one `Writing` or a list) |

Dispatch is by hand, not by Starlette's router: the sandbox is the other side of benchmarks.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from ..providers.registry import providers
from .faults import Fault, Faults
from .links import Links
from .phones import Phone, Writing
from .service import Answer, Call, Room, Service
from .settings import SandboxSettings
from .truth import Truth
from .webhooks import Webhook, Webhooks

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
HangUp = Callable[[Scope, str], bool]

MAX_BODY = 40 * 1024 * 1024
_FAULTS: TypeAdapter[list[Fault]] = TypeAdapter(list[Fault])
_WEBHOOKS: TypeAdapter[list[Webhook]] = TypeAdapter(list[Webhook])
_PHONES: TypeAdapter[list[Phone]] = TypeAdapter(list[Phone])
_WRITINGS: TypeAdapter[list[Writing]] = TypeAdapter(list[Writing])
_GRAPH_ROOT = re.compile(r"v\d{1,2}\.0")


class Sandbox:
    """The ASGI app.

    Args:
        settings: Who the accounts are.
        faults: Faults in force from the start.

    Attributes:
        truth: What happened.
        faults: What goes wrong.
        services: By name.
        webhooks: Where webhooks go, and what the phones do.
        hang_up: Closes the connection that a scope came by, if the server can; set by `sandbox.server`.
    """

    def __init__(self, settings: SandboxSettings | None = None, faults: Iterable[Fault] = ()) -> None:
        self.settings = settings or SandboxSettings()
        self.truth = Truth(self.settings.keep_messages)
        self.faults = Faults(faults)
        self.hang_up: HangUp | None = None
        self.webhooks = Webhooks(self.settings)
        links = Links(fetch=self.settings.fetch_links)
        room = Room(self.settings, self.truth, self.faults, links, self.webhooks)
        self.services: dict[str, Service] = {
            name: provider.load_simulator()(room) for name, provider in providers().items() if provider.simulator
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            await self.close()
            return
        if scope["type"] != "http":
            return
        body = await _body(receive)
        if body is None:
            return  # the sender hung up before the request was whole: nothing was asked
        answer = await self._answer(scope, body)
        if answer.drop:
            await self._drop(scope, receive, send, answer)
            return
        content = answer.content()
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", str(len(content)).encode()),
            *((name.lower().encode(), value.encode()) for name, value in answer.headers.items()),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def close(self) -> None:
        """Post no more webhooks."""
        await self.webhooks.clear()

    def _is_asked_by_another_site(self, scope: Scope) -> bool:
        """Whether a browser asks for a page that isn't ours: by a name that only points here, or from another origin."""
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        named = urlsplit(f"//{host}").hostname if host else None
        return (named is not None and named not in self.settings.hosts) or b"origin" in headers

    async def _answer(self, scope: Scope, body: bytes) -> Answer:
        if self._is_asked_by_another_site(scope):
            return Answer({"error": "the sandbox answers this machine's programs alone"}, 421)
        path: str = scope["path"]
        first, _, rest = path[1:].partition("/")
        service = self.services.get(first)
        if service is None:
            if not _GRAPH_ROOT.fullmatch(first):
                return await self._own(scope, body)
            service, rest, first = self.services["graph"], path[1:], ""
        if len(body) > MAX_BODY:
            return Answer(b"", 413)
        headers = dict(scope["headers"])
        base = f"{scope.get('scheme', 'http')}://{headers.get(b'host', b'').decode('latin-1')}"
        call = Call(
            method=scope["method"],
            path="/" + rest,
            query_string=scope["query_string"],
            headers=headers,
            body=body,
            base=f"{base}/{first}" if first else base,
        )
        answer = await service.answer(call)
        if answer.reason:
            self.truth.refused(service.name, answer.reason, throttled=answer.throttled)
        return answer

    async def _own(self, scope: Scope, body: bytes) -> Answer:
        path, method = scope["path"].rstrip("/"), scope["method"]
        query = Call(method, path, scope["query_string"]).query
        if method == "POST" and not _is_json(scope):  # what a form of any page can post is text/plain
            return Answer({"error": "send application/json"}, 415)
        try:
            told = json.loads(body or b"null") if method == "POST" else None
            return await self._control(path, method, query, told if isinstance(told, list) else [told])
        except ValidationError as wrong:
            return Answer({"error": wrong.errors(include_url=False, include_context=False)}, 422)
        except ValueError as wrong:
            return Answer({"error": str(wrong)}, 400)

    async def _control(self, path: str, method: str, query: Mapping[str, str], told: list[Any]) -> Answer:
        since = float(query.get("since", 0))
        match (path, method):
            case ("/_sandbox/truth", "GET"):
                return Answer(self.truth.report(since=since, brief=bool(query.get("brief"))))
            case ("/_sandbox/truth", "DELETE"):
                self.truth.reset()
                self.webhooks.forget()
                return Answer({"ok": True})
            case ("/_sandbox/messages", "GET"):
                return Answer(self.truth.messages(recipient=query.get("recipient", ""), since=since))
            case ("/_sandbox/faults", "GET"):
                return Answer(self.faults.report())
            case ("/_sandbox/faults", "POST"):
                self.faults.add(*_FAULTS.validate_python(told))
                return Answer(self.faults.report())
            case ("/_sandbox/faults", "DELETE"):
                self.faults.clear()
                return Answer([])
            case ("", "GET"):
                return Answer({"sandbox": "prefect-whatsapp", "services": [f"/{name}" for name in self.services]})
        return await self._control_phones(path, method, since, told)

    async def _control_phones(self, path: str, method: str, since: float, told: list[Any]) -> Answer:
        webhooks = self.webhooks
        match (path, method):
            case ("/_sandbox/webhooks", "GET"):
                return Answer(webhooks.report())
            case ("/_sandbox/webhooks", "POST"):
                await webhooks.add(*_WEBHOOKS.validate_python(told))
                return Answer(webhooks.report())
            case ("/_sandbox/webhooks", "DELETE"):
                await webhooks.clear()
                return Answer([])
            case ("/_sandbox/webhooks/taken", "GET"):
                return Answer(webhooks.taken(since=since))
            case ("/_sandbox/webhooks/reached", "GET"):
                return Answer(webhooks.reached())
            case ("/_sandbox/webhooks/flush", "POST"):
                webhooks.flush()
                return Answer(webhooks.report())
            case ("/_sandbox/phones", "GET"):
                return Answer(webhooks.phones.report())
            case ("/_sandbox/phones", "POST"):
                webhooks.phones.add(*_PHONES.validate_python(told))
                return Answer(webhooks.phones.report())
            case ("/_sandbox/phones", "DELETE"):
                webhooks.phones.clear()
                return Answer([])
            case ("/_sandbox/writings", "POST"):
                await webhooks.write(*_WRITINGS.validate_python(told))
                return Answer({"ok": True})
        return Answer({"error": "no such address in the sandbox"}, 404)

    async def _drop(self, scope: Scope, receive: Receive, send: Send, answer: Answer) -> None:
        content = answer.content()
        if answer.drop == "partial":
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": content[: len(content) // 2], "more_body": True})
        if self.hang_up is None or not self.hang_up(scope, answer.drop):
            raise ConnectionResetError("the sandbox dropped the connection")
        await receive()  # until the server has seen the disconnection: it then misses no answer


def create_app(settings: SandboxSettings | None = None, faults: Iterable[Fault] = ()) -> Sandbox:
    """Make the ASGI app; any ASGI server runs it, and `sandbox.server` also lets it drop connections.

    Args:
        settings: Who the accounts are.
        faults: Faults in force from the start.

    Example:
        >>> create_app().truth.report(brief=True)["accepted_total"]
        0
    """
    return Sandbox(settings, faults)


def _is_json(scope: Scope) -> bool:
    kind: str = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1")
    return kind.partition(";")[0].strip().lower() == "application/json"


async def _body(receive: Receive) -> bytes | None:
    message = await receive()
    if message["type"] == "http.disconnect":
        return None
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts, size = [body], len(body)
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        size += len(message.get("body", b""))
        if size <= MAX_BODY + 1:
            parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts) if size <= MAX_BODY else bytes(MAX_BODY + 1)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
