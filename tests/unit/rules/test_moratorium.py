"""Permitted windows and no-disconnect days, across weekends, holidays and clock changes."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest

from headend.domain.errors import BadInput
from rules.moratorium import (
    DailyWindow,
    DisconnectCalendar,
    day_facts,
    find_zone,
    is_permitted,
    next_permitted_instant,
    next_window_opening,
)

ZONE = "Asia/Shanghai"
DAY = DailyWindow(time(9), time(16))
CALENDAR = DisconnectCalendar(
    window=DAY,
    weekday_windows={4: DailyWindow(time(9), time(12)), 5: None, 6: None},
    no_disconnect_dates=frozenset({date(2026, 5, 1)}),
    working_dates=frozenset({date(2026, 5, 9)}),  # a Saturday
    eves_closed=True,
)


def at(day: int, hour: int, minute: int = 0, month: int = 3) -> datetime:
    """An instant of 2026 given in Shanghai's local time."""
    return datetime(2026, month, day, hour, minute, tzinfo=UTC) - timedelta(hours=8)


def test_a_window_is_half_open() -> None:
    assert is_permitted(at(11, 9), CALENDAR, ZONE)
    assert is_permitted(at(11, 15, 59), CALENDAR, ZONE)
    assert not is_permitted(at(11, 16), CALENDAR, ZONE)
    assert not is_permitted(at(11, 8, 59), CALENDAR, ZONE)


def test_a_window_opens_before_it_closes() -> None:
    with pytest.raises(BadInput, match="must open before it closes"):
        DailyWindow(time(9), time(9))


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (at(11, 10), at(11, 10)),  # inside: now
        (at(11, 16), at(12, 9)),  # closed: tomorrow
        (at(13, 12), at(16, 9)),  # Friday noon: Monday
        (at(14, 10), at(16, 9)),  # Saturday: Monday
        (at(30, 10, month=4), at(4, 9, month=5)),  # eve, holiday Friday, weekend: Monday
        (at(9, 10, month=5), at(9, 10, month=5)),  # make-up Saturday
    ],
)
def test_next_permitted_instant(after: datetime, expected: datetime) -> None:
    assert next_permitted_instant(after, CALENDAR, ZONE) == expected


def test_a_planned_disconnect_starts_at_an_opening() -> None:
    assert next_window_opening(at(11, 9), CALENDAR, ZONE) == at(11, 9)
    assert next_window_opening(at(11, 9, 1), CALENDAR, ZONE) == at(12, 9)


def test_eves_stay_open_unless_asked_for() -> None:
    calendar = DisconnectCalendar(DAY, no_disconnect_dates=frozenset({date(2026, 5, 1)}))
    assert is_permitted(at(30, 10, month=4), calendar, ZONE)
    assert not is_permitted(at(1, 10, month=5), calendar, ZONE)


def test_a_holiday_wins_over_a_make_up_workday() -> None:
    both = frozenset({date(2026, 5, 9)})
    calendar = DisconnectCalendar(DAY, no_disconnect_dates=both, working_dates=both)
    assert calendar.window_on(date(2026, 5, 9)) is None


def test_day_facts_for_the_guard() -> None:
    assert day_facts(at(11, 3), CALENDAR, ZONE) == (False, DAY)
    assert day_facts(at(13, 3), CALENDAR, ZONE) == (False, DailyWindow(time(9), time(12)))
    assert day_facts(at(14, 3), CALENDAR, ZONE) == (True, None)


def test_the_local_hour_holds_across_a_clock_change() -> None:
    calendar = DisconnectCalendar(DAY)
    before = datetime(2026, 3, 28, 20, tzinfo=UTC)  # Berlin springs forward that night
    assert next_window_opening(before, calendar, "Europe/Berlin") == datetime(
        2026, 3, 29, 7, tzinfo=UTC
    )
    assert next_window_opening(before - timedelta(days=1), calendar, "Europe/Berlin") == datetime(
        2026, 3, 28, 8, tzinfo=UTC
    )


def test_a_calendar_that_never_opens_is_refused_instead_of_searched_forever() -> None:
    never = DisconnectCalendar(DAY, weekday_windows=dict.fromkeys(range(7)))
    with pytest.raises(BadInput, match="permits no disconnect"):
        next_permitted_instant(at(11, 10), never, ZONE)


def test_common_part_of_two_windows() -> None:
    assert DAY.intersect(DailyWindow(time(8), time(12))) == DailyWindow(time(9), time(12))
    assert DAY.intersect(DailyWindow(time(16), time(18))) is None
    assert DAY.intersect(None) is None


@pytest.mark.parametrize("zone", [None, "", "No/Where", "../../etc/passwd"])
def test_unknown_zones_are_unknown_not_an_error(zone: str | None) -> None:
    assert find_zone(zone) is None
