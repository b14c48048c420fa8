"""Collection: reading every meter behind a concentrator, and one meter on demand.

Theory of operation. A run asks the store which days of the last few are not complete, and reads
those, with the registers, the contact and the clock of each meter as they are now. Meters are
spoken to several at a time; what they gave is stored in batches, so that memory stays bounded and
a killed run loses at most one batch, which the next attempt reads again. Faults are sorted by type
into causes; a run that finds nobody home stops asking, because one dead concentrator must not cost
a time-out for each of its thousand meters.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Protocol

import structlog

from headend.domain.days import day_span, local_day
from headend.domain.errors import (
    AuthenticationFailed,
    ConfigurationError,
    HeadEndError,
    InvariantViolated,
    MeterUnreachable,
    NotFound,
    Preempted,
)
from headend.ports import Clock, MeterAccess, MeterSession
from headend.ports.keys import KeyVault
from headend.ports.registry import InstalledMeter
from headend.ports.runs import RunKind, RunRepository
from headend.ports.unit_of_work import Store
from headend.services.meter_keys import unlock
from headend.services.meter_reading import (
    PROFILE_CHANNEL,
    MeterReadout,
    WantedDays,
    read_meter,
)
from headend.services.reading_retry import RetryPolicy, decide_retry
from headend.services.reading_store import CollectionResult, ReadingStore
from headend.services.turnstile import Priority

_LOG = structlog.get_logger()


class MeterSessions(Protocol):
    """What collection needs of `LinkPool`."""

    def session(
        self, link_id: int, access: MeterAccess, priority: Priority
    ) -> AbstractAsyncContextManager[MeterSession]: ...


@dataclass(frozen=True, slots=True)
class CollectionSettings:
    """Limits of a run.

    ``backfill_days`` finished local days are read where they are missing. Without a single answer
    a run ends after ``silent_start`` meters in a row; after the first answer it takes
    ``silent_later`` in a row, since silent meters do sit together.
    """

    backfill_days: int = 3
    sessions_at_once: int = 8
    batch_meters: int = 50
    session_timeout_s: float = 120.0
    drift_limit: timedelta = timedelta(seconds=60)
    silent_start: int = 12
    silent_later: int = 100
    retry: RetryPolicy = field(default_factory=RetryPolicy)


class Collection:
    """Reads meters and stores what they gave."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        links: MeterSessions,
        vault: KeyVault,
        *,
        settings: CollectionSettings | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._clock = clock
        self._links = links
        self._vault = vault
        self._settings = settings or CollectionSettings()
        self._pause = pause

    async def collect_concentrator(
        self, concentrator_id: int, business_date: date
    ) -> CollectionResult:
        """Read what is missing behind one concentrator for the days before ``business_date``.

        Safe to repeat, also after a kill: only what is missing is read again.
        """
        wanted = await self._plan(concentrator_id, business_date)
        result, run = CollectionResult(), _Run(self._settings, iter(wanted))
        writer = self._writer("collector")
        async with aclosing(self._read_all(run)) as readouts:
            async for batch in _in_batches(readouts, self._settings.batch_meters):
                await writer.put(batch, result)
        _LOG.info("concentrator collected", concentrator_id=concentrator_id, **result.as_detail())
        return result

    async def read_on_demand(self, meter_id: int, *, days: Sequence[date] = ()) -> MeterReadout:
        """Read one meter now, ahead of bulk work, and store what it gave.

        Raises `NotFound` for a meter that serves no usage point, and the meter's fault after it
        was recorded.
        """
        now = self._clock.now()
        async with self._store.transaction() as uow:
            meter = await uow.registry.installed_meter(meter_id, now)
            settled = await self._settled_through(uow.runs)
        if meter is None:
            raise NotFound(f"meter {meter_id} serves no usage point", field="meter_id")
        readout = MeterReadout(WantedDays(meter, tuple(sorted(set(days))), settled))
        await self._read(readout, Priority.ON_DEMAND)
        await self._writer("on_demand").put([readout], CollectionResult())
        if readout.fault is not None:
            raise readout.fault
        return readout

    async def _plan(self, concentrator_id: int, business_date: date) -> list[WantedDays]:
        first = business_date - timedelta(days=self._settings.backfill_days)
        last = business_date - timedelta(days=1)
        now = self._clock.now()
        async with self._store.transaction() as uow:
            meters = await uow.registry.concentrator_meters(
                concentrator_id, now - timedelta(days=self._settings.backfill_days + 1)
            )
            ids = [meter.access.meter_id for meter in meters]
            missing = await uow.readings.missing_days(ids, PROFILE_CHANNEL, first, last)
            settled = await self._settled_through(uow.runs)
        days: dict[int, list[date]] = defaultdict(list)
        for gap in missing:
            days[gap.meter_id].append(gap.day)
        # A meter that was moved appears once for each place it served; each asks for its own days.
        return [
            WantedDays(
                meter,
                tuple(
                    day
                    for day in days[meter.access.meter_id]
                    if _served(meter, day) and day_span(day, meter.time_zone)[1] <= now
                ),
                settled,
            )
            for meter in meters
        ]

    async def _read_all(self, run: _Run) -> AsyncGenerator[MeterReadout, None]:
        """Yield readouts as they are ready; a few sessions run side by side."""
        ready: asyncio.Queue[MeterReadout | None] = asyncio.Queue(self._settings.batch_meters)

        async def work() -> None:
            for wanted in run.wanted:
                readout = MeterReadout(wanted)
                if run.is_dead():
                    readout.fault = run.last_fault
                else:
                    await self._read(readout, Priority.BULK)
                    run.note(readout)
                await ready.put(readout)

        async def work_and_end() -> None:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(self._settings.sessions_at_once):
                        group.create_task(work())
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from errors
            finally:
                await ready.put(None)

        workers = asyncio.create_task(work_and_end())
        try:
            while (readout := await ready.get()) is not None:
                yield readout
            await workers
        finally:
            workers.cancel()
            await asyncio.gather(workers, return_exceptions=True)

    async def _read(self, readout: MeterReadout, priority: Priority) -> None:
        """Read one meter with repeated attempts; the last fault stays in the readout."""
        attempt = preemptions = 0
        policy = self._settings.retry.for_meter(readout.wanted.meter.failures_in_row)
        while True:
            try:
                readout.fault = None
                await self._read_once(readout, priority)
            except (InvariantViolated, ConfigurationError):
                raise
            except HeadEndError as error:
                readout.fault = error
                preemptions += isinstance(error, Preempted)
                attempt += not isinstance(error, Preempted)
                pause_s = decide_retry(
                    error, attempt=attempt, preemptions=preemptions, policy=policy
                )
                if pause_s is None:
                    return
                await self._pause(pause_s)
            else:
                return

    async def _read_once(self, readout: MeterReadout, priority: Priority) -> None:
        record = readout.wanted.meter.access
        try:
            access = unlock(record, self._vault)
        except ConfigurationError as error:
            _LOG.error("meter key not usable", meter_no=record.meter_no, error=str(error))
            raise AuthenticationFailed(str(error), code="key-not-usable") from error
        try:
            async with (
                asyncio.timeout(self._settings.session_timeout_s),
                self._links.session(record.link_id, access, priority) as session,
            ):
                await read_meter(session, readout, self._clock)
        except TimeoutError as error:
            limit_s = self._settings.session_timeout_s
            raise MeterUnreachable(
                f"meter {record.meter_no} was not read within {limit_s:.0f} s"
            ) from error

    def _writer(self, source: str) -> ReadingStore:
        return ReadingStore(
            self._store, self._clock, drift_limit=self._settings.drift_limit, source=source
        )

    async def _settled_through(self, runs: RunRepository) -> date | None:
        """Return the last local day whose settlement is done: the one before its run's date."""
        last = await runs.last_done(RunKind.SETTLE)
        return None if last is None else last - timedelta(days=1)


@dataclass(slots=True)
class _Run:
    """The meters still to be read, and whether anybody answers at all."""

    settings: CollectionSettings
    wanted: Iterator[WantedDays]
    heard: int = 0
    unreached_in_row: int = 0
    last_fault: HeadEndError | None = None

    def note(self, readout: MeterReadout) -> None:
        if isinstance(readout.fault, MeterUnreachable) and readout.heard_at is None:
            self.unreached_in_row += 1
            self.last_fault = readout.fault
        else:
            self.heard += 1
            self.unreached_in_row = 0

    def is_dead(self) -> bool:
        limit = self.settings.silent_later if self.heard else self.settings.silent_start
        return self.unreached_in_row >= limit


def _served(meter: InstalledMeter, day: date) -> bool:
    """Tell whether the installation stood on a local day, at least for a part of it."""
    if day < local_day(meter.served_from, meter.time_zone):
        return False
    return meter.served_to is None or day_span(day, meter.time_zone)[0] < meter.served_to


async def _in_batches(
    readouts: AsyncIterator[MeterReadout], size: int
) -> AsyncIterator[list[MeterReadout]]:
    batch: list[MeterReadout] = []
    async for readout in readouts:
        batch.append(readout)
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch
