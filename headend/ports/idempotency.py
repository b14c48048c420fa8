"""Port of the idempotency repository: the answer that a client's key got, kept for its repetition.

The key, the work and its answer are written in one transaction, so that there is never work
without its answer, nor an answer without its work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request that may be repeated: whose key it is, what is asked, and the hash of its body.

    ``request`` is the method and the path.
    """

    client: str
    key: str
    request: str
    body_sha256: bytes


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The HTTP status and the JSON body that a request got."""

    status: int
    body: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class EarlierRequest:
    """What is stored under a client's key."""

    request: KeyedRequest
    answer: StoredAnswer | None


class IdempotencyRepository(Protocol):
    """Stores keys of clients with the answers they got."""

    async def claim(self, request: KeyedRequest) -> EarlierRequest | None:
        """Take the key for this transaction; return what is stored when it was used before.

        Waits for a transaction that holds the same key.
        """
        ...

    async def keep(self, request: KeyedRequest, answer: StoredAnswer) -> None:
        """Store the answer of a key claimed in this transaction."""
        ...
