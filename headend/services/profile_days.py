"""From rows as a meter delivered them to whole local days with a quality beside each value.

Pure. A row belongs to the interval that it starts; what the meter did not deliver is missing,
never zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np

from headend.domain.days import day_span
from headend.domain.obis import Obis
from headend.domain.reading import ProfileDay, ProfileRows, Quality


@dataclass(frozen=True, slots=True)
class DayRun:
    """Consecutive local days, read from a meter in one request: ``[start, end)``."""

    days: tuple[date, ...]
    start: datetime
    end: datetime


def group_days(days: Sequence[date], zone: str) -> list[DayRun]:
    """Join consecutive days, so that a meter is asked once for each run of missing days."""
    runs: list[list[date]] = []
    for day in sorted(set(days)):
        if runs and day - runs[-1][-1] == timedelta(days=1):
            runs[-1].append(day)
        else:
            runs.append([day])
    return [
        DayRun(tuple(run), day_span(run[0], zone)[0], day_span(run[-1], zone)[1]) for run in runs
    ]


def assemble_day(
    rows: ProfileRows, *, meter_id: int, channel: Obis, day: date, zone: str, is_late: bool = False
) -> ProfileDay:
    """Place rows in the intervals of one local day of 23, 24 or 25 hours.

    Rows of other days, and rows that start between two intervals, have no place here. Of several
    rows for one interval the last is kept; when they differ, nobody knows which is true, so the
    value is `SUSPECT`. With ``is_late`` actual values become `ACTUAL_LATE`.
    """
    start, end = (int(instant.timestamp()) for instant in day_span(day, zone))
    intervals = (end - start) // rows.interval_s
    energy_wh = np.zeros(intervals, dtype=np.int64)
    quality = np.full(intervals, Quality.MISSING, dtype=np.int16)
    offset = rows.start - start
    fits = (offset >= 0) & (offset < intervals * rows.interval_s) & (offset % rows.interval_s == 0)
    fits &= rows.quality != Quality.MISSING
    position = offset[fits] // rows.interval_s
    given_wh, given_quality = rows.energy_wh[fits], rows.quality[fits].astype(np.int16)
    energy_wh[position] = given_wh
    quality[position] = np.where(
        (given_quality == Quality.ACTUAL) & is_late, Quality.ACTUAL_LATE, given_quality
    )
    contradicted = position[given_wh != energy_wh[position]]
    quality[contradicted] = Quality.SUSPECT
    return ProfileDay(meter_id, channel, day, rows.interval_s, energy_wh, quality)
