"""What services need to lock and unlock meter keys; the key-encryption key stays behind it."""

from __future__ import annotations

from typing import Protocol


class KeyVault(Protocol):
    """Wraps and unwraps meter keys. Neither a key nor the key-encryption key shows in ``repr``."""

    @property
    def fingerprint(self) -> str:
        """Names the key-encryption key without giving it away; stored beside what it wrapped."""
        ...

    def wrap(self, key: bytes) -> bytes:
        """Wrap an AES key of 16, 24 or 32 octets."""
        ...

    def unwrap(self, wrapped: bytes) -> bytes:
        """Return the key; raises `ConfigurationError` when another vault wrapped it."""
        ...

    def wrap_secret(self, secret: bytes) -> bytes:
        """Wrap a secret of another length, such as a password."""
        ...

    def unwrap_secret(self, wrapped: bytes) -> bytes:
        """Return the secret; raises `ConfigurationError` when another vault wrapped it."""
        ...
