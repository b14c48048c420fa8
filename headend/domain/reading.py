"""Readings: registers and interval data as the meter gave them, with quality beside each value.

Missing is a quality code, never a zero. Energy is integer Wh before the installation's CT x PT
multiplier; instants are aware UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_FLOOR, Decimal
from enum import IntEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from headend.domain.errors import BadInput
from headend.domain.obis import Obis

Int64Array: TypeAlias = npt.NDArray[np.int64]
QualityArray: TypeAlias = npt.NDArray[np.int16]


class Quality(IntEnum):
    """Quality of one value; order matters: the worst of several parts is the largest."""

    ACTUAL = 0
    ACTUAL_LATE = 1  # actual, but written after the first settlement of its day
    ESTIMATED = 2  # by our own estimation, replaced when the meter answers
    ESTIMATED_BY_METER = 3  # the meter's status says that it did not measure this interval
    SUSPECT = 4  # kept, but failed validation; does not reach money
    MISSING = 5  # the value beside it means nothing


ACTUAL_QUALITIES = (Quality.ACTUAL, Quality.ACTUAL_LATE)


@dataclass(frozen=True, slots=True)
class RegisterReading:
    """One register at one instant, e.g. import energy [Wh] or voltage [V].

    Energy (Wh, varh, VAh) is whole, rounded down, so that it is never overstated; everything else
    is exact: an integer, or a decimal with as many places as the meter's scaler gives.
    """

    obis: Obis
    value: int | Decimal
    unit: str
    measured_at: datetime
    quality: Quality = Quality.ACTUAL

    @property
    def whole(self) -> int:
        """Return the value in whole units, rounded down: what is stored and settled."""
        if isinstance(self.value, int):
            return self.value
        return int(self.value.to_integral_value(rounding=ROUND_FLOOR))


@dataclass(frozen=True, slots=True)
class ProfileDay:
    """One channel of one meter over one local day.

    energy_wh: (interval,) int64 [Wh], 0 where quality is `MISSING`; quality: (interval,) int16.
    """

    meter_id: int
    channel: Obis
    day: date
    interval_s: int
    energy_wh: Int64Array
    quality: QualityArray

    def __post_init__(self) -> None:
        if self.energy_wh.shape != self.quality.shape or self.energy_wh.ndim != 1:
            raise BadInput(
                f"meter {self.meter_id} {self.day}: {self.energy_wh.shape[0]} values beside "
                f"{self.quality.shape[0]} quality codes",
                field="quality",
            )

    @property
    def present(self) -> int:
        """How many intervals are not missing."""
        return int(np.count_nonzero(self.quality != Quality.MISSING))


@dataclass(frozen=True, slots=True)
class ProfileRows:
    """Load-profile rows as a meter delivered them.

    start: (row,) int64, seconds since the epoch UTC at which each interval *starts*;
    energy_wh: (row,) int64 [Wh]; quality: (row,) int16. Rows may be missing or out of order.
    """

    interval_s: int
    start: Int64Array
    energy_wh: Int64Array
    quality: QualityArray


@dataclass(frozen=True, slots=True)
class MeterIdentity:
    """What the device says it is."""

    logical_device_name: str
    serial: str
