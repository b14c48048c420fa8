"""Settlement on a real PostgreSQL against a plain reference over fractions: difference zero."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from headend.domain.days import local_midnight
from headend.domain.errors import BadInput
from headend.domain.reading import Quality
from headend.ports.unit_of_work import Store, UnitOfWork
from headend.services.billing_run import BillingRun
from headend.testing.clock import FakeClock

FIRST = date(2026, 3, 1)
ZONE = "Asia/Shanghai"
N = 96


def day(number: int) -> date:
    """Return the numbered day of March, from 0."""
    return FIRST + timedelta(days=number)


def midnight(number: int) -> datetime:
    return local_midnight(day(number), ZONE)


@pytest.fixture
def billing(store: Store, clock: FakeClock) -> BillingRun:
    return BillingRun(store, clock)


async def settle(billing: BillingRun, clock: FakeClock, number: int, **shard: int) -> Any:
    """Settle a day at 01:00 of the next."""
    clock.instant = midnight(number + 1) + timedelta(hours=1)
    return await billing.settle_day(day(number), **shard)


async def test_days_are_charged_to_the_nano_through_two_tier_limits(
    town: Any, billing: BillingRun, clock: FakeClock, plainly: Any, draw: Any
) -> None:
    homes = [town.household() for _ in range(3)]
    used = {
        home: [draw(10 * i + n, mean_wh=50 + 60 * i) for n in range(5)]
        for i, home in enumerate(homes)
    }
    for number in range(5):
        for home in homes:
            await town.read(home.meter_id, day(number), used[home][number])
        result = await settle(billing, clock, number)
        assert (result.chunks_settled, result.points_rated, result.points_unrated) == (1, 3, 0)
    for home in homes:
        expected = plainly(used[home])
        assert [town.rated(home, day(n))["charge_nano"] for n in range(5)] == expected
        assert [-e["amount_nano"] for e in town.entries(home)] == expected
        balance = town.balance(home)
        assert balance["balance_nano"] == -sum(expected)
        assert balance["estimated_nano"] == 0
        assert balance["settled_through"] == day(4)
        assert balance["actual_through"] == midnight(5)
    tiers = [len([t for t in town.rated(homes[2], day(n))["cell_wh"] if sum(t)]) for n in range(5)]
    assert max(tiers) > 1, "the test must split a day at a tier limit"
    await town.check_books()


async def test_the_multiplier_counts_before_the_tiers(
    town: Any, billing: BillingRun, clock: FakeClock, plainly: Any, draw: Any
) -> None:
    home = town.household(multiplier=40)
    await town.read(home.meter_id, FIRST, draw(1, mean_wh=9))
    await settle(billing, clock, 0)
    (expected,) = plainly([[40 * wh for wh in draw(1, mean_wh=9)]])
    rated = town.rated(home, FIRST)
    assert (rated["charge_nano"], rated["multiplier"]) == (expected, 40)


async def test_a_day_settled_again_changes_nothing(
    town: Any, billing: BillingRun, clock: FakeClock, draw: Any
) -> None:
    home = town.household()
    await town.read(home.meter_id, FIRST, draw(1))
    await settle(billing, clock, 0)
    before, entries = town.balance(home), town.entries(home)
    again = await settle(billing, clock, 0)
    other_shards = await settle(billing, clock, 0, shard=home.account_id % 2, shards=2)
    assert (again.chunks_settled, again.points_rated, again.days_rerated) == (0, 0, 0)
    assert other_shards.points_rated == 0
    assert town.entries(home) == entries
    assert town.balance(home)["balance_nano"] == before["balance_nano"]
    await town.check_books()


async def test_a_day_that_is_not_over_and_a_shard_that_is_none_are_refused(
    billing: BillingRun, clock: FakeClock
) -> None:
    clock.instant = midnight(1) - timedelta(seconds=1)
    with pytest.raises(BadInput, match="not over"):
        await billing.settle_day(FIRST)
    with pytest.raises(BadInput, match="shard 2 of 2"):
        await billing.settle_day(day(-1), shard=2, shards=2)


async def test_shards_settle_every_account_once(
    town: Any, billing: BillingRun, clock: FakeClock, plainly: Any, draw: Any
) -> None:
    homes = [town.household() for _ in range(7)]
    for i, home in enumerate(homes):
        await town.read(home.meter_id, FIRST, draw(i))
    rated = [(await settle(billing, clock, 0, shard=k, shards=3)).points_rated for k in range(3)]
    assert sum(rated) == 7
    assert all(rated)
    assert [town.balance(h)["balance_nano"] for h in homes] == [
        -plainly([draw(i)])[0] for i in range(7)
    ]


async def test_a_gap_is_estimated_then_healed_by_the_actual_reading(
    town: Any, billing: BillingRun, clock: FakeClock, plainly: Any, draw: Any
) -> None:
    home = town.household()
    used = [draw(n, mean_wh=110) for n in range(4)]
    for number in (0, 1):
        await town.read(home.meter_id, day(number), used[number])
        await settle(billing, clock, number)
    gap = [Quality.MISSING if 30 <= i < 50 else Quality.ACTUAL for i in range(N)]
    await town.read(home.meter_id, day(2), used[2], quality=gap)
    result = await settle(billing, clock, 2)
    assert result.points_estimated == 1
    guessed = list(used[2])
    # 1 March is a Sunday: the only day of the same kind as Tuesday 3 March is Monday the 2nd.
    guessed[30:50] = used[1][30:50]
    rated, balance = town.rated(home, day(2)), town.balance(home)
    assert rated["charge_nano"] == plainly([*used[:2], guessed])[2]
    assert rated["worst_quality"] == Quality.ESTIMATED
    assert rated["estimated_wh"] == sum(used[1][30:50])
    assert balance["actual_through"] == midnight(2) + timedelta(minutes=15 * 30)
    assert balance["estimated_nano"] > 0

    await town.read(home.meter_id, day(3), used[3])
    await settle(billing, clock, 3)
    assert town.balance(home)["actual_through"] == midnight(2) + timedelta(minutes=15 * 30)
    assert town.balance(home)["balance_nano"] == -sum(plainly([*used[:2], guessed, used[3]]))

    await town.read(home.meter_id, day(2), used[2])
    changed: list[tuple[int, int]] = []

    async def on_rerated(uow: UnitOfWork, account_id: int, *, difference_nano: int) -> None:
        changed.append((account_id, difference_nano))

    run = BillingRun(town.store, clock, on_rerated=on_rerated)
    healed = await run.correct_days(day(3))
    balance = town.balance(home)
    assert balance["balance_nano"] == -sum(plainly(used))
    assert balance["estimated_nano"] == 0
    assert balance["actual_through"] == midnight(4)
    assert changed == [(home.account_id, healed.corrected_nano)]
    assert healed.corrected_accounts == (home.account_id,)
    corrections = [e for e in town.entries(home) if e["kind"] == "correction"]
    assert corrections[0]["corrects"] == f"2026-03-03/energy:{home.usage_point_id}"
    assert {e["business_date"] for e in corrections} == {day(3)}
    assert (await run.correct_days(day(3))).days_rerated == 0
    assert len(changed) == 1
    await town.check_books()


async def test_a_revised_reading_moves_the_tiers_of_every_later_day(
    town: Any, billing: BillingRun, clock: FakeClock, plainly: Any, draw: Any
) -> None:
    home = town.household()
    used = [draw(n, mean_wh=100) for n in range(5)]
    for number in range(5):
        await town.read(home.meter_id, day(number), used[number])
        await settle(billing, clock, number)
    used[1] = [3 * wh for wh in used[1]]
    await town.read(home.meter_id, day(1), used[1])
    result = await billing.correct_days(day(4))
    assert result.days_rerated == 4
    assert [town.rated(home, day(n))["charge_nano"] for n in range(5)] == plainly(used)
    assert town.balance(home)["balance_nano"] == -sum(plainly(used))
    reasons = town.run(
        "select distinct detail->>'reason' as reason from ledger_batch where kind = 'correction'"
    )
    assert reasons == [{"reason": "revised_reading"}]
    assert town.run("select 1 from ledger_entry where account_id = -13") == []
    await town.check_books()


async def test_nothing_read_and_nothing_to_go_by_is_unrated_until_the_meter_answers(
    town: Any, billing: BillingRun, clock: FakeClock, plainly: Any, draw: Any
) -> None:
    home = town.household()
    result = await settle(billing, clock, 0)
    assert (result.points_rated, result.points_unrated, result.charged_nano) == (0, 1, 0)
    rated = town.rated(home, FIRST)
    assert (rated["unrated_reason"], rated["worst_quality"]) == ("no_readings", Quality.MISSING)
    assert town.balance(home)["balance_nano"] == 0
    assert [e["entry_key"] for e in town.entries(home)] == [f"unrated:{home.usage_point_id}"]
    await town.read(home.meter_id, FIRST, draw(1))
    await town.read(home.meter_id, day(1), draw(2))
    await settle(billing, clock, 1)
    assert town.balance(home)["balance_nano"] == -sum(plainly([draw(1), draw(2)]))
    assert town.balance(home)["actual_through"] == midnight(2)
    reasons = town.run(
        "select detail->>'reason' as reason from ledger_batch where kind = 'correction'"
    )
    assert reasons == [{"reason": "late_reading"}] * len(reasons)
    await town.check_books()


async def test_days_settled_out_of_order_end_as_in_order(
    town: Any, billing: BillingRun, clock: FakeClock, plainly: Any, draw: Any
) -> None:
    home = town.household()
    used = [draw(n, mean_wh=130) for n in range(4)]
    for number in range(4):
        await town.read(home.meter_id, day(number), used[number])
    clock.instant = midnight(5)
    for number in (2, 0, 3, 1):
        await billing.settle_day(day(number))
    assert [town.rated(home, day(n))["charge_nano"] for n in range(4)] == plainly(used)
    balance = town.balance(home)
    assert balance["balance_nano"] == -sum(plainly(used))
    assert (balance["settled_through"], balance["actual_through"]) == (day(3), midnight(4))
    await town.check_books()


async def test_no_estimate_for_a_day_on_which_supply_was_off(
    town: Any, billing: BillingRun, clock: FakeClock, draw: Any
) -> None:
    home = town.household()
    await town.read(home.meter_id, FIRST, draw(1))
    await settle(billing, clock, 0)
    town.run(
        "insert into restraint (usage_point_id, kind, placed_at, placed_by, evidence)"
        " values (%s, 'arrears', %s, 'test', 'test')",
        (home.usage_point_id, midnight(1) + timedelta(hours=10)),
    )
    result = await settle(billing, clock, 1)
    assert result.points_unrated == 1
    assert town.rated(home, day(1))["unrated_reason"] == "supply_off"


async def test_an_unknown_tariff_leaves_the_day_open_until_it_is_repaired(
    town: Any, billing: BillingRun, clock: FakeClock, plainly: Any, draw: Any
) -> None:
    home, other = town.household(), town.household()
    town.run("insert into tariff (tariff_code, document) values ('broken', '{}')")
    town.run(
        "update account set tariff_id = (select tariff_id from tariff where tariff_code = 'broken')"
        " where account_id = %s",
        [home.account_id],
    )
    for one in (home, other):
        await town.read(one.meter_id, FIRST, draw(1))
    await settle(billing, clock, 0)
    assert town.rated(home, FIRST)["unrated_reason"] == "tariff_invalid"
    assert town.balance(other)["balance_nano"] == -plainly([draw(1)])[0]
    town.run("update account set tariff_id = %s", [town.tariff_id])
    await billing.correct_days(FIRST)
    assert town.balance(home)["balance_nano"] == -plainly([draw(1)])[0]
    await town.check_books()


async def test_a_new_occupant_starts_clean(
    town: Any, billing: BillingRun, clock: FakeClock, plainly: Any, draw: Any
) -> None:
    old = town.household()
    new = town.household()
    town.run("delete from meter_installation where usage_point_id = %s", [new.usage_point_id])
    used = [draw(n, mean_wh=140) for n in range(4)]
    town.run("delete from occupancy where account_id = %s", [new.account_id])
    town.run("update occupancy set valid_to = %s where account_id = %s", (day(2), old.account_id))
    town.run(
        "insert into occupancy (account_id, usage_point_id, valid_from) values (%s, %s, %s)",
        (new.account_id, old.usage_point_id, day(2)),
    )
    for number in range(4):
        await town.read(old.meter_id, day(number), used[number])
        await settle(billing, clock, number)
    assert town.balance(old)["balance_nano"] == -sum(plainly(used[:2]))
    assert town.balance(new)["balance_nano"] == -sum(plainly(used[2:]))


async def test_an_exchanged_meter_shares_the_day_with_the_one_before(
    town: Any, billing: BillingRun, clock: FakeClock, plainly: Any, draw: Any
) -> None:
    home = town.household()
    before, after = draw(1), draw(2)
    exchanged_at = midnight(0) + timedelta(hours=10)
    meter = town.meter(home.usage_point_id, exchanged_at, multiplier=2)
    await town.read(home.meter_id, FIRST, before)
    await town.read(meter, FIRST, after)
    await settle(billing, clock, 0)
    expected = before[:40] + [2 * wh for wh in after[40:]]
    assert town.rated(home, FIRST)["charge_nano"] == plainly([expected])[0]
    assert town.balance(home)["actual_through"] == midnight(1)


@pytest.mark.parametrize(("lost_wh", "gap"), [(0, 0), (5_000, 5_000)])
async def test_intervals_are_reconciled_with_the_register(
    town: Any, billing: BillingRun, clock: FakeClock, lost_wh: int, gap: int
) -> None:
    home = town.household()
    await town.read(home.meter_id, FIRST, [100] * N)
    at = timedelta(minutes=5)
    await town.register(home.meter_id, midnight(0) + at, 70_000)
    await town.register(home.meter_id, midnight(1) + at, 70_000 + 100 * N + lost_wh)
    await settle(billing, clock, 0)
    rated = town.rated(home, FIRST)
    assert (rated["register_gap_wh"] > 0) == (gap > 0)
    assert rated["register_gap_wh"] <= gap
    assert rated["worst_quality"] == (Quality.SUSPECT if gap else Quality.ACTUAL)
    assert town.balance(home)["actual_through"] == midnight(0 if gap else 1)
    cases = town.run("select usage_point_id from \"case\" where kind = 'register_mismatch'")
    assert cases == ([{"usage_point_id": home.usage_point_id}] if gap else [])


async def test_a_balance_that_falls_below_zero_is_a_crossing(
    town: Any, billing: BillingRun, clock: FakeClock, draw: Any
) -> None:
    home = town.household()
    await town.read(home.meter_id, FIRST, draw(1))
    result = await settle(billing, clock, 0)
    (crossing,) = result.crossings
    assert (crossing.account_id, crossing.threshold_nano, crossing.falling) == (
        home.account_id,
        0,
        True,
    )
    assert crossing.balance_nano == town.balance(home)["balance_nano"]
    assert clock.now().tzinfo is UTC
