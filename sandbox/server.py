"""Run the sandbox: in this process until stopped, or beside it as long as a `with` lasts."""

import asyncio
import gc
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx
from pydantic import BaseModel

from .faults import Fault
from .phones import Phone, Writing
from .settings import SandboxSettings
from .webhooks import Webhook, services_that_post, writer_of

if TYPE_CHECKING:
    from .app import Sandbox, Scope

START_SECONDS = 30.0
STOP_SECONDS = 5.0


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    settings: SandboxSettings | None = None,
    faults: Iterable[Fault] = (),
    announce: Callable[[str], None] = print,
    while_open: int | None = None,
) -> None:
    """Run the sandbox until it is interrupted.

    Args:
        host: Address to listen on.
        port: Port; 0 takes a free one.
        settings: Who the accounts are.
        faults: Faults in force from the start.
        announce: Called with the URL once it answers.
        while_open: File descriptor of a pipe; the sandbox ends when the other end is closed.
    """
    from .app import create_app

    app = create_app(settings, faults)
    # A collection among the imports holds all answers for 37 ms, by which the clock of the truth is late.
    gc.freeze()
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(app, host, port, announce, while_open))


async def _serve(app: "Sandbox", host: str, port: int, announce: Callable[[str], None], while_open: int | None) -> None:
    with _listening(host, port) as listener:
        server = _server(app)
        url = f"http://{host}:{listener.getsockname()[1]}"
        if while_open is not None:
            threading.Thread(target=_end_with, args=(server, while_open), daemon=True).start()
        serving = asyncio.ensure_future(server.serve(sockets=[listener]))
        if await _started(server, serving):
            announce(url)
        await serving
        await app.close()


def _server(app: "Sandbox") -> Any:
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,  # the logging of the process that it runs in stays as it is
        log_level="critical",
        access_log=False,
        lifespan="off",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)

    def hang_up(scope: "Scope", how: str) -> bool:
        for connection in list(server.server_state.connections):
            if getattr(connection, "client", None) == scope["client"]:
                transport = connection.transport
                if how == "reset":
                    # Linger of zero seconds: the kernel sends RST, as a crashed or overloaded peer does.
                    transport.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                    transport.abort()
                else:
                    transport.close()
                return True
        return False

    app.hang_up = hang_up
    return server


async def _started(server: Any, serving: "asyncio.Future[None]") -> bool:
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    return bool(server.started)


def _end_with(server: Any, pipe: int) -> None:
    while os.read(pipe, 1024):
        pass
    server.should_exit = True


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named; without it each answer waits 40 ms for an ACK.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
        yield listener


class _Control:
    """What one tells a sandbox, and learns of it."""

    url: str
    _http: httpx.Client | None = None

    @property
    def graph_url(self) -> str:
        """`base_url` of `GraphCredentials`."""
        return f"{self.url}/graph"

    @property
    def chat_api_url(self) -> str:
        """`base_url` of `ChatApiCredentials`."""
        return f"{self.url}/chat-api"

    @property
    def wawp_url(self) -> str:
        """`base_url` of `WawpCredentials`."""
        return f"{self.url}/wawp"

    @property
    def waha_url(self) -> str:
        """`base_url` of `WahaCredentials`."""
        return f"{self.url}/waha"

    def truth(self, *, since: float = 0.0, brief: bool = False) -> dict[str, Any]:
        """What happened; see `Truth.report`."""
        report: dict[str, Any] = self._ask("GET", f"truth?since={since}" + ("&brief=1" if brief else ""))
        return report

    def messages(self, *, recipient: str = "", since: float = 0.0) -> list[dict[str, Any]]:
        """The accepted messages in order; see `Message`."""
        listed: list[dict[str, Any]] = self._ask("GET", f"messages?recipient={recipient}&since={since}")
        return listed

    def faults(self, *faults: Fault, **fault: Any) -> None:
        """Let faults happen from now on: `faults(kind="throttle", per_second=40)`, or `Fault` objects.

        Raises:
            pydantic.ValidationError: No such fault.
        """
        told = [*faults, *([Fault(**fault)] if fault else [])]
        self._tell("faults", told)

    def faults_met(self) -> list[dict[str, Any]]:
        """The faults in force, each with how many calls it `met` and `hit`."""
        listed: list[dict[str, Any]] = self._ask("GET", "faults")
        return listed

    def behave(self) -> None:
        """Stop all faults."""
        self._ask("DELETE", "faults")

    def webhooks(self, *webhooks: Webhook, **webhook: Any) -> None:
        """Post webhooks from now on: `webhooks(service="graph", url="http://127.0.0.1:8088/graph/weekly", twice=0.1)`.

        Raises:
            pydantic.ValidationError: Not on this machine, or no such field.
            ValueError: The receiver doesn't answer Graph's handshake.
        """
        self._tell("webhooks", [*webhooks, *([Webhook(**webhook)] if webhook else [])])

    def receive_at(self, receiver: str, *, name: str = "sandbox", only: str = "", **webhook: Any) -> None:
        """Post the webhooks of all services to a receiver of the sandbox's blocks, each saved under this name.

        Args:
            receiver: Where it listens, such as `http://127.0.0.1:8088`.
            name: The blocks' name: `prefect-whatsapp receive graph/sandbox chat-api/sandbox …`.
            only: One service, in place of all.
            webhook: More fields of each `Webhook`.
        """
        secret = SandboxSettings().webhook_secret
        for service in [only] if only else services_that_post():
            url = f"{receiver}/{service}/{name}" + ("" if writer_of(service).signs else f"/{secret}")
            self.webhooks(service=service, url=url, **webhook)

    def phones(self, *phones: Phone, **phone: Any) -> None:
        """Let phones behave so from now on: `phones(does="failed", code=131026, fraction=0.1)`; the first that fits counts.

        Raises:
            pydantic.ValidationError: No such behaviour.
        """
        self._tell("phones", [*phones, *([Phone(**phone)] if phone else [])])

    def switch_off_phones(self) -> None:
        """Forget what phones were told to do."""
        self._ask("DELETE", "phones")

    def write(self, **writing: Any) -> None:
        """Let a person write unasked: `write(service="waha", sender="+16505550101", text="STOP")`."""
        self._tell("writings", [Writing(**writing)])

    def webhooks_met(self) -> list[dict[str, Any]]:
        """Where webhooks go, each with its counts: `told`, `lost`, `posted`, `taken`, `refused`, `waiting`."""
        listed: list[dict[str, Any]] = self._ask("GET", "webhooks")
        return listed

    def webhooks_taken(self, *, since: float = 0.0) -> list[dict[str, Any]]:
        """What receivers took, in that order; see `sandbox.webhooks.Taken`."""
        listed: list[dict[str, Any]] = self._ask("GET", f"webhooks/taken?since={since}")
        return listed

    def reached(self) -> dict[str, int]:
        """How many messages are `delivered`, `read`, `played` (each at least so far) or `failed`, as receivers know."""
        counts: dict[str, int] = self._ask("GET", "webhooks/reached")
        return counts

    def webhooks_done(self, seconds: float = 30.0) -> bool:
        """Wait until nothing waits to be posted; False where something still does after so long."""
        until = time.monotonic() + seconds
        while any(target["waiting"] for target in self.webhooks_met()):
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True

    def flush_webhooks(self) -> None:
        """Post at once whatever waits: the day that a late one waits for is over."""
        self._ask("POST", "webhooks/flush", [])

    def _tell(self, what: str, told: Sequence[BaseModel]) -> None:
        answer = self._send("POST", what, [each.model_dump(mode="json", exclude_unset=True) for each in told])
        if answer.status_code == 400:
            raise ValueError(answer.json()["error"])
        answer.raise_for_status()

    def reset(self) -> None:
        """Forget the truth, stop all faults and webhooks and switch the phones off; media ids stay."""
        self.behave()
        self._ask("DELETE", "webhooks")
        self.switch_off_phones()
        self._ask("DELETE", "truth")

    def _ask(self, method: str, what: str, body: Any = None) -> Any:
        return self._send(method, what, body).raise_for_status().json()

    def _send(self, method: str, what: str, body: Any = None) -> httpx.Response:
        if self._http is None:
            self._http = httpx.Client(trust_env=False, timeout=30)
        return self._http.request(method, f"{self.url}/_sandbox/{what}", json=body)

    def _forget(self) -> None:
        http, self._http = self._http, None
        if http is not None:
            http.close()


