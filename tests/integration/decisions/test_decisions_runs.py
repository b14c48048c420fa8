"""The daily run: the same as deciding one by one, repeatable, and resumable after a kill."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headend.domain.errors import HeadEndError
from headend.jobs.work import as_record
from headend.services import decisions as decisions_module

COMPARED = ("outcome", "row_index", "refusal_codes", "facts")

situations = st.fixed_dictionaries(
    {
        "balance_yuan": st.one_of(
            st.none(), st.sampled_from([-50, -0.01, 0, 9.99, 10, 29.99, 30, 100])
        ),
        "estimated_yuan": st.sampled_from([0, 0, 1, 60]),
        "customer_class": st.sampled_from(["residential", "commercial", "unheard-of"]),
        "signed": st.booleans(),
    }
)
troubles = st.sampled_from(["", "", "silent", "restrained", "in_flight", "held", "pending"])


def afflict(district: Any, home: Any, trouble: str, now: Any) -> None:
    """Put an account into one of the situations that decisions meet."""
    if trouble == "silent":
        district.run("delete from meter_contact where meter_id = %s", (home.meter_id,))
    if trouble == "restrained":
        district.run(
            "insert into restraint (usage_point_id, kind, placed_at, placed_by, evidence)"
            " values (%s, 'arrears', %s, 'x', 'x')",
            (home.usage_point_id, now),
        )
    if trouble == "held":
        district.run(
            "insert into hold (usage_point_id, kind, valid_from, owner, evidence)"
            " values (%s, 'dispute', %s, 'x', 'x')",
            (home.usage_point_id, now - timedelta(days=1)),
        )
    if trouble == "pending":
        district.run(
            "insert into payment (channel_code, channel_reference, account_id, amount_nano, state,"
            " paid_at) values ('wechat', %s, %s, 1, 'pending', %s)",
            (home.account_no, home.account_id, now),
        )
    if trouble == "in_flight":
        district.run(
            "insert into supply_order (usage_point_id, account_id, meter_id, link_id, action,"
            " purpose, state, priority, reason, requested_by, idempotency_key, next_attempt_at,"
            " created_at, created_real_at) values (%s, %s, %s, 1, 'disconnect', 'arrears',"
            " 'sending', 50, 'x', 'x', %s, %s, %s, %s)",
            (
                home.usage_point_id,
                home.account_id,
                home.meter_id,
                f"test:{home.account_id}",
                now,
                now,
                now,
            ),
        )


def after(district: Any, home: Any) -> dict[str, Any]:
    """What a decision left behind, without the ids that differ from account to account."""
    return {
        "decisions": [{name: row[name] for name in COMPARED} for row in district.decisions(home)],
        "stages": district.stages(home),
        "cycles": [
            (row["close_reason"], row["refused_since"], row["next_decision_at"])
            for row in district.cycles(home)
        ],
        "orders": [
            (row["action"], row["state"], row["refusal_codes"]) for row in district.orders(home)
        ],
    }


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_one_by_one_and_by_shard_agree(
    services: Any, district: Any, clock: Any, data: Any
) -> None:
    """The property: the same facts lead to the same decision and effects on either path."""
    clock.advance(days=1)
    drawn = data.draw(st.lists(st.tuples(situations, troubles), min_size=1, max_size=6))
    twins = [(district.household(**s), district.household(**s)) for s, _ in drawn]
    for (left, right), (_, trouble) in zip(twins, drawn, strict=True):
        afflict(district, left, trouble, clock.now())
        afflict(district, right, trouble, clock.now())
    for left, _ in twins:
        await services.decide(left, "daily")
    await services.decide_day(shards=data.draw(st.integers(1, 3)))
    for left, right in twins:
        assert after(district, left) == after(district, right)


async def test_repeating_the_run_adds_nothing(services: Any, district: Any) -> None:
    homes = [district.household(balance_yuan=balance) for balance in (-5, 5, 20, 100)]
    (first,) = await services.decide_day()
    assert dict(first.outcomes) == {
        "disconnect": 1,
        "arrears_warning": 1,
        "low_balance_warning": 1,
    }
    assert as_record(first)["outcomes"] == dict(first.outcomes)
    before = [after(district, home) for home in homes]
    (second,) = await services.decide_day()
    assert (second.accounts, dict(second.outcomes)) == (4, {})
    assert [after(district, home) for home in homes] == before


async def test_shards_share_the_fleet_without_overlap(services: Any, district: Any) -> None:
    for _ in range(7):
        district.household(balance_yuan=5)
    results = await services.decide_day(shards=3)
    assert sum(result.accounts for result in results) == 7
    assert sum(result.outcomes["arrears_warning"] for result in results) == 7
    assert all(result.accounts for result in results)


async def test_a_run_killed_in_the_middle_is_completed_by_the_next(
    services: Any, district: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(decisions_module, "DECIDE_CHUNK", 2)
    homes = [district.household(balance_yuan=5) for _ in range(5)]
    plan_stage, calls = services.notices.plan_stage, 0

    async def killed(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise ConnectionError("killed")
        return await plan_stage(*arguments, **named)

    monkeypatch.setattr(services.notices, "plan_stage", killed)
    with pytest.raises(ConnectionError):
        await services.decide_day()
    # The second chunk had planned one notice when it died: all of it is gone.
    assert [len(district.notices(home)) for home in homes] == [1, 1, 0, 0, 0]

    monkeypatch.undo()
    (result,) = await services.decide_day()
    assert result.outcomes["arrears_warning"] == 3
    assert [len(district.notices(home)) for home in homes] == [1] * 5
    assert [len(district.decisions(home)) for home in homes] == [1] * 5


async def test_one_account_that_cannot_be_decided_does_not_stop_the_others(
    services: Any, district: Any, monkeypatch: Any
) -> None:
    homes = [district.household(balance_yuan=5) for _ in range(3)]
    plan_stage = services.notices.plan_stage

    async def broken(uow: Any, **named: Any) -> Any:
        if named["account_id"] == homes[1].account_id:
            raise HeadEndError("cannot be decided")
        return await plan_stage(uow, **named)

    monkeypatch.setattr(services.notices, "plan_stage", broken)
    with pytest.raises(HeadEndError, match="cannot be decided"):
        await services.decide_day()
    assert [len(district.notices(home)) for home in homes] == [1, 0, 1]
    assert [len(district.decisions(home)) for home in homes] == [1, 0, 1]


async def test_a_planned_disconnect_is_ordered_once_however_often_it_is_asked(
    services: Any, district: Any, clock: Any
) -> None:
    home = district.household(balance_yuan=-1)
    await services.decide_day()
    await services.notices.deliver_due()
    cycle = district.cycles(home)[0]
    await clock.jump_to(cycle["planned_disconnect_at"] - timedelta(minutes=35))
    await services.notices.deliver_due()
    await clock.jump_to(cycle["planned_disconnect_at"])
    district.heard(home)
    await services.decisions.decide_planned()
    # As if the process had died after the order and before anything else was remembered.
    district.run("update notice_cycle set next_decision_at = %s", (cycle["planned_disconnect_at"],))
    district.run("update supply_order set state = 'failed'")
    await services.decisions.decide_planned()
    assert len(district.orders(home)) == 1


async def test_an_order_that_came_to_nothing_is_asked_for_again_within_the_tolerance(
    services: Any, district: Any, clock: Any
) -> None:
    home = district.household(balance_yuan=-1)
    await services.decide_day()
    await services.notices.deliver_due()
    planned_at = district.cycles(home)[0]["planned_disconnect_at"]
    await clock.jump_to(planned_at - timedelta(minutes=35))
    await services.notices.deliver_due()
    await clock.jump_to(planned_at)
    district.heard(home)
    await services.decisions.decide_planned()
    clock.advance(hours=1)
    await services.decisions.decide_planned()  # it waits still: nothing more is asked
    assert len(district.orders(home)) == 1
    district.run("update supply_order set state = 'failed'")
    clock.advance(hours=1)
    await services.decisions.decide_planned()
    assert [order["state"] for order in district.orders(home)] == ["failed", "scheduled"]


async def test_a_disconnect_held_back_past_its_tolerance_is_withdrawn(
    services: Any, district: Any, clock: Any
) -> None:
    home = district.household(balance_yuan=-1)
    await services.decide_day()
    await services.notices.deliver_due()
    planned_at = district.cycles(home)[0]["planned_disconnect_at"]
    await clock.jump_to(planned_at - timedelta(minutes=35))
    await services.notices.deliver_due()
    await clock.jump_to(planned_at)
    district.heard(home)
    await services.decisions.decide_planned()
    district.run("update supply_order set state = 'quarantined'")
    await clock.jump_to(planned_at + timedelta(hours=23, minutes=30))
    district.heard(home)
    await services.decide_day()
    assert [order["state"] for order in district.orders(home)] == ["cancelled"]
    assert [cycle["close_reason"] for cycle in district.cycles(home)] == ["expired", None]
