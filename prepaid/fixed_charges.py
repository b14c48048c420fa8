"""What an account pays whatever it consumes, day by day."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date

from prepaid.apportion import prorate
from prepaid.books import Book
from prepaid.tariff import ChargeBasis, TariffVersion


@dataclass(frozen=True, slots=True)
class FixedShare:
    """What one fixed charge costs on one day [nano]."""

    code: str
    book: Book
    amount_nano: int


def fixed_charges_on(version: TariffVersion, day: date) -> list[FixedShare]:
    """Return what each fixed charge of the version costs on local ``day``.

    A monthly amount is spread over the days of its calendar month; a version that ends within the
    month charges the share of its own days.
    """
    days = monthrange(day.year, day.month)[1]
    return [
        FixedShare(
            code=charge.code,
            book=charge.book,
            amount_nano=charge.amount_nano
            if charge.basis is ChargeBasis.DAY
            else prorate(charge.amount_nano, day.day - 1, days),
        )
        for charge in version.fixed_charges
    ]
