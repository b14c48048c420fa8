"""A column of COSEM date-times to seconds, by table and many at once.

A date-time names an instant of its local time when its date is in the calendar and its hour and
minute are specified. Tables give the seconds of every part as it is sent, so that nothing but the
sum is compared; octets that name no instant take away more than any others could make up for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from headend.domain.reading import Int64Array

NO_INSTANT = -1  # seconds of a date-time that names none
CLOCK_FIELDS: list[tuple[str, str]] = [
    ("year", ">u2"), ("month_day", ">u2"), ("weekday", "u1"), ("hour", "u1"), ("minute", "u1"),
    ("second", "u1"), ("hundredths", "u1"), ("deviation", ">i2"), ("status", "u1"),
]  # fmt: skip
_FIRST_YEAR = 1970
_LAST_YEAR = 2136
_DAY_S = 86_400
_INVALID_S = -(2**40)  # more than any valid parts could make up for
_DAYS_OF_YEAR = 512  # places per year in the table of days: month * 32 + day


def _day_tables() -> tuple[Int64Array, Int64Array]:
    """Return places in a year by (month, day) as they are sent, and days' seconds by place.

    A year that is out of range comes to lie, clipped, in the first or last row of the second table,
    which hold no valid day, as does every date that the calendar does not have.
    """
    place = np.zeros(1 << 16, dtype=np.int64)
    month, day = np.meshgrid(np.arange(1, 13), np.arange(1, 32), indexing="ij")
    place[month << 8 | day] = month * 32 + day
    years = _LAST_YEAR - _FIRST_YEAR + 1
    seconds = np.full((years + 2) * _DAYS_OF_YEAR, _INVALID_S, dtype=np.int64)
    days = np.arange(f"{_FIRST_YEAR}-01-01", f"{_LAST_YEAR + 1}-01-01", dtype="datetime64[D]")
    months = days.astype("datetime64[M]")
    year = days.astype("datetime64[Y]").astype(np.int64) + 1
    month_of = months.astype(np.int64) % 12 + 1
    day_of = (days - months).astype(np.int64) + 1
    seconds[year * _DAYS_OF_YEAR + month_of * 32 + day_of] = days.astype(np.int64) * _DAY_S
    return place, seconds


def _part_table(count: int, unit_s: int) -> Int64Array:
    """Return seconds by hour, minute or second as it is sent."""
    seconds = np.full(1 << 8, _INVALID_S, dtype=np.int64)
    seconds[:count] = np.arange(count) * unit_s
    return seconds


_PLACE_IN_YEAR, _DAY_START_S = _day_tables()
_OF_HOUR_S, _OF_MINUTE_S, _OF_SECOND_S = (
    _part_table(24, 3600), _part_table(60, 60), _part_table(60, 1)
)  # fmt: skip
_OF_SECOND_S[0xFF] = 0  # not specified


def local_seconds(clock: npt.NDArray[Any]) -> Int64Array:
    """Return (row,) local time in seconds since 1970 as if it were UTC, or `NO_INSTANT`.

    ``clock``: (row,) of `CLOCK_FIELDS`. A second that is not specified counts as 0.
    """
    place = (clock["year"].astype(np.int64) - (_FIRST_YEAR - 1)) * _DAYS_OF_YEAR
    place += _PLACE_IN_YEAR[clock["month_day"]]
    local_s: Int64Array = _DAY_START_S.take(place, mode="clip")
    local_s += _OF_HOUR_S[clock["hour"]]
    local_s += _OF_MINUTE_S[clock["minute"]]
    local_s += _OF_SECOND_S[clock["second"]]
    return np.maximum(local_s, NO_INSTANT)
