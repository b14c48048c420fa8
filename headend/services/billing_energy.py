"""What usage points used on one day: the profiles of their meters, multiplied, gaps estimated.

Brings stored readings into arrays (usage point, interval) for rating. Where a meter was exchanged
on the day, each interval belongs to the meters installed in it; in the interval of the exchange
itself both count. Intervals that are missing or suspect are estimated from the usage point's own
recent days and carry `Quality.ESTIMATED`; where there is nothing to go by, or supply was off, they
stay missing. Intervals in which no meter was installed hold nothing and are not missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np

from headend.domain.days import day_span
from headend.domain.obis import ACTIVE_ENERGY_IMPORT
from headend.domain.reading import Int64Array, Quality, QualityArray
from headend.ports.settlement import Installation, OccupiedPoints, StoredProfile, SupplyInterruption
from headend.ports.unit_of_work import UnitOfWork
from headend.services.billing_registers import NEAR_MIDNIGHT, register_gap
from prepaid.estimation import estimate_day
from prepaid.rating_work import BoolArray
from prepaid.tou import SpecialDays

ENERGY_CHANNEL = str(ACTIVE_ENERGY_IMPORT)
# Two weeks hold ten working days and four others, enough for a mean that follows the season.
RECENT_DAYS = 14
# The grid of a day of which nothing at all was read.
USUAL_INTERVAL_S = 900
# An interval beyond 1 TWh is garbage, whatever validation thought of it.
LARGEST_INTERVAL_WH = 10**12
_SATURDAY = 5


@dataclass(frozen=True, slots=True, eq=False)
class EnergyBlock:
    """Usage points whose day has the same intervals.

    rows: (row,) int64, positions in the points asked for; energy_wh: (row, interval) int64 [Wh]
    after the multiplier; quality: (row, interval) int16; profile_revision, meter_id, multiplier:
    (row,) int64, as `RatedDays`; register_gap_wh: one per row; supply_off: (row,) bool.
    """

    zone: str
    interval_s: int
    rows: Int64Array
    energy_wh: Int64Array
    quality: QualityArray
    profile_revision: Int64Array
    meter_id: Int64Array
    multiplier: Int64Array
    register_gap_wh: Sequence[int | None]
    supply_off: BoolArray


@dataclass(frozen=True, slots=True)
class _PointEnergy:
    """One usage point's day while it is put together; energy is still to be scaled."""

    row: int
    usage_point_id: int
    meters: Sequence[Installation]
    energy_wh: Int64Array
    quality: QualityArray
    scale: int
    profile_revision: int

    @property
    def meter(self) -> Installation:
        return self.meters[-1]


async def load_energy(
    uow: UnitOfWork, points: OccupiedPoints, day: date, special: SpecialDays
) -> list[EnergyBlock]:
    """Load what the points used on local ``day``; points without a meter are in no block."""
    spans = {zone: day_span(day, zone) for zone in set(points.zone)}
    installed = await _installed(uow, points, spans)
    meters = [m.meter_id for found in installed.values() for m in found]
    stored = await uow.settlement.profiles(meters, ENERGY_CHANNEL, day, day)
    profiles = {profile.meter_id: profile for profile in stored}
    groups: dict[tuple[str, int], list[_PointEnergy]] = defaultdict(list)
    for row, found in installed.items():
        zone = points.zone[row]
        interval_s = _interval_s(found, profiles)
        point = _put_together(
            row, int(points.usage_point_id[row]), found, profiles, spans[zone], interval_s
        )
        groups[zone, interval_s].append(point)
    return [
        await _block(uow, members, day, zone, interval_s, special)
        for (zone, interval_s), members in groups.items()
    ]


async def _installed(
    uow: UnitOfWork, points: OccupiedPoints, spans: Mapping[str, tuple[datetime, datetime]]
) -> dict[int, list[Installation]]:
    """Return the installations of each row's day, in order of time."""
    if not spans:
        return {}
    rows = await uow.settlement.installations(
        points.usage_point_id.tolist(),
        min(start for start, _ in spans.values()),
        max(end for _, end in spans.values()),
    )
    by_point: dict[int, list[Installation]] = defaultdict(list)
    for installation in rows:
        by_point[installation.usage_point_id].append(installation)
    found: dict[int, list[Installation]] = {}
    for row, point in enumerate(points.usage_point_id.tolist()):
        start, end = spans[points.zone[row]]
        here = [
            i
            for i in by_point.get(point, ())
            if i.valid_from < end and (i.valid_to is None or i.valid_to > start)
        ]
        if here:
            found[row] = here
    return found


