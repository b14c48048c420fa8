"""Which TOU period each interval of a local day belongs to.

Works on the wall clock of the usage point's zone, so days of 23 and 25 hours come out right: an
hour that is skipped has no interval, an hour that is repeated has the same period twice. Which days
are holidays or announced peak days is given, never looked up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from headend.domain.days import day_span
from headend.domain.errors import BadInput
from prepaid.tariff import DayType, Season, TariffVersion

PeriodArray: TypeAlias = npt.NDArray[np.int8]

_SATURDAY = 5
_SECONDS_PER_MINUTE = 60
_MINUTES_PER_DAY = 1440


@dataclass(frozen=True, slots=True)
class SpecialDays:
    """Days that do not follow the week; the default has none.

    ``workdays`` are weekend days worked in exchange for a holiday (调休). An announced peak day is
    one whatever else it is.
    """

    holidays: frozenset[date] = frozenset()
    workdays: frozenset[date] = frozenset()
    announced_peaks: frozenset[date] = frozenset()


NO_SPECIAL_DAYS = SpecialDays()


def day_type_on(season: Season, day: date, special: SpecialDays = NO_SPECIAL_DAYS) -> DayType:
    """Return the most special pattern that the season defines for ``day``.

    Order: announced peak, holiday, weekend or weekday, every day. A holiday without a pattern of
    its own follows the weekend's.
    """
    is_holiday = day in special.holidays
    is_weekend = is_holiday or (day.weekday() >= _SATURDAY and day not in special.workdays)
    candidates = [
        DayType.ANNOUNCED_PEAK if day in special.announced_peaks else None,
        DayType.HOLIDAY if is_holiday else None,
        DayType.WEEKEND if is_weekend else DayType.WEEKDAY,
        DayType.EVERY_DAY,
    ]
    for candidate in candidates:
        if candidate is not None and candidate in season.day_types:
            return candidate
    raise BadInput(f"no day type covers {day}", field="day", code="hole")


def period_of_interval(
    version: TariffVersion,
    day: date,
    zone: str,
    interval_s: int,
    special: SpecialDays = NO_SPECIAL_DAYS,
) -> PeriodArray:
    """Resolve the TOU period of each interval of the local day.

    Returns (interval,) int8, indices into ``version.periods``; 92, 96 or 100 quarter hours. The
    result is read-only and follows the order of the intervals in real time. Raises `BadInput`
    (``interval_s``) when the interval is not whole minutes, does not divide the day, or straddles a
    TOU boundary (code ``straddles_period``): splitting a measured value would be a guess.
    """
    if interval_s <= 0 or interval_s % _SECONDS_PER_MINUTE:
        raise BadInput(f"an interval of {interval_s} s is not whole minutes", field="interval_s")
    minutes = interval_s // _SECONDS_PER_MINUTE
    wall = _wall_minutes(day, zone)
    if wall.size % minutes:
        raise BadInput(
            f"{wall.size} minutes of {day} in {zone} are not whole intervals of {minutes} minutes",
            field="interval_s",
        )
    season = version.season_on(day)
    pattern = np.empty(_MINUTES_PER_DAY, dtype=np.int8)
    for segment in season.day_types[day_type_on(season, day, special)]:
        pattern[segment.start_minute : segment.end_minute] = segment.period
    by_minute = pattern[wall].reshape(-1, minutes)
    first: PeriodArray = by_minute[:, 0].copy()
    straddling = np.flatnonzero((by_minute != first[:, None]).any(axis=1))
    if straddling.size:
        minute = int(wall[int(straddling[0]) * minutes])
        raise BadInput(
            f"the {minutes}-minute interval from {minute // 60:02d}:{minute % 60:02d} on {day} "
            "lies in two TOU periods",
            field="interval_s",
            code="straddles_period",
        )
    first.setflags(write=False)
    return first


@lru_cache(maxsize=64)
def _wall_minutes(day: date, zone: str) -> npt.NDArray[np.int16]:
    """Return the minute of the wall clock at each real minute of the day: (minute,) int16.

    A pure function of its arguments; kept because every meter of a zone asks for the same few days.
    """
    start, end = day_span(day, zone)
    tz = ZoneInfo(zone)
    count = int((end - start).total_seconds()) // _SECONDS_PER_MINUTE
    local = ((start + timedelta(minutes=i)).astimezone(tz) for i in range(count))
    wall = np.fromiter((at.hour * 60 + at.minute for at in local), dtype=np.int16, count=count)
    wall.setflags(write=False)
    return wall
