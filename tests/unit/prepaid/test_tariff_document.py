"""A tariff document is read exactly, or refused with the place at fault."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from headend.domain.errors import BadInput
from prepaid.books import Book
from prepaid.tariff import UNLIMITED_WH, CycleUnit, DayType, Tariff
from prepaid.tariff_document import parse_tariff

Document = dict[str, Any]


def test_prices_limits_and_names_are_read_exactly(tariff: Tariff) -> None:
    version = tariff.version_on(date(2025, 7, 1))
    assert (tariff.code, tariff.zone, tariff.name.zh) == ("demo-tou", "Asia/Shanghai", "居民峰谷")
    assert version.periods == ("sharp", "peak", "valley")
    assert version.tier_upper_wh.tolist() == [2_760_000, 4_800_000, UNLIMITED_WH]
    assert version.price_micro.tolist() == [
        [800_000, 568_000, 288_123],
        [850_000, 618_000, 338_123],
        [1_100_000, 868_000, 588_123],
    ]
    assert version.cycle.unit is CycleUnit.YEAR
    assert tariff.period_labels["valley"].zh == "低谷"


def test_components_add_up_to_the_price(tariff: Tariff) -> None:
    version = tariff.versions[0]
    assert [component.book for component in version.components] == [
        Book.REVENUE_ENERGY,
        Book.REVENUE_TIER_SURCHARGE,
    ]
    total = sum(component.price_micro for component in version.components)
    assert (total == version.price_micro).all()
    assert not version.price_micro.flags.writeable


def test_fixed_charges_are_read_in_nano(tariff: Tariff) -> None:
    charges = {charge.code: charge.amount_nano for charge in tariff.versions[0].fixed_charges}
    assert charges == {"basic": 10_000_000_000, "meter": 20_000_000}


def test_the_seasons_choose_their_days(tariff: Tariff) -> None:
    version = tariff.versions[0]
    assert DayType.WEEKDAY in version.season_on(date(2025, 6, 1)).day_types
    assert DayType.WEEKDAY in version.season_on(date(2025, 9, 30)).day_types
    assert DayType.EVERY_DAY in version.season_on(date(2025, 12, 31)).day_types
    assert DayType.EVERY_DAY in version.season_on(date(2028, 2, 29)).day_types


def test_a_version_holds_from_its_first_day_to_the_next_ones(tariff_document: Document) -> None:
    later = copy.deepcopy(tariff_document["versions"][0])
    later["effective_from"] = date(2026, 7, 1)
    later["prices_micro_yuan_per_kwh"]["peak"] = 600_000
    tariff_document["versions"].append(later)
    tariff = parse_tariff(tariff_document)
    assert tariff.version_on(date(2026, 6, 30)) is tariff.versions[0]
    assert tariff.version_on(date(2026, 7, 1)) is tariff.versions[1]
    assert tariff.versions[1].price_micro[0, 1] == 600_000
    with pytest.raises(BadInput, match="demo-tou has no version on 2024-12-31") as refused:
        tariff.version_on(date(2024, 12, 31))
    assert refused.value.code == "no_version"


def test_without_tiers_one_price_holds_without_limit(tariff_document: Document) -> None:
    del tariff_document["versions"][0]["tiers"]
    version = parse_tariff(tariff_document).versions[0]
    assert version.tier_upper_wh.tolist() == [UNLIMITED_WH]
    assert version.price_micro.tolist() == [[800_000, 568_000, 288_123]]


def test_a_step_may_price_every_period_by_itself(tariff_document: Document) -> None:
    steps = tariff_document["versions"][0]["tiers"]["steps"]
    steps[1] = {
        "up_to_kwh": "4800.5",
        "prices_micro_yuan_per_kwh": {"sharp": "1", "peak": "0.7", "valley": "0.2"},
    }
    steps[2]["surcharge_micro_yuan_per_kwh"] = {"peak": "0.1", "valley": "-0.088123"}
    version = parse_tariff(tariff_document).versions[0]
    assert version.tier_upper_wh.tolist()[1] == 4_800_500
    assert version.price_micro.tolist()[1:] == [
        [1_000_000, 700_000, 200_000],
        [800_000, 668_000, 200_000],
    ]
    assert version.components[1].price_micro.tolist()[1] == [200_000, 132_000, -88_123]


def test_periods_of_its_own_are_declared_with_their_names(tariff_document: Document) -> None:
    tariff_document["periods"] = {"solar": {"zh": "光伏谷", "en": "Solar valley"}}
    tariff_document["versions"][0]["prices_micro_yuan_per_kwh"]["solar"] = "0.1"
    tariff_document["versions"][0]["seasons"][1]["day_types"]["every_day"] = [
        ["00:00", "24:00", "solar"]
    ]
    tariff = parse_tariff(tariff_document)
    assert tariff.versions[0].periods[-1] == "solar"
    assert tariff.period_labels["solar"].en == "Solar valley"


_SUMMER = "versions[0].seasons[0].day_types.weekday"


def _set(path: str, value: object) -> Callable[[Document], None]:
    """Return a change that puts ``value`` at a dotted path below ``versions[0]``."""

    def change(document: Document) -> None:
        target: Any = document["versions"][0]
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in parents:
            target = target[part]
        target[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        (
            _set("seasons.0.day_types.weekday.2", ["17:00", "20:00", "sharp"]),
            f"{_SUMMER}[2]",
            "overlap",
        ),
        (
            _set("seasons.0.day_types.weekday.3", ["20:30", "22:00", "peak"]),
            f"{_SUMMER}[3]",
            "hole",
        ),
        (
            _set("seasons.0.day_types.weekday.0", ["00:30", "08:00", "valley"]),
            f"{_SUMMER}[0]",
            "hole",
        ),
        (
            _set("seasons.0.day_types.weekday.4", ["22:00", "23:45", "valley"]),
            _SUMMER,
            "day_not_closed",
        ),
        (
            _set("seasons.0.day_types.weekday.4", ["22:00", "06:00", "valley"]),
            f"{_SUMMER}[4]",
            "invalid",
        ),
        (
            _set("seasons.0.day_types.weekday.2.2", "midnight"),
            f"{_SUMMER}[2][2]",
            "unknown_period",
        ),
        (
            _set("seasons.0.day_types.weekday.2.2", "flat"),
            "versions[0].prices_micro_yuan_per_kwh.flat",
            "missing_price",
        ),
        (
            _set("prices_micro_yuan_per_kwh.night", "0.1"),
            "versions[0].prices_micro_yuan_per_kwh.night",
            "unknown_period",
        ),
        (_set("seasons.0.day_types.weekday.1.0", "8:00"), f"{_SUMMER}[1][0]", "invalid"),
        (_set("seasons.0.day_types.weekday.4.1", "24:15"), f"{_SUMMER}[4][1]", "invalid"),
        (_set("seasons.1.from", "09-30"), "versions[0].seasons[1]", "overlap"),
        (_set("seasons.1.from", "10-02"), "versions[0].seasons", "year_not_covered"),
        (_set("seasons.1.to", "02-30"), "versions[0].seasons[1].to", "invalid"),
        (
            _set("seasons.0.day_types", {"weekday": [["00:00", "24:00", "peak"]]}),
            "versions[0].seasons[0].day_types",
            "missing",
        ),
        (
            _set("seasons.0.day_types.friday", [["00:00", "24:00", "peak"]]),
            "versions[0].seasons[0].day_types.friday",
            "unknown_field",
        ),
        (
            _set("prices_micro_yuan_per_kwh.peak", "0.5680001"),
            "versions[0].prices_micro_yuan_per_kwh.peak",
            "too_precise",
        ),
        (
            _set("prices_micro_yuan_per_kwh.peak", 0.568),
            "versions[0].prices_micro_yuan_per_kwh.peak",
            "invalid",
        ),
        (
            _set("prices_micro_yuan_per_kwh.peak", "-0.1"),
            "versions[0].prices_micro_yuan_per_kwh.peak",
            "invalid",
        ),
        (
            _set("prices_micro_yuan_per_kwh.peak", True),
            "versions[0].prices_micro_yuan_per_kwh.peak",
            "invalid",
        ),
        (
            _set("prices_micro_yuan_per_kwh.peak", "5680"),
            "versions[0].prices_micro_yuan_per_kwh.peak",
            "invalid",
        ),
        (
            _set("tiers.steps.1.up_to_kwh", 2760),
            "versions[0].tiers.steps[1].up_to_kwh",
            "not_ascending",
        ),
        (
            _set("tiers.steps.2.up_to_kwh", 9000),
            "versions[0].tiers.steps[2].up_to_kwh",
            "not_ascending",
        ),
        (
            _set("tiers.steps.0.up_to_kwh", None),
            "versions[0].tiers.steps[0].up_to_kwh",
            "not_ascending",
        ),
        (
            _set("tiers.steps.1.surcharge_micro_yuan_per_kwh", "-0.3"),
            "versions[0].tiers.steps[1].surcharge_micro_yuan_per_kwh",
            "invalid",
        ),
        (
            _set("tiers.steps.1.prices_micro_yuan_per_kwh", {"peak": 1}),
            "versions[0].tiers.steps[1].surcharge_micro_yuan_per_kwh",
            "invalid",
        ),
        (_set("tiers.cycle", "week"), "versions[0].tiers.cycle", "invalid"),
        (_set("tiers.cycle_start", "01-31"), "versions[0].tiers.cycle_start", "invalid"),
        (_set("effective_from", "2025-13-01"), "versions[0].effective_from", "invalid"),
        (_set("fixed_charges.1.code", "basic"), "versions[0].fixed_charges[1].code", "invalid"),
        (_set("fixed_charges.0.yuan", "1.005"), "versions[0].fixed_charges[0].yuan", "too_precise"),
        (_set("price", {}), "versions[0].price", "unknown_field"),
    ],
)
def test_what_is_inconsistent_is_refused_at_its_place(
    tariff_document: Document, change: Callable[[Document], None], field: str, code: str
) -> None:
    change(tariff_document)
    with pytest.raises(BadInput) as refused:
        parse_tariff(tariff_document)
    assert (refused.value.field, refused.value.code) == (field, code)
    assert str(refused.value).startswith(f"{field}: ")


def test_a_missing_price_in_a_full_step_is_named(tariff_document: Document) -> None:
    tariff_document["versions"][0]["tiers"]["steps"][1] = {
        "up_to_kwh": 4800,
        "prices_micro_yuan_per_kwh": {"sharp": 1, "peak": 1},
    }
    with pytest.raises(BadInput) as refused:
        parse_tariff(tariff_document)
    assert refused.value.field == "versions[0].tiers.steps[1].prices_micro_yuan_per_kwh.valley"
    assert refused.value.code == "missing_price"


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("zone", "Asia/Nowhere", "zone"),
        ("zone", "Asia", "zone"),
        ("name", {"zh": "只有中文"}, "name.en"),
        ("source", " ", "source"),
        ("versions", [], "versions"),
        ("versions", "2025", "versions"),
        ("typo", 1, "typo"),
    ],
)
def test_the_head_of_the_document_is_checked_too(
    tariff_document: Document, key: str, value: object, field: str
) -> None:
    tariff_document[key] = value
    with pytest.raises(BadInput) as refused:
        parse_tariff(tariff_document)
    assert refused.value.field == field


def test_versions_out_of_order_are_refused(tariff_document: Document) -> None:
    tariff_document["versions"] *= 2
    with pytest.raises(BadInput) as refused:
        parse_tariff(tariff_document)
    assert refused.value.field == "versions[1].effective_from"


def test_a_document_that_is_no_object_is_refused() -> None:
    with pytest.raises(BadInput, match="document: must be an object"):
        parse_tariff([])  # type: ignore[arg-type]


def test_the_documented_example_is_a_tariff() -> None:
    text = (Path(__file__).parents[3] / "docs" / "tariffs.md").read_text(encoding="utf-8")
    example = re.search(r"```json\n(.*?)```", text, re.DOTALL)
    assert example is not None
    version = parse_tariff(json.loads(example[1])).version_on(date(2025, 7, 1))
    assert version.price_micro.tolist()[0] == [618_000, 568_000, 288_123]
    assert version.tier_upper_wh.tolist() == [2_760_000, 4_800_000, UNLIMITED_WH]
