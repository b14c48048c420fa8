"""Gaps are filled from like days, marked, and left alone where supply was off."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from headend.domain.errors import BadInput
from headend.domain.reading import Quality
from prepaid.estimation import EstimatedDay, EstimateOutcome, estimate_day

_MISSING = int(Quality.MISSING)
# Two days like today, then two unlike; one meter, three intervals.
_RECENT = np.array([[[10, 20, 30], [11, 40, 30], [70, 80, 90], [90, 100, 110]]], dtype=np.int64)
_SAME = np.array([True, True, False, False])


def _estimate(
    quality: list[int],
    *,
    present: npt.NDArray[np.bool_] | None = None,
    supply_off: bool = False,
) -> EstimatedDay:
    return estimate_day(
        np.array([[1, 2, 3]], dtype=np.int64),
        np.array([quality], dtype=np.int16),
        recent_wh=_RECENT,
        recent_present=np.ones(_RECENT.shape, dtype=np.bool_) if present is None else present,
        same_day_type=_SAME,
        supply_off=np.array([supply_off]),
    )


def test_a_gap_is_filled_with_the_mean_of_like_days_half_up() -> None:
    day = _estimate([_MISSING, 0, _MISSING])
    assert day.energy_wh.tolist() == [[11, 2, 30]]
    assert day.quality.tolist() == [[Quality.ESTIMATED, Quality.ACTUAL, Quality.ESTIMATED]]
    assert day.outcome.tolist() == [EstimateOutcome.ESTIMATED]


def test_other_days_count_only_where_no_like_day_is_there() -> None:
    present = np.ones(_RECENT.shape, dtype=np.bool_)
    present[0, :2, 1] = False
    present[0, 0, 0] = False
    day = _estimate([_MISSING, _MISSING, 0], present=present)
    assert day.energy_wh.tolist() == [[11, 90, 3]]


def test_a_gap_without_history_stays_missing() -> None:
    present = np.ones(_RECENT.shape, dtype=np.bool_)
    present[0, :, 1] = False
    day = _estimate([_MISSING, _MISSING, 0], present=present)
    assert day.quality.tolist() == [[Quality.ESTIMATED, Quality.MISSING, Quality.ACTUAL]]
    assert day.outcome.tolist() == [EstimateOutcome.PARTLY_ESTIMATED]
    day = _estimate([_MISSING, 0, 0], present=np.zeros(_RECENT.shape, dtype=np.bool_))
    assert day.quality.tolist()[0][0] == Quality.MISSING
    assert day.outcome.tolist() == [EstimateOutcome.NO_HISTORY]


def test_a_day_with_an_open_contact_is_left_as_it_is() -> None:
    day = _estimate([_MISSING, 0, _MISSING], supply_off=True)
    assert day.quality.tolist() == [[Quality.MISSING, Quality.ACTUAL, Quality.MISSING]]
    assert day.outcome.tolist() == [EstimateOutcome.SUPPLY_OFF]


def test_what_is_there_is_never_touched() -> None:
    codes = [int(Quality.SUSPECT), int(Quality.ESTIMATED_BY_METER), int(Quality.ACTUAL_LATE)]
    day = _estimate(codes)
    assert day.energy_wh.tolist() == [[1, 2, 3]]
    assert day.quality.tolist() == [codes]
    assert day.outcome.tolist() == [EstimateOutcome.COMPLETE]
    assert _estimate(codes, supply_off=True).outcome.tolist() == [EstimateOutcome.COMPLETE]


def test_every_meter_goes_by_its_own_history() -> None:
    recent = np.array([[[4, 4]], [[600, 600]], [[1, 1]]], dtype=np.int64)
    day = estimate_day(
        np.zeros((3, 2), dtype=np.int64),
        np.array([[5, 0], [5, 5], [0, 0]], dtype=np.int16),
        recent_wh=recent,
        recent_present=np.ones(recent.shape, dtype=np.bool_),
        same_day_type=np.array([True]),
        supply_off=np.zeros(3, dtype=np.bool_),
    )
    assert day.energy_wh.tolist() == [[4, 0], [600, 600], [0, 0]]
    assert day.outcome.tolist() == [
        EstimateOutcome.ESTIMATED,
        EstimateOutcome.ESTIMATED,
        EstimateOutcome.COMPLETE,
    ]


def test_the_input_is_not_changed() -> None:
    energy = np.array([[1, 2, 3]], dtype=np.int64)
    quality = np.array([[_MISSING, 0, 0]], dtype=np.int16)
    estimate_day(
        energy,
        quality,
        recent_wh=_RECENT,
        recent_present=np.ones(_RECENT.shape, dtype=np.bool_),
        same_day_type=_SAME,
        supply_off=np.array([False]),
    )
    assert energy.tolist() == [[1, 2, 3]]
    assert quality.tolist() == [[_MISSING, 0, 0]]


def test_recent_days_of_another_length_are_refused() -> None:
    with pytest.raises(BadInput) as refused:
        estimate_day(
            np.zeros((1, 4), dtype=np.int64),
            np.zeros((1, 4), dtype=np.int16),
            recent_wh=_RECENT,
            recent_present=np.ones(_RECENT.shape, dtype=np.bool_),
            same_day_type=_SAME,
            supply_off=np.array([False]),
        )
    assert refused.value.field == "recent_wh"
