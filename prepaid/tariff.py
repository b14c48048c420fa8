"""A tariff as values: what energy costs, by TOU period, tier and effective date.

Knows prices and calendars; refuses to know accounts, readings and money already charged. Prices are
integer 10^-6 yuan/kWh, so that ``Wh x price`` is exact in nano-yuan; tier limits are integer Wh.
`prepaid.tariff_document` builds these values from a document and refuses what is inconsistent, so
whoever holds a `Tariff` need not check it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TypeAlias

from headend.domain.errors import BadInput
from headend.domain.reading import Int64Array
from prepaid.books import Book

# Upper limit of the last tier: more than any meter can count, and safe to compare with.
UNLIMITED_WH = 2**62

MonthDay: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Bilingual:
    """A label in both languages."""

    zh: str
    en: str


class DayType(StrEnum):
    """Which daily pattern applies. The most special one that a season defines wins."""

    EVERY_DAY = "every_day"
    WEEKDAY = "weekday"
    WEEKEND = "weekend"
    HOLIDAY = "holiday"
    ANNOUNCED_PEAK = "announced_peak"


@dataclass(frozen=True, slots=True)
class Segment:
    """Wall-clock minutes ``[start_minute, end_minute)`` of a local day in one TOU period.

    ``period`` is the index into `TariffVersion.periods`.
    """

    start_minute: int
    end_minute: int
    period: int


@dataclass(frozen=True, slots=True)
class Season:
    """Calendar days ``first`` to ``last`` inclusive, each (month, day); may wrap the year's end."""

    first: MonthDay
    last: MonthDay
    day_types: Mapping[DayType, tuple[Segment, ...]]

    def covers(self, day: date) -> bool:
        """Tell whether ``day`` lies in this season."""
        at = (day.month, day.day)
        if self.first <= self.last:
            return self.first <= at <= self.last
        return at >= self.first or at <= self.last


class CycleUnit(StrEnum):
    """Over what tier energy accumulates."""

    MONTH = "month"
    YEAR = "year"


@dataclass(frozen=True, slots=True)
class TierCycle:
    """When the accumulated energy of the tiers starts again at zero.

    A month cycle starts on ``start[1]`` of every month, a year cycle on ``start`` of every year.
    """

    unit: CycleUnit
    start: MonthDay


@dataclass(frozen=True, slots=True, eq=False)
class PriceComponent:
    """One part of the energy price and the book that it is posted to.

    price_micro: (tier, period) int64 [10^-6 yuan/kWh]; a single part may be negative (a rebate).
    """

    book: Book
    price_micro: Int64Array


class ChargeBasis(StrEnum):
    """What one amount of a fixed charge is for."""

    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class FixedCharge:
    """An amount per day or calendar month, whatever is consumed [nano]."""

    code: str
    name: Bilingual
    basis: ChargeBasis
    amount_nano: int
    book: Book = Book.REVENUE_FIXED


@dataclass(frozen=True, slots=True, eq=False)
class TariffVersion:
    """The prices and calendar in force from local day ``effective_from``.

    tier_upper_wh: (tier,) int64 [Wh], cumulative energy in the cycle up to and *including* which
    the tier's price holds; the last is `UNLIMITED_WH`. price_micro: (tier, period) int64
    [10^-6 yuan/kWh], the sum of ``components``, never negative. Arrays are read-only.
    """

    effective_from: date
    periods: tuple[str, ...]
    seasons: tuple[Season, ...]
    cycle: TierCycle
    tier_upper_wh: Int64Array
    price_micro: Int64Array
    components: tuple[PriceComponent, ...]
    fixed_charges: tuple[FixedCharge, ...] = ()

    def season_on(self, day: date) -> Season:
        """Return the season of ``day``; every day of the year has exactly one."""
        for season in self.seasons:
            if season.covers(day):
                return season
        raise BadInput(f"no season covers {day}", field="day", code="year_not_covered")


@dataclass(frozen=True, slots=True, eq=False)
class Tariff:
    """A price set by name, with its versions in order of effective date."""

    code: str
    name: Bilingual
    source: str
    zone: str
    versions: tuple[TariffVersion, ...]
    period_labels: Mapping[str, Bilingual]

    def version_on(self, day: date) -> TariffVersion:
        """Return the version in force on local ``day``.

        Raises `BadInput` (``no_version``) for a day before the first version.
        """
        for version in reversed(self.versions):
            if version.effective_from <= day:
                return version
        raise BadInput(
            f"tariff {self.code} has no version on {day}; "
            f"its first takes effect on {self.versions[0].effective_from}",
            field="day",
            code="no_version",
        )
