"""What a day of energy costs, exactly: int64 nano-yuan, without any rounding.

Takes arrays of energy with masks and a tariff version; returns charges and the energy behind them.
Missing intervals are not rated, neither as zero nor as anything else: the caller learns how many.
Knows nothing of balances, ledgers or where readings come from.

Estimated energy. ``estimated_nano`` is the part of a charge that rests on estimates, so that
``balance + estimated`` is the balance by actual readings only. It is the charge less what the
actual intervals would have cost *had the estimated ones used nothing*, tiers included: actual
energy then stands lower in the tiers, as if no estimate had pushed it up. Where a tariff gets
cheaper with its tiers, that could be less than the estimated intervals' own cost in place; then the
latter counts. Either way the larger part is taken as estimated, in favour of the customer, and
``0 <= estimated_nano <= charge_nano``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from headend.domain.reading import Int64Array, Quality, QualityArray
from prepaid.books import Book
from prepaid.rating_kernel import energy_cube, exact_sum, split_by_tier
from prepaid.rating_work import BoolArray, RatingWork, check_charge, check_usage
from prepaid.tariff import CycleUnit, TariffVersion
from prepaid.tou import PeriodArray

# 1024 accounts x 96 intervals x 8 B = 768 KiB stays in a core's second-level cache.
CHUNK_ACCOUNTS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class DayCharges:
    """What one local day cost a group of accounts under one tariff version.

    charge_nano, estimated_nano: (account,) int64 [nano], never negative; energy_wh: (account, tier,
    period) int64 [Wh], all that the charge is made of; estimated_wh: (account,) int64 [Wh];
    unrated_intervals: (account,) int64, how many intervals were masked; crossed_tier: (account,)
    bool, whether the day was split at a tier limit.
    """

    version: TariffVersion
    charge_nano: Int64Array
    energy_wh: Int64Array
    estimated_nano: Int64Array
    estimated_wh: Int64Array
    unrated_intervals: Int64Array
    crossed_tier: BoolArray

    @property
    def total_wh(self) -> Int64Array:
        """All rated energy, actual and estimated: (account,) int64 [Wh]."""
        return np.asarray(self.energy_wh.sum(axis=(1, 2)), dtype=np.int64)

    @property
    def energy_by_period_wh(self) -> Int64Array:
        """Energy by TOU period: (account, period) int64 [Wh]."""
        return np.asarray(self.energy_wh.sum(axis=1), dtype=np.int64)

    @property
    def energy_by_tier_wh(self) -> Int64Array:
        """Energy by tier: (account, tier) int64 [Wh]."""
        return np.asarray(self.energy_wh.sum(axis=2), dtype=np.int64)

    @property
    def charge_by_period_nano(self) -> Int64Array:
        """Charge by TOU period, tier prices included: (account, period) int64 [nano]."""
        return np.asarray((self.energy_wh * self.version.price_micro).sum(axis=1), dtype=np.int64)

    @property
    def charge_by_tier_nano(self) -> Int64Array:
        """Charge by tier: (account, tier) int64 [nano]."""
        return np.asarray((self.energy_wh * self.version.price_micro).sum(axis=2), dtype=np.int64)

    def revenue_nano(self) -> dict[Book, int]:
        """Sum the charges of all accounts by the book that each component belongs to.

        Python integers, because the sum over many accounts may exceed int64; they add up exactly to
        the sum of ``charge_nano``. Books with nothing in them are left out.
        """
        totals = exact_sum(_flat(self.energy_wh))
        revenue: dict[Book, int] = {}
        for component in self.version.components:
            prices = component.price_micro.ravel().tolist()
            amount = sum(wh * price for wh, price in zip(totals, prices, strict=True))
            if amount:
                revenue[component.book] = revenue.get(component.book, 0) + amount
        return revenue


def masks_of_quality(quality: QualityArray) -> tuple[BoolArray, BoolArray]:
    """Return ``(billable, estimated)`` masks of quality codes, of the same shape.

    `Quality.SUSPECT` and `Quality.MISSING` never reach money.
    """
    billable = quality <= Quality.ESTIMATED_BY_METER
    return billable, billable & (quality >= Quality.ESTIMATED)


def cycle_start(version: TariffVersion, day: date) -> date:
    """Return the first day of the tier cycle that contains local ``day``."""
    month, first = version.cycle.start
    if version.cycle.unit is CycleUnit.YEAR:
        start = date(day.year, month, first)
        return start if start <= day else date(day.year - 1, month, first)
    if day.day >= first:
        return day.replace(day=first)
    if day.month == 1:
        return date(day.year - 1, 12, first)
    return date(day.year, day.month - 1, first)


def rate_day(
    energy_wh: Int64Array,
    *,
    period_of_interval: PeriodArray,
    version: TariffVersion,
    cycle_to_date_wh: Int64Array,
    billable: BoolArray | None = None,
    estimated: BoolArray | None = None,
    cycle_to_date_estimated_wh: Int64Array | None = None,
    tier_upper_wh: Int64Array | None = None,
) -> DayCharges:
    """Rate one local day of many accounts under one tariff version, exactly.

    energy_wh: (account, interval) int64 or int32 [Wh] after the multiplier, not negative where
    billable. period_of_interval: (interval,) int8 from `prepaid.tou.period_of_interval`.
    cycle_to_date_wh: (account,) int64 [Wh] rated in the tier cycle before this day, estimates
    included; cycle_to_date_estimated_wh: the estimated part of it (default none).
    billable, estimated: (account, interval) bool; without them all is billable and actual; values
    where ``billable`` is false mean nothing. tier_upper_wh: (account, tier) int64 [Wh] instead of
    the version's own limits (households with limits of their own).

    Raises `BadInput` for shapes that do not match, a negative value, or a row beyond what int64
    holds (``energy_wh[row]``); nothing is returned then. Pure: calling again is safe.
    """
    work = RatingWork(
        version=version,
        period=period_of_interval,
        energy_wh=energy_wh,
        cycle_wh=cycle_to_date_wh,
        tier_upper_wh=version.tier_upper_wh if tier_upper_wh is None else tier_upper_wh,
        billable=billable,
        estimated=estimated,
        cycle_estimated_wh=cycle_to_date_estimated_wh,
    )
    work.check()
    accounts = energy_wh.shape[0]
    result = DayCharges(
        version=version,
        charge_nano=np.zeros(accounts, dtype=np.int64),
        energy_wh=np.zeros((accounts, *version.price_micro.shape), dtype=np.int64),
        estimated_nano=np.zeros(accounts, dtype=np.int64),
        estimated_wh=np.zeros(accounts, dtype=np.int64),
        unrated_intervals=np.zeros(accounts, dtype=np.int64),
        crossed_tier=np.zeros(accounts, dtype=np.bool_),
    )
    for start in range(0, accounts, CHUNK_ACCOUNTS):
        rows = slice(start, min(start + CHUNK_ACCOUNTS, accounts))
        _rate_chunk(work.part(rows), rows, result)
    return result


def rate_intervals(
    energy_wh: Int64Array,
    *,
    period_of_interval: PeriodArray,
    version: TariffVersion,
    cycle_to_date_wh: Int64Array,
    billable: BoolArray | None = None,
    tier_upper_wh: Int64Array | None = None,
) -> Int64Array:
    """Rate every interval by itself: what each one cost, tiers included.

    Arguments and errors as `rate_day`. Returns (account, interval) int64 [nano], whose rows add up
    exactly to `rate_day`'s charges; masked intervals cost nothing here. For usage calendars and for
    finding the interval in which a balance crossed a threshold: for few accounts at a time.
    """
    work = RatingWork(
        version=version,
        period=period_of_interval,
        energy_wh=energy_wh,
        cycle_wh=cycle_to_date_wh,
        tier_upper_wh=version.tier_upper_wh if tier_upper_wh is None else tier_upper_wh,
        billable=billable,
    )
    work.check()
    usage = work.usage_wh
    check_usage(usage, first_row=0)
    check_charge(usage.sum(axis=1, dtype=np.int64), version, first_row=0)
    return _cost_in_place(work, usage)


def _rate_chunk(work: RatingWork, rows: slice, result: DayCharges) -> None:
    """Rate one chunk and write it into its rows of ``result``."""
    usage, version = work.usage_wh, work.version
    check_usage(usage, first_row=rows.start)
    cube, crossing = energy_cube(
        usage, work.period, len(version.periods), work.cycle_wh, work.tier_upper_wh
    )
    check_charge(cube.sum(axis=(1, 2)), version, first_row=rows.start)
    charge = _price(cube, version)
    result.energy_wh[rows] = cube
    result.charge_nano[rows] = charge
    result.crossed_tier[rows.start + crossing] = True
    if work.billable is not None:
        present = np.count_nonzero(work.billable, axis=1)
        result.unrated_intervals[rows] = usage.shape[1] - present
    resting = _rows_on_estimates(work)
    if resting.size:
        amount, energy = _estimated_part(work.part(resting), usage[resting], charge[resting])
        result.estimated_nano[rows.start + resting] = amount
        result.estimated_wh[rows.start + resting] = energy


def _rows_on_estimates(work: RatingWork) -> Int64Array:
    """Return the rows with an estimate today or carried in the cycle."""
    chosen = np.zeros(work.energy_wh.shape[0], dtype=np.bool_)
    if work.estimated is not None:
        chosen |= work.estimated.any(axis=1)
    if work.cycle_estimated_wh is not None:
        chosen |= work.cycle_estimated_wh > 0
    return np.flatnonzero(chosen)


def _estimated_part(
    work: RatingWork, usage: Int64Array, charge: Int64Array
) -> tuple[Int64Array, Int64Array]:
    """Return what rests on estimates: (account,) int64 [nano] and (account,) int64 [Wh]."""
    version, carried = work.version, work.cycle_estimated_wh
    guessed = np.zeros(usage.shape, dtype=np.bool_) if work.estimated is None else work.estimated
    estimated_wh = np.where(guessed, usage, 0)
    actual_cube, _ = energy_cube(
        usage - estimated_wh,
        work.period,
        len(version.periods),
        work.cycle_wh if carried is None else work.cycle_wh - carried,
        work.tier_upper_wh,
    )
    amount = charge - _price(actual_cube, version)
    if bool((np.diff(version.price_micro, axis=0) < 0).any()):
        # Only where tiers get cheaper can the cost in place be the larger part.
        in_place = np.where(guessed, _cost_in_place(work, usage), 0).sum(axis=1)
        amount = np.maximum(amount, in_place)
    return amount, estimated_wh.sum(axis=1, dtype=np.int64)


def _cost_in_place(work: RatingWork, usage: Int64Array) -> Int64Array:
    """Price each interval where it lies: (account, interval) int64 [nano]."""
    cost = np.zeros(usage.shape, dtype=np.int64)
    parts = split_by_tier(usage, work.cycle_wh, work.tier_upper_wh)
    for part, prices in zip(parts, work.version.price_micro, strict=True):
        cost += part * prices[work.period]
    return cost


def _price(cube: Int64Array, version: TariffVersion) -> Int64Array:
    """Multiply an energy cube by its prices: (account,) int64 [nano]."""
    return np.asarray(_flat(cube) @ version.price_micro.ravel(), dtype=np.int64)


def _flat(cube: Int64Array) -> Int64Array:
    accounts, tiers, periods = cube.shape
    return cube.reshape(accounts, tiers * periods)
