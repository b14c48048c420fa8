"""Rating days again: readings that came late or were revised, estimates that became actual.

From the first changed day on, every settled day of the usage point is rated anew on what is known
now, because tiers and estimates depend on the days before. What differs is posted on the business
date of the run, naming the entry it corrects; closed days keep their sums. A rating that is not
different is not posted. Doing it again changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import numpy as np

from headend.domain.reading import Quality
from headend.ports.settlement import PointKey, RatedDays
from headend.ports.unit_of_work import UnitOfWork
from headend.services.billing_rating import TariffBook, rate_points
from prepaid.books import Book
from prepaid.fixed_charges import fixed_charges_on
from prepaid.ledger import CorrectionReason, build_correction
from prepaid.rating_work import BoolArray
from prepaid.tou import SpecialDays

# Columns that say that a rating is another one, whether or not its charge differs.
_COMPARED = (
    *("meter_id", "multiplier", "tariff_id", "profile_revision", "energy_wh", "estimated_wh"),
    *("cycle_before_wh", "cycle_before_estimated_wh", "charge_nano", "estimated_nano"),
    *("fixed_nano", "worst_quality", "unrated_intervals", "actual_until"),
)


@dataclass(slots=True)
class Rerated:
    """What re-rating changed, by account [nano]."""

    amount_nano: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    estimated_nano: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    days: int = 0
    # Why each usage point is rated anew: later days of the cycle share the cause of the first.
    causes: dict[PointKey, CorrectionReason] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RatingContext:
    """What rating needs beside the points: tariffs, calendar, and when it is posted."""

    tariffs: TariffBook
    special: SpecialDays
    business_date: date
    at: datetime


async def rerate_points(
    uow: UnitOfWork,
    first_days: Mapping[PointKey, date],
    last: date,
    context: RatingContext,
    *,
    reason: CorrectionReason | None = None,
) -> Rerated:
    """Rate each point again from its first changed day to ``last`` and post the differences.

    The caller holds the locks of the accounts' balances and applies what is returned. ``reason``
    stands for all days when given; else each day's own change tells.
    """
    result = Rerated()
    day = min(first_days.values(), default=last + timedelta(days=1))
    while day <= last:
        keys = sorted(key for key, first in first_days.items() if first <= day)
        stored = await uow.settlement.rated_days(keys, day)
        if len(stored):
            await _rerate_day(uow, stored, context, reason, result)
        day += timedelta(days=1)
    return result


async def _rerate_day(
    uow: UnitOfWork,
    stored: RatedDays,
    context: RatingContext,
    reason: CorrectionReason | None,
    result: Rerated,
) -> None:
    """Rate one day of the points that were rated before and post what differs."""
    day = stored.business_date
    occupied = await uow.settlement.points(sorted(set(stored.account_id.tolist())), day)
    position = {key: row for row, key in enumerate(occupied.keys)}
    kept = [row for row, key in enumerate(stored.keys) if key in position]
    old = stored.take(np.array(kept, dtype=np.int64))
    points = occupied.take(np.array([position[key] for key in old.keys], dtype=np.int64))
    rating = await rate_points(uow, points, day, tariffs=context.tariffs, special=context.special)
    new = rating.days
    rows = np.flatnonzero(_differs(old, new))
    if not rows.size:
        return
    new.rating_no[:] = old.rating_no + 1
    await uow.settlement.store_days(new.take(rows), replace=True)
    result.days += int(rows.size)
    for row in rows.tolist():
        account = int(old.account_id[row])
        result.estimated_nano[account] += int(new.estimated_nano[row] - old.estimated_nano[row])
    keys = old.keys
    for row in rows.tolist():
        cause = reason or _reason(old, new, row)
        if cause is not None:
            result.causes[keys[row]] = cause
    reasons = defaultdict(list)
    for row in np.flatnonzero(old.charge_nano != new.charge_nano).tolist():
        reasons[result.causes.get(keys[row], CorrectionReason.REVISED_READING)].append(row)
    for why, chosen in sorted(reasons.items()):
        part = np.array(chosen, dtype=np.int64)
        await _post(uow, old.take(part), new.take(part), context, why, result)


async def _post(
    uow: UnitOfWork,
    old: RatedDays,
    new: RatedDays,
    context: RatingContext,
    reason: CorrectionReason,
    result: Rerated,
) -> None:
    day = old.business_date
    batch = build_correction(
        business_date=context.business_date,
        charged_date=day,
        batch_key=_batch_key(day, old, new, reason),
        account_key=old.account_id,
        old_charge_nano=old.charge_nano,
        new_charge_nano=new.charge_nano,
        revision=new.rating_no.tolist(),
        reason=reason,
        revenue_change_nano=_revenue_change(old, new, context.tariffs),
        entry_key=tuple(old.entry_key),
    )
    if batch is None:
        return
    await uow.ledger.post(batch, posted_at=context.at, detail={"charged_date": day.isoformat()})
    difference = old.charge_nano - new.charge_nano
    for account, amount in zip(old.account_id.tolist(), difference.tolist(), strict=True):
        result.amount_nano[account] += amount


def _batch_key(day: date, old: RatedDays, new: RatedDays, reason: CorrectionReason) -> str:
    """Name a correction batch by its first leg, which no other batch can contain."""
    return (
        f"correction:{day.isoformat()}:{reason}:{int(old.account_id[0])}:"
        f"{int(old.usage_point_id[0])}:{int(new.rating_no[0])}"
    )


def _reason(old: RatedDays, new: RatedDays, row: int) -> CorrectionReason | None:
    """Return what is new about the day itself; None when only the days before it changed."""
    if old.unrated_reason[row] is not None:
        return CorrectionReason.LATE_READING
    if old.tariff_id[row] != new.tariff_id[row] or (
        old.tariff_effective[row] != new.tariff_effective[row]
    ):
        return CorrectionReason.TARIFF_CHANGED
    if old.meter_id[row] != new.meter_id[row]:
        return CorrectionReason.METER_EXCHANGED
    if old.multiplier[row] != new.multiplier[row]:
        return CorrectionReason.MULTIPLIER_CORRECTED
    if old.profile_revision[row] == new.profile_revision[row]:
        return None
    if old.worst_quality[row] >= Quality.ESTIMATED:
        return CorrectionReason.ESTIMATE_REPLACED
    return CorrectionReason.REVISED_READING


def _revenue_change(old: RatedDays, new: RatedDays, tariffs: TariffBook) -> dict[Book, int]:
    """Return by book what the new ratings earn more than the old ones, over all rows [nano].

    What the stored energy and the tariffs known today cannot explain (a tariff document that was
    itself replaced) goes to the correction book, so that the batch balances.
    """
    change: dict[Book, int] = defaultdict(int)
    for sign, days in ((1, new), (-1, old)):
        for row in range(len(days)):
            for book, amount in _revenue_of(days, row, tariffs).items():
                change[book] += sign * amount
    total = sum(new.charge_nano.tolist()) - sum(old.charge_nano.tolist())
    change[Book.REVENUE_CORRECTION] += total - sum(change.values())
    return dict(change)


def _revenue_of(days: RatedDays, row: int, tariffs: TariffBook) -> dict[Book, int]:
    version = tariffs.version_effective(int(days.tariff_id[row]), days.tariff_effective[row])
    cells = days.cell_wh[row]
    if version is None or cells.shape != version.price_micro.shape:
        return {}
    revenue: dict[Book, int] = defaultdict(int)
    for component in version.components:
        revenue[component.book] += int((cells * component.price_micro).sum())
    if days.fixed_nano[row]:
        for share in fixed_charges_on(version, days.business_date):
            revenue[share.book] += share.amount_nano
    return revenue


def _differs(old: RatedDays, new: RatedDays) -> BoolArray:
    """Return which rows rest on something else or come to something else: (row,) bool."""
    differs = np.zeros(len(old), dtype=np.bool_)
    for name in _COMPARED:
        differs |= getattr(old, name) != getattr(new, name)
    for row in range(len(old)):
        differs[row] |= (
            old.unrated_reason[row] != new.unrated_reason[row]
            or old.tariff_effective[row] != new.tariff_effective[row]
            or not np.array_equal(old.cell_wh[row], new.cell_wh[row])
        )
    return differs
