"""Collecting a concentrator of fake meters into a real PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from headend.domain.days import day_span
from headend.domain.errors import MeterUnreachable, NotFound, Preempted
from headend.domain.obis import ACTIVE_ENERGY_IMPORT
from headend.domain.reading import MeterIdentity, ProfileDay, Quality
from headend.domain.supply import SupplyState
from headend.ports.runs import PlannedRun, RunKey, RunKind
from headend.testing.meters import MeterFault

TODAY = date(2026, 3, 5)
ZONE = "Asia/Shanghai"
DAYS = [TODAY - timedelta(days=n) for n in (3, 2, 1)]


async def collect(fleet: Any, index: int = 0, day: date = TODAY) -> Any:
    return await fleet.collection.collect_concentrator(fleet.concentrator_ids[index], day)


async def stored(fleet: Any, number: int, first: date = DAYS[0]) -> dict[date, ProfileDay]:
    async with fleet.store.transaction() as uow:
        days = await uow.readings.profile_days(
            [fleet.meter_id(number)], ACTIVE_ENERGY_IMPORT, first, TODAY
        )
    return {day.profile.day: day.profile for day in days}


async def cause_of(fleet: Any, number: int) -> set[str | None]:
    rows = await fleet.rows(
        "select distinct cause from coverage where meter_id = %s", fleet.meter_id(number)
    )
    return {row["cause"] for row in rows}


def truth(fleet: Any, number: int, day: date) -> list[int]:
    """What the meter itself says of a whole day."""
    start, end = (int(instant.timestamp()) for instant in day_span(day, ZONE))
    return [fleet.meter(number).energy_wh(second) for second in range(start, end, 900)]


async def test_every_interval_of_the_last_days_is_stored_as_the_meters_measured_it(
    fleet: Any,
) -> None:
    result = await collect(fleet)
    assert (result.meters, result.heard, result.registers) == (6, 6, 6)
    assert (result.days_inserted, result.intervals) == (18, 18 * 96)
    assert result.causes == {}
    for number in range(6):
        days = await stored(fleet, number)
        assert sorted(days) == DAYS
        for day, profile in days.items():
            assert profile.energy_wh.tolist() == truth(fleet, number, day)
            assert set(profile.quality.tolist()) == {Quality.ACTUAL}
    assert await stored(fleet, 6) == {}, "the other concentrator was not asked"


async def test_registers_contacts_and_meter_contact_are_recorded(fleet: Any) -> None:
    fleet.meter(1).move_contact(closed=False, at=fleet.clock.now())
    await collect(fleet)
    rows = await fleet.rows("select meter_id, value, source from register_reading order by 1")
    assert [row["value"] for row in rows] == [
        fleet.meter(n).register_wh(fleet.clock.now()) for n in range(6)
    ]
    states = await fleet.rows("select state from supply_state order by meter_id")
    assert [row["state"] for row in states][:2] == [SupplyState.CONNECTED, SupplyState.DISCONNECTED]
    (restraint,) = await fleet.rows("select kind from restraint where lifted_at is null")
    assert restraint["kind"] == "local", "an opening without an order of ours is never arrears"
    heard = await fleet.rows("select last_heard_at from meter_contact")
    assert {row["last_heard_at"] for row in heard} == {fleet.clock.now()}


async def test_only_what_is_missing_is_asked_for_again(fleet: Any) -> None:
    await collect(fleet)
    fleet.adapter.requests.clear()
    again = await collect(fleet)
    assert (again.days_inserted, again.days_revised, again.days_unchanged) == (0, 0, 0)
    assert "profile" not in fleet.adapter.asked(1)
    assert "relay" in fleet.adapter.asked(1), "the contact is looked at all the same"
    fleet.clock.advance(days=1)
    next_day = await collect(fleet, day=TODAY + timedelta(days=1))
    assert next_day.days_inserted == 6


async def test_a_foreign_device_gives_nothing_and_opens_one_case(fleet: Any) -> None:
    fleet.meter(2).identity = MeterIdentity("LDN777", "00000777")
    result = await collect(fleet)
    await collect(fleet)
    assert result.identity_mismatches == 1
    assert result.causes == {"identity_mismatch": 3}
    assert await stored(fleet, 2) == {}
    assert await cause_of(fleet, 2) == {"identity_mismatch"}
    assert "registers" not in fleet.adapter.asked(3)
    (case,) = await fleet.rows('select * from "case"')
    assert (case["kind"], case["meter_id"]) == ("identity_mismatch", fleet.meter_id(2))
    assert case["detail"]["found"] == "LDN777 / 00000777"
    nothing = await fleet.rows(
        "select 1 from register_reading where meter_id = %s", fleet.meter_id(2)
    )
    assert nothing == []


@pytest.mark.parametrize(
    ("fault", "cause", "sessions"),
    [
        (MeterFault.SILENT, "no_route", 3),
        (MeterFault.BUSY, "busy", 3),
        (MeterFault.MALFORMED, "protocol_fault", 2),
        (MeterFault.REFUSES_PROFILE, "refused", 1),
        (MeterFault.DROPS_AT_PROFILE, "no_route", 3),
    ],
)
async def test_each_fault_leaves_its_cause_and_is_retried_as_its_type_allows(
    fleet: Any, fault: MeterFault, cause: str, sessions: int
) -> None:
    fleet.meter(0).faults.add(fault)
    result = await collect(fleet)
    assert result.causes == {cause: 3}
    assert await cause_of(fleet, 0) == {cause}
    assert fleet.adapter.asked(1).count("associate") == sessions
    assert len(await stored(fleet, 1)) == 3, "the neighbours do not suffer"
    fleet.meter(0).faults.clear()
    healed = await collect(fleet)
    assert (healed.days_inserted, healed.causes) == (3, {})


async def test_a_meter_silent_for_several_runs_is_tried_once_until_it_answers(fleet: Any) -> None:
    fleet.meter(0).faults.add(MeterFault.SILENT)
    tried = []
    for day in range(4):
        fleet.adapter.requests.clear()
        await collect(fleet, day=TODAY + timedelta(days=day))
        tried.append(fleet.adapter.asked(1).count("associate"))
        fleet.clock.advance(days=1)
    assert tried == [3, 3, 1, 1]
    fleet.meter(0).faults.clear()
    assert (await collect(fleet, day=TODAY + timedelta(days=4))).causes == {}
    (contact,) = await fleet.rows(
        "select failures_in_row from meter_contact where meter_id = %s", fleet.meter_id(0)
    )
    assert contact["failures_in_row"] == 0


async def test_a_wrong_key_is_final_for_the_run(fleet: Any) -> None:
    fleet.meter(3).encryption_key = bytes(16)
    result = await collect(fleet)
    assert result.causes == {"wrong_key": 3}
    assert fleet.adapter.asked(4).count("associate") == 1
    assert fleet.pauses == []


async def test_a_meter_that_drops_at_the_profile_still_gave_its_register_and_contact(
    fleet: Any,
) -> None:
    fleet.meter(0).faults.add(MeterFault.DROPS_AT_PROFILE)
    result = await collect(fleet)
    assert (result.heard, result.registers) == (6, 6)
    rows = await fleet.rows(
        "select last_heard_at from meter_contact where meter_id = %s", fleet.meter_id(0)
    )
    assert rows == [{"last_heard_at": fleet.clock.now()}]


async def test_rows_that_the_meter_has_not_stay_missing_and_are_never_zero(fleet: Any) -> None:
    start = int(day_span(DAYS[1], ZONE)[0].timestamp())
    lost = {start + 900 * n for n in range(10, 20)}
    fleet.meter(0).missing_starts = set(lost)
    result = await collect(fleet)
    assert result.causes == {"missing_in_meter": 1}
    profile = (await stored(fleet, 0))[DAYS[1]]
    assert np.flatnonzero(profile.quality == Quality.MISSING).tolist() == list(range(10, 20))
    view = await fleet.rows(
        "select energy_wh from interval_reading where meter_id = %s and day = %s and quality = 5",
        fleet.meter_id(0),
        DAYS[1],
    )
    assert [row["energy_wh"] for row in view] == [None] * 10
    fleet.meter(0).missing_starts.clear()
    await collect(fleet)
    assert (await stored(fleet, 0))[DAYS[1]].energy_wh.tolist() == truth(fleet, 0, DAYS[1])


async def test_a_meter_with_an_empty_profile_has_gaps_and_no_row_of_nothing(fleet: Any) -> None:
    fleet.meter(0).since = fleet.clock.now()
    result = await collect(fleet)
    assert result.causes == {"missing_in_meter": 3}
    assert await stored(fleet, 0) == {}


async def test_a_dead_concentrator_is_not_asked_meter_by_meter(fleet: Any) -> None:
    fleet.adapter.down.add("fake+tcp://one")
    fleet.collection._settings = type(fleet.collection._settings)(
        batch_meters=4, sessions_at_once=1, silent_start=2
    )
    result = await collect(fleet)
    assert (result.heard, result.causes) == (0, {"no_route": 18})
    assert len(fleet.pauses) == 4, "two meters were tried three times, the rest not at all"
    fleet.adapter.down.clear()


async def test_giving_way_to_orders_is_retried_at_once(fleet: Any) -> None:
    given_way = iter([True, True, False])

    def interrupt(address: int, request: str) -> None:
        if address == 1 and request == "profile" and next(given_way):
            raise Preempted("an order came")

    fleet.adapter.before_request = interrupt
    result = await collect(fleet)
    assert result.causes == {}
    assert fleet.pauses == [0.0, 0.0]
    assert len(await stored(fleet, 0)) == 3


async def test_what_arrives_after_its_settlement_is_actual_but_late(fleet: Any) -> None:
    key = RunKey(RunKind.SETTLE, DAYS[2], "shard/0/1")
    async with fleet.store.transaction() as uow:
        await uow.runs.plan([PlannedRun(key, fleet.clock.now())])
        await uow.runs.start(key, at=fleet.clock.now(), holder="t", lease_s=9)
        await uow.runs.finish(key, holder="t", at=fleet.clock.now(), detail={})
    await collect(fleet)
    days = await stored(fleet, 0)
    assert {day: int(profile.quality[0]) for day, profile in days.items()} == {
        DAYS[0]: Quality.ACTUAL_LATE,
        DAYS[1]: Quality.ACTUAL_LATE,
        DAYS[2]: Quality.ACTUAL,
    }


async def test_an_impossible_interval_is_kept_but_suspect(fleet: Any) -> None:
    start = int(day_span(DAYS[2], ZONE)[0].timestamp())
    usual = fleet.meter(0).load_wh
    fleet.meter(0).load_wh = lambda second: 9_999_999 if second == start else usual(second)
    result = await collect(fleet)
    profile = (await stored(fleet, 0))[DAYS[2]]
    assert (int(profile.energy_wh[0]), int(profile.quality[0])) == (9_999_999, Quality.SUSPECT)
    assert result.suspect == 1
    assert set(profile.quality[1:].tolist()) == {Quality.ACTUAL}


async def test_a_clock_that_runs_away_is_noticed(fleet: Any) -> None:
    fleet.meter(0).clock_offset = timedelta(minutes=7)
    fleet.meter(1).clock_offset = timedelta(seconds=20)
    result = await collect(fleet)
    assert result.clocks_off == 1
    (event,) = await fleet.rows("select * from meter_event")
    assert (event["meter_id"], event["event_code"]) == (fleet.meter_id(0), "clock_drift")
    assert event["detail"] == {"drift_s": 420.0}


async def test_a_run_killed_in_the_middle_goes_on_and_stores_everything_once(fleet: Any) -> None:
    reached = asyncio.Event()

    def notice(address: int, request: str) -> None:
        if address == 6 and request == "associate":
            reached.set()
            raise asyncio.CancelledError

    fleet.adapter.before_request = notice
    fleet.collection._settings = type(fleet.collection._settings)(
        batch_meters=2, sessions_at_once=1
    )
    run = asyncio.create_task(collect(fleet))
    await reached.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    (before,) = await fleet.rows("select count(*) as days from profile_day")
    assert 0 < before["days"] < 18
    fleet.adapter.before_request = lambda _address, _request: None
    result = await collect(fleet)
    assert result.causes == {}
    (after,) = await fleet.rows(
        "select count(*) as days, count(*) filter (where revision > 0) as revised from profile_day"
    )
    assert (after["days"], after["revised"]) == (18, 0)


async def test_days_before_the_installation_are_not_wanted_from_a_meter(fleet: Any) -> None:
    installed = day_span(DAYS[2], ZONE)[0] + timedelta(hours=6)
    await fleet.rows(
        "update meter_installation set valid_from = %s where meter_id = %s returning 1",
        installed,
        fleet.meter_id(0),
    )
    await collect(fleet)
    assert sorted(await stored(fleet, 0)) == [DAYS[2]]


async def test_an_on_demand_read_returns_and_stores_what_the_meter_shows(fleet: Any) -> None:
    fleet.clock.advance(hours=9)
    readout = await fleet.collection.read_on_demand(fleet.meter_id(7), days=[DAYS[2]])
    assert readout.registers[0].value == fleet.meter(7).register_wh(fleet.clock.now())
    assert readout.relay is not None
    assert readout.relay.output_state
    assert sorted(await stored(fleet, 7)) == [DAYS[2]]
    (row,) = await fleet.rows("select source from supply_state")
    assert row["source"] == "on_demand"


async def test_an_on_demand_read_says_why_it_failed_after_recording_it(fleet: Any) -> None:
    fleet.meter(7).faults.add(MeterFault.SILENT)
    with pytest.raises(MeterUnreachable):
        await fleet.collection.read_on_demand(fleet.meter_id(7))
    (contact,) = await fleet.rows("select last_failure, failures_in_row from meter_contact")
    assert contact == {"last_failure": "no_route", "failures_in_row": 1}
    with pytest.raises(NotFound):
        await fleet.collection.read_on_demand(123_456)


@pytest.mark.parametrize(("day", "intervals"), [(date(2026, 3, 29), 92), (date(2026, 10, 25), 100)])
async def test_days_of_23_and_25_hours_are_whole(fleet: Any, day: date, intervals: int) -> None:
    async with fleet.store.transaction() as uow:
        await uow.readings.ensure_partitions(day, day)
    await fleet.rows("update usage_point set time_zone = 'Europe/Berlin' returning 1")
    fleet.clock.instant = datetime(day.year, day.month, day.day, 23, 5, tzinfo=UTC)
    fleet.clock.advance(hours=0 if intervals == 100 else -1)
    fleet.meter(0).since = fleet.clock.now() - timedelta(days=3)
    await collect(fleet, day=day + timedelta(days=1))
    profile = (await stored_until(fleet, 0, day))[day]
    assert profile.quality.shape == (intervals,)
    assert profile.present == intervals


async def stored_until(fleet: Any, number: int, day: date) -> dict[date, ProfileDay]:
    async with fleet.store.transaction() as uow:
        days = await uow.readings.profile_days(
            [fleet.meter_id(number)], ACTIVE_ENERGY_IMPORT, day, day
        )
    return {one.profile.day: one.profile for one in days}
