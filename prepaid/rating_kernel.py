"""Where a day's energy falls: exact sums of Wh by tier and TOU period, in numpy.

Theory of operation. Price depends on nothing but tier and period, so a day is fully described by
its energy cube ``(account, tier, period)``. Most accounts stay in one tier all day: for them the
sums by period, which are runs of neighbouring intervals, are the whole answer (fast path). The few
that cross a tier limit are split interval by interval, and inside the crossing interval at the Wh
(exact path). Both are integer arithmetic on the same values and agree to the Wh.

A Wh belongs to the lowest tier whose limit it does not exceed: the 2,520,000th Wh of a cycle is
still in a tier "up to 2520 kWh", the next one is not.
"""

from __future__ import annotations

import numpy as np

from headend.domain.reading import Int64Array
from prepaid.tou import PeriodArray

_HALF_BITS = 32
_HALF_MASK = 2**_HALF_BITS - 1


def sum_by_period(usage_wh: Int64Array, period: PeriodArray, periods: int) -> Int64Array:
    """Sum a day's energy by TOU period.

    usage_wh: (account, interval) int64 or int32 [Wh]; period: (interval,) int8.
    Returns (account, period) int64 [Wh].
    """
    starts = np.flatnonzero(np.diff(period, prepend=np.int8(-1)))
    # A reduction over runs of neighbours reads the row once, in order; measured six times faster
    # than one sum per slice and as fast as BLAS on floats, without leaving the integers.
    runs = np.add.reduceat(usage_wh, starts, axis=1, dtype=np.int64)
    sums = np.zeros((usage_wh.shape[0], periods), dtype=np.int64)
    for column, start in enumerate(starts):
        sums[:, period[start]] += runs[:, column]
    return sums


def tier_after(cycle_wh: Int64Array, tier_upper_wh: Int64Array) -> Int64Array:
    """Return the tier of the next Wh after ``cycle_wh`` in the cycle.

    cycle_wh: (account,) int64 [Wh]; tier_upper_wh: (tier,) or (account, tier) int64 [Wh].
    """
    tiers: Int64Array
    if tier_upper_wh.ndim == 1:
        tiers = np.searchsorted(tier_upper_wh, cycle_wh, side="right")
    else:
        tiers = np.count_nonzero(tier_upper_wh <= cycle_wh[:, None], axis=1).astype(np.int64)
    return tiers


def energy_cube(
    usage_wh: Int64Array,
    period: PeriodArray,
    periods: int,
    cycle_wh: Int64Array,
    tier_upper_wh: Int64Array,
) -> tuple[Int64Array, Int64Array]:
    """Place every Wh of a day in its tier and period, by the fast path where it is exact.

    usage_wh: (account, interval) int64 or int32 [Wh], not negative; cycle_wh: (account,) int64 [Wh]
    accumulated before the day; tier_upper_wh: (tier,) or (account, tier) int64 [Wh].
    Returns (account, tier, period) int64 [Wh] and the indices of the accounts that cross a limit.
    """
    by_period = sum_by_period(usage_wh, period, periods)
    tier = tier_after(cycle_wh, tier_upper_wh)
    rows = np.arange(usage_wh.shape[0])
    upper = tier_upper_wh[tier] if tier_upper_wh.ndim == 1 else tier_upper_wh[rows, tier]
    crossing = np.flatnonzero(cycle_wh + by_period.sum(axis=1) > upper)
    cube = np.zeros((rows.size, tier_upper_wh.shape[-1], periods), dtype=np.int64)
    cube[rows, tier] = by_period
    if crossing.size:
        limits = tier_upper_wh if tier_upper_wh.ndim == 1 else tier_upper_wh[crossing]
        cube[crossing] = energy_cube_exact(
            usage_wh[crossing], period, periods, cycle_wh[crossing], limits
        )
    return cube, crossing


def energy_cube_exact(
    usage_wh: Int64Array,
    period: PeriodArray,
    periods: int,
    cycle_wh: Int64Array,
    tier_upper_wh: Int64Array,
) -> Int64Array:
    """Place every Wh in its tier and period, interval by interval; arguments as `energy_cube`."""
    by_tier = split_by_tier(usage_wh, cycle_wh, tier_upper_wh)
    return np.stack([sum_by_period(part, period, periods) for part in by_tier], axis=1)


def split_by_tier(
    usage_wh: Int64Array, cycle_wh: Int64Array, tier_upper_wh: Int64Array
) -> list[Int64Array]:
    """Split each interval's energy by tier; one (account, interval) int64 [Wh] array per tier."""
    reached = np.empty((usage_wh.shape[0], usage_wh.shape[1] + 1), dtype=np.int64)
    reached[:, 0] = cycle_wh
    np.cumsum(usage_wh, axis=1, dtype=np.int64, out=reached[:, 1:])
    reached[:, 1:] += cycle_wh[:, None]
    limits = np.broadcast_to(tier_upper_wh, (usage_wh.shape[0], tier_upper_wh.shape[-1]))
    lower = np.zeros((usage_wh.shape[0], 1), dtype=np.int64)
    parts = []
    for tier in range(limits.shape[1]):
        upper = limits[:, tier : tier + 1]
        parts.append(np.diff(np.clip(reached, lower, upper), axis=1))
        lower = upper
    return parts


def exact_sum(values: Int64Array) -> list[int]:
    """Sum the columns of (row, column) int64 into Python integers, exact where int64 would wrap.

    Each value is split into halves of 32 bits, whose sums cannot overflow below 2^31 rows.
    """
    high = (values >> _HALF_BITS).sum(axis=0, dtype=np.int64)
    low = (values & _HALF_MASK).sum(axis=0, dtype=np.int64)
    return [(int(upper) << _HALF_BITS) + int(lower) for upper, lower in zip(high, low, strict=True)]
