"""The register check: do a day's intervals add up to what the meter's register counted?

The register is the legal quantity, the intervals only say when. Registers are read whenever the
meter is visited, seldom at midnight, so the check asks whether the register difference lies between
what the intervals wholly inside its span add up to and what those that touch it do.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from headend.domain.reading import Int64Array
from headend.ports.settlement import Indication

# How far from midnight a register may be read and still speak for the day.
NEAR_MIDNIGHT = timedelta(hours=1)
# Below this the check says nothing: rounding of registers and intervals to whole units.
TOLERANCE_WH = 100
TOLERANCE_PPM = 10_000


def register_gap(
    energy_wh: Int64Array,
    *,
    start: datetime,
    interval_s: int,
    indications: Sequence[Indication],
) -> int | None:
    """Return how far the register difference lies outside what the intervals allow [Wh].

    energy_wh: (interval,) int64 [Wh] of one complete local day that begins at ``start``, before the
    multiplier. Positive: the register counted more. Zero: they agree. None: the register was not
    read near both ends of the day, so there is nothing to compare.
    """
    end = start + timedelta(seconds=interval_s * energy_wh.shape[0])
    first, last = _nearest(indications, start), _nearest(indications, end)
    if first is None or last is None:
        return None
    begins = np.arange(energy_wh.shape[0]) * interval_s
    opened = int((first.measured_at - start).total_seconds())
    closed = int((last.measured_at - start).total_seconds())
    inside = (begins >= opened) & (begins + interval_s <= closed)
    touched = (begins + interval_s > opened) & (begins < closed)
    # What lies outside this day is not loaded; an interval there may be as large as any here.
    outside_s = max(0, -opened) + max(0, closed - interval_s * energy_wh.shape[0])
    beyond = -(-outside_s // interval_s) * int(np.max(energy_wh, initial=0))
    least, most = int(energy_wh[inside].sum()), int(energy_wh[touched].sum()) + beyond
    tolerance: int = max(TOLERANCE_WH, most * TOLERANCE_PPM // 1_000_000)
    counted = last.value_wh - first.value_wh
    if counted > most + tolerance:
        return int(counted - most)
    if counted < least - tolerance:
        return int(counted - least)
    return 0


def _nearest(indications: Sequence[Indication], instant: datetime) -> Indication | None:
    near = [i for i in indications if abs(i.measured_at - instant) <= NEAR_MIDNIGHT]
    return min(near, key=lambda i: abs(i.measured_at - instant), default=None)
