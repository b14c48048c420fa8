"""Blast-radius limits, two-person release, and reconnects that are never capped."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from headend.domain.supply import OrderPurpose, SupplyAction
from rules.governor import (
    WINDOW,
    GovernedOrder,
    GovernorLimits,
    RecentDisconnects,
    WaitingReconnect,
    check_release,
    judge,
    judge_batch,
    stagger_reconnects,
)
from rules.reasons import RefusalReason

R = RefusalReason
LIMITS = GovernorLimits(
    system=10, caller=5, area=2, power_w=10_000, safety=1, assumed_power_w=3_000
)
CUT = GovernedOrder(SupplyAction.DISCONNECT, OrderPurpose.ARREARS, "billing", "T1", 1_000)
ISOLATE = replace(CUT, purpose=OrderPurpose.SAFETY_ISOLATION)
NOW = datetime(2026, 3, 11, 2, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("counts", "reasons"),
    [
        (RecentDisconnects(9, 4, 1, 9_000), ()),
        (RecentDisconnects(system=10), (R.SYSTEM_RATE_EXCEEDED,)),
        (RecentDisconnects(caller=5), (R.CALLER_RATE_EXCEEDED,)),
        (RecentDisconnects(area=2), (R.AREA_RATE_EXCEEDED,)),
        (RecentDisconnects(power_w=9_001), (R.POWER_RATE_EXCEEDED,)),
        (RecentDisconnects(safety=99), ()),
        (
            RecentDisconnects(11, 6, 3, 20_000),
            (
                R.SYSTEM_RATE_EXCEEDED,
                R.CALLER_RATE_EXCEEDED,
                R.AREA_RATE_EXCEEDED,
                R.POWER_RATE_EXCEEDED,
            ),
        ),
    ],
)
def test_each_limit_quarantines_on_its_own(
    counts: RecentDisconnects, reasons: tuple[RefusalReason, ...]
) -> None:
    judgement = judge(counts, LIMITS, CUT)
    assert judgement.reasons == reasons
    assert judgement.allowed == (not reasons)


def test_an_unknown_load_counts_as_a_high_one_and_feeding_in_as_none() -> None:
    counts = RecentDisconnects(power_w=7_001)
    assert not judge(counts, LIMITS, replace(CUT, power_w=None)).allowed
    assert judge(replace(counts, power_w=7_000), LIMITS, replace(CUT, power_w=None)).allowed
    full = RecentDisconnects(power_w=10_000)
    assert judge(full, LIMITS, replace(CUT, power_w=-5_000)).allowed


def test_the_stop_switch_holds_every_disconnect_but_safety_isolation() -> None:
    free = RecentDisconnects()
    assert judge(free, LIMITS, CUT, stop_switch_on=True).reasons == (R.STOP_SWITCH_ON,)
    assert judge(free, LIMITS, ISOLATE, stop_switch_on=True).allowed


def test_safety_isolation_has_a_small_cap_of_its_own() -> None:
    crowded = RecentDisconnects(99, 99, 99, 99_000_000, safety=0)
    assert judge(crowded, LIMITS, ISOLATE).allowed
    assert judge(replace(crowded, safety=1), LIMITS, ISOLATE).reasons == (R.SAFETY_RATE_EXCEEDED,)


@pytest.mark.parametrize("purpose", list(OrderPurpose))
def test_reconnects_are_never_capped(purpose: OrderPurpose) -> None:
    order = replace(CUT, action=SupplyAction.RECONNECT, purpose=purpose)
    counts = RecentDisconnects(999, 999, 999, 10**9, 999)
    assert judge(counts, LIMITS, order, stop_switch_on=True).allowed


def test_orders_of_a_batch_count_against_each_other() -> None:
    orders = [CUT, CUT, CUT, replace(CUT, area="T2"), replace(CUT, caller="agent", area="T3")]
    callers = {"billing": 2}
    judgements = judge_batch(
        orders, LIMITS, system=RecentDisconnects(system=2), callers=callers, areas={}
    )
    assert [each.reasons for each in judgements] == [(), (), (R.AREA_RATE_EXCEEDED,), (), ()]
    assert callers == {"billing": 2}


def test_a_quarantined_order_of_a_batch_takes_nobodys_place() -> None:
    heavy = replace(CUT, power_w=20_000)
    judgements = judge_batch([heavy, CUT], LIMITS, system=RecentDisconnects(), callers={}, areas={})
    assert [each.allowed for each in judgements] == [False, True]


def test_isolations_of_a_batch_fill_their_own_cap_only() -> None:
    reconnect = replace(CUT, action=SupplyAction.RECONNECT)
    judgements = judge_batch(
        [ISOLATE, ISOLATE, reconnect, CUT, CUT],
        LIMITS,
        system=RecentDisconnects(),
        callers={},
        areas={},
    )
    assert [each.allowed for each in judgements] == [True, False, True, True, True]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("system", R.SYSTEM_RATE_EXCEEDED),
        ("caller", R.CALLER_RATE_EXCEEDED),
        ("area", R.AREA_RATE_EXCEEDED),
    ],
)
def test_each_count_of_a_batch_fills_up_to_its_limit_and_no_further(
    name: str, reason: RefusalReason
) -> None:
    limits = replace(GovernorLimits(99, 99, 99, 10**9), **{name: 3})
    for already in (0, 1):
        judgements = judge_batch(
            [CUT] * 4,
            limits,
            system=RecentDisconnects(system=already),
            callers={"billing": already} if already else {},
            areas={"T1": already} if already else {},
        )
        allowed = 3 - already
        assert [each.reasons for each in judgements] == [()] * allowed + [(reason,)] * (4 - allowed)


def test_isolations_of_a_batch_add_to_those_before() -> None:
    limits = replace(LIMITS, safety=3)
    judgements = judge_batch(
        [ISOLATE] * 3, limits, system=RecentDisconnects(safety=1), callers={}, areas={}
    )
    assert [each.allowed for each in judgements] == [True, True, False]


def test_limits_are_per_hour_and_nothing_is_counted_unless_told() -> None:
    assert timedelta(hours=1) == WINDOW
    assert RecentDisconnects() == RecentDisconnects(0, 0, 0, 0, 0)
    # A deployment that states nothing starts careful.
    assert GovernorLimits() == GovernorLimits(500, 200, 20, 2_000_000, 10, 8_000)


def test_power_adds_up_over_a_batch() -> None:
    orders = [replace(CUT, area=f"T{n}", power_w=4_000) for n in range(3)]
    judgements = judge_batch(orders, LIMITS, system=RecentDisconnects(), callers={}, areas={})
    assert [each.reasons for each in judgements] == [(), (), (R.POWER_RATE_EXCEEDED,)]


@pytest.mark.parametrize(
    ("first", "second", "allowed"),
    [
        ("li", "wang", True),
        ("li", "li", False),
        ("li", " Li ", False),
        ("li", "", False),
        ("li", None, False),
        (None, "li", False),
        (None, None, False),
        ("", " ", False),
    ],
)
def test_a_release_needs_two_different_people(
    first: str | None, second: str | None, allowed: bool
) -> None:
    assert check_release(first, second) is (None if allowed else R.TWO_RELEASERS_NEEDED)


def test_bulk_reconnects_are_spaced_by_area_behind_individual_payments() -> None:
    spacing = timedelta(seconds=2)

    def waiting(name: str, area: str, individual: bool, age_s: int) -> WaitingReconnect:
        return WaitingReconnect(name, area, individual, NOW - timedelta(seconds=age_s))

    placed = stagger_reconnects(
        [
            waiting("bulk-1", "T1", False, 90),
            waiting("bulk-2", "T1", False, 80),
            waiting("bulk-3", "T2", False, 70),
            waiting("paid", "T1", True, 1),
        ],
        NOW,
        spacing,
    )
    assert [(each.order_id, at - NOW) for each, at in placed] == [
        ("paid", timedelta(0)),
        ("bulk-1", timedelta(0)),
        ("bulk-3", timedelta(0)),
        ("bulk-2", spacing),
    ]
