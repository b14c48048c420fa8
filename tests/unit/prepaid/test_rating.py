"""Charges by example: tiers at the Wh, masks, estimates, limits of int64."""

from __future__ import annotations

import copy
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from headend.domain.errors import BadInput
from headend.domain.reading import Quality
from prepaid.books import Book
from prepaid.rating import (
    CHUNK_ACCOUNTS,
    cycle_start,
    masks_of_quality,
    rate_day,
    rate_intervals,
)
from prepaid.rating_kernel import energy_cube, energy_cube_exact, exact_sum
from prepaid.tariff import Tariff, TariffVersion
from prepaid.tariff_document import parse_tariff
from prepaid.tou import PeriodArray, period_of_interval

_DAY = date(2025, 7, 1)
_VALLEY, _PEAK = 288_123, 568_000


@pytest.fixture
def version(tariff: Tariff) -> TariffVersion:
    """The tariff's only version."""
    return tariff.versions[0]


@pytest.fixture
def hours(version: TariffVersion) -> PeriodArray:
    """Periods of the hours of a summer weekday: valley to 08:00, then peak, sharp from 18:00."""
    return period_of_interval(version, _DAY, "Asia/Shanghai", 3600)


def _energy(*used: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Return one account's hours with (hour, Wh) used."""
    energy = np.zeros((1, 24), dtype=np.int64)
    for hour, wh in used:
        energy[0, hour] = wh
    return energy


def _cycle(*wh: int) -> npt.NDArray[np.int64]:
    return np.array(wh, dtype=np.int64)


def test_energy_times_price_is_exact_in_nano(version: TariffVersion, hours: PeriodArray) -> None:
    day = rate_day(
        _energy((3, 1001), (9, 7)),
        period_of_interval=hours,
        version=version,
        cycle_to_date_wh=_cycle(0),
    )
    assert day.charge_nano.tolist() == [1001 * _VALLEY + 7 * _PEAK]
    assert day.energy_by_period_wh.tolist() == [[0, 7, 1001]]
    assert day.energy_by_tier_wh.tolist() == [[1008, 0, 0]]
    assert day.charge_by_period_nano.tolist() == [[0, 7 * _PEAK, 1001 * _VALLEY]]
    assert day.charge_by_tier_nano.tolist() == [[1001 * _VALLEY + 7 * _PEAK, 0, 0]]
    assert day.total_wh.tolist() == [1008]
    assert not day.crossed_tier.any()
    assert day.unrated_intervals.tolist() == [0]


def test_a_tier_changes_at_the_wh_within_the_interval(
    version: TariffVersion, hours: PeriodArray
) -> None:
    day = rate_day(
        _energy((3, 10), (9, 100), (10, 5)),
        period_of_interval=hours,
        version=version,
        cycle_to_date_wh=_cycle(2_760_000 - 30),
    )
    assert day.energy_wh[0].tolist() == [[0, 20, 10], [0, 85, 0], [0, 0, 0]]
    assert day.charge_nano.tolist() == [10 * _VALLEY + 20 * _PEAK + 85 * (_PEAK + 50_000)]
    assert day.crossed_tier.tolist() == [True]


def test_one_interval_may_cross_several_tiers(version: TariffVersion, hours: PeriodArray) -> None:
    day = rate_day(
        _energy((9, 3_000_000)),
        period_of_interval=hours,
        version=version,
        cycle_to_date_wh=_cycle(2_000_000),
    )
    assert day.energy_by_tier_wh.tolist() == [[760_000, 2_040_000, 200_000]]


@pytest.mark.parametrize(
    ("before", "tier", "crossed"), [(2_759_999, 0, False), (2_760_000, 1, False)]
)
def test_the_last_wh_of_a_tier_still_belongs_to_it(
    version: TariffVersion, hours: PeriodArray, before: int, tier: int, crossed: bool
) -> None:
    day = rate_day(
        _energy((9, 1)),
        period_of_interval=hours,
        version=version,
        cycle_to_date_wh=_cycle(before),
    )
    assert int(day.energy_by_tier_wh[0].argmax()) == tier
    assert day.crossed_tier.tolist() == [crossed]


def test_what_is_not_billable_is_counted_and_not_rated(
    version: TariffVersion, hours: PeriodArray
) -> None:
    billable = np.ones((1, 24), dtype=np.bool_)
    billable[0, 10:13] = False
    energy = _energy((9, 100), (10, 999), (11, -5))  # what stands under a mask means nothing
    day = rate_day(
        energy,
        period_of_interval=hours,
        version=version,
        cycle_to_date_wh=_cycle(0),
        billable=billable,
    )
    assert day.charge_nano.tolist() == [100 * _PEAK]
    assert day.unrated_intervals.tolist() == [3]


def test_quality_decides_what_reaches_money() -> None:
    quality = np.array([list(Quality)], dtype=np.int16)
    billable, estimated = masks_of_quality(quality)
    by_code = dict(zip(Quality, zip(billable[0], estimated[0], strict=True), strict=True))
    assert by_code == {
        Quality.ACTUAL: (True, False),
        Quality.ACTUAL_LATE: (True, False),
        Quality.ESTIMATED: (True, True),
        Quality.ESTIMATED_BY_METER: (True, True),
        Quality.SUSPECT: (False, False),
        Quality.MISSING: (False, False),
    }


def test_the_estimated_part_is_what_actual_readings_alone_would_not_have_cost(
    version: TariffVersion, hours: PeriodArray
) -> None:
    estimated = np.zeros((1, 24), dtype=np.bool_)
    estimated[0, 9] = True
    day = rate_day(
        _energy((9, 100), (10, 50)),
        period_of_interval=hours,
        version=version,
        cycle_to_date_wh=_cycle(2_760_000 - 60),
        estimated=estimated,
    )
    # In place the estimate fills tier 1 and pushes all 50 Wh into tier 2; alone they fit tier 1.
    assert day.charge_nano.tolist() == [60 * _PEAK + 90 * (_PEAK + 50_000)]
    assert (day.charge_nano - day.estimated_nano).tolist() == [50 * _PEAK]
    assert day.estimated_wh.tolist() == [100]


def test_estimates_earlier_in_the_cycle_do_not_raise_the_actual_charge(
    version: TariffVersion, hours: PeriodArray
) -> None:
    day = rate_day(
        _energy((9, 10)),
        period_of_interval=hours,
        version=version,
        cycle_to_date_wh=_cycle(2_760_000 + 5),
        cycle_to_date_estimated_wh=_cycle(100),
    )
    assert day.charge_nano.tolist() == [10 * (_PEAK + 50_000)]
    assert day.estimated_nano.tolist() == [10 * 50_000]
    assert day.estimated_wh.tolist() == [0]


def test_where_tiers_get_cheaper_the_cost_in_place_counts_as_estimated(
    tariff_document: dict[str, Any], hours: PeriodArray
) -> None:
    tariff_document["versions"][0]["tiers"]["steps"][1]["surcharge_micro_yuan_per_kwh"] = "-0.2"
    cheaper = parse_tariff(tariff_document).versions[0]
    estimated = np.zeros((1, 24), dtype=np.bool_)
    estimated[0, 9] = True
    day = rate_day(
        _energy((9, 100), (10, 50)),
        period_of_interval=hours,
        version=cheaper,
        cycle_to_date_wh=_cycle(2_760_000 - 60),
        estimated=estimated,
    )
    in_place = 60 * _PEAK + 40 * (_PEAK - 200_000)
    assert in_place > int(day.charge_nano[0]) - 50 * _PEAK
    assert day.estimated_nano.tolist() == [in_place]


def test_a_household_may_have_limits_of_its_own(version: TariffVersion, hours: PeriodArray) -> None:
    upper = np.vstack([version.tier_upper_wh, version.tier_upper_wh])
    upper[1, :2] += 1_200_000
    day = rate_day(
        np.vstack([_energy((9, 100)), _energy((9, 100))]),
        period_of_interval=hours,
        version=version,
        cycle_to_date_wh=_cycle(2_759_950, 2_759_950),
        tier_upper_wh=upper,
    )
    assert day.energy_by_tier_wh.tolist() == [[50, 50, 0], [100, 0, 0]]


def test_intervals_by_themselves_add_up_to_the_day(
    version: TariffVersion, hours: PeriodArray
) -> None:
    energy = _energy((3, 10), (9, 100), (18, 5))
    cost = rate_intervals(
        energy,
        period_of_interval=hours,
        version=version,
        cycle_to_date_wh=_cycle(2_760_000 - 30),
    )
    assert cost[0, 3] == 10 * _VALLEY
    assert cost[0, 9] == 20 * _PEAK + 80 * (_PEAK + 50_000)
    assert cost[0, 18] == 5 * 850_000
    assert np.count_nonzero(cost) == 3


def test_revenue_by_book_adds_up_to_the_charges(version: TariffVersion, hours: PeriodArray) -> None:
    energy = np.full((3, 24), 1000, dtype=np.int64)
    day = rate_day(
        energy,
        period_of_interval=hours,
        version=version,
        cycle_to_date_wh=_cycle(0, 2_750_000, 5_000_000),
    )
    revenue = day.revenue_nano()
    assert set(revenue) == {Book.REVENUE_ENERGY, Book.REVENUE_TIER_SURCHARGE}
    assert sum(revenue.values()) == int(day.charge_nano.sum())
    # 14 kWh of the second account lie in tier 2, all 24 kWh of the third in tier 3.
    assert revenue[Book.REVENUE_TIER_SURCHARGE] == 14_000 * 50_000 + 24_000 * 300_000


def test_more_accounts_than_one_chunk_come_out_in_order(
    version: TariffVersion, hours: PeriodArray
) -> None:
    accounts = 2 * CHUNK_ACCOUNTS + 3
    energy = np.zeros((accounts, 24), dtype=np.int32)
    energy[:, 9] = np.arange(accounts)
    day = rate_day(
        energy,
        period_of_interval=hours,
        version=version,
        cycle_to_date_wh=np.zeros(accounts, dtype=np.int64),
    )
    assert (day.charge_nano == np.arange(accounts) * _PEAK).all()


def test_no_accounts_cost_nothing(version: TariffVersion, hours: PeriodArray) -> None:
    day = rate_day(
        np.zeros((0, 24), dtype=np.int64),
        period_of_interval=hours,
        version=version,
        cycle_to_date_wh=_cycle(),
    )
    assert day.charge_nano.shape == (0,)
    assert day.revenue_nano() == {}


def test_a_row_that_int64_cannot_hold_is_refused_by_its_number(
    version: TariffVersion, hours: PeriodArray
) -> None:
    rows = CHUNK_ACCOUNTS + 5
    energy = np.zeros((rows, 24), dtype=np.int64)
    for wh, code in ((10**13, "overflow"), (2**62, "overflow"), (-1, "negative")):
        energy[rows - 2, 9] = wh
        with pytest.raises(BadInput) as refused:
            rate_day(
                energy,
                period_of_interval=hours,
                version=version,
                cycle_to_date_wh=np.zeros(rows, dtype=np.int64),
            )
        assert refused.value.field == f"energy_wh[{rows - 2}]"
        assert refused.value.code == code


def test_the_largest_charge_that_fits_is_exact(version: TariffVersion, hours: PeriodArray) -> None:
    most = (2**63 - 1) // 1_100_000
    day = rate_day(
        _energy((18, most)),
        period_of_interval=hours,
        version=version,
        cycle_to_date_wh=_cycle(4_800_000),
    )
    assert int(day.charge_nano[0]) == most * 1_100_000
    with pytest.raises(BadInput):
        rate_day(
            _energy((18, most + 1)),
            period_of_interval=hours,
            version=version,
            cycle_to_date_wh=_cycle(4_800_000),
        )


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"cycle_to_date_wh": np.zeros(2, dtype=np.int64)}, "cycle_to_date_wh"),
        ({"cycle_to_date_wh": np.array([-1])}, "cycle_to_date_wh[0]"),
        ({"cycle_to_date_estimated_wh": np.array([1])}, "cycle_to_date_wh[0]"),
        ({"billable": np.ones((1, 23), dtype=np.bool_)}, "billable"),
        ({"estimated": np.ones((2, 24), dtype=np.bool_)}, "estimated"),
        ({"period_of_interval": np.zeros(23, dtype=np.int8)}, "period_of_interval"),
        ({"tier_upper_wh": np.zeros((1, 2), dtype=np.int64)}, "tier_upper_wh"),
        ({"energy_wh": np.zeros((1, 24))}, "energy_wh"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    version: TariffVersion, hours: PeriodArray, changed: dict[str, Any], field: str
) -> None:
    arguments: dict[str, Any] = {
        "energy_wh": _energy(),
        "period_of_interval": hours,
        "version": version,
        "cycle_to_date_wh": _cycle(0),
    } | changed
    with pytest.raises(BadInput) as refused:
        rate_day(arguments.pop("energy_wh"), **arguments)
    assert refused.value.field == field


