"""How a ledger keeps numbers and names: as they are, or encrypted; and matched by a keyed hash either way.

Every ledger has a random key of its own for the hashes by which people are matched: a row whose person was forgotten still
says "this person was on the list" to whoever knows the number and the key, and nothing to whoever knows neither. Without
an encryption key it lies in the ledger itself, so that who has the whole ledger can try all numbers against a hash. With
one it is encrypted, as are the columns of type `Sealed`.

Encryption is AES-SIV (RFC 5297): authenticated, and safe without a counter. What is looked up by its value is encrypted
so that equal texts are equal; everything else with a nonce.

Source: https://cryptography.io/en/latest/hazmat/primitives/aead/#cryptography.hazmat.primitives.ciphers.aead.AESSIV
"""

import base64
import binascii
import hmac
import os
from typing import Any

from pydantic import SecretStr
from sqlalchemy.engine import Dialect

from ..models.errors import LedgerError

# The key of whoever names none, as the ledger's address has a variable too.
KEY_VARIABLE = "PREFECT_WHATSAPP_LEDGER_KEY"
_KEY_BYTES = 32
_HASH_BYTES = 16
_MATCHED, _ONCE = "m1.", "n1."  # what an encrypted text begins with: found by its value, or never the same twice
_NONCE_BYTES = 12
_ATTRIBUTE = "prefect_whatsapp_vault"


class Vault:
    """What a ledger's columns are written and read with; `unlock` before any use."""

    def __init__(self) -> None:
        self._hash_key = b""
        self._cipher: Any = None

    @property
    def encrypts(self) -> bool:
        """Whether there is an encryption key."""
        return self._cipher is not None

    @staticmethod
    def is_sealed(hash_key: str) -> bool:
        """Whether a ledger's key of hashes says that the ledger is encrypted."""
        return hash_key.startswith(_MATCHED)

    @staticmethod
    def sealed_key(hash_key: str, encryption_key: SecretStr) -> str:
        """Encrypt the key of a ledger's hashes; the ledger is encrypted from then on."""
        vault = Vault()
        vault._cipher = _cipher(encryption_key)
        return vault.seal(hash_key, matched=True)

    def unlock(self, hash_key: str, encryption_key: SecretStr) -> None:
        """Take the ledger's keys.

        Args:
            hash_key: As the ledger keeps it: encrypted where the ledger is.
            encryption_key: 32 bytes in base64; empty for a ledger that isn't encrypted.

        Raises:
            LedgerError: The keys don't belong together.
        """
        self._cipher = _cipher(encryption_key) if encryption_key.get_secret_value().strip() else None
        if self.encrypts != self.is_sealed(hash_key):
            raise LedgerError(
                f"is encrypted: give the Ledger block its encryption_key, or set {KEY_VARIABLE}"
                if not self.encrypts
                else "is not encrypted and stays so: give the encryption_key to a new ledger, or leave it empty for this one"
            )
        try:
            self._hash_key = base64.b64decode(self.open(hash_key))
        except LedgerError:
            raise LedgerError("is encrypted with another key than the encryption_key that was given") from None

    def hash(self, text: str) -> str:
        """Give the keyed hash by which a text is matched: 22 characters."""
        assert self._hash_key, "the ledger is not open"
        digest = hmac.digest(self._hash_key, text.encode("utf-8", "replace"), "sha256")[:_HASH_BYTES]
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def seal(self, text: str, *, matched: bool) -> str:
        """Encrypt a text for a column, where there is a key; an empty one stays empty.

        Args:
            text: What to keep.
            matched: Whether it is looked up by its value: then equal texts are equal.
        """
        if self._cipher is None or not text:
            return text
        nonce = b"" if matched else os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(text.encode(), [nonce] if nonce else None)
        return (_MATCHED if matched else _ONCE) + base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, text: str) -> str:
        """Decrypt what `seal` gave.

        Raises:
            LedgerError: It was changed, or written with another key or with none.
        """
        if self._cipher is None or not text:
            return text
        from cryptography.exceptions import InvalidTag

        try:
            sealed = base64.urlsafe_b64decode(text[len(_MATCHED) :] + "==")
            start = 0 if text.startswith(_MATCHED) else _NONCE_BYTES
            opened: bytes = self._cipher.decrypt(sealed[start:], [sealed[:start]] if start else None)
        except (InvalidTag, ValueError):
            raise LedgerError(
                "a value of the ledger can't be decrypted: it was changed, or written with another key or without one"
            ) from None
        return opened.decode()


def new_hash_key() -> str:
    """Make the key of a new ledger's hashes."""
    return base64.b64encode(os.urandom(_KEY_BYTES)).decode()


def check_key(encryption_key: SecretStr) -> None:
    """Refuse what is no key.

    Raises:
        LedgerError: It isn't 32 bytes in base64.

    Example:
        >>> check_key(SecretStr("correct horse battery staple"))
        Traceback (most recent call last):
        prefect_whatsapp.models.errors.LedgerError: the ledger's encryption_key must be 32 random bytes in base64, as ...
    """
    _cipher(encryption_key)


def give(dialect: Dialect, vault: Vault) -> None:
    """Have the columns of an engine be written and read with a vault."""
    setattr(dialect, _ATTRIBUTE, vault)


def vault_of(dialect: Dialect) -> Vault:
    """Give the vault of an engine."""
    vault: Vault = getattr(dialect, _ATTRIBUTE)
    return vault


def _cipher(encryption_key: SecretStr) -> Any:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    if (key := _key_bytes(encryption_key)) is None:
        raise LedgerError(
            "the ledger's encryption_key must be 32 random bytes in base64, as `openssl rand -base64 32` prints"
        )
    return AESSIV(HKDF(hashes.SHA256(), length=64, salt=None, info=b"prefect-whatsapp ledger 1").derive(key))


def _key_bytes(encryption_key: SecretStr) -> bytes | None:
    """The key; None for what is none. Raises nothing, as a traceback may show what stands here."""
    text = encryption_key.get_secret_value().strip().replace("-", "+").replace("_", "/")
    try:
        key = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
    return key if len(key) == _KEY_BYTES else None