def _interval_s(found: Sequence[Installation], profiles: Mapping[int, StoredProfile]) -> int:
    """Return the grid of the day: the latest meter's that was read."""
    for installation in reversed(found):
        profile = profiles.get(installation.meter_id)
        if profile is not None:
            return profile.interval_s
    return USUAL_INTERVAL_S


def _put_together(
    row: int,
    usage_point_id: int,
    found: Sequence[Installation],
    profiles: Mapping[int, StoredProfile],
    span: tuple[datetime, datetime],
    interval_s: int,
) -> _PointEnergy:
    start, end = span
    count = int((end - start).total_seconds()) // interval_s
    revision = sum(profiles[i.meter_id].revision + 1 for i in found if i.meter_id in profiles) - 1
    if len(found) == 1 and _covers(found[0], span):
        # Nearly every point: one meter all day. What is in it is judged for the whole block.
        (only,) = found
        profile = profiles.get(only.meter_id)
        if profile is not None and profile.energy_wh.shape[0] == count:
            return _PointEnergy(
                row,
                usage_point_id,
                found,
                profile.energy_wh,
                profile.quality,
                only.multiplier,
                revision,
            )
    energy = np.zeros(count, dtype=np.int64)
    quality = np.full(count, Quality.ACTUAL, dtype=np.int16)
    covered = np.zeros(count, dtype=np.bool_)
    known = np.zeros(count, dtype=np.bool_)
    for installation in found:
        here = _intervals_of(installation, start, interval_s, count)
        covered |= here
        profile = profiles.get(installation.meter_id)
        if profile is None or profile.interval_s != interval_s:
            continue
        if profile.energy_wh.shape[0] != count:
            continue
        usable_wh, usable_quality = _usable(
            profile.energy_wh, profile.quality, installation.multiplier
        )
        here &= usable_quality != Quality.MISSING
        energy[here] += usable_wh[here]
        quality[here] = np.maximum(quality[here], usable_quality[here])
        known |= here
    # Where no meter was installed nothing was measured, and nothing is missing either.
    quality[covered & ~known] = Quality.MISSING
    return _PointEnergy(row, usage_point_id, found, energy, quality, 1, revision)


def _covers(installation: Installation, span: tuple[datetime, datetime]) -> bool:
    """Tell whether the meter was installed during the whole span."""
    start, end = span
    return installation.valid_from <= start and (
        installation.valid_to is None or installation.valid_to >= end
    )


def _intervals_of(
    installation: Installation, start: datetime, interval_s: int, count: int
) -> BoolArray:
    """Return which intervals of the day the meter was installed in, in part or wholly."""
    begins = np.arange(count, dtype=np.int64) * interval_s
    opened = (installation.valid_from - start).total_seconds()
    inside = begins + interval_s > opened
    if installation.valid_to is not None:
        inside &= begins < (installation.valid_to - start).total_seconds()
    return inside


