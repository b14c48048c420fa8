"""One account through the whole life of a notice cycle, on a real PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

# 2026-03-02 is a Monday; Shanghai is UTC+8.
MONDAY_0830 = datetime(2026, 3, 2, 0, 30, tzinfo=UTC)
DAY = timedelta(days=1)


async def walk_to_plan(services: Any, district: Any, home: Any) -> datetime:
    """Take an account in arrears to its planned instant, everything having been delivered."""
    await services.decide_day()
    await services.notices.deliver_due()
    (cycle,) = [row for row in district.cycles(home) if row["closed_at"] is None]
    planned_at = cycle["planned_disconnect_at"]
    await services.clock.jump_to(planned_at - timedelta(minutes=35))
    await services.notices.deliver_due()
    await services.clock.jump_to(planned_at)
    district.heard(home)
    return planned_at


async def test_from_low_balance_to_the_order_for_the_disconnect(
    services: Any, district: Any, clock: Any, notifier: Any
) -> None:
    home = district.household(balance_yuan=20)

    await services.decide_day()
    await services.notices.deliver_due()
    assert district.stages(home) == [("low_balance", "delivered")]

    clock.advance(days=1)
    district.set_balance(home, 5)
    await services.decide_day()
    await services.notices.deliver_due()
    assert district.stages(home)[1:] == [("arrears", "delivered")]

    clock.advance(days=1)
    district.set_balance(home, -3.21)
    district.heard(home)
    await services.decide_day()
    assert district.stages(home)[2:] == [("disconnect_notice", "due")]
    assert district.cycles(home)[0]["planned_disconnect_at"] is None

    # Delivered on Wednesday 08:30: seven days and the first opening after the margin make
    # Thursday of next week, 09:00.
    assert await services.notices.deliver_due() == 1
    (cycle,) = district.cycles(home)
    thursday_0900 = datetime(2026, 3, 12, 1, 0, tzinfo=UTC)
    assert cycle["planned_disconnect_at"] == thursday_0900
    assert cycle["next_decision_at"] == thursday_0900
    assert district.stages(home)[3:] == [("reminder", "due")]
    assert "2026-03-12 09:00" in notifier.delivered[-1].text_zh
    assert "-3.21" in notifier.delivered[-1].text_en

    # Daily decisions meanwhile change nothing.
    for _ in range(7):
        clock.advance(days=1)
        district.heard(home)
        await services.decide_day()
        assert await services.notices.deliver_due() == 0
        assert await services.decisions.decide_planned() == 0
    assert district.orders(home) == []

    assert await services.next_due() == thursday_0900 - timedelta(minutes=35)
    await clock.jump_to(thursday_0900 - timedelta(minutes=35))
    assert await services.notices.deliver_due() == 1
    assert district.stages(home)[3:] == [("reminder", "delivered")]

    assert await services.next_due() == thursday_0900
    await clock.jump_to(thursday_0900)
    district.heard(home)
    assert await services.decisions.decide_planned() == 1
    (order,) = district.orders(home)
    assert (order["action"], order["purpose"], order["state"]) == (
        "disconnect",
        "arrears",
        "scheduled",
    )
    assert order["notice_cycle_id"] == cycle["cycle_id"]
    decision = district.decisions(home)[-1]
    assert order["decision_id"] == decision["decision_id"]
    assert (decision["trigger"], decision["outcome"], decision["refusal_codes"]) == (
        "planned",
        "disconnect",
        [],
    )
    assert decision["facts"]["balance_nano"] == -3_210_000_000


async def test_a_payment_in_the_middle_closes_the_cycle_and_calls_the_order_back(
    services: Any, district: Any, clock: Any
) -> None:
    home = district.household(balance_yuan=-1)
    await walk_to_plan(services, district, home)
    await services.decisions.decide_planned()
    assert [order["state"] for order in district.orders(home)] == ["scheduled"]

    district.set_balance(home, 60)
    (record,) = await services.decide(home, "payment")
    assert record.outcome == "none"
    assert [order["state"] for order in district.orders(home)] == ["cancelled"]
    assert [cycle["close_reason"] for cycle in district.cycles(home)] == ["paid"]
    assert await services.next_due() is None

    # Falling due again begins at the beginning: a new notice, a new waiting time.
    clock.advance(days=1)
    district.set_balance(home, -1)
    district.heard(home)
    await services.decide_day()
    assert len(district.cycles(home)) == 2
    assert district.stages(home)[-1] == ("disconnect_notice", "due")


async def test_a_payment_before_delivery_cancels_the_notice(services: Any, district: Any) -> None:
    home = district.household(balance_yuan=-1)
    await services.decide_day()
    district.set_balance(home, 60)
    await services.decide(home, "payment")
    assert district.stages(home) == [("disconnect_notice", "cancelled")]
    assert await services.notices.deliver_due() == 0


async def test_a_small_payment_ends_the_disconnect_but_is_asked_for_more_the_next_day(
    services: Any, district: Any, clock: Any
) -> None:
    home = district.household(balance_yuan=-1)
    await services.decide_day()
    await services.notices.deliver_due()
    district.set_balance(home, 5)
    (record,) = await services.decide(home, "payment")
    assert record.outcome == "arrears_warning"
    assert [cycle["close_reason"] for cycle in district.cycles(home)] == ["paid"]
    assert district.stages(home)[-1] == ("reminder", "cancelled")

    clock.advance(days=1)
    await services.decide_day()
    assert district.stages(home)[-1] == ("arrears", "due")


async def test_a_payment_while_the_disconnect_is_being_sent_queues_the_reconnect(
    services: Any, district: Any
) -> None:
    home = district.household(balance_yuan=-1)
    await walk_to_plan(services, district, home)
    await services.decisions.decide_planned()
    district.run("update supply_order set state = 'sending'")
    district.set_balance(home, 60)
    (record,) = await services.decide(home, "payment")
    assert record.outcome == "reconnect"
    assert [(o["action"], o["state"]) for o in district.orders(home)] == [
        ("disconnect", "sending"),
        ("reconnect", "scheduled"),
    ]


async def test_a_refused_disconnect_is_tried_within_its_tolerance_then_noticed_anew(
    services: Any, district: Any, clock: Any
) -> None:
    home = district.household(balance_yuan=-1)
    planned_at = await walk_to_plan(services, district, home)
    district.run("update meter_contact set last_heard_at = %s", (planned_at - 2 * DAY,))
    await services.decisions.decide_planned()
    (order,) = district.orders(home)
    assert (order["state"], order["refusal_codes"]) == ("refused", ["meter_not_heard_lately"])
    assert district.decisions(home)[-1]["refusal_codes"] == ["meter_not_heard_lately"]

    tries = 0
    while (due := await services.next_due()) is not None:
        tries += 1
        await clock.jump_to(due)
        await services.decisions.decide_planned()
    assert tries == 7  # hourly, up to the last permitted instant, planned_at + 7 h
    assert clock.now() == planned_at + timedelta(hours=7)
    assert len(district.orders(home)) == 1  # the refusal stood: it was not told once an hour

    await clock.jump_to(planned_at + DAY - timedelta(minutes=30))
    district.heard(home)
    await services.decide_day()
    assert [cycle["close_reason"] for cycle in district.cycles(home)] == ["expired", None]
    assert district.stages(home)[-1] == ("disconnect_notice", "due")


async def test_a_meter_heard_again_within_the_tolerance_is_cut_after_all(
    services: Any, district: Any, clock: Any
) -> None:
    home = district.household(balance_yuan=-1)
    planned_at = await walk_to_plan(services, district, home)
    district.run("update meter_contact set last_heard_at = %s", (planned_at - 2 * DAY,))
    await services.decisions.decide_planned()
    await clock.jump_to(await services.next_due())
    district.heard(home)
    await services.decisions.decide_planned()
    assert [order["state"] for order in district.orders(home)] == ["refused", "scheduled"]


async def test_after_the_cut_money_brings_power_back_and_nothing_less_does(
    services: Any, district: Any, clock: Any
) -> None:
    home = district.household(balance_yuan=-1)
    await walk_to_plan(services, district, home)
    await services.decisions.decide_planned()
    district.run("update supply_order set state = 'completed'")
    district.run(
        "insert into restraint (usage_point_id, kind, placed_at, placed_by, evidence)"
        " values (%s, 'arrears', %s, 'system', 'cut')",
        (home.usage_point_id, clock.now()),
    )
    district.heard(home, state="disconnected")
    await services.decide(home, "disconnected")
    assert [cycle["close_reason"] for cycle in district.cycles(home)] == ["disconnected"]

    clock.advance(days=1)
    await services.decide_day()
    district.set_balance(home, 9.99)
    await services.decide(home, "payment")
    assert len(district.orders(home)) == 1
    assert len(district.cycles(home)) == 1

    district.set_balance(home, 10)
    (record,) = await services.decide(home, "payment")
    assert (record.outcome, record.refusal_codes) == ("reconnect", ())
    assert [(o["action"], o["state"]) for o in district.orders(home)][1:] == [
        ("reconnect", "scheduled")
    ]
    assert district.run("select 1 from restraint where lifted_at is null") == []


async def test_another_restraint_keeps_a_paid_account_off_and_the_decision_says_so(
    services: Any, district: Any, clock: Any
) -> None:
    home = district.household(balance_yuan=50)
    for kind in ("arrears", "unsafe"):
        district.run(
            "insert into restraint (usage_point_id, kind, placed_at, placed_by, evidence)"
            " values (%s, %s, %s, 'x', 'x')",
            (home.usage_point_id, kind, clock.now()),
        )
    district.heard(home, state="disconnected")
    (record,) = await services.decide(home, "payment")
    assert record.outcome == "reconnect"
    assert record.refusal_codes == ("restraint_remains",)


async def test_emergency_credit_is_used_up_before_anybody_is_threatened(
    services: Any, district: Any, clock: Any
) -> None:
    home = district.household(balance_yuan=-15)
    district.run("update account set emergency_credit_nano = %s", (20 * 10**9,))
    await services.decide_day()
    assert district.stages(home) == [("arrears", "due")]
    assert district.decisions(home)[-1]["outcome"] == "arrears_warning"

    clock.advance(days=1)
    district.set_balance(home, -20.01)
    district.heard(home)
    await services.decide_day()
    assert district.stages(home)[-1] == ("disconnect_notice", "due")
