"""The block that says where the ledger is."""

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, HttpUrl, SecretStr

from .reference import Referable
from .sender import DOCUMENTATION_URL, LEDGER_LOGO_URL

if TYPE_CHECKING:  # the database drivers take a third of a second to import; a form needs none
    from ..ledger import LedgerStore


class Ledger(Referable):
    """Where the send history is stored: who was to get which message, and what became of it.

    Attributes:
        url: Empty for the embedded SQLite under `PREFECT_HOME`; `postgresql+asyncpg://user:password@host/database` for
            runs on many machines.
        encryption_key: Empty for a ledger that isn't encrypted; 32 random bytes in base64 for one that is.

    Example:
        Keep the ledger in PostgreSQL:
        ```python
        from prefect_whatsapp.blocks import Ledger

        ledger = Ledger.load("BLOCK_NAME")
        ```
    """

    _block_type_name: ClassVar[str | None] = "WhatsApp Ledger"
    _block_type_slug: ClassVar[str | None] = "whatsapp-ledger"
    # Any field will do, see `Referable`; the address may be empty, this one is filled in.
    REQUIRED: ClassVar[tuple[str, ...]] = ("patience_seconds",)
    _logo_url: ClassVar[HttpUrl | None] = LEDGER_LOGO_URL
    _documentation_url: ClassVar[HttpUrl | None] = DOCUMENTATION_URL

    url: SecretStr = Field(
        default=SecretStr(""),
        title="URL",
        description="Leave empty for a SQLite file under PREFECT_HOME. For runs on several machines: "
        "postgresql+asyncpg://user:password@host/database.",
    )
    encryption_key: SecretStr = Field(
        default=SecretStr(""),
        title="Encryption key",
        description="Leave empty to store numbers as they are. To encrypt numbers, names and message ids in a new ledger: 32 "
        "random bytes in base64, as `openssl rand -base64 32` prints. Without this key the ledger can't be read again.",
    )
    patience_seconds: float = Field(
        default=60.0,
        ge=0,
        title="Database timeout (seconds)",
        description="Maximum time to wait for a database that is down or full before the broadcast stops.",
    )

    def open(self) -> "AbstractAsyncContextManager[LedgerStore]":
        """Open the ledger for one event loop.

        Returns:
            An async context manager that gives a `ledger.LedgerStore`.

        Raises:
            LedgerError: The database can't be reached, was written by a newer version, or is encrypted with another key.
        """
        from ..ledger import LedgerStore

        return LedgerStore.open(
            self.url,
            patience_seconds=self.patience_seconds,
            encryption_key=self.encryption_key,
        )
