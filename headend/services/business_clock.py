"""Business time: real time plus an offset that only a demo has, and that only ever grows.

The offset lives in the database, so that every process of a demo sees the same time and a restart
goes on from it. Real time comes from `time.time`, through a function, so that tests need no wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from headend.domain.errors import InvariantViolated
from headend.ports.runs import ClockSetting
from headend.ports.unit_of_work import Store


class RealClock:
    """Business time where it is real time: every deployment that is not a demo."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class BusinessClock:
    """The clock of a deployment; `load` must have run before it is read."""

    def __init__(self, store: Store, *, real_time: Callable[[], float] = time.time) -> None:
        self._store = store
        self._real_time = real_time
        self._setting: ClockSetting | None = None
        # Business time never runs backwards, even when the clock of the machine is set back.
        self._latest = datetime.min.replace(tzinfo=UTC)

    @property
    def is_demo(self) -> bool:
        """Whether this clock may jump."""
        return self._known().demo

    @property
    def offset(self) -> timedelta:
        """How far business time is ahead of real time."""
        return timedelta(seconds=self._known().offset_s)

    def now(self) -> datetime:
        """Return the business instant, aware UTC; never earlier than one returned before."""
        instant = datetime.fromtimestamp(self._real_time(), UTC) + self.offset
        self._latest = max(self._latest, instant)
        return self._latest

    async def load(self, *, demo: bool) -> None:
        """Fix the mode for this database and read the offset that stands there."""
        async with self._store.transaction() as uow:
            self._setting = await uow.runs.set_clock_mode(demo=demo)

    async def refresh(self) -> None:
        """Read the offset again: another process may have moved the clock."""
        async with self._store.transaction() as uow:
            self._setting = await uow.runs.clock()

    async def jump_to(self, instant: datetime) -> bool:
        """Move business time forward to ``instant``, for every process; False when it has passed.

        Raises `InvariantViolated` when the clock is a real one.
        """
        if not self.is_demo:
            raise InvariantViolated("business time is real time here: it cannot be moved")
        if instant <= self.now():
            return False
        offset_s = instant.timestamp() - self._real_time()
        async with self._store.transaction() as uow:
            self._setting = await uow.runs.advance_clock(offset_s)
        return True

    async def follow(self, *, every_s: float = 0.5) -> None:
        """Keep reading the offset for as long as this runs: for processes that do not jump."""
        while True:
            await asyncio.sleep(every_s)
            await self.refresh()

    def _known(self) -> ClockSetting:
        if self._setting is None:
            raise InvariantViolated("the business clock is read before it was loaded")
        return self._setting
