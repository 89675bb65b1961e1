"""A throwaway PgBouncer in transaction mode before a throwaway PostgreSQL."""

import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from postgres import Postgres, unprivileged
from prefect_whatsapp.sandbox.processes import free_port

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
NO_PGBOUNCER = "pgbouncer is not on this machine"


@dataclass
class PgBouncer:
    """One pooler; `url` is for the ledger.

    Args:
        postgres: The server behind it.
        folder: Where its settings and log are.
        mode: `transaction` or `session`.
        connections: To the server, at most: fewer than the clients, so that transactions change connections.
    """

    postgres: Postgres
    folder: Path
    mode: str = "transaction"
    connections: int = 4
    port: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> "PgBouncer":
        assert PGBOUNCER is not None
        self.port = free_port()
        password = self.postgres.password
        (self.folder / "users.txt").write_text(f'"pack" "{password}"\n')
        (self.folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={self.postgres.port}\n[pgbouncer]\nlisten_addr=127.0.0.1\n"
            f"listen_port={self.port}\nunix_socket_dir=\nauth_type=plain\nauth_file={self.folder / 'users.txt'}\n"
            f"pool_mode={self.mode}\ndefault_pool_size={self.connections}\nmax_client_conn=200\n"
        )
        user = unprivileged()
        if user:
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, user.pw_uid, user.pw_gid)
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [PGBOUNCER, "-q", str(self.folder / "pgbouncer.ini")],
                stdout=log,
                stderr=log,
                user=user.pw_uid if user else None,
                group=user.pw_gid if user else None,
                cwd="/",
            )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.05)
        raise RuntimeError(f"PgBouncer did not start: {(self.folder / 'log').read_text()[-500:]}")

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+asyncpg://pack:{self.postgres.password}@127.0.0.1:{self.port}/{database}"

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None
