"""When something is due, on business time: the daily runs, notices, planned disconnects, orders.

The scheduler decides *that* work may start and hands it to whoever carries it out; any number of
processes may ask at once. Nothing about what is due lives only in memory.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Protocol

from headend.domain.days import local_day
from headend.ports import Clock
from headend.ports.runs import BusinessRun, RunKey, RunKind
from headend.ports.unit_of_work import Store, UnitOfWork
from headend.services.run_keeper import RunKeeper, Work
from headend.services.schedule import ScheduleSettings, days_to_plan, plan_day

# A claimed run waits in the job engine's queue for a free worker; when it has not begun by then it
# is handed out again, which does no harm [s, real time].
CLAIM_LEASE_S = 300.0
CLAIM_LIMIT = 500
# New concentrators join the day's plan within this time [s, real time].
REPLAN_S = 60.0


class StandingWork(StrEnum):
    """Work that is due by rows of its own, not by a run."""

    DELIVER_NOTICES = "deliver_notices"
    DECIDE_PLANNED = "decide_planned"


class DueSource(Protocol):
    """A service that knows when its next piece of work is due."""

    async def next_due(self, uow: UnitOfWork) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class DueWork:
    """What may start now."""

    runs: tuple[BusinessRun, ...] = ()
    standing: tuple[StandingWork, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.runs or self.standing)


class Scheduler:
    """Plans business days and tells what is due."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        keeper: RunKeeper,
        *,
        notices: DueSource,
        decisions: DueSource,
        settings: ScheduleSettings | None = None,
        real_time: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._clock = clock
        self._keeper = keeper
        self._standing = {
            StandingWork.DELIVER_NOTICES: notices,
            StandingWork.DECIDE_PLANNED: decisions,
        }
        self.settings = settings or ScheduleSettings()
        self._real_time = real_time
        self._planned_through: date | None = None
        self._planned_at = 0.0
        self._in_hand: Counter[StandingWork] = Counter()

    async def plan(self) -> int:
        """Plan today and tomorrow, and settle what nobody planned while nothing ran.

        Returns how many runs are new. Safe to repeat, at any time and by several processes.
        """
        settings = self.settings
        today = local_day(self._clock.now(), settings.zone)
        async with self._store.transaction() as uow:
            await uow.readings.ensure_partitions(
                today - timedelta(days=settings.partitions_behind_days),
                today + timedelta(days=settings.partitions_ahead_days),
            )
            concentrators = await uow.registry.concentrator_ids()
            missed, whole = days_to_plan(today, await uow.runs.last_planned(RunKind.SETTLE))
            runs = [run for day in missed for run in plan_day(day, (), settings, kinds=_CATCH_UP)]
            runs += [run for day in whole for run in plan_day(day, concentrators, settings)]
            added = await uow.runs.plan(runs)
        self._planned_through, self._planned_at = whole[-1], self._real_time()
        return added

    async def enqueue_due(self, *, limit: int = CLAIM_LIMIT) -> DueWork:
        """Claim what may start now; the caller sees that it is carried out through `perform`."""
        await self._plan_when_stale()
        now = self._clock.now()
        async with self._store.transaction() as uow:
            runs = await uow.runs.claim_due(
                now,
                dependencies=self.settings.dependencies,
                holder=self._keeper.process,
                lease_s=CLAIM_LEASE_S,
                limit=limit,
            )
            standing = [
                work
                for work, source in self._standing.items()
                if _has_come(await source.next_due(uow), now)
            ]
        return DueWork(tuple(runs), tuple(standing))

    async def perform(self, key: RunKey, work: Work) -> bool:
        """Carry out one run under its lease; see `RunKeeper.perform`."""
        return await self._keeper.perform(key, work)

    @asynccontextmanager
    async def standing(self, work: StandingWork) -> AsyncIterator[None]:
        """Mark standing work as in hand, so that the clock does not jump over it."""
        self._in_hand[work] += 1
        try:
            yield
        finally:
            self._in_hand[work] -= 1

    async def next_due(self) -> datetime | None:
        """Return the earliest business instant at which anything is due; it may have passed."""
        await self._plan_when_stale()
        async with self._store.transaction() as uow:
            instants = [await uow.runs.next_due(), await uow.orders.next_due()]
            instants += [await source.next_due(uow) for source in self._standing.values()]
        return min((instant for instant in instants if instant is not None), default=None)

    async def drained(self) -> bool:
        """Tell whether nothing is due, running or in flight: then a demo clock may jump."""
        if any(self._in_hand.values()):
            return False
        now = self._clock.now()
        async with self._store.transaction() as uow:
            if await uow.runs.busy(now) or await uow.orders.count_in_flight(now) > 0:
                return False
            for source in self._standing.values():
                if _has_come(await source.next_due(uow), now):
                    return False
        return self._is_planned()

    async def recover(self, is_dead: Callable[[str], bool]) -> int:
        """End the leases of holders known to be dead, so that their runs go on at once.

        ``is_dead`` gets the name of a process as it was given to `RunKeeper`. Returns how many runs
        became free. Runs of a process on another host wait for their lease to run out.
        """
        async with self._store.transaction() as uow:
            holders = await uow.runs.holders()
            dead = [holder for holder in holders if is_dead(holder.partition("#")[0])]
            return await uow.runs.release_held(dead) if dead else 0

    async def _plan_when_stale(self) -> None:
        if not self._is_planned() or self._real_time() - self._planned_at > REPLAN_S:
            await self.plan()

    def _is_planned(self) -> bool:
        tomorrow = local_day(self._clock.now(), self.settings.zone) + timedelta(days=1)
        return self._planned_through is not None and self._planned_through >= tomorrow


_CATCH_UP = (RunKind.SETTLE,)


def _has_come(instant: datetime | None, now: datetime) -> bool:
    return instant is not None and instant <= now
