"""The guard of a disconnect, fact by fact: each line of the design is one case here."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from headend.domain.supply import OrderPurpose, Restraint, SupplyBelief, SupplyState
from rules.eligibility import GUARD, DisconnectFacts, PaymentMode, check_disconnect
from rules.floors import Floors
from rules.moratorium import DailyWindow
from rules.reasons import (
    DISCONNECT_REASONS,
    GROUP_OF_REASON,
    PROTECTIVE_HOLDS,
    HoldKind,
    ReasonGroup,
    RefusalReason,
    standing_reasons,
)

# Wednesday 2026-03-11, 10:00 in Shanghai.
NOW = datetime(2026, 3, 11, 2, 0, tzinfo=UTC)
FLOORS = Floors()
R = RefusalReason

PREPAID = DisconnectFacts(
    purpose=OrderPurpose.ARREARS,
    customer_class="residential",
    stop_switch_on=False,
    restraints=frozenset(),
    holds=frozenset(),
    balance_nano=-1,
    threshold_nano=0,
    estimated_nano=0,
    balance_as_of=NOW - timedelta(hours=10),
    payment_pending=False,
    channel_at_fault=False,
    debt_of_former_occupant=False,
    back_billing_only=False,
    payment_mode=PaymentMode.PREPAID,
    agreement_signed=True,
    notice_delivered_at=NOW - timedelta(days=8),
    waits_until=NOW - timedelta(days=1),
    planned_at=NOW - timedelta(hours=1),
    tolerance=timedelta(hours=2),
    reminder_delivered_at=NOW - timedelta(minutes=95),
    zone="Asia/Shanghai",
    no_disconnect_day=False,
    meter_link_confirmed=True,
    meter_last_heard_at=NOW - timedelta(hours=1),
    remote_close_possible=True,
    relay=SupplyBelief(SupplyState.CONNECTED, "read", NOW - timedelta(hours=1)),
)
POSTPAID = replace(
    PREPAID,
    payment_mode=PaymentMode.POSTPAID,
    agreement_signed=None,
    undisputed_debt_nano=1,
    days_overdue=31,
    debt_dunned=True,
    debt_approved=True,
)

CASES: list[tuple[DisconnectFacts, dict[str, Any], RefusalReason]] = [
    (PREPAID, {"stop_switch_on": True}, R.STOP_SWITCH_ON),
    (PREPAID, {"stop_switch_on": None}, R.STOP_SWITCH_ON),
    (PREPAID, {"not_after": NOW - timedelta(seconds=1)}, R.ORDER_EXPIRED),
    (PREPAID, {"not_before": NOW + timedelta(seconds=1)}, R.ORDER_NOT_YET_DUE),
    (PREPAID, {"restraints": frozenset({Restraint.FIELD_LOCK})}, R.FIELD_LOCK),
    (PREPAID, {"restraints": None}, R.RESTRAINTS_UNKNOWN),
    (PREPAID, {"holds": None}, R.HOLDS_UNKNOWN),
    (PREPAID, {"balance_nano": 0}, R.BALANCE_NOT_BELOW_THRESHOLD),
    (PREPAID, {"balance_nano": None}, R.BALANCE_UNKNOWN),
    (PREPAID, {"threshold_nano": None}, R.THRESHOLD_UNKNOWN),
    (PREPAID, {"estimated_nano": 1}, R.BALANCE_RESTS_ON_ESTIMATES),
    (PREPAID, {"estimated_nano": None}, R.BALANCE_RESTS_ON_ESTIMATES),
    (PREPAID, {"balance_as_of": NOW - timedelta(hours=48, seconds=1)}, R.BALANCE_STALE),
    (PREPAID, {"balance_as_of": NOW + timedelta(minutes=2)}, R.BALANCE_STALE),
    (PREPAID, {"balance_as_of": None}, R.BALANCE_STALE),
    (PREPAID, {"payment_pending": True}, R.PAYMENT_PENDING),
    (PREPAID, {"payment_pending": None}, R.PAYMENT_STATE_UNKNOWN),
    (PREPAID, {"channel_at_fault": True}, R.CHANNEL_AT_FAULT),
    (PREPAID, {"channel_at_fault": None}, R.PAYMENT_STATE_UNKNOWN),
    (PREPAID, {"debt_of_former_occupant": True}, R.DEBT_OF_FORMER_OCCUPANT),
    (PREPAID, {"debt_of_former_occupant": None}, R.DEBT_ORIGIN_UNKNOWN),
    (PREPAID, {"back_billing_only": True}, R.BACK_BILLING_ONLY),
    (PREPAID, {"back_billing_only": None}, R.DEBT_ORIGIN_UNKNOWN),
    (PREPAID, {"payment_mode": None}, R.PAYMENT_MODE_UNKNOWN),
    (PREPAID, {"agreement_signed": False}, R.NO_SIGNED_AGREEMENT),
    (PREPAID, {"agreement_signed": None}, R.NO_SIGNED_AGREEMENT),
    (POSTPAID, {"undisputed_debt_nano": 0}, R.NO_UNDISPUTED_DEBT),
    (POSTPAID, {"undisputed_debt_nano": None}, R.DEBT_UNKNOWN),
    (POSTPAID, {"days_overdue": 30}, R.DEBT_NOT_LONG_OVERDUE),
    (POSTPAID, {"days_overdue": None}, R.DEBT_UNKNOWN),
    (POSTPAID, {"debt_dunned": False}, R.DEBT_NOT_DUNNED),
    (POSTPAID, {"debt_dunned": None}, R.DEBT_NOT_DUNNED),
    (POSTPAID, {"debt_approved": False}, R.DEBT_NOT_APPROVED),
    (POSTPAID, {"debt_approved": None}, R.DEBT_NOT_APPROVED),
    (PREPAID, {"notice_delivered_at": None}, R.NOTICE_NOT_DELIVERED),
    (PREPAID, {"cycle_restarted_at": NOW - timedelta(days=8)}, R.NOTICE_CYCLE_RESTARTED),
    (PREPAID, {"notice_delivered_at": NOW - timedelta(days=6)}, R.WAITING_TIME_NOT_OVER),
    (PREPAID, {"waits_until": NOW + timedelta(seconds=1)}, R.WAITING_TIME_NOT_OVER),
    (PREPAID, {"planned_at": None}, R.PLANNED_TIME_UNKNOWN),
    (PREPAID, {"planned_at": NOW + timedelta(seconds=1)}, R.PLANNED_TIME_NOT_REACHED),
    (PREPAID, {"planned_at": NOW - timedelta(hours=2, seconds=1)}, R.PLANNED_TIME_PASSED),
    (PREPAID, {"tolerance": None}, R.PLANNED_TIME_PASSED),
    (PREPAID, {"reminder_delivered_at": None}, R.REMINDER_NOT_DELIVERED),
    (PREPAID, {"reminder_delivered_at": NOW - timedelta(days=9)}, R.REMINDER_NOT_DELIVERED),
    (PREPAID, {"reminder_delivered_at": NOW - timedelta(minutes=29)}, R.REMINDER_TOO_RECENT),
    (PREPAID, {"zone": None}, R.LOCAL_CALENDAR_UNKNOWN),
    (PREPAID, {"zone": "Mars/Olympus"}, R.LOCAL_CALENDAR_UNKNOWN),
    (PREPAID, {"no_disconnect_day": None}, R.LOCAL_CALENDAR_UNKNOWN),
    (PREPAID, {"no_disconnect_day": True}, R.NO_DISCONNECT_DAY),
    (PREPAID, {"day_window": DailyWindow(time(8), time(10))}, R.OUTSIDE_PERMITTED_WINDOW),
    (PREPAID, {"identity_mismatch_open": True}, R.IDENTITY_MISMATCH),
    (PREPAID, {"meter_link_confirmed": False}, R.METER_LINK_UNCONFIRMED),
    (PREPAID, {"meter_link_confirmed": None}, R.METER_LINK_UNCONFIRMED),
    (PREPAID, {"meter_last_heard_at": NOW - timedelta(hours=25)}, R.METER_NOT_HEARD_LATELY),
    (PREPAID, {"meter_last_heard_at": None}, R.METER_NOT_HEARD_LATELY),
    (PREPAID, {"remote_close_possible": False}, R.REMOTE_CLOSE_NOT_POSSIBLE),
    (PREPAID, {"remote_close_possible": None}, R.REMOTE_CLOSE_NOT_POSSIBLE),
    (PREPAID, {"relay": None}, R.RELAY_STATE_UNKNOWN),
    (PREPAID, {"relay": SupplyBelief(SupplyState.UNKNOWN, "read", NOW)}, R.RELAY_STATE_UNKNOWN),
    (
        PREPAID,
        {"relay": SupplyBelief(SupplyState.CONNECTED, "assumed", None)},
        R.RELAY_STATE_UNKNOWN,
    ),
    (
        PREPAID,
        {"relay": SupplyBelief(SupplyState.DISCONNECTED, "read", NOW)},
        R.ALREADY_DISCONNECTED,
    ),
    *((PREPAID, {"holds": frozenset({kind})}, R(kind.value)) for kind in HoldKind),
]


@pytest.mark.parametrize("facts", [PREPAID, POSTPAID], ids=["prepaid", "postpaid"])
def test_an_account_with_nothing_in_its_favour_may_be_cut(facts: DisconnectFacts) -> None:
    assert check_disconnect(facts, FLOORS, NOW).reasons == ()


@pytest.mark.parametrize(
    ("facts", "change", "reason"),
    CASES,
    ids=[f"{'-'.join(change)}-{reason}" for _, change, reason in CASES],
)
def test_one_fact_changed_gives_exactly_its_reason(
    facts: DisconnectFacts, change: dict[str, Any], reason: RefusalReason
) -> None:
    assert check_disconnect(replace(facts, **change), FLOORS, NOW).reasons == (reason,)


def test_every_reason_of_the_guard_has_a_case_or_needs_another_instant() -> None:
    by_instant = {R.OUTSIDE_PERMITTED_WINDOW, R.TOO_FEW_HOURS_LEFT}
    seen = {reason for _, _, reason in CASES} | by_instant
    assert {test.reason for test in GUARD} == seen
    # A meter's rejected key is found in the session; every other reason stands in the guard.
    assert set(DISCONNECT_REASONS) - seen == {R.METER_KEY_REJECTED}


def test_limits_are_met_exactly() -> None:
    at_the_limits = replace(
        PREPAID,
        not_before=NOW,
        not_after=NOW,
        balance_as_of=NOW - FLOORS.maximum_data_age,
        meter_last_heard_at=NOW - FLOORS.meter_heard_within,
        notice_delivered_at=NOW - timedelta(days=7),
        waits_until=NOW,
        planned_at=NOW,
        reminder_delivered_at=NOW - timedelta(minutes=30),
        cycle_restarted_at=NOW - timedelta(days=7, microseconds=1),
    )
    assert check_disconnect(at_the_limits, FLOORS, NOW).allowed
    late = replace(PREPAID, planned_at=NOW - timedelta(hours=2))
    assert check_disconnect(late, FLOORS, NOW).allowed
    skewed = replace(PREPAID, balance_as_of=NOW + timedelta(minutes=1), meter_last_heard_at=NOW)
    assert check_disconnect(skewed, FLOORS, NOW).allowed


def at_local(hour: int, minute: int = 0) -> tuple[DisconnectFacts, datetime]:
    now = NOW + timedelta(hours=hour - 10, minutes=minute)
    facts = replace(
        PREPAID,
        planned_at=now,
        waits_until=now,
        reminder_delivered_at=now - timedelta(minutes=30),
        meter_last_heard_at=now,
        balance_as_of=now,
    )
    return facts, now


def test_local_hours_decide() -> None:
    for hour, minute, expected in (
        (7, 59, (R.OUTSIDE_PERMITTED_WINDOW,)),
        (8, 0, ()),
        (17, 59, ()),
        (18, 0, (R.OUTSIDE_PERMITTED_WINDOW,)),
        (18, 1, (R.OUTSIDE_PERMITTED_WINDOW, R.TOO_FEW_HOURS_LEFT)),
    ):
        facts, now = at_local(hour, minute)
        assert check_disconnect(facts, FLOORS, now).reasons == expected, (hour, minute)


def test_too_few_hours_to_pay_refuse_inside_the_window() -> None:
    floors = replace(FLOORS, time_to_pay=timedelta(hours=6))
    facts, now = at_local(14, 0)
    assert check_disconnect(facts, floors, now).allowed
    facts, now = at_local(14, 1)
    assert check_disconnect(facts, floors, now).reasons == (R.TOO_FEW_HOURS_LEFT,)


def test_hours_are_those_of_the_usage_point() -> None:
    urumqi_at_shanghai_ten = replace(PREPAID, zone="Asia/Urumqi")  # 08:00 there
    assert check_disconnect(urumqi_at_shanghai_ten, FLOORS, NOW).allowed
    early = replace(PREPAID, zone="Europe/London")  # 02:00 there
    assert check_disconnect(early, FLOORS, NOW).reasons == (R.OUTSIDE_PERMITTED_WINDOW,)


def test_estimates_in_the_customers_favour_change_nothing() -> None:
    facts = replace(PREPAID, estimated_nano=-500)
    assert check_disconnect(facts, FLOORS, NOW).allowed


def test_a_balance_below_by_actual_readings_may_be_cut_with_estimates_on_top() -> None:
    facts = replace(PREPAID, balance_nano=-100, estimated_nano=99)
    assert check_disconnect(facts, FLOORS, NOW).allowed
    facts = replace(facts, estimated_nano=100)
    assert check_disconnect(facts, FLOORS, NOW).reasons == (R.BALANCE_RESTS_ON_ESTIMATES,)


def test_other_classes_wait_three_days_and_unknown_ones_the_longest() -> None:
    facts = replace(PREPAID, notice_delivered_at=NOW - timedelta(days=3), waits_until=None)
    commercial = replace(facts, customer_class="commercial")
    assert check_disconnect(commercial, FLOORS, NOW).allowed
    unknown = replace(facts, customer_class=None)
    assert check_disconnect(unknown, FLOORS, NOW).reasons == (R.WAITING_TIME_NOT_OVER,)


def test_the_tolerance_of_a_policy_is_cut_to_the_floors() -> None:
    floors = replace(FLOORS, maximum_tolerance=timedelta(minutes=30))
    assert check_disconnect(PREPAID, floors, NOW).reasons == (R.PLANNED_TIME_PASSED,)


def test_a_reminder_delivered_together_with_the_notice_belongs_to_it() -> None:
    together = replace(PREPAID, reminder_delivered_at=PREPAID.notice_delivered_at)
    assert check_disconnect(together, FLOORS, NOW).allowed


def test_no_reminder_is_asked_for_where_the_floors_ask_for_none() -> None:
    floors = replace(FLOORS, reminder_lead=timedelta(0))
    facts = replace(PREPAID, reminder_delivered_at=None)
    assert check_disconnect(facts, floors, NOW).allowed


def test_all_reasons_are_told_in_the_order_of_the_list() -> None:
    nothing_known = DisconnectFacts(purpose=OrderPurpose.ARREARS)
    reasons = check_disconnect(nothing_known, FLOORS, NOW).reasons
    assert list(reasons) == sorted(reasons, key=list(RefusalReason).index)
    assert reasons == (
        R.STOP_SWITCH_ON,
        R.RESTRAINTS_UNKNOWN,
        R.HOLDS_UNKNOWN,
        R.METER_LINK_UNCONFIRMED,
        R.METER_NOT_HEARD_LATELY,
        R.REMOTE_CLOSE_NOT_POSSIBLE,
        R.BALANCE_RESTS_ON_ESTIMATES,
        R.BALANCE_STALE,
        R.BALANCE_UNKNOWN,
        R.THRESHOLD_UNKNOWN,
        R.PAYMENT_STATE_UNKNOWN,
        R.DEBT_ORIGIN_UNKNOWN,
        R.PAYMENT_MODE_UNKNOWN,
        R.NOTICE_NOT_DELIVERED,
        R.PLANNED_TIME_UNKNOWN,
        R.REMINDER_NOT_DELIVERED,
        R.LOCAL_CALENDAR_UNKNOWN,
        R.RELAY_STATE_UNKNOWN,
    )


@pytest.mark.parametrize(
    "purpose", [OrderPurpose.CUSTOMER_REQUEST, OrderPurpose.MOVE_OUT, OrderPurpose.TEST]
)
def test_other_purposes_need_no_arrears_but_spare_people_and_property(
    purpose: OrderPurpose,
) -> None:
    facts = DisconnectFacts(
        purpose=purpose,
        stop_switch_on=False,
        restraints=frozenset(),
        holds=frozenset(),
        meter_link_confirmed=True,
        meter_last_heard_at=NOW,
        remote_close_possible=True,
        relay=SupplyBelief(SupplyState.CONNECTED, "read", NOW),
    )
    assert check_disconnect(facts, FLOORS, NOW).allowed
    for kind in HoldKind:
        reasons = check_disconnect(replace(facts, holds=frozenset({kind})), FLOORS, NOW).reasons
        assert reasons == ((R(kind.value),) if kind in PROTECTIVE_HOLDS else ())
    stopped = replace(facts, stop_switch_on=True)
    assert check_disconnect(stopped, FLOORS, NOW).reasons == (R.STOP_SWITCH_ON,)
    blank = check_disconnect(DisconnectFacts(purpose=purpose), FLOORS, NOW).reasons
    assert blank == (
        R.STOP_SWITCH_ON,
        R.RESTRAINTS_UNKNOWN,
        R.HOLDS_UNKNOWN,
        R.METER_LINK_UNCONFIRMED,
        R.METER_NOT_HEARD_LATELY,
        R.REMOTE_CLOSE_NOT_POSSIBLE,
        R.RELAY_STATE_UNKNOWN,
    )


def test_safety_isolation_passes_the_stop_switch_and_is_warned() -> None:
    facts = DisconnectFacts(
        purpose=OrderPurpose.SAFETY_ISOLATION,
        stop_switch_on=True,
        holds=frozenset({HoldKind.LIFE_SUPPORT, HoldKind.DISPUTE}),
        meter_link_confirmed=True,
    )
    verdict = check_disconnect(facts, FLOORS, NOW)
    assert verdict.allowed
    assert verdict.warnings == (
        R.RESTRAINTS_UNKNOWN,
        R.LIFE_SUPPORT,
        R.METER_NOT_HEARD_LATELY,
        R.REMOTE_CLOSE_NOT_POSSIBLE,
        R.RELAY_STATE_UNKNOWN,
    )


def test_safety_isolation_is_warned_of_unknown_holds_and_of_a_contact_that_is_open() -> None:
    facts = DisconnectFacts(
        purpose=OrderPurpose.SAFETY_ISOLATION,
        restraints=frozenset(),
        meter_link_confirmed=True,
        meter_last_heard_at=NOW,
        remote_close_possible=True,
        relay=SupplyBelief(SupplyState.DISCONNECTED, "read", NOW),
    )
    verdict = check_disconnect(facts, FLOORS, NOW)
    assert verdict.allowed
    assert verdict.warnings == (R.HOLDS_UNKNOWN, R.ALREADY_DISCONNECTED)


def test_safety_isolation_is_refused_at_the_wrong_meter_or_behind_a_crews_back() -> None:
    facts = DisconnectFacts(
        purpose=OrderPurpose.SAFETY_ISOLATION,
        restraints=frozenset({Restraint.FIELD_LOCK}),
        identity_mismatch_open=True,
        not_after=NOW - timedelta(seconds=1),
    )
    assert check_disconnect(facts, FLOORS, NOW).reasons == (
        R.ORDER_EXPIRED,
        R.FIELD_LOCK,
        R.IDENTITY_MISMATCH,
        R.METER_LINK_UNCONFIRMED,
    )


def test_other_purposes_carry_no_warnings() -> None:
    assert check_disconnect(PREPAID, FLOORS, NOW).warnings == ()


def test_standing_reasons_leave_out_what_time_cures() -> None:
    facts = replace(PREPAID, notice_delivered_at=None, no_disconnect_day=True, holds=None)
    assert standing_reasons(check_disconnect(facts, FLOORS, NOW).reasons) == (R.HOLDS_UNKNOWN,)
    cured = [each for each in DISCONNECT_REASONS if not standing_reasons([each])]
    groups = {GROUP_OF_REASON[each] for each in cured}
    assert groups == {ReasonGroup.NOTICE, ReasonGroup.LOCAL_TIME}
