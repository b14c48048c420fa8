"""Who may use a wire next: one queue per link, most urgent first, first come first served within.

A wire carries a bounded number of exchanges at a time. Where it carries more than one, the last
place is kept for supply orders, so that silent meters in a bulk run never make an order wait.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from itertools import count


class Priority(IntEnum):
    """Urgency of a piece of work on a link; the smaller goes first."""

    ORDER = 0
    ON_DEMAND = 1
    BULK = 2


class Turnstile:
    """Admits up to ``places`` holders, by priority. For one event loop."""

    def __init__(self, places: int = 1) -> None:
        self._places = places
        self._inside = 0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrival = count()

    @asynccontextmanager
    async def admit(self, priority: Priority) -> AsyncIterator[None]:
        """Wait for a place; leaving the block frees it."""
        await self._enter(priority)
        try:
            yield
        finally:
            self._inside -= 1
            self._wake()

    def _has_place(self, priority: Priority) -> bool:
        kept_for_orders = 1 if self._places > 1 and priority is not Priority.ORDER else 0
        return self._inside < self._places - kept_for_orders

    async def _enter(self, priority: Priority) -> None:
        overtakes = not self._waiting or priority < self._waiting[0][0]
        if self._has_place(priority) and overtakes:
            self._inside += 1
            return
        admitted = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._arrival), admitted))
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.done() and not admitted.cancelled():
                self._inside -= 1  # admitted and cancelled in the same instant: pass it on
            self._wake()
            raise

    def _wake(self) -> None:
        while self._waiting:
            priority, _, admitted = self._waiting[0]
            if admitted.done():
                heapq.heappop(self._waiting)
            elif self._has_place(Priority(priority)):
                heapq.heappop(self._waiting)
                self._inside += 1
                admitted.set_result(None)
            else:
                return
