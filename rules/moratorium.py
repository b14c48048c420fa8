"""When the local time permits a disconnect: daily windows and no-disconnect days, all as data.

Windows are half-open wall-clock spans in the usage point's zone, ``[opens, closes)``, within one
local day. Weekends, holidays, their eves and make-up workdays come from policy data; this module
knows no holiday of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from headend.domain.days import local_day, local_instant
from headend.domain.errors import BadInput

# A calendar that permits nothing for longer than this is a mistake, not a moratorium.
SEARCH_DAYS = 400


@dataclass(frozen=True, slots=True)
class DailyWindow:
    """``[opens, closes)`` in local wall-clock time of one day."""

    opens: time
    closes: time

    def __post_init__(self) -> None:
        if self.opens >= self.closes:
            raise BadInput(
                f"a window must open before it closes, not {self.opens} to {self.closes}",
                field="window",
            )

    def contains(self, at: time) -> bool:
        """Say whether a local wall-clock time lies inside."""
        return self.opens <= at < self.closes

    def within(self, other: DailyWindow) -> bool:
        """Say whether this window lies wholly inside ``other``."""
        return other.opens <= self.opens and self.closes <= other.closes

    def intersect(self, other: DailyWindow | None) -> DailyWindow | None:
        """Return the common part, or None when there is none."""
        if other is None:
            return None
        opens, closes = max(self.opens, other.opens), min(self.closes, other.closes)
        return DailyWindow(opens, closes) if opens < closes else None


@dataclass(frozen=True, slots=True)
class DisconnectCalendar:
    """The days and hours in which a disconnect is permitted.

    ``weekday_windows`` (0 is Monday) replaces ``window`` on its days; None there means not at all.
    ``no_disconnect_dates`` are closed whatever the weekday; ``working_dates`` (make-up workdays)
    follow ``window`` whatever the weekday. With ``eves_closed`` the day before any of the
    ``no_disconnect_dates`` is closed too, so that nobody enters a holiday in the dark.
    """

    window: DailyWindow
    weekday_windows: Mapping[int, DailyWindow | None] = field(default_factory=dict)
    no_disconnect_dates: frozenset[date] = frozenset()
    working_dates: frozenset[date] = frozenset()
    eves_closed: bool = False

    def window_on(self, day: date) -> DailyWindow | None:
        """Return the window of a local day; None on a no-disconnect day."""
        if day in self.no_disconnect_dates:
            return None
        if self.eves_closed and day + timedelta(days=1) in self.no_disconnect_dates:
            return None
        if day in self.working_dates:
            return self.window
        return self.weekday_windows.get(day.weekday(), self.window)


def find_zone(zone: str | None) -> ZoneInfo | None:
    """Return the zone, or None when it is unknown."""
    if not zone:
        return None
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        return None


def is_permitted(instant: datetime, calendar: DisconnectCalendar, zone: str) -> bool:
    """Say whether the local time of ``instant`` lies in the day's window."""
    window = calendar.window_on(local_day(instant, zone))
    return window is not None and window.contains(instant.astimezone(ZoneInfo(zone)).time())


def day_facts(
    instant: datetime, calendar: DisconnectCalendar, zone: str
) -> tuple[bool, DailyWindow | None]:
    """Return the guard's facts of the local day: (no_disconnect_day, day_window)."""
    window = calendar.window_on(local_day(instant, zone))
    return window is None, window


def next_permitted_instant(after: datetime, calendar: DisconnectCalendar, zone: str) -> datetime:
    """Return the first permitted instant at or after ``after``, as aware UTC.

    ``after`` itself when it lies in a window. Raises `BadInput` when the calendar permits nothing
    within `SEARCH_DAYS`.
    """
    if is_permitted(after, calendar, zone):
        return after
    return next_window_opening(after, calendar, zone)


def next_window_opening(after: datetime, calendar: DisconnectCalendar, zone: str) -> datetime:
    """Return the first opening of a window at or after ``after``, as aware UTC.

    A planned disconnect starts at an opening, never in the middle of a window: the customer then
    has the whole window left to pay. Raises `BadInput` as `next_permitted_instant` does.
    """
    first = local_day(after, zone)
    for offset in range(SEARCH_DAYS):
        day = first + timedelta(days=offset)
        window = calendar.window_on(day)
        if window is None:
            continue
        opening = local_instant(day, window.opens, zone)
        if opening >= after:
            return opening
    raise BadInput(
        f"the calendar permits no disconnect within {SEARCH_DAYS} days of {after.isoformat()}",
        field="calendar",
    )
