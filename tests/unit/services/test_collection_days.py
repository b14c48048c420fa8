"""From a meter's rows to local days, when to try again, and what validation marks."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.domain.coverage import CoverageCause, classify_fault
from headend.domain.days import day_span, interval_count
from headend.domain.errors import (
    AuthenticationFailed,
    CounterRejected,
    HeadEndError,
    IdentityMismatch,
    LocalProtocolError,
    MeterBusy,
    MeterMisbehaved,
    MeterRefused,
    MeterUnreachable,
    Preempted,
)
from headend.domain.obis import ACTIVE_ENERGY_IMPORT
from headend.domain.reading import ProfileDay, ProfileRows, Quality
from headend.services.profile_days import assemble_day, group_days
from headend.services.reading_retry import RetryPolicy, decide_retry
from headend.services.reading_validation import FusedDay, judge_days

ZONE = "Asia/Shanghai"
DAY = date(2026, 3, 5)


def rows(starts: list[int], values: list[int], quality: int = Quality.ACTUAL) -> ProfileRows:
    return ProfileRows(
        900,
        np.array(starts, dtype=np.int64),
        np.array(values, dtype=np.int64),
        np.full(len(starts), quality, dtype=np.int16),
    )


def assemble(
    given_rows: ProfileRows, day: date = DAY, zone: str = ZONE, **more: bool
) -> ProfileDay:
    return assemble_day(
        given_rows, meter_id=1, channel=ACTIVE_ENERGY_IMPORT, day=day, zone=zone, **more
    )


def midnight(day: date = DAY, zone: str = ZONE) -> int:
    return int(day_span(day, zone)[0].timestamp())


def test_rows_fall_into_the_interval_that_they_start_and_the_rest_is_missing() -> None:
    start = midnight()
    profile = assemble(rows([start + 900, start + 95 * 900], [7, 9]))
    assert profile.present == 2
    assert (profile.energy_wh[1], profile.energy_wh[95]) == (7, 9)
    assert profile.quality[0] == Quality.MISSING


def test_rows_of_other_days_and_between_intervals_have_no_place() -> None:
    start = midnight()
    profile = assemble(rows([start - 900, start + 96 * 900, start + 450], [1, 2, 3]))
    assert profile.present == 0


@pytest.mark.parametrize(
    ("day", "count"), [(date(2026, 3, 29), 92), (date(2026, 10, 25), 100), (DAY, 96)]
)
def test_a_day_has_as_many_intervals_as_its_zone_gives_it(day: date, count: int) -> None:
    start = midnight(day, "Europe/Berlin")
    profile = assemble(
        rows([start + 900 * n for n in range(count)], list(range(count))), day, "Europe/Berlin"
    )
    assert profile.energy_wh.tolist() == list(range(count))
    assert profile.present == count == interval_count(day, "Europe/Berlin", 900)


def test_rows_that_contradict_each_other_are_suspect_and_repeated_ones_are_not() -> None:
    start = midnight()
    profile = assemble(rows([start, start, start + 900, start + 900], [5, 5, 6, 7]))
    assert profile.quality[:2].tolist() == [Quality.ACTUAL, Quality.SUSPECT]


def test_the_meters_own_doubts_are_kept_and_late_values_are_marked() -> None:
    start = midnight()
    given_rows = rows([start, start + 900, start + 1800], [1, 2, 3])
    given_rows.quality[1] = Quality.ESTIMATED_BY_METER
    given_rows.quality[2] = Quality.MISSING
    profile = assemble(given_rows, is_late=True)
    assert profile.quality[:3].tolist() == [
        Quality.ACTUAL_LATE,
        Quality.ESTIMATED_BY_METER,
        Quality.MISSING,
    ]


@given(st.permutations(range(96)), st.integers(0, 96))
def test_the_order_of_rows_does_not_matter(order: list[int], kept: int) -> None:
    start = midnight()
    chosen = order[:kept]
    profile = assemble(rows([start + 900 * n for n in chosen], [n + 1 for n in chosen]))
    for n in range(96):
        present = n in set(chosen)
        assert profile.energy_wh[n] == (n + 1 if present else 0)
        assert profile.quality[n] == (Quality.ACTUAL if present else Quality.MISSING)


def test_consecutive_days_are_asked_for_at_once() -> None:
    days = [date(2026, 3, 9), date(2026, 3, 5), date(2026, 3, 6), date(2026, 3, 5)]
    runs = group_days(days, ZONE)
    assert [run.days for run in runs] == [
        (date(2026, 3, 5), date(2026, 3, 6)),
        (date(2026, 3, 9),),
    ]
    assert (runs[0].end - runs[0].start).days == 2
    assert group_days([], ZONE) == []


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (MeterUnreachable("x"), CoverageCause.NO_ROUTE),
        (MeterBusy("x"), CoverageCause.BUSY),
        (MeterRefused("x", code="c"), CoverageCause.REFUSED),
        (AuthenticationFailed("x", code="c"), CoverageCause.WRONG_KEY),
        (CounterRejected("x", code="c"), CoverageCause.WRONG_KEY),
        (IdentityMismatch("x", expected="a", found="b"), CoverageCause.IDENTITY_MISMATCH),
        (MeterMisbehaved("x"), CoverageCause.PROTOCOL_FAULT),
        (LocalProtocolError("x"), CoverageCause.PROTOCOL_FAULT),
        (Preempted("x"), CoverageCause.PREEMPTED),
    ],
)
def test_every_fault_has_a_cause(error: HeadEndError, cause: CoverageCause) -> None:
    assert classify_fault(error) is cause


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (MeterUnreachable("x"), 3),
        (MeterBusy("x"), 3),
        (MeterMisbehaved("x"), 2),
        (MeterRefused("x", code="c"), 1),
        (AuthenticationFailed("x", code="c"), 1),
        (IdentityMismatch("x", expected="a", found="b"), 1),
        (LocalProtocolError("x"), 1),
    ],
)
def test_the_type_of_a_fault_decides_how_often_it_is_tried(
    error: HeadEndError, attempts: int
) -> None:
    policy = RetryPolicy(pauses_s=(1.0, 4.0))
    made, pauses = 1, []
    while (pause := decide_retry(error, attempt=made, preemptions=0, policy=policy)) is not None:
        pauses.append(pause)
        made += 1
    assert made == attempts
    assert pauses == [1.0, 4.0][: attempts - 1]


def test_giving_way_costs_no_attempt_and_no_pause_up_to_a_limit() -> None:
    policy = RetryPolicy(preemptions=3)
    decisions = [
        decide_retry(Preempted("x"), attempt=0, preemptions=count, policy=policy)
        for count in (1, 2, 3, 4)
    ]
    assert decisions == [0.0, 0.0, 0.0, None]


def test_validation_judges_each_day_by_its_own_meter_and_keeps_the_order() -> None:
    def day(meter_id: int, value: int, n: int = 96) -> ProfileDay:
        energy = np.full(n, value, dtype=np.int64)
        return ProfileDay(
            meter_id, ACTIVE_ENERGY_IMPORT, DAY, 86400 // n, energy, np.zeros(n, dtype=np.int16)
        )

    judged = judge_days(
        [
            FusedDay(day(1, 20_000), maximum_current_a=60),
            FusedDay(day(2, 20_000, n=24), maximum_current_a=60),
            FusedDay(day(3, 20_000), maximum_current_a=200),
            FusedDay(day(4, -1), maximum_current_a=200),
        ]
    )
    assert [one.meter_id for one in judged] == [1, 2, 3, 4]
    assert [int(one.quality[0]) for one in judged] == [
        Quality.SUSPECT,
        Quality.ACTUAL,
        Quality.ACTUAL,
        Quality.SUSPECT,
    ]
    assert judge_days([]) == []
