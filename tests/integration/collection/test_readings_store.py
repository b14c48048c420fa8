"""The readings store on a real PostgreSQL: idempotence, revisions, merging, coverage."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from headend.domain.coverage import CoverageCause
from headend.domain.errors import InvariantViolated
from headend.domain.obis import ACTIVE_ENERGY_IMPORT
from headend.domain.reading import ProfileDay, Quality, RegisterReading
from headend.ports.readings import Gap, MeterContact, MeterEvent, MeterRegister, StoredDays
from headend.ports.unit_of_work import Store
from headend.store.database import open_pool

DAY = date(2026, 3, 2)
AT = datetime(2026, 3, 3, 0, 5, tzinfo=UTC)
LATER = AT + timedelta(hours=3)
N = 96


def profile_day(
    meter_id: int = 1, *, day: date = DAY, value: int = 7, missing: slice | None = None, n: int = N
) -> ProfileDay:
    energy = np.full(n, value, dtype=np.int64)
    quality = np.zeros(n, dtype=np.int16)
    if missing is not None:
        energy[missing] = 0
        quality[missing] = Quality.MISSING
    return ProfileDay(meter_id, ACTIVE_ENERGY_IMPORT, day, 86400 // n, energy, quality)


async def put(
    store: Store, *days: ProfileDay, source: str = "dlms", at: datetime = AT
) -> StoredDays:
    async with store.transaction() as uow:
        return await uow.readings.store_profile_days(days, source=source, at=at)


async def only_day(store: Store, meter_id: int = 1) -> tuple[ProfileDay, int]:
    async with store.transaction() as uow:
        (stored,) = await uow.readings.profile_days([meter_id], ACTIVE_ENERGY_IMPORT, DAY, DAY)
    return stored.profile, stored.revision


async def missing(
    store: Store, *meter_ids: int
) -> list[tuple[int, date, int, CoverageCause | None]]:
    async with store.transaction() as uow:
        days = await uow.readings.missing_days(list(meter_ids), ACTIVE_ENERGY_IMPORT, DAY, DAY)
    return [(gap.meter_id, gap.day, gap.present, gap.cause) for gap in days]


async def test_values_come_back_as_they_went_in_over_both_grids_and_long_days(store: Store) -> None:
    day = profile_day(1)
    day.energy_wh[:] = np.arange(N) * 10**12
    day.quality[3] = Quality.SUSPECT
    hourly, long = profile_day(2, n=24), profile_day(3, n=100, day=DAY + timedelta(days=1))
    assert await put(store, day, hourly, long) == StoredDays(inserted=3, revised=0, unchanged=0)
    async with store.transaction() as uow:
        stored = await uow.readings.profile_days(
            [1, 2, 3], ACTIVE_ENERGY_IMPORT, DAY, DAY + timedelta(days=1)
        )
    for given, found in zip((day, hourly, long), stored, strict=True):
        assert found.profile.meter_id == given.meter_id
        assert found.profile.day == given.day
        assert found.profile.interval_s == given.interval_s
        np.testing.assert_array_equal(found.profile.energy_wh, given.energy_wh)
        np.testing.assert_array_equal(found.profile.quality, given.quality)
        assert (found.revision, found.source, found.stored_at) == (0, "dlms", AT)


async def test_the_same_values_again_change_nothing(store: Store) -> None:
    await put(store, profile_day(1), profile_day(2))
    assert await put(store, profile_day(2), profile_day(1), at=LATER) == StoredDays(0, 0, 2)
    _, revision = await only_day(store)
    assert revision == 0


async def test_a_differing_value_becomes_a_revision_and_the_earlier_row_is_kept(
    store: Store, database_url: str
) -> None:
    await put(store, profile_day(value=7))
    assert await put(store, profile_day(value=8), source="file", at=LATER) == StoredDays(0, 1, 0)
    profile, revision = await only_day(store)
    assert (int(profile.energy_wh[0]), revision) == (8, 1)
    async with open_pool(database_url) as pool, pool.connection() as connection:
        cursor = await connection.execute("select * from profile_day_revision")
        (kept,) = await cursor.fetchall()
    assert (kept["revision"], kept["source"], kept["replaced_at"]) == (0, "dlms", LATER)
    assert kept["energy_wh"] == [7] * N


async def test_missing_never_replaces_a_value_and_a_later_reading_fills_the_gap(
    store: Store,
) -> None:
    await put(store, profile_day(value=7, missing=slice(0, 40)))
    assert await put(store, profile_day(value=7, missing=slice(40, N))) == StoredDays(0, 1, 0)
    profile, _ = await only_day(store)
    assert profile.present == N
    assert profile.energy_wh.tolist() == [7] * N
    assert await missing(store, 1) == []


async def test_an_estimate_of_ours_never_replaces_a_measured_value_but_fills_what_is_missing(
    store: Store,
) -> None:
    await put(store, profile_day(value=7, missing=slice(0, 4)))
    estimate = profile_day(value=50)
    estimate.quality[:] = Quality.ESTIMATED
    await put(store, estimate)
    profile, _ = await only_day(store)
    assert profile.energy_wh.tolist() == [50] * 4 + [7] * (N - 4)
    assert profile.quality.tolist() == [Quality.ESTIMATED] * 4 + [Quality.ACTUAL] * (N - 4)
    # The meter's own values arrive at last and take the estimate's place.
    await put(store, profile_day(value=9))
    assert (await only_day(store))[0].quality.tolist() == [Quality.ACTUAL] * N


async def test_reading_late_what_was_in_time_does_not_make_it_late(store: Store) -> None:
    await put(store, profile_day(value=7, missing=slice(0, 4)))
    again = profile_day(value=7)
    again.quality[:] = Quality.ACTUAL_LATE
    await put(store, again)
    profile, revision = await only_day(store)
    assert profile.quality.tolist() == [Quality.ACTUAL_LATE] * 4 + [Quality.ACTUAL] * (N - 4)
    assert revision == 1
    assert await put(store, again) == StoredDays(0, 0, 1)


async def test_a_day_on_another_grid_replaces_the_day_as_a_whole(store: Store) -> None:
    await put(store, profile_day(value=7))
    assert await put(store, profile_day(value=28, n=24)) == StoredDays(0, 1, 0)
    profile, _ = await only_day(store)
    assert (profile.interval_s, profile.energy_wh.tolist()) == (3600, [28] * 24)
    assert await missing(store, 1) == []


async def test_the_same_day_twice_in_one_call_is_a_defect_of_the_caller(store: Store) -> None:
    with pytest.raises(InvariantViolated):
        await put(store, profile_day(1), profile_day(1))
    assert await missing(store, 1) == [(1, DAY, 0, None)]


async def test_coverage_says_what_is_missing_and_why_and_forgets_it_once_filled(
    store: Store,
) -> None:
    async with store.transaction() as uow:
        gap = Gap(1, ACTIVE_ENERGY_IMPORT, DAY, N, CoverageCause.WRONG_KEY)
        await uow.readings.record_gaps([gap], at=AT)
    await put(store, profile_day(2, missing=slice(0, 1)), profile_day(3))
    assert await missing(store, 1, 2, 3, 4) == [
        (1, DAY, 0, CoverageCause.WRONG_KEY),
        (2, DAY, N - 1, CoverageCause.MISSING_IN_METER),
        (4, DAY, 0, None),
    ]
    await put(store, profile_day(1), profile_day(2))
    assert await missing(store, 1, 2, 3) == []
    async with store.transaction() as uow:
        await uow.readings.record_gaps([gap], at=LATER)
    assert await missing(store, 1) == [], "a complete day stays complete"


async def test_a_transaction_that_fails_leaves_neither_values_nor_coverage(store: Store) -> None:
    async def crash() -> None:
        async with store.transaction() as uow:
            await uow.readings.store_profile_days([profile_day()], source="dlms", at=AT)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await crash()
    assert await missing(store, 1) == [(1, DAY, 0, None)]
    assert await put(store, profile_day()) == StoredDays(1, 0, 0)


async def test_several_bulk_calls_share_one_transaction(store: Store) -> None:
    async with store.transaction() as uow:
        first = await uow.readings.store_profile_days([profile_day(1)], source="dlms", at=AT)
        second = await uow.readings.store_profile_days(
            [profile_day(1, value=8), profile_day(2)], source="dlms", at=AT
        )
    assert (first, second) == (StoredDays(1, 0, 0), StoredDays(1, 1, 0))


async def test_registers_and_events_are_stored_once(store: Store) -> None:
    reading = RegisterReading(ACTIVE_ENERGY_IMPORT, 12_345, "Wh", AT)
    event = MeterEvent(1, AT, "clock_drift", {"drift_s": 90})
    async with store.transaction() as uow:
        assert await uow.readings.store_registers([MeterRegister(1, reading)], source="dlms") == 1
        assert await uow.readings.store_registers([MeterRegister(1, reading)], source="dlms") == 0
        assert await uow.readings.store_events([event], source="collector") == 1
        assert await uow.readings.store_events([event], source="collector") == 0


async def test_contact_counts_failures_in_a_row_and_remembers_when_it_was_heard(
    store: Store, database_url: str
) -> None:
    async with store.transaction() as uow:
        await uow.readings.record_contacts([MeterContact(1, AT), MeterContact(2, AT)])
        for minute in (1, 2):
            failed = MeterContact(1, AT + timedelta(minutes=minute), CoverageCause.NO_ROUTE)
            await uow.readings.record_contacts([failed])
    async with open_pool(database_url) as pool, pool.connection() as connection:
        cursor = await connection.execute("select * from meter_contact order by meter_id")
        silent, heard = await cursor.fetchall()
    assert (silent["last_heard_at"], silent["failures_in_row"]) == (AT, 2)
    assert (silent["last_failure"], silent["last_failure_at"]) == (
        "no_route",
        AT + timedelta(minutes=2),
    )
    assert (heard["last_heard_at"], heard["failures_in_row"]) == (AT, 0)
    async with store.transaction() as uow:
        await uow.readings.record_contacts([MeterContact(1, LATER)])
    async with open_pool(database_url) as pool, pool.connection() as connection:
        cursor = await connection.execute("select * from meter_contact where meter_id = 1")
        back = await cursor.fetchone()
    assert back is not None
    assert (back["last_heard_at"], back["failures_in_row"]) == (LATER, 0)
