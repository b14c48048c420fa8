"""A statement as data: energy and money by TOU period and tier, indications, what was corrected.

The lines price the days of the period as they are rated now; the postings are what was booked in
the period. The two differ by corrections: those of earlier days that were posted in the period, and
those of its own days that were posted after it. Both are shown, so that nothing has to be guessed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from headend.domain.reading import Quality
from headend.ports.accounts import AccountRecord
from headend.ports.ledger import EntryRecord
from headend.ports.settlement import CalendarDay, Indication
from headend.services.billing_rating import TariffBook
from prepaid.ledger import EntryKind
from prepaid.tariff import Bilingual, TariffVersion


@dataclass(frozen=True, slots=True)
class StatementLine:
    """Energy of one tier and TOU period under one tariff version, and its money.

    ``tier`` counts from 1. Energy is after the multiplier.
    """

    tariff_code: str
    effective_from: date
    tier: int
    period: str
    label: Bilingual
    energy_wh: int
    price_micro: int
    amount_nano: int


@dataclass(frozen=True, slots=True)
class MeterIndication:
    """What a meter's register showed at both ends; ``multiplier`` turns the difference into energy.

    None where it was not read near that end.
    """

    meter_id: int
    multiplier: int
    first: Indication | None
    last: Indication | None


@dataclass(frozen=True, slots=True)
class Statement:
    """What happened on an account from ``first`` to ``last`` inclusive [nano, Wh].

    ``balance_after_nano`` is ``balance_before_nano`` and the sum of the postings.
    ``unexplained_nano`` is energy charge that no tariff known today explains, normally zero.
    """

    account: AccountRecord
    first: date
    last: date
    balance_before_nano: int
    balance_after_nano: int
    posted_nano: dict[str, int]
    lines: Sequence[StatementLine]
    fixed_nano: int
    unexplained_nano: int
    charge_nano: int
    energy_wh: int
    estimated_wh: int
    days_estimated: int
    days_unrated: int
    indications: Sequence[MeterIndication]
    corrections: Sequence[EntryRecord]


def build_statement(
    *,
    account: AccountRecord,
    first: date,
    last: date,
    balance_before_nano: int,
    entries: Sequence[EntryRecord],
    days: Sequence[CalendarDay],
    indications: Sequence[Indication],
    tariffs: TariffBook,
) -> Statement:
    """Put a statement together from what is stored."""
    posted: dict[str, int] = defaultdict(int)
    for entry in entries:
        posted[entry.kind] += entry.amount_nano
    lines = _lines(days, tariffs)
    fixed = sum(day.fixed_nano for day in days)
    charge = sum(day.charge_nano for day in days)
    return Statement(
        account=account,
        first=first,
        last=last,
        balance_before_nano=balance_before_nano,
        balance_after_nano=balance_before_nano + sum(posted.values()),
        posted_nano=dict(posted),
        lines=lines,
        fixed_nano=fixed,
        unexplained_nano=charge - fixed - sum(line.amount_nano for line in lines),
        charge_nano=charge,
        energy_wh=sum(day.energy_wh for day in days),
        estimated_wh=sum(day.estimated_wh for day in days),
        days_estimated=sum(day.estimated_wh > 0 for day in days),
        days_unrated=sum(
            day.unrated_reason is not None or day.worst_quality == Quality.MISSING for day in days
        ),
        indications=_indications(days, indications),
        corrections=[entry for entry in entries if entry.kind == EntryKind.CORRECTION],
    )


def _lines(days: Sequence[CalendarDay], tariffs: TariffBook) -> list[StatementLine]:
    """Add up the cells of the days by tariff version, tier and period; empty ones are left out."""
    cells: dict[tuple[int, date], dict[tuple[int, int], int]] = defaultdict(
        lambda: defaultdict(int)
    )
    for day in days:
        if day.tariff_effective is None:
            continue
        of_version = cells[day.tariff_id, day.tariff_effective]
        for tier, row in enumerate(day.cell_wh.tolist()):
            for period, energy in enumerate(row):
                of_version[tier, period] += energy
    lines: list[StatementLine] = []
    for (tariff_id, effective), energies in sorted(cells.items(), key=lambda item: item[0][::-1]):
        version = tariffs.version_effective(tariff_id, effective)
        if version is not None:
            lines.extend(_version_lines(tariff_id, version, energies, tariffs))
    return lines


def _version_lines(
    tariff_id: int,
    version: TariffVersion,
    energies: dict[tuple[int, int], int],
    tariffs: TariffBook,
) -> list[StatementLine]:
    tariff = tariffs.tariff(tariff_id)
    tiers, periods = version.price_micro.shape
    if tariff is None or any(tier >= tiers or period >= periods for tier, period in energies):
        return []
    lines = []
    for (tier, period), energy in sorted(energies.items()):
        if not energy:
            continue
        name, price = version.periods[period], int(version.price_micro[tier, period])
        lines.append(
            StatementLine(
                tariff_code=tariff.code,
                effective_from=version.effective_from,
                tier=tier + 1,
                period=name,
                label=tariff.period_labels[name],
                energy_wh=energy,
                price_micro=price,
                amount_nano=energy * price,
            )
        )
    return lines


def _indications(
    days: Sequence[CalendarDay], indications: Sequence[Indication]
) -> list[MeterIndication]:
    """Return both ends per meter, in the order in which the meters served."""
    multipliers: dict[int, int] = {}
    for day in days:
        if day.meter_id is not None and day.multiplier is not None:
            multipliers.setdefault(day.meter_id, day.multiplier)
    found: dict[int, list[Indication]] = defaultdict(list)
    for indication in indications:
        found[indication.meter_id].append(indication)
    return [
        MeterIndication(
            meter_id=meter_id,
            multiplier=multiplier,
            first=found[meter_id][0] if found[meter_id] else None,
            last=found[meter_id][-1] if found[meter_id] else None,
        )
        for meter_id, multiplier in multipliers.items()
    ]
