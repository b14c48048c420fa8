"""Meter keys at rest: wrapped under a key-encryption key, never stored or shown in clear.

AES key wrap as RFC 3394 for keys (16, 24 or 32 octets) and its padded form, RFC 5649, for secrets
of other lengths such as LLS passwords; both detect a wrong key-encryption key or a changed
octet. The key-encryption key comes from the configuration (a variable or a file, where a key
management system may put it) or, for the embedded demo only, from a file made in the state folder.
"""

from __future__ import annotations

import hashlib
import secrets
import stat
from pathlib import Path

from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap,
    aes_key_wrap_with_padding,
)

from headend.configuration import prepare_state_dir
from headend.domain.errors import ConfigurationError, InvariantViolated
from headend.store.embedded_state import write_secret

KEK_OCTETS = 32
KEY_OCTETS = (16, 24, 32)
KEK_FILE = "key-encryption-key"
LONGEST_SECRET_OCTETS = 255


class KeyVault:
    """Wraps and unwraps meter keys. Holds the key-encryption key; ``repr`` shows a fingerprint."""

    __slots__ = ("__kek", "fingerprint")

    def __init__(self, key_encryption_key: bytes) -> None:
        if len(key_encryption_key) != KEK_OCTETS:
            raise ConfigurationError(
                f"the key-encryption key must have {KEK_OCTETS} octets, not"
                f" {len(key_encryption_key)}: make one with openssl rand -hex {KEK_OCTETS}"
            )
        self.__kek = key_encryption_key
        # Tells two vaults apart in messages; one way, so it gives nothing of the key away.
        self.fingerprint = hashlib.sha256(b"ami-headend kek" + key_encryption_key).hexdigest()[:8]

    def __repr__(self) -> str:
        return f"KeyVault(fingerprint={self.fingerprint})"

    def __reduce__(self) -> str:
        raise TypeError("a KeyVault cannot be pickled: it holds the key-encryption key")

    def wrap(self, key: bytes) -> bytes:
        """Wrap one AES key; the result is 8 octets longer. Equal keys give equal results."""
        if len(key) not in KEY_OCTETS:
            raise InvariantViolated(f"a meter key has 16, 24 or 32 octets, not {len(key)}")
        return aes_key_wrap(self.__kek, key)

    def unwrap(self, wrapped: bytes) -> bytes:
        """Return the key. Raises `ConfigurationError` when this vault did not wrap it."""
        try:
            return aes_key_unwrap(self.__kek, wrapped)
        except InvalidUnwrap as error:
            raise self._foreign() from error

    def wrap_secret(self, secret: bytes) -> bytes:
        """Wrap a secret of 1 to 255 octets that is not an AES key, such as an LLS password."""
        if not 1 <= len(secret) <= LONGEST_SECRET_OCTETS:
            raise InvariantViolated(
                f"a secret has 1 to {LONGEST_SECRET_OCTETS} octets, not {len(secret)}"
            )
        return aes_key_wrap_with_padding(self.__kek, secret)

    def unwrap_secret(self, wrapped: bytes) -> bytes:
        """Return the secret. Raises `ConfigurationError` when this vault did not wrap it."""
        try:
            return aes_key_unwrap_with_padding(self.__kek, wrapped)
        except InvalidUnwrap as error:
            raise self._foreign() from error

    def _foreign(self) -> ConfigurationError:
        return ConfigurationError(
            "a stored meter key was wrapped under another key-encryption key than the one"
            f" configured ({self.fingerprint}): configure that one"
            " (HEADEND_KEY_ENCRYPTION_KEY_FILE), or import the meter's keys again"
        )


def open_vault(*, key_text: str | None = None, key_file: Path | None = None) -> KeyVault:
    """Open the vault of a deployment that names its key-encryption key, as 64 hex digits.

    Raises `ConfigurationError` when neither is given, or it is unreadable or malformed.
    """
    if key_text is not None:
        return KeyVault(_parse(key_text, "HEADEND_KEY_ENCRYPTION_KEY"))
    if key_file is None:
        raise ConfigurationError(
            "meter keys cannot be stored without a key-encryption key: set"
            " HEADEND_KEY_ENCRYPTION_KEY_FILE to a file made with openssl rand -hex 32"
        )
    return KeyVault(_read(key_file))


def open_demo_vault(state_dir: Path) -> KeyVault:
    """Open the vault whose key lies in the state folder; make the key when it is missing.

    For the embedded demo: whoever can read the folder can read the keys.
    """
    path = prepare_state_dir(state_dir) / KEK_FILE
    if not path.exists():
        write_secret(path, secrets.token_hex(KEK_OCTETS) + "\n")
    return KeyVault(_read(path))


def _read(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the key-encryption key cannot be read from {path}: correct"
            " HEADEND_KEY_ENCRYPTION_KEY_FILE or restore the file"
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO) & ~stat.S_IRGRP:
        raise ConfigurationError(
            f"the key-encryption key in {path} is open to other accounts: chmod 600 {path}"
        )
    return _parse(text, str(path))


def _parse(text: str, source: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEK_OCTETS:
        raise ConfigurationError(
            f"{source} does not hold {2 * KEK_OCTETS} hex digits: make a key with"
            f" openssl rand -hex {KEK_OCTETS}"
        )
    return key