def test_both_paths_agree_for_accounts_that_cross_nothing(
    version: TariffVersion, hours: PeriodArray
) -> None:
    usage = np.arange(48, dtype=np.int64).reshape(2, 24)
    cycle = _cycle(0, 4_000_000)
    fast, crossing = energy_cube(usage, hours, 3, cycle, version.tier_upper_wh)
    assert crossing.size == 0
    exact = energy_cube_exact(usage, hours, 3, cycle, version.tier_upper_wh)
    assert (fast == exact).all()


def test_sums_beyond_int64_are_exact() -> None:
    column = np.full((4, 1), 2**62 + 1, dtype=np.int64)
    assert exact_sum(column) == [4 * (2**62 + 1)]
    assert exact_sum(-column) == [-4 * (2**62 + 1)]


@pytest.mark.parametrize(
    ("unit", "start", "day", "expected"),
    [
        ("year", "01-01", date(2025, 12, 31), date(2025, 1, 1)),
        ("year", "12-01", date(2025, 11, 30), date(2024, 12, 1)),
        ("year", "12-01", date(2025, 12, 1), date(2025, 12, 1)),
        ("month", "01-01", date(2025, 2, 28), date(2025, 2, 1)),
        ("month", "01-15", date(2025, 1, 14), date(2024, 12, 15)),
        ("month", "01-15", date(2025, 3, 14), date(2025, 2, 15)),
        ("month", "01-15", date(2025, 3, 15), date(2025, 3, 15)),
    ],
)
def test_the_cycle_starts_where_the_document_says(
    tariff_document: dict[str, Any], unit: str, start: str, day: date, expected: date
) -> None:
    document = copy.deepcopy(tariff_document)
    document["versions"][0]["tiers"] |= {"cycle": unit, "cycle_start": start}
    assert cycle_start(parse_tariff(document).versions[0], day) == expected
