"""The daily rhythm as a plan."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

import pytest

from headend.domain.errors import BadInput, ConfigurationError, InvariantViolated
from headend.ports.runs import RunKind
from headend.services.run_keeper import PAUSES_S, decide_rerun
from headend.services.schedule import (
    LONGEST_CATCH_UP_DAYS,
    ScheduleSettings,
    concentrator_scope,
    days_to_plan,
    parse_concentrator,
    parse_shard,
    plan_day,
    shard_scopes,
)

DAY = date(2026, 3, 5)


def test_a_day_has_a_run_for_each_concentrator_and_shard_at_its_local_time() -> None:
    settings = ScheduleSettings(settle_shards=2)
    runs = plan_day(DAY, [3, 8], settings)
    assert [(str(run.key), run.due_at.isoformat()) for run in runs] == [
        ("collect/2026-03-05/concentrator/3", "2026-03-04T16:05:00+00:00"),
        ("collect/2026-03-05/concentrator/8", "2026-03-04T16:05:00+00:00"),
        ("settle/2026-03-05/shard/0/2", "2026-03-04T17:00:00+00:00"),
        ("settle/2026-03-05/shard/1/2", "2026-03-04T17:00:00+00:00"),
        ("decide/2026-03-05/shard/0/1", "2026-03-05T00:30:00+00:00"),
    ]


def test_local_time_follows_the_zone_of_the_deployment() -> None:
    settings = ScheduleSettings(zone="Europe/Berlin", collect_at=time(0, 5))
    summer, winter = (
        plan_day(day, [1], settings, kinds=(RunKind.COLLECT,))[0].due_at
        for day in (date(2026, 7, 1), date(2026, 1, 1))
    )
    assert summer == datetime(2026, 6, 30, 22, 5, tzinfo=UTC)
    assert winter == datetime(2025, 12, 31, 23, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("last", "missed"),
    [
        (None, []),
        (date(2026, 3, 6), []),
        (date(2026, 3, 4), []),
        (date(2026, 3, 2), [date(2026, 3, 3), date(2026, 3, 4)]),
    ],
)
def test_days_nobody_planned_are_found(last: date | None, missed: list[date]) -> None:
    assert days_to_plan(DAY, last) == (missed, [DAY, date(2026, 3, 6)])


def test_catching_up_has_a_limit() -> None:
    missed, _ = days_to_plan(DAY, date(2020, 1, 1))
    assert len(missed) == LONGEST_CATCH_UP_DAYS
    assert missed[-1] == date(2026, 3, 4)


def test_scopes_are_read_back_as_they_were_written() -> None:
    assert parse_concentrator(concentrator_scope(12)) == 12
    assert [parse_shard(scope) for scope in shard_scopes(3)] == [(0, 3), (1, 3), (2, 3)]


@pytest.mark.parametrize(
    "scope", ["", "shard/1", "shard/4/4", "shard/a/4", "concentrator/x", "x/1"]
)
def test_a_malformed_scope_is_refused(scope: str) -> None:
    with pytest.raises(BadInput):
        parse_shard(scope)
    with pytest.raises(BadInput):
        parse_concentrator(scope)


def test_a_run_is_repeated_a_few_times_with_growing_pauses_and_a_defect_never() -> None:
    faults = [decide_rerun(ConfigurationError("x"), attempt) for attempt in range(1, 7)]
    assert faults == [*PAUSES_S, None, None]
    assert list(PAUSES_S) == sorted(PAUSES_S)
    assert decide_rerun(InvariantViolated("unbalanced"), 1) is None
