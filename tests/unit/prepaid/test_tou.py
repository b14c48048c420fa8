"""Every interval finds its TOU period on the wall clock, on days of any length."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from headend.domain.errors import BadInput
from prepaid.tariff import DayType, Tariff, TariffVersion
from prepaid.tariff_document import parse_tariff
from prepaid.tou import SpecialDays, day_type_on, period_of_interval

_BERLIN = "Europe/Berlin"
_SPRING = date(2025, 3, 30)  # 02:00 to 03:00 does not exist
_AUTUMN = date(2025, 10, 26)  # 02:00 to 03:00 exists twice


def _names(version: TariffVersion, day: date, zone: str, interval_s: int = 3600) -> list[str]:
    return [version.periods[code] for code in period_of_interval(version, day, zone, interval_s)]


def _night(document: dict[str, Any], *segments: list[str]) -> TariffVersion:
    """Return the document's version with one pattern for every day of the year."""
    version = document["versions"][0]
    version["seasons"] = [
        {"from": "01-01", "to": "12-31", "day_types": {"every_day": list(segments)}}
    ]
    return parse_tariff(document).versions[0]


def test_an_ordinary_day_follows_its_pattern(tariff: Tariff) -> None:
    names = _names(tariff.versions[0], date(2025, 7, 1), tariff.zone)
    assert names == ["valley"] * 8 + ["peak"] * 10 + ["sharp"] * 2 + ["peak"] * 2 + ["valley"] * 2


def test_quarter_hours_count_96(tariff: Tariff) -> None:
    codes = period_of_interval(tariff.versions[0], date(2025, 7, 1), tariff.zone, 900)
    assert codes.shape == (96,)
    assert codes.dtype == "int8"
    assert codes[31] != codes[32]
    assert codes[72:80].tolist() == [0] * 8


def test_a_weekend_has_its_own_pattern(tariff: Tariff) -> None:
    assert "sharp" in _names(tariff.versions[0], date(2025, 7, 4), tariff.zone)
    assert "sharp" not in _names(tariff.versions[0], date(2025, 7, 5), tariff.zone)


def test_the_skipped_hour_has_no_interval(tariff_document: dict[str, Any]) -> None:
    version = _night(
        tariff_document,
        ["00:00", "02:00", "valley"],
        ["02:00", "03:00", "sharp"],
        ["03:00", "24:00", "peak"],
    )
    assert _names(version, _SPRING, _BERLIN) == ["valley"] * 2 + ["peak"] * 21


def test_the_repeated_hour_has_its_period_twice(tariff_document: dict[str, Any]) -> None:
    version = _night(
        tariff_document,
        ["00:00", "02:00", "valley"],
        ["02:00", "03:00", "sharp"],
        ["03:00", "24:00", "peak"],
    )
    assert _names(version, _AUTUMN, _BERLIN) == ["valley"] * 2 + ["sharp"] * 2 + ["peak"] * 21
    quarters = period_of_interval(version, _AUTUMN, _BERLIN, 900)
    assert quarters.shape == (100,)
    assert quarters.tolist().count(version.periods.index("sharp")) == 8


def test_a_pattern_that_changes_within_the_repeated_hour_goes_back(
    tariff_document: dict[str, Any],
) -> None:
    version = _night(tariff_document, ["00:00", "02:30", "valley"], ["02:30", "24:00", "peak"])
    names = _names(version, _AUTUMN, _BERLIN, 1800)
    assert names[:9] == ["valley"] * 5 + ["peak"] + ["valley"] + ["peak"] * 2


def test_an_interval_in_two_periods_is_refused(tariff_document: dict[str, Any]) -> None:
    version = _night(tariff_document, ["00:00", "08:15", "valley"], ["08:15", "24:00", "peak"])
    assert period_of_interval(version, date(2025, 7, 1), "Asia/Shanghai", 900).shape == (96,)
    with pytest.raises(BadInput, match="60-minute interval from 08:00 on 2025-07-01") as refused:
        period_of_interval(version, date(2025, 7, 1), "Asia/Shanghai", 3600)
    assert (refused.value.field, refused.value.code) == ("interval_s", "straddles_period")


@pytest.mark.parametrize("interval_s", [0, -900, 90, 7 * 60])
def test_an_interval_that_does_not_divide_the_day_is_refused(
    tariff: Tariff, interval_s: int
) -> None:
    with pytest.raises(BadInput) as refused:
        period_of_interval(tariff.versions[0], date(2025, 7, 1), tariff.zone, interval_s)
    assert refused.value.field == "interval_s"


def test_the_result_cannot_be_changed_by_its_reader(tariff: Tariff) -> None:
    codes = period_of_interval(tariff.versions[0], date(2025, 7, 1), tariff.zone, 900)
    with pytest.raises(ValueError, match="read-only"):
        codes[0] = 1


def test_special_days_take_the_most_special_pattern(tariff_document: dict[str, Any]) -> None:
    saturday, monday, friday = date(2025, 7, 5), date(2025, 7, 7), date(2025, 7, 4)
    special = SpecialDays(
        holidays=frozenset({monday}),
        workdays=frozenset({saturday}),
        announced_peaks=frozenset({friday}),
    )
    day_types = tariff_document["versions"][0]["seasons"][0]["day_types"]
    summer = parse_tariff(tariff_document).versions[0].season_on(monday)
    assert day_type_on(summer, monday, special) is DayType.WEEKEND
    assert day_type_on(summer, saturday, special) is DayType.WEEKDAY
    assert day_type_on(summer, friday, special) is DayType.WEEKDAY
    day_types["holiday"] = day_types["weekend"]
    day_types["announced_peak"] = day_types["weekday"]
    summer = parse_tariff(tariff_document).versions[0].season_on(monday)
    assert day_type_on(summer, monday, special) is DayType.HOLIDAY
    assert day_type_on(summer, friday, special) is DayType.ANNOUNCED_PEAK
    assert day_type_on(summer, saturday) is DayType.WEEKEND