class RunningSandbox(_Control):
    """A sandbox in a process of its own, for as long as the `with` lasts.

    It ends with this process too, however this ends.

    Args:
        settings: Who the accounts are.
        faults: Faults in force from the start.
        port: Port; 0 takes a free one.

    Attributes:
        url: Where it answers; `graph_url`, `chat_api_url`, `wawp_url` and `waha_url` are the services'.
        pid: Its process.

    Example:
        >>> with RunningSandbox() as sandbox:  # doctest: +SKIP
        ...     sandbox.faults(kind="latency", seconds=0.05)
        ...     print(sandbox.graph_url, sandbox.truth()["accepted_total"])
    """

    def __init__(self, settings: SandboxSettings | None = None, *, faults: Iterable[Fault] = (), port: int = 0) -> None:
        self._settings, self._faults, self._port = settings or SandboxSettings(), list(faults), port
        self._process: subprocess.Popen[str] | None = None
        self.url, self.pid = "", 0

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "prefect_whatsapp.sandbox", "--port", str(self._port), "--while-open"]
        command += ["--settings", self._settings.model_dump_json()]
        for fault in self._faults:
            command += ["--fault", fault.model_dump_json(exclude_unset=True)]
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our own module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid
        line: list[str] = []
        assert self._process.stdout is not None
        reading = threading.Thread(target=lambda out: line.append(out.readline()), args=(self._process.stdout,))
        reading.start()
        reading.join(START_SECONDS)
        self.url = line[0].strip() if line else ""
        if not self.url:
            self._stop()
            raise RuntimeError("the sandbox did not start; is prefect-whatsapp[sandbox] installed?")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._forget()
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


class ThreadedSandbox(_Control):
    """A sandbox in a thread of this process: starts in milliseconds, and its objects are at hand.

    Args:
        settings: Who the accounts are.
        faults: Faults in force from the start.

    Attributes:
        app: The ASGI app, with `truth` and `faults`.
        url: Where it answers.
    """

    def __init__(self, settings: SandboxSettings | None = None, *, faults: Iterable[Fault] = ()) -> None:
        from .app import create_app

        self.app = create_app(settings, faults)
        self.url = ""
        self._server = _server(self.app)
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        started = threading.Event()

        async def run() -> None:
            with _listening("127.0.0.1", 0) as listener:
                self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
                serving = asyncio.ensure_future(self._server.serve(sockets=[listener]))
                await _started(self._server, serving)
                started.set()
                await serving
                await self.app.close()

        self._thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True, name="whatsapp-sandbox")
        self._thread.start()
        if not started.wait(START_SECONDS):
            raise RuntimeError("the sandbox did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget()
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)
