"""A policy may tighten the floors and never loosen them."""

from __future__ import annotations

from datetime import time, timedelta
from typing import Any

import pytest

from headend.domain.errors import BadInput
from rules.floors import Floors, PolicyLimits, parse_floors, parse_limits, tighten
from rules.moratorium import DailyWindow

FLOORS = Floors()

LOOSER: list[tuple[str, Any]] = [
    ("other_notice_time", timedelta(days=2)),
    ("time_to_pay", timedelta(hours=1)),
    ("reminder_lead", timedelta(minutes=29)),
    ("overdue_days", 29),
    ("same_day_until", time(20, 1)),
    ("maximum_data_age", timedelta(hours=49)),
    ("meter_heard_within", timedelta(hours=25)),
    ("maximum_tolerance", timedelta(hours=25)),
    ("window", DailyWindow(time(7, 59), time(17))),
    ("window", DailyWindow(time(9), time(18, 1))),
]
TIGHTER: list[tuple[str, Any]] = [
    ("other_notice_time", timedelta(days=4)),
    ("time_to_pay", timedelta(hours=3)),
    ("reminder_lead", timedelta(minutes=60)),
    ("overdue_days", 45),
    ("same_day_until", time(19)),
    ("maximum_data_age", timedelta(hours=30)),
    ("meter_heard_within", timedelta(hours=12)),
    ("maximum_tolerance", timedelta(hours=2)),
    ("window", DailyWindow(time(9), time(16))),
]


@pytest.mark.parametrize(("name", "value"), LOOSER)
def test_a_looser_limit_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(BadInput, match="looser than this deployment's floor") as refused:
        tighten(FLOORS, PolicyLimits(**{name: value}))
    assert refused.value.field == name


@pytest.mark.parametrize(("name", "value"), TIGHTER)
def test_a_tighter_limit_takes_the_floors_place(name: str, value: Any) -> None:
    assert getattr(tighten(FLOORS, PolicyLimits(**{name: value})), name) == value


def test_equal_limits_are_no_loosening_and_absent_ones_keep_the_floor() -> None:
    same = PolicyLimits(**{name: getattr(FLOORS, name) for name, _ in TIGHTER})
    assert tighten(FLOORS, same) == FLOORS
    assert tighten(FLOORS, PolicyLimits()) == FLOORS


def test_notice_times_are_held_class_by_class() -> None:
    with pytest.raises(BadInput) as refused:
        tighten(FLOORS, PolicyLimits(notice_time={"residential": timedelta(days=6)}))
    assert refused.value.field == "notice_time.residential"
    with pytest.raises(BadInput):
        tighten(FLOORS, PolicyLimits(notice_time={"commercial": timedelta(days=2)}))
    tightened = tighten(FLOORS, PolicyLimits(notice_time={"commercial": timedelta(days=5)}))
    assert tightened.notice_time_of("commercial") == timedelta(days=5)
    assert tightened.notice_time_of("residential") == timedelta(days=7)
    assert tightened.notice_time_of("industrial") == timedelta(days=3)
    assert tightened.notice_time_of(None) == timedelta(days=7)


def test_limits_are_read_with_their_units() -> None:
    limits = parse_limits(
        {
            "notice_days": {"residential": 8, "other": 4},
            "window": ["09:30", "15:00"],
            "time_to_pay_hours": 3,
            "same_day_until": "19:30",
            "data_age_hours": 36,
            "meter_heard_hours": 12,
            "tolerance_hours": 1.5,
            "reminder_minutes": 45,
            "overdue_days": 40,
        }
    )
    assert limits == PolicyLimits(
        notice_time={"residential": timedelta(days=8)},
        other_notice_time=timedelta(days=4),
        window=DailyWindow(time(9, 30), time(15)),
        time_to_pay=timedelta(hours=3),
        same_day_until=time(19, 30),
        maximum_data_age=timedelta(hours=36),
        meter_heard_within=timedelta(hours=12),
        maximum_tolerance=timedelta(minutes=90),
        reminder_lead=timedelta(minutes=45),
        overdue_days=40,
    )


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"notice_dys": {}}, "limits.notice_dys"),
        ({"notice_days": {"residential": -1}}, "limits.notice_days"),
        ({"notice_days": {"residential": True}}, "limits.notice_days"),
        ({"notice_days": 7}, "limits.notice_days"),
        ({"window": ["16:00", "09:00"]}, "window"),
        ({"window": ["9 am", "16:00"]}, "limits.window"),
        ({"window": ["09:00"]}, "limits.window"),
        ({"data_age_hours": "two"}, "limits.data_age_hours"),
    ],
)
def test_unusable_limits_name_the_entry(document: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_limits(document)
    assert refused.value.field == field


def test_a_deployment_states_its_own_floors_and_keeps_the_other_defaults() -> None:
    floors = parse_floors({"data_age_hours": 72, "notice_days": {"commercial": 5}})
    assert floors.maximum_data_age == timedelta(hours=72)
    assert floors.notice_time_of("residential") == timedelta(days=7)
    assert floors.notice_time_of("commercial") == timedelta(days=5)
    assert floors.window == FLOORS.window


def test_zero_is_a_limit_like_any_other() -> None:
    limits = parse_limits({"notice_days": {"agricultural": 0}, "reminder_minutes": 0})
    assert limits.notice_time == {"agricultural": timedelta(0)}
    assert limits.reminder_lead == timedelta(0)
    assert Floors(notice_time={"agricultural": timedelta(0)}).notice_time_of("agricultural") == (
        timedelta(0)
    )


def test_negative_durations_are_refused() -> None:
    with pytest.raises(BadInput, match="cannot be negative"):
        Floors(time_to_pay=timedelta(seconds=-1))
    with pytest.raises(BadInput, match="class residential"):
        Floors(notice_time={"residential": timedelta(days=-1)})
