"""Validation of interval data: the first pass of VEE, before anything reaches money.

Knows what one day of one channel can look like; knows neither tariffs nor customers, and estimates
nothing: what fails is kept and marked `Quality.SUSPECT`, what is missing stays missing. Registers
are the legal quantity, so a day's intervals are held against the register difference.

Source: the validation steps are those common to utilities' VEE practice (missing, negative, spike,
register against interval sum); no standard's clause was read for this module: unverified.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from headend.domain.errors import BadInput
from headend.domain.reading import Int64Array, Quality, QualityArray

BoolArray: TypeAlias = npt.NDArray[np.bool_]

# A meter may carry more than its fuse's nominal current for a while; beyond this it cannot.
OVERLOAD_PPM = 1_450_000
# Registers and intervals are each rounded to their own resolution.
DEFAULT_TOLERANCE_WH = 10


class Finding(IntFlag):
    """What was found wrong with one meter-day; several may be set."""

    NONE = 0
    MISSING = 1
    NEGATIVE = 2
    IMPOSSIBLE_JUMP = 4
    REGISTER_MISSING = 8
    REGISTER_BACKWARDS = 16
    SUM_MISMATCH = 32
    METER_DOUBTED = 64  # the meter's own status marked intervals


@dataclass(frozen=True, slots=True)
class DayValidation:
    """The result for many meter-days.

    quality: (meter, interval) int16 `Quality`; findings: (meter,) int16 `Finding`; register_wh:
    (meter,) int64 [Wh], the register difference, 0 where `register_known` is False.
    """

    quality: QualityArray
    findings: npt.NDArray[np.int16]
    register_wh: Int64Array
    register_known: BoolArray


def maximum_interval_wh(
    *, fuse_a: int, voltage_v: int, phases: int, interval_s: int, overload_ppm: int = OVERLOAD_PPM
) -> int:
    """Return the most energy [Wh] that one interval can carry behind a fuse of ``fuse_a`` [A]."""
    watts = fuse_a * voltage_v * phases
    return -(-watts * interval_s * overload_ppm // (3600 * 1_000_000))


def validate_days(
    energy_wh: Int64Array,
    quality: QualityArray,
    *,
    maximum_wh: Int64Array,
    register_start_wh: Int64Array,
    register_end_wh: Int64Array,
    register_known: BoolArray,
    register_modulus_wh: int | None = None,
    tolerance_wh: int = DEFAULT_TOLERANCE_WH,
) -> DayValidation:
    """Validate meter-days; return the quality after validation and what was found.

    energy_wh: (meter, interval) int64 [Wh], anything where quality is `MISSING`; quality:
    (meter, interval) int16; maximum_wh: (meter,) int64 [Wh] per interval; register_start_wh and
    register_end_wh: (meter,) int64 [Wh] at the day's two midnights, meaningless where
    ``register_known`` is False. A register that wrapped at ``register_modulus_wh`` is unwrapped
    when the unwrapped difference is one the meter could have carried; else it ran backwards.

    Quality only gets worse. A negative or impossible interval is suspect alone; a day whose sum
    contradicts its registers, or whose register ran backwards, is suspect as a whole. Where
    intervals are missing, the others must not exceed the register difference. Raises `BadInput` for
    shapes that do not fit.
    """
    _check_shapes(
        energy_wh, quality, maximum_wh, register_start_wh, register_end_wh, register_known
    )
    present = quality != Quality.MISSING
    negative = present & (energy_wh < 0)
    impossible = present & (energy_wh > maximum_wh[:, None])
    doubted = present & (quality == Quality.ESTIMATED_BY_METER)
    missing = ~present

    register_wh, backwards = _register_difference(
        register_start_wh,
        register_end_wh,
        register_known,
        register_modulus_wh,
        maximum_wh * energy_wh.shape[1],
    )
    usable = register_known & ~backwards
    total_wh = np.where(present, energy_wh, 0).sum(axis=1)
    complete = ~missing.any(axis=1)
    excess = total_wh - register_wh
    mismatch = usable & np.where(complete, np.abs(excess) > tolerance_wh, excess > tolerance_wh)

    suspect = negative | impossible | ((mismatch | backwards)[:, None] & present)
    judged = np.where(suspect, np.maximum(quality, np.int16(Quality.SUSPECT)), quality)
    findings = np.zeros(len(energy_wh), dtype=np.int16)
    for finding, where in (
        (Finding.MISSING, missing.any(axis=1)),
        (Finding.NEGATIVE, negative.any(axis=1)),
        (Finding.IMPOSSIBLE_JUMP, impossible.any(axis=1)),
        (Finding.REGISTER_MISSING, ~register_known),
        (Finding.REGISTER_BACKWARDS, backwards),
        (Finding.SUM_MISMATCH, mismatch),
        (Finding.METER_DOUBTED, doubted.any(axis=1)),
    ):
        findings[where] |= np.int16(finding)
    return DayValidation(
        judged.astype(np.int16), findings, np.where(usable, register_wh, 0), usable
    )


def _register_difference(
    start_wh: Int64Array,
    end_wh: Int64Array,
    known: BoolArray,
    modulus_wh: int | None,
    carried_wh: Int64Array,
) -> tuple[Int64Array, BoolArray]:
    """Return the difference [Wh] and where the register ran backwards."""
    difference = np.where(known, end_wh - start_wh, 0)
    backwards = difference < 0
    if modulus_wh is not None:
        unwrapped = difference + modulus_wh
        wrapped = backwards & (unwrapped >= 0) & (unwrapped <= carried_wh)
        difference = np.where(wrapped, unwrapped, difference)
        backwards &= ~wrapped
    return difference, backwards


def _check_shapes(
    energy_wh: Int64Array,
    quality: QualityArray,
    maximum_wh: Int64Array,
    start_wh: Int64Array,
    end_wh: Int64Array,
    known: BoolArray,
) -> None:
    if energy_wh.ndim != 2 or energy_wh.shape != quality.shape:
        raise BadInput(
            f"energy {energy_wh.shape} and quality {quality.shape} must be (meter, interval) alike",
            field="quality",
        )
    per_meter = {
        "maximum_wh": maximum_wh,
        "register_start_wh": start_wh,
        "register_end_wh": end_wh,
        "register_known": known,
    }
    for name, array in per_meter.items():
        if array.shape != (len(energy_wh),):
            raise BadInput(f"{name} has shape {array.shape}, not ({len(energy_wh)},)", field=name)
