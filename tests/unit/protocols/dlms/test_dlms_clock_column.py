"""Date-times by table: the same seconds as the calendar, and none where there is no instant."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import numpy as np

from protocols.dlms.clock_column import CLOCK_FIELDS, NO_INSTANT, local_seconds

YEARS = (0, 1969, 1970, 1972, 1999, 2000, 2023, 2024, 2100, 2136, 2137, 0xFFFF)
MONTHS = (0, 1, 2, 4, 12, 13, 0xFD, 0xFF)
DAYS = (0, 1, 28, 29, 30, 31, 32, 0xFF)
TIMES = ((0, 0, 0), (23, 59, 59), (12, 30, 0xFF), (24, 0, 0), (1, 60, 0), (1, 2, 60), (0xFF, 0, 0))


def reference(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    """The calendar itself, one date-time at a time."""
    try:
        at = datetime(year, month, day, hour, minute, 0 if second == 0xFF else second, tzinfo=UTC)
    except ValueError:
        return NO_INSTANT
    return int(at.timestamp()) if 1970 <= year <= 2136 else NO_INSTANT


def test_every_date_time_is_what_the_calendar_says() -> None:
    parts = [(*date, *time) for *date, time in product(YEARS, MONTHS, DAYS, TIMES)]
    octets = b"".join(
        bytes((year >> 8, year & 0xFF, month, day, 0xFF, hour, minute, second, 0, 0x80, 0, 0xFF))
        for year, month, day, hour, minute, second in parts
    )
    found = local_seconds(np.frombuffer(octets, dtype=CLOCK_FIELDS))
    assert found.tolist() == [reference(*each) for each in parts]


def test_the_first_instant_is_one() -> None:
    octets = bytes.fromhex("07B2010104000000008000FF")
    assert local_seconds(np.frombuffer(octets, dtype=CLOCK_FIELDS)).tolist() == [0]
