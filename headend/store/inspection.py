"""What an operator wants to know of a database at a glance. Reads only.

For ``headend doctor``; services have no use for it. Business instants are parameters, leases are
compared with the server's own clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime

from headend.store.connection import Connection
from headend.store.database import load_queries

_QUERIES = load_queries("inspection")


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The server and what is in the database; ``at`` is the server's clock."""

    version: str
    at: datetime
    size_bytes: int
    connections_allowed: int
    connections: int
    accounts: int
    meters: int


@dataclass(frozen=True, slots=True)
class KeySample:
    """One wrapped key of a kind under one key-encryption key, which wraps ``keys`` in all."""

    kek_id: str
    kind: str
    wrapped_key: bytes = field(repr=False)
    keys: int


@dataclass(frozen=True, slots=True)
class OpenOrders:
    """Orders in one state; stuck ones are long past their lease or their next attempt."""

    state: str
    orders: int
    stuck: int
    first_stuck: int | None


@dataclass(frozen=True, slots=True)
class LinkLeases:
    """Links that are or were leased, those leased now, and by how many processes."""

    links: int
    held: int
    holders: int


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Runs that failed lately, and runs that should have been done by now."""

    failed: int
    first_failed: str | None
    late: int
    oldest_due: datetime | None


class PostgresInspection:
    """Looks at one database through an open transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def server(self) -> ServerFacts:
        """Return the server's facts."""
        cursor = await self._connection.execute(_QUERIES["server"])
        return ServerFacts(**(await cursor.fetchall())[0])

    async def key_sample(self) -> list[KeySample]:
        """Return one wrapped key of each kind and key-encryption key."""
        cursor = await self._connection.execute(_QUERIES["key_sample"])
        return [KeySample(**row) for row in await cursor.fetchall()]

    async def open_orders(self, now: datetime, *, late_s: float) -> list[OpenOrders]:
        """Return the orders that a dispatcher has to deal with, by state."""
        cursor = await self._connection.execute(_QUERIES["orders"], {"now": now, "late_s": late_s})
        return [OpenOrders(**row) for row in await cursor.fetchall()]

    async def waiting_for_people(self) -> int:
        """Return how many orders wait for a release or an approval."""
        cursor = await self._connection.execute(_QUERIES["quarantined"])
        count: int = (await cursor.fetchall())[0]["orders"]
        return count

    async def leases(self) -> LinkLeases:
        """Return the state of the link leases."""
        cursor = await self._connection.execute(_QUERIES["leases"])
        return LinkLeases(**(await cursor.fetchall())[0])

    async def runs(self, now: datetime, *, since: date, late_s: float) -> RunFacts:
        """Return failed runs of business dates after ``since``, and late ones."""
        cursor = await self._connection.execute(
            _QUERIES["runs"], {"now": now, "since": since, "late_s": late_s}
        )
        return RunFacts(**(await cursor.fetchall())[0])
