"""Which way a decision goes: when a notice cycle ends, and when a disconnect is tried again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from headend.ports.notices import CycleClose
from headend.ports.policies import FACT_NAMES, AccountFacts, FactBatch
from headend.services.decision_facts import build_columns, columns_of_record, show_facts
from headend.services.decision_plan import (
    Judged,
    Occasion,
    closes_cycle,
    needs_effects,
    plan_attempt,
    withdraws,
)
from rules.facts import FACTS
from rules.table import Outcome

NOW = datetime(2026, 3, 12, 1, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def facts(**changes: Any) -> AccountFacts:
    """An account whose disconnect notice was delivered eight days ago; planned for now."""
    noticed: dict[str, Any] = {
        "account_id": 1,
        "account_no": "3100000001",
        "usage_point_id": 11,
        "time_zone": "Asia/Shanghai",
        "customer_class": "residential",
        "payment_mode": "prepaid",
        "agreement_signed": True,
        "emergency_credit_nano": 0,
        "balance_nano": -1,
        "estimated_nano": 0,
        "actual_through": NOW - HOUR,
        "payment_pending": False,
        "channel_at_fault": False,
        "supply_state": "connected",
        "meter_last_heard_at": NOW - HOUR,
        "arrears_restraint": False,
        "open_disconnect": None,
        "hold_kinds": [],
        "hold_ended_at": None,
        "cycle_id": 5,
        "cycle_account_id": 1,
        "cycle_opened_at": NOW - 9 * DAY,
        "planned_disconnect_at": NOW,
        "expires_at": NOW + 7 * HOUR,
        "next_decision_at": NOW,
        "refused_since": None,
        "stage_names": ["arrears", "disconnect_notice", "reminder"],
        "stage_states": ["delivered", "delivered", "due"],
        "stage_delivered_at": [NOW - 9 * DAY, NOW - 8 * DAY, None],
    }
    return AccountFacts(**(noticed | changes))


def judged(outcome: Outcome = Outcome.DISCONNECT, **changes: Any) -> Judged:
    return Judged(facts(**changes), outcome, 3, {}, 0)


def on(trigger: str = "daily", at: datetime = NOW) -> Occasion:
    return Occasion(trigger, at, date(2026, 3, 12))


WARNED_ONLY = {
    "stage_names": ["arrears"],
    "stage_states": ["delivered"],
    "stage_delivered_at": [NOW - DAY],
    "expires_at": None,
}


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (judged(), None),
        (judged(cycle_id=None), None),
        (judged(cycle_account_id=2), CycleClose.MOVED_OUT),
        (judged(Outcome.RECONNECT, arrears_restraint=True), CycleClose.PAID),
        (judged(Outcome.NONE, arrears_restraint=True), CycleClose.DISCONNECTED),
        (judged(Outcome.NONE, balance_nano=50), CycleClose.PAID),
        (judged(Outcome.ARREARS_WARNING, balance_nano=0), CycleClose.PAID),
        (judged(Outcome.ARREARS_WARNING, balance_nano=0, **WARNED_ONLY), None),
        # Not money but doubt took the disconnect away: the notice given stays given.
        (judged(Outcome.NONE), None),
        (judged(Outcome.NONE, balance_nano=None), None),
        (judged(hold_ended_at=NOW - DAY), CycleClose.HOLD_ENDED),
        (judged(hold_ended_at=NOW - 10 * DAY), None),
        (
            judged(hold_ended_at=NOW - DAY, **(WARNED_ONLY | {"cycle_opened_at": NOW - 2 * DAY})),
            None,
        ),
        (judged(stage_states=["delivered", "failed", "due"]), CycleClose.NOTICE_FAILED),
        (judged(expires_at=NOW - HOUR), CycleClose.EXPIRED),
        (judged(expires_at=NOW), None),
        (judged(expires_at=NOW - HOUR, open_disconnect="in_flight"), None),
        (judged(expires_at=NOW - HOUR, open_disconnect="unsent"), CycleClose.EXPIRED),
    ],
)
def test_why_a_cycle_ends(case: Judged, reason: CycleClose | None) -> None:
    assert closes_cycle(case, on()) == reason


@pytest.mark.parametrize("trigger", ["hold_ended", "reversal", "re_rating", "reconnection"])
def test_restarts_need_a_notice_to_make_worthless(trigger: str) -> None:
    assert closes_cycle(judged(), on(trigger)) == CycleClose(trigger)
    assert closes_cycle(judged(**WARNED_ONLY), on(trigger)) is None


def test_without_a_threshold_any_known_balance_is_enough() -> None:
    case = replace(judged(Outcome.NONE), threshold_nano=None)
    assert closes_cycle(case, on()) == CycleClose.PAID


def test_what_follows_from_nothing_is_not_even_stored() -> None:
    idle = judged(Outcome.NONE, cycle_id=None)
    assert not needs_effects(idle, on())
    assert needs_effects(judged(Outcome.NONE), on())
    assert needs_effects(judged(Outcome.NONE, cycle_id=None, open_disconnect="unsent"), on())
    assert needs_effects(judged(Outcome.RECONNECT, cycle_id=None), on())


def test_an_unsent_disconnect_is_withdrawn_by_money_holds_and_restarts() -> None:
    assert not withdraws(judged(), None)
    assert withdraws(judged(Outcome.ARREARS_WARNING), None)
    assert withdraws(judged(hold_kinds=["dispute"]), None)
    assert withdraws(judged(), CycleClose.REVERSAL)


def test_attempts_stay_within_the_tolerance() -> None:
    assert plan_attempt(NOW, NOW + HOUR) == NOW + HOUR
    assert plan_attempt(NOW, NOW + HOUR - timedelta(seconds=1)) is None
    assert plan_attempt(NOW, None) is None


def batch_of(*rows: AccountFacts) -> FactBatch:
    return FactBatch({name: [getattr(row, name) for row in rows] for name in FACT_NAMES})


def known_values(name: str, *rows: AccountFacts, at: datetime = NOW) -> list[Any]:
    column = build_columns(batch_of(*rows), [name], at=at)[FACTS[name].column]
    assert column.known is not None
    return [
        int(value) if known else None
        for value, known in zip(column.values, column.known, strict=True)
    ]


def test_facts_become_columns_with_unknown_kept_apart_from_zero() -> None:
    rows = (facts(balance_nano=0), facts(balance_nano=None), facts(balance_nano=-5))
    assert known_values("balance_yuan", *rows) == [0, None, -5]
    classes = FACTS["customer_class"].values
    assert known_values("customer_class", facts(), facts(customer_class="?")) == [
        classes.index("residential"),
        None,
    ]
    assert known_values("temperature_c", facts()) == [None]


def test_a_disconnect_on_its_way_counts_as_off() -> None:
    assert known_values(
        "supply_off",
        facts(),
        facts(open_disconnect="unsent"),
        facts(open_disconnect="in_flight"),
        facts(arrears_restraint=True),
    ) == [0, 0, 1, 1]


def test_ages_count_in_whole_hours_and_stages_by_proof() -> None:
    stages = FACTS["notice_stage"].values
    assert known_values("notice_stage", facts(), facts(**WARNED_ONLY)) == [
        stages.index("disconnect_notice"),
        stages.index("arrears"),
    ]
    assert known_values("notice_age_hours", facts(), facts(**WARNED_ONLY)) == [192, None]
    heard = (facts(meter_last_heard_at=None), facts(meter_last_heard_at=NOW - 1.9 * HOUR))
    assert known_values("meter_silent_hours", *heard) == [None, 1]


def test_data_quality_is_what_the_balance_rests_on() -> None:
    values = FACTS["data_quality"].values
    rows = (facts(), facts(estimated_nano=1), facts(actual_through=None), facts(balance_nano=None))
    assert known_values("data_quality", *rows) == [
        values.index(each) for each in ("actual", "estimated", "missing", "missing")
    ]


def test_local_time_is_each_usage_points_own() -> None:
    rows = (facts(), facts(time_zone="Europe/London"))
    assert known_values("local_hour", *rows) == [9, 1]
    late = datetime(2026, 3, 12, 17, 0, tzinfo=UTC)
    assert known_values("day_of_month", *rows, at=late) == [13, 12]


def test_what_was_shown_rebuilds_the_same_columns() -> None:
    names = ["balance_yuan", "customer_class", "supply_off", "business_date", "notice_age_hours"]
    columns = build_columns(batch_of(facts(**WARNED_ONLY)), names, at=NOW)
    shown = show_facts(columns, names, 0)
    assert shown["customer_class"] == "residential"
    assert shown["notice_age_hours"] is None
    again = columns_of_record(shown, names)
    for name in names:
        column, copy = columns[FACTS[name].column], again[FACTS[name].column]
        assert column.known is not None
        assert copy.known is not None
        assert np.array_equal(column.known, copy.known)
        assert np.array_equal(column.values[column.known], copy.values[copy.known])
