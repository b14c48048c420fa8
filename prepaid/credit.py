"""How much credit an account has left, and when it crossed a line.

Takes balances as arrays and limits as data; decides nothing about supply. A balance that is not
known is a state of its own and never counts as arrears.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time
from enum import IntEnum
from typing import TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from headend.domain.errors import BadInput
from headend.domain.reading import Int64Array
from prepaid.rating_work import BoolArray
from prepaid.tou import NO_SPECIAL_DAYS, SpecialDays

CreditArray: TypeAlias = npt.NDArray[np.int8]
FloatArray: TypeAlias = npt.NDArray[np.float64]

_SATURDAY = 5


class CreditState(IntEnum):
    """Where a balance stands; a larger code is worse, except that unknown is beyond judging."""

    GOOD = 0  # low_balance <= balance
    LOW = 1  # 0 <= balance < low_balance
    EMERGENCY = 2  # -emergency_credit <= balance < 0
    ARREARS = 3  # balance < -emergency_credit
    UNKNOWN = 4


def classify_credit(
    balance_nano: Int64Array,
    *,
    low_balance_nano: Int64Array | int,
    emergency_credit_nano: Int64Array | int = 0,
    known: BoolArray | None = None,
) -> CreditArray:
    """Classify balances: (account,) int64 [nano] -> (account,) int8 of `CreditState`.

    Limits broadcast over accounts and are not negative. A balance exactly on a limit still has the
    better state: arrears begins one nano below the emergency credit. ``known``: (account,) bool.
    """
    state = np.full(balance_nano.shape, CreditState.GOOD, dtype=np.int8)
    state[balance_nano < low_balance_nano] = CreditState.LOW
    state[balance_nano < 0] = CreditState.EMERGENCY
    state[balance_nano < -np.asarray(emergency_credit_nano, dtype=np.int64)] = CreditState.ARREARS
    if known is not None:
        state[~known] = CreditState.UNKNOWN
    return state


@dataclass(frozen=True, slots=True, eq=False)
class Crossings:
    """Which balances crossed which threshold, one row per crossing, ordered by account.

    account: (crossing,) int64, index into the balances; threshold: (crossing,) int64, index into
    the thresholds; falling: (crossing,) bool.
    """

    account: Int64Array
    threshold: Int64Array
    falling: BoolArray


def find_crossings(
    before_nano: Int64Array, after_nano: Int64Array, thresholds_nano: Int64Array
) -> Crossings:
    """Find the thresholds that lie between two balances of each account.

    before_nano, after_nano: (account,) int64; thresholds_nano: (threshold,) or (account, threshold)
    int64 [nano]. Falling: at or above before and below after; rising is the opposite. So a balance
    exactly on a threshold counts as above it, as in `classify_credit`.
    """
    limits = np.broadcast_to(thresholds_nano, (before_nano.shape[0], thresholds_nano.shape[-1]))
    was_above = before_nano[:, None] >= limits
    is_above = after_nano[:, None] >= limits
    account, threshold = np.nonzero(was_above != is_above)
    return Crossings(account, threshold, was_above[account, threshold])


def find_crossing_interval(
    balance_nano: Int64Array, interval_charge_nano: Int64Array, threshold_nano: Int64Array | int
) -> Int64Array:
    """Find the interval in whose course a falling balance went below a threshold.

    balance_nano: (account,) int64 at the start of the day; interval_charge_nano: (account,
    interval) int64 from `prepaid.rating.rate_intervals`, not negative. Returns (account,) int64:
    the interval's index, 0 where the balance was below before, -1 where it never went below.
    """
    spent = np.cumsum(interval_charge_nano, axis=1)
    threshold = np.broadcast_to(np.asarray(threshold_nano, dtype=np.int64), balance_nano.shape)
    below = balance_nano[:, None] - spent < threshold[:, None]
    return np.where(below.any(axis=1), below.argmax(axis=1), -1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class FriendlyHours:
    """Hours in which supply is never cut for want of credit, in the usage point's wall-clock time.

    ``[from_time, until_time)`` of every day, over midnight where ``until_time`` is not later;
    ``whole_weekends`` and ``whole_holidays`` add the whole day.
    """

    from_time: time
    until_time: time
    whole_weekends: bool = False
    whole_holidays: bool = False

    def cover(self, instant: datetime, zone: str, special: SpecialDays = NO_SPECIAL_DAYS) -> bool:
        """Tell whether ``instant`` (aware) lies in friendly hours."""
        if instant.tzinfo is None:
            raise BadInput(f"{instant} has no time zone", field="instant")
        local = instant.astimezone(ZoneInfo(zone))
        if self._whole_day(local.date(), special):
            return True
        at = local.time()
        if self.from_time < self.until_time:
            return self.from_time <= at < self.until_time
        return at >= self.from_time or at < self.until_time

    def _whole_day(self, day: date, special: SpecialDays) -> bool:
        weekend = day.weekday() >= _SATURDAY and day not in special.workdays
        return (self.whole_weekends and weekend) or (
            self.whole_holidays and day in special.holidays
        )


@dataclass(frozen=True, slots=True, eq=False)
class DaysLeft:
    """How long credit lasts at the account's own recent pace; NaN where that is not known.

    expected, shortest, longest: (account,) float64 [days] at the mean, the dearest and the cheapest
    of the recent days; infinite where nothing was used. An estimate for people, never for supply.
    """

    expected: FloatArray
    shortest: FloatArray
    longest: FloatArray


def days_of_credit_left(
    balance_nano: Int64Array, recent_charge_nano: Int64Array, present: BoolArray
) -> DaysLeft:
    """Divide what is left by what recent days cost.

    balance_nano: (account,) int64 [nano], emergency credit added where it is meant to count;
    recent_charge_nano: (account, day) int64 [nano]; present: (account, day) bool, days that are
    settled and complete. Credit at or below zero lasts 0 days; without a day present it is NaN.
    """
    days = present.sum(axis=1)
    charge = np.where(present, recent_charge_nano, 0).astype(np.float64)
    known = days > 0
    mean = charge.sum(axis=1) / np.maximum(days, 1)
    dearest = charge.max(axis=1, initial=0.0)
    cheapest = np.where(present, charge, np.inf).min(axis=1, initial=np.inf)
    left = np.maximum(balance_nano, 0).astype(np.float64)
    return DaysLeft(*(_days(left, pace, known) for pace in (mean, dearest, cheapest)))


def _days(left: FloatArray, pace: FloatArray, known: BoolArray) -> FloatArray:
    endless = np.where(left > 0, np.inf, 0.0)
    days = np.divide(left, pace, out=endless, where=(pace > 0) & known)
    return np.where(known, days, np.nan)
