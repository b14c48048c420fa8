"""The load: deterministic, stateless, household-like."""

from __future__ import annotations

import numpy as np

from protocols.simulator.load import DAY_S, HouseholdLoad

MONDAY_S = 1_741_536_000  # 2025-03-10 00:00 in Shanghai
QUARTER_S = 900


def quarters(days: int, start_s: int = MONDAY_S) -> np.ndarray:
    return np.arange(start_s, start_s + days * DAY_S, QUARTER_S, dtype=np.int64)


def test_same_seed_gives_the_same_integers_for_ever() -> None:
    energy = HouseholdLoad(seed=7).energy_wh(quarters(1))
    # A change of these numbers changes every recorded register: it must be deliberate.
    assert energy[:4].tolist() == [30, 25, 27, 26]
    assert int(energy.sum()) == 7112


def test_any_part_of_a_year_can_be_computed_alone() -> None:
    load = HouseholdLoad(seed=3)
    whole = load.energy_wh(quarters(30))
    parts = np.concatenate([load.energy_wh(quarters(30)[k : k + 7]) for k in range(0, 2880, 7)])
    assert np.array_equal(whole, parts)


def test_neighbouring_seeds_are_different_households() -> None:
    one = HouseholdLoad(seed=1).energy_wh(quarters(7))
    two = HouseholdLoad(seed=2).energy_wh(quarters(7))
    assert np.count_nonzero(one == two) < one.size / 4
    # Nor is one the other, shifted by an interval.
    assert np.count_nonzero(one[1:] == two[:-1]) < one.size / 4


def test_evening_is_above_night_and_weekend_differs_from_workday() -> None:
    totals = np.zeros(96)
    weekday_noon, weekend_noon = 0, 0
    for seed in range(40):
        days = HouseholdLoad(seed).energy_wh(quarters(14)).reshape(14, 96)
        totals += days.sum(axis=0)
        weekend = np.asarray([day % 7 in (5, 6) for day in range(14)])
        weekday_noon += days[~weekend, 40:48].sum() / 10
        weekend_noon += days[weekend, 40:48].sum() / 4
    assert totals[76:84].mean() > 3 * totals[8:16].mean()  # 19-21 h against 2-4 h
    assert weekend_noon > 1.3 * weekday_noon


def test_scale_is_proportional_within_rounding() -> None:
    single = HouseholdLoad(seed=5).energy_wh(quarters(3))
    tenfold = HouseholdLoad(seed=5, scale=10.0).energy_wh(quarters(3))
    assert np.abs(tenfold - 10 * single).max() <= 5
    assert HouseholdLoad(seed=5, scale=0.0).energy_wh(quarters(1)).sum() == 0


def test_households_use_a_plausible_energy() -> None:
    daily_kwh = [HouseholdLoad(seed).energy_wh(quarters(365)).sum() / 365_000 for seed in range(20)]
    assert min(daily_kwh) > 4
    assert max(daily_kwh) < 20
