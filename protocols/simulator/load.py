"""Household-like load by seed: a pure function of (household, instant), vectorised.

The load is what the household would draw while its contact is closed; it knows neither meters nor
contacts. There is no state: any interval of any year can be computed alone, and the same seed gives
the same integers on every machine, because only IEEE-exact operations are used (no libm).

Model: a base load, a curve by local time of day (one for workdays, one for weekends) with a shift
of its own, a seasonal factor, a noise per interval, and now and then an appliance. All figures are
illustrative for a Chinese urban household of about 7 to 14 kWh a day; none is a norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from headend.domain.reading import Int64Array

DEFAULT_INTERVAL_S = 900
DAY_S = 86_400
CHINA_OFFSET_S = 8 * 3600

# Mean W above the base load at each full local hour, interpolated between them.
_WORKDAY_W = (60, 45, 40, 40, 45, 80, 260, 420, 260, 130, 110, 160,
              240, 170, 120, 120, 160, 300, 520, 680, 720, 600, 380, 160)  # fmt: skip
_WEEKEND_W = (90, 60, 45, 40, 45, 60, 130, 280, 380, 340, 320, 420,
              480, 380, 300, 280, 300, 400, 560, 680, 720, 640, 460, 240)  # fmt: skip
# Factor by month of the year (0 = January): heating in winter, cooling in summer.
_SEASON = (1.15, 1.10, 0.95, 0.85, 0.90, 1.10, 1.35, 1.35, 1.05, 0.85, 0.95, 1.10)
_MEAN_YEAR_S = 31_556_952  # 365.2425 days
# Intervals computed at once: temporaries that fit the cache halve the time of a year (measured).
_CHUNK = 4096
_APPLIANCE_W = 1_600  # kettle, cooker, washing machine: on in one interval of ten by evening
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday; Monday is 0

_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_GOLDEN = 0x9E3779B97F4A7C15
_MASK_64 = 0xFFFF_FFFF_FFFF_FFFF

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class HouseholdLoad:
    """One household: its seed, its ``scale`` (1.0 is usual) and its local time."""

    seed: int
    scale: float = 1.0
    interval_s: int = DEFAULT_INTERVAL_S
    utc_offset_s: int = CHINA_OFFSET_S

    @cached_property
    def _traits(self) -> tuple[float, float, float, float]:
        """Base W, curve factor, time shift [s], weekend factor: fixed for the household."""
        draw = _uniform(self.seed ^ 0x5EED, np.arange(4, dtype=np.int64))
        base_w = 50.0 + 90.0 * float(draw[0])
        curve = 0.6 + 0.9 * float(draw[1])
        shift_s = (float(draw[2]) - 0.5) * 5400.0
        weekend = 0.85 + 0.4 * float(draw[3])
        return base_w, curve, shift_s, weekend

    def energy_wh(self, start_s: Int64Array) -> Int64Array:
        """Return the energy of whole intervals, contact closed throughout.

        start_s: (interval,) int64, seconds since the epoch UTC, multiples of ``interval_s``.
        Returns (interval,) int64 [Wh], rounded half to even per interval and never negative.
        """
        if start_s.size > _CHUNK:
            parts = [start_s[at : at + _CHUNK] for at in range(0, start_s.size, _CHUNK)]
            return np.concatenate([self.energy_wh(part) for part in parts])
        energy = self.average_w(start_s) * (self.interval_s / 3600.0)
        return np.rint(energy).astype(np.int64)

    def average_w(self, start_s: Int64Array) -> Float64Array:
        """Return the mean power over each interval: (interval,) float64 [W]."""
        base_w, curve, shift_s, weekend_factor = self._traits
        local_s = start_s + self.utc_offset_s
        weekend = (local_s // DAY_S + _EPOCH_WEEKDAY) % 7 >= 5
        middle_s = (local_s + self.interval_s / 2).astype(np.float64)
        hour = ((middle_s - shift_s) % DAY_S) / 3600.0
        work_w = _by_hour(hour, _WORKDAY_W)
        rest_w = _by_hour(hour, _WEEKEND_W) * weekend_factor
        month = (start_s % _MEAN_YEAR_S).astype(np.float64) / (_MEAN_YEAR_S / 12.0)
        curve_w = np.where(weekend, rest_w, work_w) * curve * _by_month(month)
        index = start_s // self.interval_s
        noise = 0.55 + 0.9 * _uniform(self.seed, index)
        # An appliance is likelier when people are up and about, which the curve tells.
        chance = np.minimum(curve_w / 7000.0, 0.12)
        appliance_w = np.where(_uniform(self.seed ^ 0xA11CE, index) < chance, _APPLIANCE_W, 0.0)
        return (base_w + curve_w * noise + appliance_w) * self.scale


def _by_hour(hour: Float64Array, curve: tuple[int, ...]) -> Float64Array:
    return _interpolate(hour, np.asarray(curve, dtype=np.float64))


def _by_month(month: Float64Array) -> Float64Array:
    return _interpolate(month, np.asarray(_SEASON, dtype=np.float64))


def _interpolate(position: Float64Array, curve: Float64Array) -> Float64Array:
    """Interpolate linearly on a closed ring of points at 0, 1, 2..."""
    floor = np.floor(position)
    left = floor.astype(np.int64) % curve.size
    right = (left + 1) % curve.size
    return curve[left] + (curve[right] - curve[left]) * (position - floor)


def _uniform(seed: int, index: Int64Array) -> Float64Array:
    """Return a number in [0, 1) per index by the finaliser of SplitMix64 (Steele et al., 2014)."""
    # Mix the seed first: raw, household n would be household n + 1 one interval later.
    mixed = (seed * _GOLDEN) & _MASK_64
    mixed = ((mixed ^ (mixed >> 30)) * int(_MIX_1)) & _MASK_64
    start = np.uint64(mixed ^ (mixed >> 27))
    state = index.astype(np.uint64) * np.uint64(_GOLDEN) + start
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    state ^= state >> np.uint64(31)
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53
