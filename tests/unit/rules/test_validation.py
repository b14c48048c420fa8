"""Validation of interval days: each finding alone, and what becomes of the quality."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.domain.errors import BadInput
from headend.domain.reading import Quality
from rules.validation import (
    DEFAULT_TOLERANCE_WH,
    DayValidation,
    Finding,
    maximum_interval_wh,
    validate_days,
)

Q = Quality


def validate(
    energy: list[int],
    quality: list[int] | None = None,
    *,
    start: int = 1_000,
    end: int | None = None,
    known: bool = True,
    maximum: int = 500,
    modulus: int | None = None,
) -> DayValidation:
    """Validate one day; by default its register agrees."""
    return validate_days(
        np.array([energy], dtype=np.int64),
        np.array([quality or [Q.ACTUAL] * len(energy)], dtype=np.int16),
        maximum_wh=np.array([maximum], dtype=np.int64),
        register_start_wh=np.array([start], dtype=np.int64),
        register_end_wh=np.array([start + sum(energy) if end is None else end], dtype=np.int64),
        register_known=np.array([known]),
        register_modulus_wh=modulus,
    )


def test_a_plausible_day_stays_as_it_is() -> None:
    result = validate([100, 200, 0, 300])
    assert result.quality.tolist() == [[Q.ACTUAL] * 4]
    assert result.findings.tolist() == [Finding.NONE]
    assert result.register_wh.tolist() == [600]
    assert result.register_known.tolist() == [True]


def test_a_negative_interval_is_suspect_alone() -> None:
    result = validate([100, -1, 300])
    assert result.quality.tolist() == [[Q.ACTUAL, Q.SUSPECT, Q.ACTUAL]]
    assert result.findings.tolist() == [Finding.NEGATIVE]


def test_more_than_the_fuse_carries_is_suspect_alone() -> None:
    result = validate([500, 501, 0])
    assert result.quality.tolist() == [[Q.ACTUAL, Q.SUSPECT, Q.ACTUAL]]
    assert result.findings.tolist() == [Finding.IMPOSSIBLE_JUMP]


def test_missing_stays_missing_whatever_stands_beside_it() -> None:
    result = validate([100, -7_777, 300], [Q.ACTUAL, Q.MISSING, Q.ACTUAL], end=1_000 + 550)
    assert result.quality.tolist() == [[Q.ACTUAL, Q.MISSING, Q.ACTUAL]]
    assert result.findings.tolist() == [Finding.MISSING]


@pytest.mark.parametrize(
    ("off_by", "mismatch"), [(10, False), (-10, False), (11, True), (-11, True)]
)
def test_a_complete_day_agrees_with_its_register(off_by: int, mismatch: bool) -> None:
    assert DEFAULT_TOLERANCE_WH == 10
    result = validate([100, 200], end=1_300 + off_by)
    expected = Q.SUSPECT if mismatch else Q.ACTUAL
    assert result.quality.tolist() == [[expected, expected]]
    assert result.findings.tolist() == [Finding.SUM_MISMATCH if mismatch else Finding.NONE]


def test_an_incomplete_day_may_be_less_than_its_register_but_not_more() -> None:
    quality = [Q.ACTUAL, Q.MISSING]
    less = validate([100, 0], quality, end=1_000 + 5_000)
    assert less.findings.tolist() == [Finding.MISSING]
    more = validate([100, 0], quality, end=1_000 + 89)
    assert more.findings.tolist() == [Finding.MISSING | Finding.SUM_MISMATCH]
    assert more.quality.tolist() == [[Q.SUSPECT, Q.MISSING]]


def test_a_register_that_runs_backwards_makes_the_day_suspect() -> None:
    result = validate([100, 200], end=999)
    assert result.quality.tolist() == [[Q.SUSPECT, Q.SUSPECT]]
    assert result.findings.tolist() == [Finding.REGISTER_BACKWARDS]
    assert result.register_known.tolist() == [False]
    assert result.register_wh.tolist() == [0]


def test_a_register_that_wrapped_is_unwrapped_only_when_the_meter_could_have_carried_it() -> None:
    result = validate([100, 200], start=999_900, end=200, modulus=1_000_000)
    assert result.findings.tolist() == [Finding.NONE]
    assert result.register_wh.tolist() == [300]
    impossible = validate([100, 200], start=500_000, end=200, modulus=1_000_000)
    assert impossible.findings.tolist() == [Finding.REGISTER_BACKWARDS]


def test_without_registers_the_intervals_stand_alone() -> None:
    result = validate([100, 200], end=-1, known=False)
    assert result.quality.tolist() == [[Q.ACTUAL, Q.ACTUAL]]
    assert result.findings.tolist() == [Finding.REGISTER_MISSING]
    assert result.register_wh.tolist() == [0]


def test_what_the_meter_doubts_is_told_and_kept() -> None:
    result = validate([100, 200], [Q.ESTIMATED_BY_METER, Q.ACTUAL])
    assert result.quality.tolist() == [[Q.ESTIMATED_BY_METER, Q.ACTUAL]]
    assert result.findings.tolist() == [Finding.METER_DOUBTED]


def test_the_most_an_interval_can_carry() -> None:
    # 60 A at 220 V for a quarter of an hour is 3300 Wh; 45 % overload on top.
    assert maximum_interval_wh(fuse_a=60, voltage_v=220, phases=1, interval_s=900) == 4_785
    assert maximum_interval_wh(fuse_a=1, voltage_v=1, phases=1, interval_s=900) == 1  # rounded up


@pytest.mark.parametrize(
    "broken",
    [
        {"quality": np.zeros((2, 3), np.int16)},
        {"maximum_wh": np.zeros(3, np.int64)},
        {"register_known": np.zeros((2, 1), np.bool_)},
    ],
)
def test_shapes_that_do_not_fit_are_refused(broken: dict[str, Any]) -> None:
    arrays: dict[str, Any] = {
        "energy_wh": np.zeros((2, 4), np.int64),
        "quality": np.zeros((2, 4), np.int16),
        "maximum_wh": np.ones(2, np.int64),
        "register_start_wh": np.zeros(2, np.int64),
        "register_end_wh": np.zeros(2, np.int64),
        "register_known": np.ones(2, np.bool_),
    } | broken
    energy, quality = arrays.pop("energy_wh"), arrays.pop("quality")
    with pytest.raises(BadInput) as refused:
        validate_days(energy, quality, **arrays)
    assert refused.value.field == next(iter(broken))


def one_day_by_hand(
    energy: list[int], quality: list[int], maximum: int, start: int, end: int, known: bool
) -> tuple[list[int], Finding]:
    """The same judgement of one day in plain words."""
    findings = Finding.NONE
    present = [code != Q.MISSING for code in quality]
    if not all(present):
        findings |= Finding.MISSING
    if Q.ESTIMATED_BY_METER in quality:
        findings |= Finding.METER_DOUBTED
    judged = list(quality)
    for index, (value, here) in enumerate(zip(energy, present, strict=True)):
        if here and value < 0:
            findings |= Finding.NEGATIVE
        if here and value > maximum:
            findings |= Finding.IMPOSSIBLE_JUMP
        if here and not 0 <= value <= maximum:
            judged[index] = max(judged[index], Q.SUSPECT)
    whole_day = False
    if not known:
        findings |= Finding.REGISTER_MISSING
    elif end < start:
        findings |= Finding.REGISTER_BACKWARDS
        whole_day = True
    else:
        total = sum(value for value, here in zip(energy, present, strict=True) if here)
        excess = total - (end - start)
        if excess > 10 or (all(present) and excess < -10):
            findings |= Finding.SUM_MISMATCH
            whole_day = True
    if whole_day:
        judged = [max(code, Q.SUSPECT) for code in judged]
    return judged, findings


day = st.tuples(
    st.lists(st.integers(-20, 120), min_size=4, max_size=4),
    st.lists(st.sampled_from([int(code) for code in Quality]), min_size=4, max_size=4),
    st.integers(50, 100),
    st.integers(0, 200),
    st.integers(0, 600),
    st.booleans(),
)


@given(st.lists(day, min_size=1, max_size=6))
def test_many_days_at_once_are_judged_like_each_by_hand(
    days: list[tuple[list[int], list[int], int, int, int, bool]],
) -> None:
    energy, quality, maximum, start, end, known = (
        np.array(part) for part in zip(*days, strict=True)
    )
    result = validate_days(
        energy,
        quality.astype(np.int16),
        maximum_wh=maximum,
        register_start_wh=start,
        register_end_wh=end,
        register_known=known,
    )
    for index, each in enumerate(days):
        judged, findings = one_day_by_hand(*each)
        assert result.quality[index].tolist() == judged
        assert result.findings[index] == findings
    assert (result.quality >= quality).all()
