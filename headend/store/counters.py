"""Invocation counters on PostgreSQL: each reservation is a short transaction of its own.

A counter that was handed out must never be handed out again, whatever happens to the work that it
was for; therefore it is committed before it is returned, outside of every unit of work.
"""

from __future__ import annotations

from psycopg import errors

from headend.domain.errors import ConfigurationError, InvariantViolated, LocalProtocolError
from headend.store.database import Pool, load_queries

_QUERIES = load_queries("counters")
COUNTERS_PER_KEY = 1 << 32


class PostgresCounterStore:
    """Counters per meter, client address and key."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def reserve(self, meter_id: int, client_address: int, key_id: str, count: int) -> int:
        """Durably reserve ``count`` counters; return the first. Others never get them again.

        Raises `ConfigurationError` when the key has used up its 2^32 counters.
        """
        if count < 1:
            raise LocalProtocolError(f"cannot reserve {count} counters")
        parameters = {
            "meter_id": meter_id,
            "client_address": client_address,
            "key_id": key_id,
            "count": count,
        }
        try:
            async with self._pool.connection() as connection:
                cursor = await connection.execute(_QUERIES["reserve"], parameters)
                row = await cursor.fetchone()
        except errors.CheckViolation as error:
            raise ConfigurationError(
                f"the key {key_id!r} of meter {meter_id} has used all its invocation counters:"
                " replace the key"
            ) from error
        if row is None:
            raise InvariantViolated("a reservation always returns its first counter")
        first: int = row["first"]
        return first

    async def raise_to(self, meter_id: int, client_address: int, key_id: str, counter: int) -> None:
        """Never hand out a counter below ``counter`` again; a higher next one stays.

        Raises `ConfigurationError` for one beyond the 2^32 that a key has.
        """
        if counter > COUNTERS_PER_KEY:
            raise ConfigurationError(
                f"meter {meter_id} asks for counter {counter} of its key {key_id!r}, which has"
                f" {COUNTERS_PER_KEY}: replace the key"
            )
        async with self._pool.connection() as connection:
            await connection.execute(
                _QUERIES["raise_to"],
                {
                    "meter_id": meter_id,
                    "client_address": client_address,
                    "key_id": key_id,
                    "counter": counter,
                },
            )

    async def check_received(
        self, meter_id: int, client_address: int, key_id: str, counter: int
    ) -> bool:
        """Record a received counter; return False when it does not exceed the last one."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                _QUERIES["check_received"],
                {
                    "meter_id": meter_id,
                    "client_address": client_address,
                    "key_id": key_id,
                    "counter": counter,
                },
            )
            return await cursor.fetchone() is not None
