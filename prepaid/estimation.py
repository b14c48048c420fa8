"""Filling missing intervals from the meter's own recent days, so that it is seen as an estimate.

Knows arrays only. Estimates carry `Quality.ESTIMATED` and are replaced when the meter answers. A
day on which the contact was open is never estimated: neither past use nor zero is assumed for it,
its gaps stay missing until the meter tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from headend.domain.errors import BadInput
from headend.domain.reading import Int64Array, Quality, QualityArray
from prepaid.rating_work import BoolArray

OutcomeArray: TypeAlias = npt.NDArray[np.int8]


class EstimateOutcome(IntEnum):
    """What became of one meter's day."""

    COMPLETE = 0  # nothing was missing
    ESTIMATED = 1  # every gap is filled
    PARTLY_ESTIMATED = 2  # some gaps have no recent day to go by and stay missing
    NO_HISTORY = 3  # no gap could be filled
    SUPPLY_OFF = 4  # the contact was open: left as it is


@dataclass(frozen=True, slots=True, eq=False)
class EstimatedDay:
    """A day with its gaps filled where that was right.

    energy_wh: (meter, interval) int64 [Wh]; quality: (meter, interval) int16; outcome: (meter,)
    int8 of `EstimateOutcome`. Values whose quality is missing mean nothing.
    """

    energy_wh: Int64Array
    quality: QualityArray
    outcome: OutcomeArray


def estimate_day(
    energy_wh: Int64Array,
    quality: QualityArray,
    *,
    recent_wh: Int64Array,
    recent_present: BoolArray,
    same_day_type: BoolArray,
    supply_off: BoolArray,
) -> EstimatedDay:
    """Fill what is missing with the mean of the same interval on recent days.

    energy_wh, quality: (meter, interval), the day itself; `Quality.SUSPECT` is kept as it is, since
    a person has to look at it. recent_wh: (meter, day, interval) int64 [Wh] and recent_present of
    that shape, true where the value is actual and supply was on. same_day_type: (day,) bool, recent
    days that follow the same pattern; only where a meter has none of them for an interval do the
    other days count. supply_off: (meter,) bool, the contact was open at some time of the day.

    Means are rounded half up to whole Wh. Days of 23 and 25 hours have other intervals: pass recent
    days of the same length. Raises `BadInput` for shapes that do not match.
    """
    _check_shapes(energy_wh, quality, recent_wh, recent_present, same_day_type, supply_off)
    missing = quality == Quality.MISSING
    fillable = missing & ~supply_off[:, None]
    rows = np.flatnonzero(fillable.any(axis=1))
    filled, new_quality = energy_wh.astype(np.int64), quality.astype(np.int16)
    if rows.size:
        # Only the meters with gaps pay for reading their history.
        mean, known = _expected(recent_wh[rows], recent_present[rows], same_day_type)
        chosen = fillable[rows] & known
        filled[rows] = np.where(chosen, mean, filled[rows])
        new_quality[rows] = np.where(chosen, Quality.ESTIMATED, new_quality[rows])
    return EstimatedDay(filled, new_quality, _outcomes(missing, new_quality, supply_off))


def _expected(
    recent_wh: Int64Array, present: BoolArray, same_day_type: BoolArray
) -> tuple[Int64Array, BoolArray]:
    """Return the mean (meter, interval) int64 [Wh] and where there is one."""
    alike, alike_count = _mean(recent_wh, present & same_day_type[None, :, None])
    other, other_count = _mean(recent_wh, present & ~same_day_type[None, :, None])
    return np.where(alike_count > 0, alike, other), (alike_count > 0) | (other_count > 0)


def _mean(recent_wh: Int64Array, chosen: BoolArray) -> tuple[Int64Array, Int64Array]:
    count = chosen.sum(axis=1, dtype=np.int64)
    total = np.where(chosen, recent_wh, 0).sum(axis=1, dtype=np.int64)
    divisor = np.maximum(count, 1)
    return (2 * total + divisor) // (2 * divisor), count


def _outcomes(missing: BoolArray, quality: QualityArray, supply_off: BoolArray) -> OutcomeArray:
    gaps = missing.sum(axis=1)
    left = (quality == Quality.MISSING).sum(axis=1)
    outcome = np.full(gaps.shape, EstimateOutcome.PARTLY_ESTIMATED, dtype=np.int8)
    outcome[left == gaps] = EstimateOutcome.NO_HISTORY
    outcome[left == 0] = EstimateOutcome.ESTIMATED
    outcome[(gaps > 0) & supply_off] = EstimateOutcome.SUPPLY_OFF
    outcome[gaps == 0] = EstimateOutcome.COMPLETE
    return outcome


def _check_shapes(
    energy_wh: Int64Array,
    quality: QualityArray,
    recent_wh: Int64Array,
    recent_present: BoolArray,
    same_day_type: BoolArray,
    supply_off: BoolArray,
) -> None:
    meters, intervals = energy_wh.shape
    days = same_day_type.shape[0]
    expected = {
        "quality": (quality.shape, (meters, intervals)),
        "recent_wh": (recent_wh.shape, (meters, days, intervals)),
        "recent_present": (recent_present.shape, (meters, days, intervals)),
        "supply_off": (supply_off.shape, (meters,)),
    }
    for name, (shape, wanted) in expected.items():
        if shape != wanted:
            raise BadInput(f"{name} has shape {shape}, not {wanted}", field=name)
