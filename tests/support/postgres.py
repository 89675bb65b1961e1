"""A throwaway PostgreSQL on a free loopback port, from whatever binaries the machine has."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest
from prefect_whatsapp.sandbox.processes import free_port

NOT_FOUND = "PostgreSQL's own binaries (initdb, postgres) are not on this machine"


def find_binaries() -> Path | None:
    """The folder of the newest `initdb` and `postgres`; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name.partition(".")[0]))
    on_path = shutil.which("postgres")
    folders = [*reversed(found), *([Path(on_path).resolve().parent] if on_path else [])]
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


def unprivileged() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root: its own user, or nobody."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("running as root, and there is neither a postgres nor a nobody user")


@dataclass
class Postgres:
    """One server with a data folder of its own; `url` is for the ledger.

    Args:
        settings: More settings, `name=value` each. `fsync=off` is quicker and as good where only processes are killed.
    """

    settings: tuple[str, ...] = ()
    password: str = "loopback-only"
    port: int = 0
    folder: Path = field(init=False)
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        binaries = find_binaries()
        if binaries is None:
            raise RuntimeError(NOT_FOUND)
        self._binaries, self._user = binaries, unprivileged()
        self.folder = Path(tempfile.mkdtemp(prefix="pw-postgres-"))
        secret = self.folder / "password"
        secret.write_text(self.password)
        if self._user:
            for path in (self.folder, secret):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
        command = [binaries / "initdb", "-D", self.folder / "data", "-U", "pack", "-A", "scram-sha-256", "-E", "UTF8"]
        subprocess.run(
            [*map(str, command), "--no-locale", "--no-sync", f"--pwfile={secret}"],
            check=True,
            capture_output=True,
            preexec_fn=self._drop_rights,
            cwd="/",
        )
        self.port = free_port()

    def __enter__(self) -> Self:
        """Start it."""
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_: object) -> None:
        """Remove it with its data."""
        self.remove()

    @property
    def _drop_rights(self) -> Callable[[], None] | None:
        user = self._user
        if user is None:
            return None

        def drop() -> None:
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)

        return drop

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The id of its first process, whose children the others are."""
        assert self._process
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+asyncpg://pack:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> Self:
        options = ["listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}", *self.settings]
        command = [str(self._binaries / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)]
        log = (self.folder / "log").open("ab")
        if self._user:
            os.chown(self.folder / "log", self._user.pw_uid, self._user.pw_gid)
        with log:
            self._process = subprocess.Popen(
                [*command, *(part for option in options for part in ("-c", option))],
                stdout=log,
                stderr=log,
                preexec_fn=self._drop_rights,
                cwd="/",
                start_new_session=True,
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if not self.running:
                break
            if self._answers():
                return self
            time.sleep(0.05)
        raise RuntimeError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-500:]}")

    def _answers(self) -> bool:
        ask = [str(self._binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ask, check=False).returncode == 0

    def stop(self) -> None:
        """Stop at once, as an operator's restart does: connections are cut, what was committed is there again."""
        if self._process is None:
            return
        if self.running:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(20)
        self._process = None

    def ask(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), "-h", "127.0.0.1", "-p", str(self.port), "-U", "pack", *arguments]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PGPASSWORD": self.password})

    def create_database(self, name: str) -> str:
        """Make an empty database; its URL."""
        self.ask("createdb", name)
        return self.url(name)

    def empty_database(self) -> str:
        """Empty the one database there is, in a hundredth of the time and space of another one; its URL."""
        self.ask("psql", "-qc", "DROP SCHEMA public CASCADE; CREATE SCHEMA public", "postgres")
        return self.url()

    def remove(self) -> None:
        """Stop without a word to the disk, as its data goes too."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)


def postgres_or_skip(*settings: str) -> Postgres:
    """A server for a fixture, to be entered; the test is skipped where there are no binaries."""
    if find_binaries() is None:
        pytest.skip(NOT_FOUND)
    return Postgres(settings=settings)