def _usable(
    raw_wh: Int64Array, quality: QualityArray, multiplier: int | Int64Array
) -> tuple[Int64Array, QualityArray]:
    """Multiply readings of any shape, and call missing what must not reach money as it is."""
    bad = (quality >= Quality.SUSPECT) | (raw_wh < 0) | (raw_wh > LARGEST_INTERVAL_WH // multiplier)
    return (
        np.where(bad, 0, raw_wh * multiplier),
        np.where(bad, Quality.MISSING, quality).astype(np.int16),
    )


async def _block(
    uow: UnitOfWork,
    members: Sequence[_PointEnergy],
    day: date,
    zone: str,
    interval_s: int,
    special: SpecialDays,
) -> EnergyBlock:
    scale = np.array([m.scale for m in members], dtype=np.int64)
    energy, quality = _usable(
        np.stack([m.energy_wh for m in members]),
        np.stack([m.quality for m in members]),
        scale[:, None],
    )
    gaps = await _register_gaps(uow, members, energy, quality, day, zone, interval_s)
    supply_off = np.zeros(len(members), dtype=np.bool_)
    wanting = np.flatnonzero((quality == Quality.MISSING).any(axis=1))
    if wanting.size:
        chosen = [members[i] for i in wanting.tolist()]
        energy[wanting], quality[wanting], supply_off[wanting] = await _estimate(
            uow, chosen, energy[wanting], quality[wanting], day, zone, interval_s, special
        )
    return EnergyBlock(
        zone=zone,
        interval_s=interval_s,
        rows=np.array([m.row for m in members], dtype=np.int64),
        energy_wh=energy,
        quality=quality,
        profile_revision=np.array([m.profile_revision for m in members], dtype=np.int64),
        meter_id=np.array([m.meter.meter_id for m in members], dtype=np.int64),
        multiplier=np.array([m.meter.multiplier for m in members], dtype=np.int64),
        register_gap_wh=gaps,
        supply_off=supply_off,
    )


async def _register_gaps(
    uow: UnitOfWork,
    members: Sequence[_PointEnergy],
    energy: Int64Array,
    quality: QualityArray,
    day: date,
    zone: str,
    interval_s: int,
) -> list[int | None]:
    """Check complete days of one meter against its register; after the multiplier [Wh]."""
    start, end = day_span(day, zone)
    complete: BoolArray = np.all(quality <= Quality.ACTUAL_LATE, axis=1)
    checked = [m for m, is_complete in zip(members, complete, strict=True) if is_complete]
    readings = defaultdict(list)
    for indication in await uow.settlement.indications(
        [m.meter.meter_id for m in checked],
        ENERGY_CHANNEL,
        start - NEAR_MIDNIGHT,
        end + NEAR_MIDNIGHT,
    ):
        readings[indication.meter_id].append(indication)
    gaps: list[int | None] = []
    for i, member in enumerate(members):
        found = readings.get(member.meter.meter_id)
        if not complete[i] or found is None or len(member.meters) > 1:
            gaps.append(None)
            continue
        multiplier = member.meter.multiplier
        gap = register_gap(
            energy[i] // multiplier, start=start, interval_s=interval_s, indications=found
        )
        gaps.append(None if gap is None else gap * multiplier)
    return gaps


async def _estimate(
    uow: UnitOfWork,
    members: Sequence[_PointEnergy],
    energy: Int64Array,
    quality: QualityArray,
    day: date,
    zone: str,
    interval_s: int,
    special: SpecialDays,
) -> tuple[Int64Array, QualityArray, BoolArray]:
    """Fill gaps from the usage points' recent days: (energy, quality, supply off)."""
    recent = [day - timedelta(days=back) for back in range(RECENT_DAYS, 0, -1)]
    start, end = day_span(recent[0], zone)[0], day_span(day, zone)[1]
    point_ids = [m.usage_point_id for m in members]
    installed: dict[int, list[Installation]] = defaultdict(list)
    for installation in await uow.settlement.installations(point_ids, start, end):
        installed[installation.usage_point_id].append(installation)
    meters = sorted({i.meter_id for found in installed.values() for i in found})
    stored = await uow.settlement.profiles(meters, ENERGY_CHANNEL, recent[0], recent[-1])
    profiles = {(p.meter_id, p.day): p for p in stored if p.interval_s == interval_s}
    off = await uow.settlement.interruptions(point_ids, start, end)
    recent_wh = np.zeros((len(members), RECENT_DAYS, energy.shape[1]), dtype=np.int64)
    present = np.zeros(recent_wh.shape, dtype=np.bool_)
    for position, past in enumerate(recent):
        span = day_span(past, zone)
        dark = _off_on(off, span)
        for i, member in enumerate(members):
            profile, multiplier = _whole_day(installed[member.usage_point_id], profiles, past, span)
            if profile is None or member.usage_point_id in dark:
                continue
            if profile.energy_wh.shape[0] == energy.shape[1]:
                usable_wh, usable_quality = _usable(profile.energy_wh, profile.quality, multiplier)
                recent_wh[i, position] = usable_wh
                present[i, position] = usable_quality <= Quality.ACTUAL_LATE
    dark = _off_on(off, day_span(day, zone))
    supply_off = np.array([point in dark for point in point_ids], dtype=np.bool_)
    estimated = estimate_day(
        energy,
        quality,
        recent_wh=recent_wh,
        recent_present=present,
        same_day_type=np.array(
            [_is_free(past, special) == _is_free(day, special) for past in recent], dtype=np.bool_
        ),
        supply_off=supply_off,
    )
    return estimated.energy_wh, estimated.quality, supply_off


def _whole_day(
    installed: Sequence[Installation],
    profiles: Mapping[tuple[int, date], StoredProfile],
    day: date,
    span: tuple[datetime, datetime],
) -> tuple[StoredProfile | None, int]:
    """Return the profile of the meter that served the whole day, with its multiplier."""
    for i in installed:
        if _covers(i, span):
            return profiles.get((i.meter_id, day)), i.multiplier
    return None, 1


def _off_on(
    interruptions: Sequence[SupplyInterruption], span: tuple[datetime, datetime]
) -> set[int]:
    start, end = span
    return {
        i.usage_point_id
        for i in interruptions
        if i.off_from < end and (i.off_until is None or i.off_until > start)
    }


def _is_free(day: date, special: SpecialDays) -> bool:
    """Tell weekends and holidays from working days."""
    weekend = day.weekday() >= _SATURDAY and day not in special.workdays
    return weekend or day in special.holidays
