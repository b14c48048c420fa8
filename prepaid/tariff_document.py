"""Read a tariff document into values and refuse whatever is inconsistent, naming the place.

The format is described in ``docs/tariffs.md``. Overlaps, holes, days that do not close, seasons
that do not cover the year, unknown periods, missing prices and tiers out of order are refused here,
so that rating never meets them. Documents arrive already parsed; this module reads no files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from types import MappingProxyType
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from headend.domain.days import DEFAULT_ZONE
from headend.domain.money import NANO_PER_YUAN
from headend.domain.reading import Int64Array
from prepaid.books import Book
from prepaid.document_place import MINUTES_PER_DAY, Place
from prepaid.tariff import (
    UNLIMITED_WH,
    Bilingual,
    ChargeBasis,
    CycleUnit,
    DayType,
    FixedCharge,
    PriceComponent,
    Season,
    Segment,
    Tariff,
    TariffVersion,
    TierCycle,
)

# Periods that every document may use; others are declared under ``periods``.
KNOWN_PERIODS: Mapping[str, Bilingual] = MappingProxyType(
    {
        "sharp": Bilingual("尖峰", "Sharp peak"),
        "peak": Bilingual("高峰", "Peak"),
        "flat": Bilingual("平段", "Flat"),
        "valley": Bilingual("低谷", "Valley"),
        "deep_valley": Bilingual("深谷", "Deep valley"),
        "all_day": Bilingual("全天", "All day"),
    }
)

_PRICE_PLACES = 6  # 10^-6 yuan/kWh
_PRICE_LIMIT_MICRO = 1_000_000_000  # 1000 yuan/kWh: beyond it is a slip of the decimal point
_FEN_PLACES = 2
_WH_PLACES = 3
_LAST_DAY_OF_EVERY_MONTH = 28
_MAX_PERIODS = 32
# A leap year, so that 02-29 must be covered too.
_YEAR = [date(2000, 1, 1) + timedelta(days=i) for i in range(366)]


def parse_tariff(document: Mapping[str, object]) -> Tariff:
    """Check a tariff document and return it as values.

    Raises `BadInput` whose ``field`` is the place at fault, e.g.
    ``versions[0].seasons[1].day_types.weekday[3]``, and whose ``code`` names the kind of fault
    (``overlap``, ``hole``, ``day_not_closed``, ``year_not_covered``, ``unknown_period``,
    ``missing_price``, ``not_ascending``, ``too_precise``, ``missing``, ``unknown_field``, else
    ``invalid``).
    """
    root = Place("", document)
    root.keys(
        required=("code", "name", "source", "versions"), optional=("zone", "periods", "remark")
    )
    labels = _period_labels(root.at("periods"))
    versions: list[TariffVersion] = []
    for place in root.at("versions").items():
        version = _version(place, labels)
        if versions and version.effective_from <= versions[-1].effective_from:
            place.at("effective_from").refuse(
                f"{version.effective_from} is not after the version before it",
                code="not_ascending",
            )
        versions.append(version)
    return Tariff(
        code=root.at("code").text(),
        name=_bilingual(root.at("name")),
        source=root.at("source").text(),
        zone=_zone(root.at("zone")),
        versions=tuple(versions),
        period_labels=MappingProxyType(labels),
    )


def _bilingual(place: Place) -> Bilingual:
    place.keys(required=("zh", "en"))
    return Bilingual(zh=place.at("zh").text(), en=place.at("en").text())


def _zone(place: Place) -> str:
    if place.value is None:
        return DEFAULT_ZONE
    name = place.text()
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        place.refuse(f"{name!r} is no time zone such as Asia/Shanghai")
    return name


def _period_labels(place: Place) -> dict[str, Bilingual]:
    labels = dict(KNOWN_PERIODS)
    if place.value is not None:
        labels.update((name, _bilingual(label)) for name, label in place.fields())
    return labels


def _version(place: Place, labels: Mapping[str, Bilingual]) -> TariffVersion:
    place.keys(
        required=("effective_from", "seasons", "prices_micro_yuan_per_kwh"),
        optional=("tiers", "fixed_charges", "remark"),
    )
    prices = place.at("prices_micro_yuan_per_kwh")
    base = _base_prices(prices, labels)
    periods = tuple(base)
    seasons = _seasons(place.at("seasons"), periods, labels, prices)
    cycle, upper, price = _tiers(place.at("tiers"), periods, np.array([*base.values()], np.int64))
    energy = np.broadcast_to(np.array([*base.values()], dtype=np.int64), price.shape)
    return TariffVersion(
        effective_from=place.at("effective_from").day(),
        periods=periods,
        seasons=seasons,
        cycle=cycle,
        tier_upper_wh=_frozen(upper),
        price_micro=_frozen(price),
        components=(
            PriceComponent(Book.REVENUE_ENERGY, _frozen(energy)),
            PriceComponent(Book.REVENUE_TIER_SURCHARGE, _frozen(price - energy)),
        ),
        fixed_charges=_fixed_charges(place.at("fixed_charges")),
    )


def _frozen(values: Int64Array) -> Int64Array:
    copy = np.array(values, dtype=np.int64)
    copy.setflags(write=False)
    return copy


def _base_prices(place: Place, labels: Mapping[str, Bilingual]) -> dict[str, int]:
    prices = {name: _price(price) for name, price in _by_period(place, labels)}
    if not 1 <= len(prices) <= _MAX_PERIODS:
        place.refuse(f"must price 1 to {_MAX_PERIODS} periods", code="missing_price")
    return prices


def _by_period(place: Place, labels: Mapping[str, Bilingual]) -> list[tuple[str, Place]]:
    fields = list(place.fields())
    for name, field in fields:
        if name not in labels:
            field.refuse(f"{name!r} is no known period", code="unknown_period")
    return fields


def _price(place: Place, *, signed: bool = False) -> int:
    price = place.scaled(_PRICE_PLACES, whole_is_scaled=True, unit="yuan/kWh")
    if price < 0 and not signed:
        place.refuse(f"{place.value!r} is below zero")
    if abs(price) > _PRICE_LIMIT_MICRO:
        place.refuse(f"{place.value!r} is more than 1000 yuan/kWh")
    return price


def _seasons(
    place: Place, periods: Sequence[str], labels: Mapping[str, Bilingual], prices: Place
) -> tuple[Season, ...]:
    seasons: list[Season] = []
    taken: dict[date, str] = {}
    for item in place.items():
        item.keys(required=("from", "to", "day_types"), optional=("name",))
        season = Season(
            first=item.at("from").month_day(),
            last=item.at("to").month_day(),
            day_types=_day_types(item.at("day_types"), periods, labels, prices),
        )
        for day in filter(season.covers, _YEAR):
            if day in taken:
                item.refuse(f"{day:%m-%d} is already in {taken[day]}", code="overlap")
            taken[day] = item.path
        seasons.append(season)
    for day in _YEAR:
        if day not in taken:
            place.refuse(f"no season covers {day:%m-%d}", code="year_not_covered")
    return tuple(seasons)


def _day_types(
    place: Place, periods: Sequence[str], labels: Mapping[str, Bilingual], prices: Place
) -> Mapping[DayType, tuple[Segment, ...]]:
    place.keys(optional=[kind.value for kind in DayType])
    patterns = {
        DayType(name): _segments(pattern, periods, labels, prices)
        for name, pattern in place.fields()
    }
    if DayType.EVERY_DAY not in patterns and not {DayType.WEEKDAY, DayType.WEEKEND} <= set(
        patterns
    ):
        place.refuse("must have every_day, or both weekday and weekend", code="missing")
    return MappingProxyType(patterns)


def _segments(
    place: Place, periods: Sequence[str], labels: Mapping[str, Bilingual], prices: Place
) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    reached = 0
    for item in place.items():
        parts = item.items(at_least=3)
        if len(parts) != 3:
            item.refuse("must be [from, to, period]")
        start, end = parts[0].minute_of_day(), parts[1].minute_of_day()
        if start < reached:
            item.refuse(f"begins at {parts[0].value}, before {_clock(reached)}", code="overlap")
        if start > reached:
            item.refuse(f"nothing covers {_clock(reached)} to {parts[0].value}", code="hole")
        if end <= start:
            item.refuse(
                f"ends at {parts[1].value}, not after it begins; "
                "a period over midnight is written as two segments"
            )
        segments.append(Segment(start, end, _period_index(parts[2], periods, labels, prices)))
        reached = end
    if reached != MINUTES_PER_DAY:
        place.refuse(f"ends at {_clock(reached)} instead of 24:00", code="day_not_closed")
    return tuple(segments)


def _period_index(
    place: Place, periods: Sequence[str], labels: Mapping[str, Bilingual], prices: Place
) -> int:
    name = place.text()
    if name not in labels:
        place.refuse(f"{name!r} is no known period", code="unknown_period")
    if name not in periods:
        prices.at(name).refuse(f"has no price, but {place.path} uses it", code="missing_price")
    return periods.index(name)


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _tiers(
    place: Place, periods: Sequence[str], base: Int64Array
) -> tuple[TierCycle, Int64Array, Int64Array]:
    """Return the cycle, the limits (tier,) [Wh] and the prices (tier, period) [10^-6 yuan/kWh]."""
    if place.value is None:
        unlimited = np.array([UNLIMITED_WH], dtype=np.int64)
        return TierCycle(CycleUnit.MONTH, (1, 1)), unlimited, base.reshape(1, -1)
    place.keys(required=("cycle", "steps"), optional=("cycle_start",))
    upper: list[int] = []
    price: list[Int64Array] = []
    steps = place.at("steps").items()
    for step in steps:
        step.keys(
            required=("up_to_kwh",),
            optional=("surcharge_micro_yuan_per_kwh", "prices_micro_yuan_per_kwh"),
        )
        upper.append(_tier_limit(step.at("up_to_kwh"), upper, last=step is steps[-1]))
        price.append(_step_prices(step, periods, base))
    return _cycle(place), np.array(upper, dtype=np.int64), np.stack(price)


def _cycle(place: Place) -> TierCycle:
    unit = CycleUnit(place.at("cycle").one_of([unit.value for unit in CycleUnit]))
    start_place = place.at("cycle_start")
    start = (1, 1) if start_place.value is None else start_place.month_day()
    if start[1] > _LAST_DAY_OF_EVERY_MONTH:
        start_place.refuse("a cycle starts on day 1 to 28, which every month has")
    return TierCycle(unit, start)


def _tier_limit(place: Place, before: Sequence[int], *, last: bool) -> int:
    if last != (place.value is None):
        place.refuse("must be null in the last step, and only there", code="not_ascending")
    if place.value is None:
        return UNLIMITED_WH
    limit = place.scaled(_WH_PLACES, whole_is_scaled=False, unit="kWh")
    if limit <= (before[-1] if before else 0):
        place.refuse("is not above the step before it", code="not_ascending")
    if limit >= UNLIMITED_WH:
        place.refuse("is more than a cycle can hold")
    return limit


def _step_prices(step: Place, periods: Sequence[str], base: Int64Array) -> Int64Array:
    full, surcharge = step.at("prices_micro_yuan_per_kwh"), step.at("surcharge_micro_yuan_per_kwh")
    if full.value is not None and surcharge.value is not None:
        surcharge.refuse("stands beside full prices; a step has one or the other")
    if full.value is not None:
        full.keys(optional=periods)
        for name in periods:
            if full.at(name).value is None:
                full.at(name).refuse("has no price", code="missing_price")
        return np.array([_price(full.at(name)) for name in periods], dtype=np.int64)
    if surcharge.value is None:
        return base.copy()
    if isinstance(surcharge.value, Mapping):
        surcharge.keys(optional=periods)
        added = {name: _price(price, signed=True) for name, price in surcharge.fields()}
        prices = base + np.array([added.get(name, 0) for name in periods], dtype=np.int64)
    else:
        prices = base + _price(surcharge, signed=True)
    if int(prices.min()) < 0:
        surcharge.refuse("makes a price fall below zero")
    return prices


def _fixed_charges(place: Place) -> tuple[FixedCharge, ...]:
    if place.value is None:
        return ()
    charges: list[FixedCharge] = []
    for item in place.items(at_least=0):
        item.keys(required=("code", "name", "per", "yuan"))
        amount = item.at("yuan").scaled(_FEN_PLACES, whole_is_scaled=False, unit="yuan")
        if amount < 0:
            item.at("yuan").refuse("is below zero")
        code = item.at("code").text()
        if any(charge.code == code for charge in charges):
            item.at("code").refuse(f"{code!r} is already there")
        charges.append(
            FixedCharge(
                code=code,
                name=_bilingual(item.at("name")),
                basis=ChargeBasis(item.at("per").one_of([basis.value for basis in ChargeBasis])),
                amount_nano=amount * NANO_PER_YUAN // 10**_FEN_PLACES,
            )
        )
    return tuple(charges)
