"""Wake signals from PostgreSQL's LISTEN/NOTIFY, on a connection of their own.

A lost connection is opened again at the next wait; in between the waiter's floor poll serves.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import psycopg
import structlog
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from headend.store.database import session_conninfo

_LOG = structlog.get_logger(__name__)
RECONNECT_PAUSE_S = 1.0
ORDER_CHANNEL = "supply_order"


class ListeningSignal:
    """A `WakeSignal` for one channel; use as a context manager. Several may wait on it."""

    def __init__(self, url: str, channel: str = ORDER_CHANNEL) -> None:
        self._url = url
        self._channel = channel
        self._generation = 0
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._listen(), name=f"listen-{self._channel}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def wait(self, timeout_s: float) -> bool:
        """Return True when a notification came, False after ``timeout_s`` of real time."""
        seen = self._generation
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: self._generation != seen)
        except TimeoutError:
            return False
        return True

    async def _listen(self) -> None:
        while True:
            try:
                conninfo = session_conninfo(self._url, application_name="headend-listen")
                async with await AsyncConnection.connect(conninfo, autocommit=True) as connection:
                    await self._receive(connection)
            except psycopg.Error as error:
                _LOG.warning("listening interrupted", channel=self._channel, error=str(error))
                await asyncio.sleep(RECONNECT_PAUSE_S)

    async def _receive(self, connection: AsyncConnection[TupleRow]) -> None:
        await connection.execute(sql.SQL("listen {}").format(sql.Identifier(self._channel)))
        await self._announce()  # whatever came while nobody listened
        async for _ in connection.notifies():
            await self._announce()

    async def _announce(self) -> None:
        async with self._changed:
            self._generation += 1
            self._changed.notify_all()
