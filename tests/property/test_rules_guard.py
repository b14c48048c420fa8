"""Whatever the facts, the guard spares whom it must; screening and guard give the same reasons."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from headend.domain.supply import OrderPurpose, Restraint, SupplyBelief, SupplyState
from rules.eligibility import DisconnectFacts, PaymentMode, check_disconnect
from rules.facts import FactColumn
from rules.floors import Floors
from rules.moratorium import DailyWindow
from rules.reasons import PROTECTIVE_HOLDS, HoldKind, RefusalReason
from rules.screening import Screening, microseconds, reasons_of_mask, screen_disconnects

NOW = datetime(2026, 3, 11, 2, 0, tzinfo=UTC)
CLASSES = ("residential", "commercial", "industrial")
ZONES = ("Asia/Shanghai", "Asia/Urumqi", "Europe/London", "No/Where")
OPTIONAL = {each.name for each in fields(DisconnectFacts) if each.name != "purpose"}

maybe = st.one_of(st.none(), st.booleans())
# Offsets around every limit, where the mistakes are.
offsets = st.one_of(
    st.sampled_from([timedelta(hours=hours) for hours in (0, 1, 24, 48, 72, 168)]),
    st.timedeltas(timedelta(0), timedelta(days=10)),
)
instants = st.builds(
    lambda offset, sign, nudge: NOW + sign * offset + nudge * timedelta(microseconds=1),
    offsets,
    st.sampled_from([-1, -1, -1, 1]),
    st.integers(-1, 1),
)
money = st.one_of(st.integers(-3, 3), st.integers(-(2**61), 2**61))
windows = st.builds(
    lambda start, hours: DailyWindow(time(start), time(start + hours)),
    st.integers(0, 12),
    st.integers(1, 11),
)


GOOD: dict[str, Any] = {
    "customer_class": "residential",
    "stop_switch_on": False,
    "restraints": frozenset(),
    "holds": frozenset(),
    "balance_nano": -5,
    "threshold_nano": 0,
    "estimated_nano": 0,
    "balance_as_of": NOW,
    "payment_pending": False,
    "channel_at_fault": False,
    "debt_of_former_occupant": False,
    "back_billing_only": False,
    "payment_mode": PaymentMode.PREPAID,
    "agreement_signed": True,
    "undisputed_debt_nano": 5,
    "days_overdue": 31,
    "debt_dunned": True,
    "debt_approved": True,
    "notice_delivered_at": NOW - timedelta(days=8),
    "waits_until": NOW,
    "planned_at": NOW,
    "tolerance": timedelta(hours=1),
    "reminder_delivered_at": NOW - timedelta(hours=1),
    "zone": "Asia/Shanghai",
    "no_disconnect_day": False,
    "meter_link_confirmed": True,
    "meter_last_heard_at": NOW,
    "remote_close_possible": True,
    "relay": SupplyBelief(SupplyState.CONNECTED, "read", NOW),
}

WILD: dict[str, st.SearchStrategy[Any]] = {
    "customer_class": st.one_of(st.none(), st.sampled_from(CLASSES)),
    "stop_switch_on": maybe,
    "not_before": instants,
    "not_after": instants,
    "restraints": st.one_of(st.none(), st.frozensets(st.sampled_from(list(Restraint)))),
    "holds": st.one_of(st.none(), st.frozensets(st.sampled_from(list(HoldKind)), max_size=3)),
    "balance_nano": st.one_of(st.none(), money),
    "threshold_nano": st.one_of(st.none(), money),
    "estimated_nano": st.one_of(st.none(), money),
    "balance_as_of": st.one_of(st.none(), instants),
    "payment_pending": maybe,
    "channel_at_fault": maybe,
    "debt_of_former_occupant": maybe,
    "back_billing_only": maybe,
    "payment_mode": st.one_of(st.none(), st.sampled_from(list(PaymentMode))),
    "agreement_signed": maybe,
    "undisputed_debt_nano": st.one_of(st.none(), money),
    "days_overdue": st.one_of(st.none(), st.integers(29, 32)),
    "debt_dunned": maybe,
    "debt_approved": maybe,
    "notice_delivered_at": st.one_of(st.none(), instants),
    "cycle_restarted_at": st.one_of(st.none(), instants),
    "waits_until": st.one_of(st.none(), instants),
    "planned_at": st.one_of(st.none(), instants),
    "tolerance": st.one_of(st.none(), offsets),
    "reminder_delivered_at": st.one_of(st.none(), instants),
    "zone": st.one_of(st.none(), st.sampled_from(ZONES)),
    "no_disconnect_day": maybe,
    "day_window": st.one_of(st.none(), windows),
    "identity_mismatch_open": maybe,
    "meter_link_confirmed": maybe,
    "meter_last_heard_at": st.one_of(st.none(), instants),
    "remote_close_possible": maybe,
    "relay": st.one_of(
        st.none(),
        st.builds(
            SupplyBelief,
            st.sampled_from(list(SupplyState)),
            st.just("read"),
            st.one_of(st.none(), instants),
        ),
    ),
}


@st.composite
def disconnect_facts(draw: st.DrawFn, purpose: OrderPurpose | None = None) -> DisconnectFacts:
    """Anything at all, mostly near an account that may be cut, so that every line is reached."""
    anything = draw(st.integers(0, 9)) == 0
    changed = (
        sorted(WILD) if anything else draw(st.lists(st.sampled_from(sorted(WILD)), max_size=3))
    )
    values = GOOD | {name: draw(WILD[name]) for name in changed}
    chosen = purpose or draw(st.sampled_from([OrderPurpose.ARREARS, *OrderPurpose]))
    return DisconnectFacts(purpose=chosen, **values)


floors_strategy = st.builds(
    Floors,
    window=windows,
    time_to_pay=st.sampled_from([timedelta(0), timedelta(hours=2), timedelta(hours=9)]),
    maximum_data_age=offsets,
    meter_heard_within=offsets,
    maximum_tolerance=offsets,
    reminder_lead=st.sampled_from([timedelta(0), timedelta(minutes=30)]),
    overdue_days=st.integers(29, 32),
)
minutes_of_day = st.integers(0, 24 * 60)


@settings(max_examples=300)
@given(disconnect_facts(OrderPurpose.ARREARS), floors_strategy)
def test_nobody_is_cut_for_arrears_who_must_not_be(facts: DisconnectFacts, floors: Floors) -> None:
    """Whoever is allowed satisfies, in plain words, every sentence of the design."""
    now = NOW
    if not check_disconnect(facts, floors, now).allowed:
        return
    assert facts.holds == frozenset()  # nobody protected
    assert facts.restraints is not None
    assert Restraint.FIELD_LOCK not in facts.restraints
    assert facts.balance_nano is not None  # nobody paid, or owing only by estimates
    assert facts.threshold_nano is not None
    assert facts.estimated_nano is not None
    assert facts.balance_nano < facts.threshold_nano
    assert facts.balance_nano + facts.estimated_nano < facts.threshold_nano
    assert facts.payment_pending is False
    assert facts.channel_at_fault is False
    assert facts.debt_of_former_occupant is False  # no former occupant's debt
    assert facts.back_billing_only is False
    assert facts.notice_delivered_at is not None  # nobody unnoticed
    waiting = timedelta(days=7 if facts.customer_class in (None, "residential") else 3)
    assert now - facts.notice_delivered_at >= waiting
    assert facts.planned_at is not None
    assert facts.planned_at <= now
    if facts.cycle_restarted_at is not None:
        assert facts.notice_delivered_at > facts.cycle_restarted_at
    assert facts.meter_link_confirmed is True  # nobody unlinked
    assert facts.meter_last_heard_at is not None  # nobody silent
    assert now - facts.meter_last_heard_at <= floors.meter_heard_within
    assert facts.remote_close_possible is True
    assert facts.relay is not None
    assert facts.relay.state in (SupplyState.CONNECTED, SupplyState.READY_FOR_RECONNECTION)
    assert facts.stop_switch_on is False
    assert facts.no_disconnect_day is False
    if facts.payment_mode is PaymentMode.PREPAID:
        assert facts.agreement_signed is True
    else:
        assert facts.payment_mode is PaymentMode.POSTPAID
        assert facts.days_overdue is not None
        assert facts.days_overdue > floors.overdue_days
        assert facts.debt_dunned is True
        assert facts.debt_approved is True


# Unknown here cannot make the answer yes: the docstring of `rules.guard_facts` says which pass.
PASSES_WHEN_UNKNOWN = {
    "customer_class",
    "not_before",
    "not_after",
    "cycle_restarted_at",
    "waits_until",
    "day_window",
    "identity_mismatch_open",
}


@given(disconnect_facts(OrderPurpose.ARREARS), st.sampled_from(sorted(OPTIONAL)))
def test_forgetting_a_fact_never_lets_a_refused_account_be_cut(
    facts: DisconnectFacts, forgotten: str
) -> None:
    assume(forgotten not in PASSES_WHEN_UNKNOWN)
    floors = Floors()
    if not check_disconnect(facts, floors, NOW).allowed:
        assert not check_disconnect(replace(facts, **{forgotten: None}), floors, NOW).allowed


@given(disconnect_facts(OrderPurpose.ARREARS), st.integers(0, 2**61))
def test_more_money_never_gets_anybody_cut(facts: DisconnectFacts, more: int) -> None:
    assume(facts.balance_nano is not None)
    richer = replace(facts, balance_nano=(facts.balance_nano or 0) + more)
    if check_disconnect(richer, Floors(), NOW).allowed:
        assert check_disconnect(facts, Floors(), NOW).allowed


@given(disconnect_facts())
def test_whoever_depends_on_supply_is_cut_only_to_isolate_danger(facts: DisconnectFacts) -> None:
    held = replace(facts, holds=frozenset({HoldKind.LIFE_SUPPORT}))
    verdict = check_disconnect(held, Floors(), NOW)
    if facts.purpose is OrderPurpose.SAFETY_ISOLATION:
        assert RefusalReason.LIFE_SUPPORT in verdict.warnings
    else:
        assert RefusalReason.LIFE_SUPPORT in verdict.reasons
    assert HoldKind.LIFE_SUPPORT in PROTECTIVE_HOLDS


POSITIONS: dict[str, list[Any]] = {
    "purpose": list(OrderPurpose),
    "payment_mode": list(PaymentMode),
    "customer_class": list(CLASSES),
    "zone": list(ZONES),
}
SETS: dict[str, list[Any]] = {"holds": list(HoldKind), "restraints": list(Restraint)}
MICROSECOND = timedelta(microseconds=1)


def encode(name: str, value: Any) -> int | None:
    """Encode one fact as the module docstring of `rules.screening` says."""
    if value is None:
        return None
    if name in POSITIONS:
        return POSITIONS[name].index(value)
    if name in SETS:
        return sum(1 << SETS[name].index(each) for each in value)
    if name == "relay":
        return None if value.observed_at is None else list(SupplyState).index(value.state)
    if isinstance(value, datetime):
        return microseconds(value)
    if isinstance(value, timedelta):
        return value // MICROSECOND
    return int(value)


def screening_of(rows: list[DisconnectFacts]) -> Screening:
    raw: dict[str, list[int | None]] = {
        each.name: [encode(each.name, getattr(row, each.name)) for row in rows]
        for each in fields(DisconnectFacts)
        if each.name != "day_window"
    }
    for name in ("opens", "closes"):
        raw[f"day_{name}"] = [
            None
            if row.day_window is None
            else timedelta(hours=getattr(row.day_window, name).hour) // MICROSECOND
            for row in rows
        ]
    columns = {
        name: FactColumn(
            np.array([each or 0 for each in values], dtype=np.int64),
            np.array([each is not None for each in values]),
        )
        for name, values in raw.items()
        if any(each is not None for each in values)  # a column left out is unknown throughout
    }
    return Screening(len(rows), columns, CLASSES, ZONES)


@settings(max_examples=150)
@given(st.lists(disconnect_facts(), min_size=1, max_size=6), floors_strategy, minutes_of_day)
def test_screening_gives_the_guards_reasons_row_by_row(
    rows: list[DisconnectFacts], floors: Floors, minutes: int
) -> None:
    now = NOW + timedelta(minutes=minutes)
    masks = screen_disconnects(screening_of(rows), floors, now)
    for row, mask in zip(rows, masks, strict=True):
        assert reasons_of_mask(int(mask)) == check_disconnect(row, floors, now).reasons
