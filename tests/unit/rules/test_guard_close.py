"""The guard of a close, fact by fact."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headend.domain.supply import Restraint
from rules.closing import (
    CloseFacts,
    CloseMode,
    UnpaidReconnectLimits,
    check_close,
    check_unpaid_reconnect,
)
from rules.reasons import RefusalReason

NOW = datetime(2026, 3, 11, 2, 0, tzinfo=UTC)
R = RefusalReason
FREE = CloseFacts(
    restraints=frozenset(),
    works_permitted_on_area=False,
    closes_directly=True,
    standing_consent=True,
)

CASES: list[tuple[dict[str, Any], tuple[RefusalReason, ...]]] = [
    ({}, ()),
    ({"restraints": None}, (R.RESTRAINTS_UNKNOWN,)),
    ({"restraints": frozenset({Restraint.THEFT})}, (R.RESTRAINT_REMAINS,)),
    ({"restraints": frozenset({Restraint.FIELD_LOCK})}, (R.FIELD_LOCK, R.RESTRAINT_REMAINS)),
    ({"works_permitted_on_area": True}, (R.WORKS_PERMITTED_ON_AREA,)),
    ({"works_permitted_on_area": None}, (R.WORKS_PERMITTED_ON_AREA,)),
    ({"load_side_voltage": True}, (R.LOAD_SIDE_VOLTAGE,)),
    ({"load_side_voltage": None}, ()),
    ({"standing_consent": None}, (R.NO_CONSENT_TO_CLOSE,)),
    ({"standing_consent": False, "appliances_off_recorded": True}, ()),
    ({"standing_consent": False, "closes_directly": None}, (R.NO_CONSENT_TO_CLOSE,)),
    ({"standing_consent": False, "closes_directly": False}, ()),
    ({"standing_consent": False, "can_arm": True}, ()),
    ({"tripped_after_last_close": True}, (R.TRIPPED_AFTER_CLOSING,)),
    ({"tripped_after_last_close": True, "automatic": False}, ()),
    ({"not_after": NOW - timedelta(seconds=1)}, (R.ORDER_EXPIRED,)),
    ({"not_after": NOW, "not_before": NOW}, ()),
    ({"not_before": NOW + timedelta(seconds=1)}, (R.ORDER_NOT_YET_DUE,)),
]


@pytest.mark.parametrize(("change", "reasons"), CASES, ids=[str(list(case[0])) for case in CASES])
def test_one_fact_changed(change: dict[str, Any], reasons: tuple[RefusalReason, ...]) -> None:
    verdict = check_close(replace(FREE, **change), NOW)
    assert verdict.reasons == reasons
    assert verdict.allowed == (not reasons)


def test_reasons_come_in_the_order_of_the_list() -> None:
    everything = CloseFacts(
        restraints=frozenset(Restraint),
        load_side_voltage=True,
        tripped_after_last_close=True,
        not_after=NOW - timedelta(days=1),
    )
    reasons = check_close(everything, NOW).reasons
    assert len(reasons) == 7
    assert list(reasons) == sorted(reasons, key=list(RefusalReason).index)


def test_the_verdict_names_what_remains_so_that_the_agent_can_say_who_lifts_it() -> None:
    facts = replace(FREE, restraints=frozenset({Restraint.LOCAL, Restraint.CUSTOMER_REQUEST}))
    assert check_close(facts, NOW).remaining == (Restraint.CUSTOMER_REQUEST, Restraint.LOCAL)


def test_a_meter_that_can_be_armed_is_armed_without_consent_and_closed_with_it() -> None:
    unasked = replace(FREE, standing_consent=False, can_arm=True)
    assert check_close(unasked, NOW).mode is CloseMode.ARM_ONLY
    assert check_close(replace(unasked, standing_consent=True), NOW).mode is CloseMode.DIRECT
    assert check_close(replace(FREE, closes_directly=False), NOW).mode is CloseMode.ARM_ONLY


def test_an_unpaid_reconnect_stays_within_amount_time_and_number() -> None:
    limits = UnpaidReconnectLimits(100, timedelta(hours=24), 2)

    def check(debt: int | None, hours: int, granted: int) -> RefusalReason | None:
        return check_unpaid_reconnect(
            limits, debt_nano=debt, duration=timedelta(hours=hours), granted_in_30_days=granted
        )

    assert check(100, 24, 1) is None
    for beyond in ((101, 24, 1), (100, 25, 1), (100, 24, 2), (None, 1, 0)):
        assert check(*beyond) is R.UNPAID_RECONNECT_LIMIT
