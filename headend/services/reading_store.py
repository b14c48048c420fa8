"""Storing what meters gave: readings and their coverage first, then what was seen of contacts.

Two transactions, because supply state and cases have locks of their own. A process killed between
them loses nothing: the run is taken up again and every meter is asked again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from headend.domain.coverage import CoverageCause, classify_fault
from headend.domain.days import interval_count
from headend.domain.errors import IdentityMismatch
from headend.ports import Clock
from headend.ports.readings import Gap, MeterContact, MeterEvent, MeterRegister, StoredDays
from headend.ports.unit_of_work import Store, UnitOfWork
from headend.services.meter_reading import PROFILE_CHANNEL, MeterReadout
from headend.services.reading_validation import FusedDay, count_suspect, judge_days

CASE_OWNER = "meter-data"
# The length assumed for a day that nothing is known of yet; the meter's own takes its place.
USUAL_INTERVAL_S = 900


@dataclass(slots=True)
class CollectionResult:
    """What a run over meters brought. ``causes`` counts gaps by cause, one a meter and day."""

    meters: int = 0
    heard: int = 0
    days_inserted: int = 0
    days_revised: int = 0
    days_unchanged: int = 0
    intervals: int = 0
    suspect: int = 0
    registers: int = 0
    clocks_off: int = 0
    identity_mismatches: int = 0
    causes: Counter[str] = field(default_factory=Counter)

    def as_detail(self) -> dict[str, object]:
        """Return plain values for the run's record."""
        return {
            name: dict(sorted(self.causes.items())) if name == "causes" else getattr(self, name)
            for name in self.__slots__
        }


class ReadingStore:
    """Writes batches of readouts and counts what they changed."""

    def __init__(self, store: Store, clock: Clock, *, drift_limit: timedelta, source: str) -> None:
        self._store = store
        self._clock = clock
        self._drift_limit = drift_limit
        self._source = source

    async def put(self, readouts: Sequence[MeterReadout], result: CollectionResult) -> None:
        """Store the readouts and add to the result."""
        ordered = sorted(readouts, key=lambda readout: readout.wanted.meter.access.meter_id)
        async with self._store.transaction() as uow:
            stored = await self._put_readings(uow, ordered, result)
        seen = sorted(ordered, key=lambda readout: readout.wanted.meter.usage_point_id)
        for readout in seen:
            if readout.contact_known or isinstance(readout.fault, IdentityMismatch):
                async with self._store.transaction() as uow:
                    await self._put_contact(uow, readout)
        _count(ordered, stored, result)

    async def _put_readings(
        self, uow: UnitOfWork, readouts: Sequence[MeterReadout], result: CollectionResult
    ) -> StoredDays:
        now = self._clock.now()
        days = judge_days(
            [
                FusedDay(day, readout.wanted.meter.maximum_current_a)
                for readout in readouts
                for day in readout.days.values()
                if day.present > 0
            ]
        )
        result.suspect += count_suspect(days)
        await uow.readings.record_contacts(
            [
                MeterContact(
                    readout.wanted.meter.access.meter_id,
                    readout.heard_at or now,
                    None if readout.heard_at else _cause(readout),
                )
                for readout in readouts
            ]
        )
        stored = await uow.readings.store_profile_days(days, source=self._source, at=now)
        result.registers += await uow.readings.store_registers(
            [
                MeterRegister(readout.wanted.meter.access.meter_id, register)
                for readout in readouts
                for register in readout.registers
            ],
            source=self._source,
        )
        drifted = [readout for readout in readouts if self._has_drifted(readout)]
        result.clocks_off += len(drifted)
        await uow.readings.store_events(
            [_drift_event(readout) for readout in drifted], source=self._source
        )
        gaps = [gap for readout in readouts for gap in _gaps(readout)]
        await uow.readings.record_gaps(gaps, at=now)
        result.causes.update(gap.cause.value for gap in gaps)
        if partial := sum(map(_partial_days, readouts)):
            result.causes[CoverageCause.MISSING_IN_METER.value] += partial
        return stored

    async def _put_contact(self, uow: UnitOfWork, readout: MeterReadout) -> None:
        meter, now = readout.wanted.meter, self._clock.now()
        if isinstance(readout.fault, IdentityMismatch):
            await uow.cases.open(
                CoverageCause.IDENTITY_MISMATCH.value,
                f"usage_point:{meter.usage_point_id}",
                owner=CASE_OWNER,
                detail={"expected": readout.fault.expected, "found": readout.fault.found},
                at=now,
                usage_point_id=meter.usage_point_id,
                account_id=meter.account_id,
                meter_id=meter.access.meter_id,
            )
            return
        # A meter taken down since then says nothing about its old usage point.
        if meter.served_to is None or meter.served_to > now:
            await uow.supply.record_supply_state(
                meter.usage_point_id,
                meter.access.meter_id,
                readout.relay,
                source=self._source,
                at=readout.heard_at or now,
            )

    def _has_drifted(self, readout: MeterReadout) -> bool:
        return readout.clock_drift is not None and abs(readout.clock_drift) > self._drift_limit


def _cause(readout: MeterReadout) -> CoverageCause:
    if readout.fault is None:
        return CoverageCause.MISSING_IN_METER
    return classify_fault(readout.fault)


def _gaps(readout: MeterReadout) -> list[Gap]:
    """Return the wanted days of which the meter gave nothing.

    Of a day given in part the store itself notes that the rest is not in the meter.
    """
    meter = readout.wanted.meter
    gaps: list[Gap] = []
    for day in readout.wanted.days:
        given = readout.days.get(day)
        if given is not None and given.present > 0:
            continue
        gaps.append(
            Gap(
                meter_id=meter.access.meter_id,
                channel=PROFILE_CHANNEL,
                day=day,
                expected=interval_count(day, meter.time_zone, USUAL_INTERVAL_S),
                cause=_cause(readout) if given is None else CoverageCause.MISSING_IN_METER,
            )
        )
    return gaps


def _partial_days(readout: MeterReadout) -> int:
    return sum(0 < day.present < day.quality.shape[0] for day in readout.days.values())


def _drift_event(readout: MeterReadout) -> MeterEvent:
    drift = readout.clock_drift or timedelta()
    return MeterEvent(
        meter_id=readout.wanted.meter.access.meter_id,
        occurred_at=readout.heard_at or readout.wanted.meter.served_from,
        event_code="clock_drift",
        detail={"drift_s": round(drift.total_seconds(), 1)},
    )


def _count(readouts: Sequence[MeterReadout], stored: StoredDays, result: CollectionResult) -> None:
    result.meters += len(readouts)
    result.heard += sum(readout.heard_at is not None for readout in readouts)
    result.identity_mismatches += sum(
        isinstance(readout.fault, IdentityMismatch) for readout in readouts
    )
    result.days_inserted += stored.inserted
    result.days_revised += stored.revised
    result.days_unchanged += stored.unchanged
    result.intervals += sum(day.present for one in readouts for day in one.days.values())
