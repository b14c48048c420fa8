"""Local days: the half-open span of a calendar day in a usage point's zone, as UTC instants.

Days may have 23 or 25 hours. Interval ``i`` of a day covers
``[start + i * interval, start + (i + 1) * interval)``; the interval's instant is its *start*.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DEFAULT_ZONE = "Asia/Shanghai"


def local_midnight(day: date, zone: str) -> datetime:
    """Return the instant at which ``day`` begins in ``zone``, as aware UTC."""
    return datetime.combine(day, time(0), tzinfo=ZoneInfo(zone)).astimezone(UTC)


def day_span(day: date, zone: str) -> tuple[datetime, datetime]:
    """Return ``[start, end)`` of the local day, as aware UTC."""
    return local_midnight(day, zone), local_midnight(day + timedelta(days=1), zone)


def interval_count(day: date, zone: str, interval_s: int) -> int:
    """Return how many intervals the local day has: 92, 96 or 100 for quarter hours."""
    start, end = day_span(day, zone)
    return int((end - start).total_seconds()) // interval_s


def local_day(instant: datetime, zone: str) -> date:
    """Return the calendar day in ``zone`` that contains ``instant``."""
    return instant.astimezone(ZoneInfo(zone)).date()


def local_instant(day: date, at: time, zone: str) -> datetime:
    """Return the instant of wall-clock ``at`` on ``day`` in ``zone``, as aware UTC."""
    return datetime.combine(day, at, tzinfo=ZoneInfo(zone)).astimezone(UTC)
