"""Which addresses of a list were seen before, in memory that does not grow with the list."""

import hashlib
import sqlite3
from types import TracebackType
from typing import Self

IN_MEMORY = 8_192
_CACHE_KIB = 2_048


class Repeats:
    """Remembers each account of a list; a context manager.

    The first some thousands are kept in memory, the rest in a temporary file that is gone with the process.

    Example:
        >>> with Repeats() as repeats:
        ...     [repeats.seen(key) for key in ("+16505550100", "+16505550101", "+16505550100")]
        [False, False, True]
    """

    def __init__(self) -> None:
        self._few: set[int] = set()
        self._file: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def seen(self, account_key: str) -> bool:
        """Whether this account was there before; from now on it was."""
        key = _number(account_key)
        if key in self._few:
            return True
        if len(self._few) < IN_MEMORY:
            self._few.add(key)
            return False
        if self._file is None:
            self._file = _temporary_file()
        return self._file.execute("INSERT OR IGNORE INTO seen VALUES (?)", (key,)).rowcount == 0


def _temporary_file() -> sqlite3.Connection:
    # One thread after the other reads the list, never two at a time.
    file = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    for statement in (
        "PRAGMA journal_mode=OFF",
        "PRAGMA synchronous=OFF",
        f"PRAGMA cache_size=-{_CACHE_KIB}",
        "CREATE TABLE seen (key INTEGER PRIMARY KEY)",
        "BEGIN",
    ):
        file.execute(statement)
    return file


def _number(account_key: str) -> int:
    """Eight bytes for an account, whatever the address's length.

    A number is its own key. Other addresses are hashed to 63 bits (and made negative, so never a number's key): among
    a million of them two different ones meet with a chance of 5 in 100 million, and the later would be left out.
    """
    if account_key.startswith("+"):
        return int(account_key)
    return -1 - (int.from_bytes(hashlib.blake2b(account_key.encode(), digest_size=8).digest()) >> 1)
