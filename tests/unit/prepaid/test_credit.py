"""Credit states, crossings and days left, limits included."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

import numpy as np
import numpy.typing as npt
import pytest

from headend.domain.errors import BadInput
from prepaid.credit import (
    CreditState,
    FriendlyHours,
    classify_credit,
    days_of_credit_left,
    find_crossing_interval,
    find_crossings,
)
from prepaid.tou import SpecialDays


def _array(*values: int) -> npt.NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def test_a_balance_on_a_limit_still_has_the_better_state() -> None:
    balances = _array(100, 99, 0, -1, -50, -51)
    states = classify_credit(balances, low_balance_nano=100, emergency_credit_nano=50)
    assert states.tolist() == [
        CreditState.GOOD,
        CreditState.LOW,
        CreditState.LOW,
        CreditState.EMERGENCY,
        CreditState.EMERGENCY,
        CreditState.ARREARS,
    ]


def test_without_emergency_credit_arrears_begins_below_zero() -> None:
    states = classify_credit(_array(0, -1), low_balance_nano=0)
    assert states.tolist() == [CreditState.GOOD, CreditState.ARREARS]


def test_limits_may_differ_by_account() -> None:
    states = classify_credit(
        _array(-5, -5), low_balance_nano=_array(10, 10), emergency_credit_nano=_array(0, 5)
    )
    assert states.tolist() == [CreditState.ARREARS, CreditState.EMERGENCY]


def test_an_unknown_balance_is_never_arrears() -> None:
    states = classify_credit(_array(-999, -999), low_balance_nano=0, known=np.array([False, True]))
    assert states.tolist() == [CreditState.UNKNOWN, CreditState.ARREARS]


def test_crossings_name_account_threshold_and_direction() -> None:
    crossings = find_crossings(_array(150, 100, 99, 20), _array(-1, 100, 100, 30), _array(100, 0))
    rows = zip(
        crossings.account.tolist(),
        crossings.threshold.tolist(),
        crossings.falling.tolist(),
        strict=True,
    )
    assert list(rows) == [(0, 0, True), (0, 1, True), (2, 0, False)]


def test_a_balance_that_stops_on_the_threshold_has_not_fallen_below_it() -> None:
    assert find_crossings(_array(5), _array(0), _array(0)).account.size == 0
    assert find_crossings(_array(0), _array(-1), _array(0)).falling.tolist() == [True]
    assert find_crossings(_array(-1), _array(0), _array(0)).falling.tolist() == [False]


def test_thresholds_may_differ_by_account() -> None:
    crossings = find_crossings(_array(10, 10), _array(0, 0), np.array([[5], [20]], dtype=np.int64))
    assert crossings.account.tolist() == [0]


def test_the_interval_of_a_crossing_is_found() -> None:
    charges = np.array([[1, 2, 3, 4]] * 4, dtype=np.int64)
    found = find_crossing_interval(_array(3, 2, 10, -1), charges, 0)
    assert found.tolist() == [2, 1, -1, 0]
    assert find_crossing_interval(_array(3), charges[:1], _array(-3)).tolist() == [3]


@pytest.mark.parametrize(
    ("hour", "covered"), [(20, False), (21, True), (23, True), (0, True), (7, True), (8, False)]
)
def test_friendly_hours_may_pass_midnight(hour: int, covered: bool) -> None:
    night = FriendlyHours(time(21), time(8))
    instant = datetime(2025, 7, 1, (hour - 8) % 24, tzinfo=UTC)
    assert night.cover(instant, "Asia/Shanghai") is covered


def test_friendly_hours_within_a_day_end_before_their_end() -> None:
    lunch = FriendlyHours(time(11), time(13))
    assert lunch.cover(datetime(2025, 7, 1, 9, 0, tzinfo=UTC), "Europe/Berlin")
    assert lunch.cover(datetime(2025, 7, 1, 10, 59, 59, tzinfo=UTC), "Europe/Berlin")
    assert not lunch.cover(datetime(2025, 7, 1, 11, 0, tzinfo=UTC), "Europe/Berlin")


def test_whole_weekends_and_holidays_are_friendly() -> None:
    hours = FriendlyHours(time(21), time(8), whole_weekends=True, whole_holidays=True)
    saturday, tuesday = datetime(2025, 7, 5, 4, tzinfo=UTC), datetime(2025, 7, 1, 4, tzinfo=UTC)
    special = SpecialDays(
        holidays=frozenset({date(2025, 7, 1)}), workdays=frozenset({date(2025, 7, 5)})
    )
    assert hours.cover(saturday, "Asia/Shanghai")
    assert not hours.cover(tuesday, "Asia/Shanghai")
    assert not hours.cover(saturday, "Asia/Shanghai", special)
    assert hours.cover(tuesday, "Asia/Shanghai", special)


def test_an_instant_without_zone_is_refused() -> None:
    naive = datetime(2025, 7, 1, tzinfo=UTC).replace(tzinfo=None)
    with pytest.raises(BadInput):
        FriendlyHours(time(21), time(8)).cover(naive, "Asia/Shanghai")


def test_days_left_follow_the_recent_pace() -> None:
    recent = np.array([[10, 30, 0], [10, 30, 20], [10, 30, 99], [0, 0, 0]], dtype=np.int64)
    present = np.array([[True, True, False], [True] * 3, [False] * 3, [True] * 3])
    left = days_of_credit_left(_array(60, -5, 60, 60), recent, present)
    assert left.expected.tolist()[:2] == [3.0, 0.0]
    assert left.shortest.tolist()[:2] == [2.0, 0.0]
    assert left.longest.tolist()[:2] == [6.0, 0.0]
    assert np.isnan([left.expected[2], left.shortest[2], left.longest[2]]).all()
    assert np.isinf([left.expected[3], left.shortest[3], left.longest[3]]).all()
