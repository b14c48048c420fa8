"""What a usage point used on a day, put together from the readings of its meters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from headend.domain.days import interval_count, local_midnight
from headend.domain.reading import Quality
from headend.ports.settlement import (
    Indication,
    Installation,
    OccupiedPoints,
    StoredProfile,
    SupplyInterruption,
)
from headend.services.billing_energy import EnergyBlock, load_energy
from prepaid.tou import NO_SPECIAL_DAYS

ZONE = "Asia/Shanghai"
DAY = date(2026, 3, 10)  # a Tuesday
START = local_midnight(DAY, ZONE)
LONG_AGO = START - timedelta(days=400)


@dataclass
class StoredReadings:
    """The settlement repository, as far as loading energy asks it."""

    installed: list[Installation] = field(default_factory=list)
    stored: list[StoredProfile] = field(default_factory=list)
    registers: list[Indication] = field(default_factory=list)
    off: list[SupplyInterruption] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    async def installations(
        self, usage_point_ids: Sequence[int], start: datetime, end: datetime
    ) -> list[Installation]:
        self.calls.append("installations")
        return [
            i
            for i in self.installed
            if i.usage_point_id in usage_point_ids
            and i.valid_from < end
            and (i.valid_to is None or i.valid_to > start)
        ]

    async def profiles(
        self, meter_ids: Sequence[int], channel: str, first: date, last: date
    ) -> list[StoredProfile]:
        self.calls.append("profiles")
        return [p for p in self.stored if p.meter_id in meter_ids and first <= p.day <= last]

    async def indications(
        self, meter_ids: Sequence[int], obis: str, start: datetime, end: datetime
    ) -> list[Indication]:
        return [r for r in self.registers if r.meter_id in meter_ids]

    async def interruptions(
        self, usage_point_ids: Sequence[int], start: datetime, end: datetime
    ) -> list[SupplyInterruption]:
        return [i for i in self.off if i.usage_point_id in usage_point_ids]


def points(*usage_points: int, zone: str = ZONE) -> OccupiedPoints:
    ids = np.array(usage_points, dtype=np.int64)
    return OccupiedPoints(ids + 100, ids, np.ones_like(ids), (zone,) * len(usage_points))


def installed(point: int, meter: int, **changes: Any) -> Installation:
    values = {"multiplier": 1, "valid_from": LONG_AGO, "valid_to": None} | changes
    return Installation(point, meter, **values)


def profile(
    meter: int,
    value: int,
    *,
    day: date = DAY,
    n: int = 96,
    revision: int = 0,
    codes: dict[int, Quality] | None = None,
) -> StoredProfile:
    quality = np.zeros(n, dtype=np.int16)
    for position, code in (codes or {}).items():
        quality[position] = code
    energy = np.full(n, value, dtype=np.int64)
    return StoredProfile(meter, day, 86400 // n, revision, energy, quality)


async def load(readings: StoredReadings, asked: OccupiedPoints, day: date = DAY) -> EnergyBlock:
    uow: Any = SimpleNamespace(settlement=readings)
    (block,) = await load_energy(uow, asked, day, NO_SPECIAL_DAYS)
    return block


async def test_energy_is_multiplied_and_knows_its_revision() -> None:
    readings = StoredReadings(
        [installed(1, 11), installed(2, 12, multiplier=40)],
        [profile(11, 5), profile(12, 7, revision=3)],
    )
    block = await load(readings, points(1, 2))
    assert block.rows.tolist() == [0, 1]
    assert block.energy_wh.sum(axis=1).tolist() == [96 * 5, 96 * 7 * 40]
    assert block.profile_revision.tolist() == [0, 3]
    assert block.meter_id.tolist() == [11, 12]
    assert block.multiplier.tolist() == [1, 40]
    assert readings.calls == ["installations", "profiles"], "complete days ask for no history"


@pytest.mark.parametrize(
    "zone_day",
    [("Europe/Berlin", date(2026, 3, 29), 92), ("Europe/Berlin", date(2026, 10, 25), 100)],
)
async def test_days_of_23_and_25_hours_keep_their_intervals(
    zone_day: tuple[str, date, int],
) -> None:
    zone, day, count = zone_day
    assert interval_count(day, zone, 900) == count
    stored = StoredProfile(
        11, day, 900, 0, np.arange(count, dtype=np.int64), np.zeros(count, dtype=np.int16)
    )
    readings = StoredReadings([installed(1, 11)], [stored])
    block = await load(readings, points(1, zone=zone), day)
    assert block.energy_wh[0].tolist() == list(range(count))
    assert (block.quality == Quality.ACTUAL).all()


async def test_points_of_different_grids_come_in_blocks_of_their_own() -> None:
    readings = StoredReadings(
        [installed(1, 11), installed(2, 12), installed(3, 13)],
        [profile(11, 1), profile(12, 1, n=24), profile(13, 1)],
    )
    uow: Any = SimpleNamespace(settlement=readings)
    blocks = await load_energy(uow, points(1, 2, 3), DAY, NO_SPECIAL_DAYS)
    assert {b.interval_s: b.rows.tolist() for b in blocks} == {900: [0, 2], 3600: [1]}


async def test_a_point_without_a_meter_is_in_no_block() -> None:
    readings = StoredReadings([installed(2, 12)], [profile(12, 1)])
    block = await load(readings, points(1, 2))
    assert block.rows.tolist() == [1]


async def test_what_fails_validation_or_cannot_be_is_missing_not_charged() -> None:
    stored = profile(11, 5, codes={0: Quality.SUSPECT, 1: Quality.MISSING})
    stored.energy_wh[2] = -1
    stored.energy_wh[3] = 10**15
    block = await load(StoredReadings([installed(1, 11)], [stored]), points(1))
    assert block.quality[0, :5].tolist() == [Quality.MISSING] * 4 + [Quality.ACTUAL]
    assert block.energy_wh[0, :4].tolist() == [0, 0, 0, 0]


async def test_gaps_are_filled_from_days_of_the_same_kind_first() -> None:
    past = [(1, 10), (2, 99), (3, 99), (4, 20)]  # Monday 9, Sunday 8, Saturday 7, Friday 6
    readings = StoredReadings(
        [installed(1, 11, multiplier=2)],
        [
            profile(11, 5, codes={7: Quality.MISSING, 8: Quality.SUSPECT}),
            *(profile(11, value, day=DAY - timedelta(days=back)) for back, value in past),
        ],
    )
    block = await load(readings, points(1))
    assert block.quality[0, 6:10].tolist() == [0, Quality.ESTIMATED, Quality.ESTIMATED, 0]
    assert block.energy_wh[0, 6:10].tolist() == [10, 30, 30, 10]


async def test_history_counts_with_the_meter_and_multiplier_of_its_time() -> None:
    exchange = START - timedelta(days=3)
    readings = StoredReadings(
        [
            installed(1, 10, valid_to=exchange, multiplier=10),
            installed(1, 11, valid_from=exchange),
        ],
        [
            profile(10, 4, day=DAY - timedelta(days=5)),
            profile(10, 1000, day=DAY - timedelta(days=1)),  # in the store room by now
        ],
    )
    block = await load(readings, points(1))
    assert (block.energy_wh == 40).all()
    assert block.profile_revision.tolist() == [-1]
    assert block.meter_id.tolist() == [11]


async def test_dark_days_are_neither_estimated_nor_estimated_from() -> None:
    readings = StoredReadings(
        [installed(1, 11), installed(2, 12)],
        [
            profile(11, 3, day=DAY - timedelta(days=1)),
            profile(12, 3, day=DAY - timedelta(days=1)),
            profile(12, 8, day=DAY - timedelta(days=4)),
        ],
        off=[
            SupplyInterruption(1, START + timedelta(hours=5), None),
            SupplyInterruption(2, START - timedelta(hours=5), START),
        ],
    )
    block = await load(readings, points(1, 2))
    assert block.supply_off.tolist() == [True, False]
    assert (block.quality[0] == Quality.MISSING).all()
    assert (block.energy_wh[1] == 8).all()


async def test_intervals_belong_to_the_meter_installed_in_them() -> None:
    exchange = START + timedelta(hours=6, minutes=10)
    readings = StoredReadings(
        [
            installed(1, 10, valid_to=exchange),
            installed(1, 11, valid_from=exchange, multiplier=3),
        ],
        [profile(10, 2, revision=1), profile(11, 1, revision=2)],
    )
    block = await load(readings, points(1))
    # 06:00 to 06:15 was measured by both, each in part.
    assert block.energy_wh[0, 23:26].tolist() == [2, 2 + 3, 3]
    assert block.energy_wh[0].sum() == 24 * 2 + 5 + 71 * 3
    assert block.profile_revision.tolist() == [(1 + 1) + (2 + 1) - 1]


async def test_before_the_first_meter_nothing_is_missing() -> None:
    readings = StoredReadings(
        [installed(1, 11, valid_from=START + timedelta(hours=12))], [profile(11, 4)]
    )
    block = await load(readings, points(1))
    assert block.energy_wh[0].sum() == 48 * 4
    assert (block.quality == Quality.ACTUAL).all()


async def test_a_register_is_compared_after_the_multiplier() -> None:
    readings = StoredReadings(
        [installed(1, 11, multiplier=10)],
        [profile(11, 50)],
        registers=[
            Indication(11, START, 1_000),
            Indication(11, START + timedelta(days=1), 1_000 + 96 * 50 + 2_000),
        ],
    )
    block = await load(readings, points(1))
    assert list(block.register_gap_wh) == [20_000]
