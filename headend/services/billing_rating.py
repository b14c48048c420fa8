"""Rating the usage points of one day: energy, tier cycle and tariff become `RatedDays`.

Between loading and posting. A day that cannot be rated says why and charges nothing: it is open,
not free.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np

from headend.domain.days import day_span
from headend.domain.errors import BadInput
from headend.domain.reading import Int64Array, Quality
from headend.ports.settlement import CycleState, OccupiedPoints, PointKey, RatedDays
from headend.ports.unit_of_work import UnitOfWork
from headend.services.billing_energy import EnergyBlock, load_energy
from prepaid.books import Book
from prepaid.fixed_charges import fixed_charges_on
from prepaid.rating import DayCharges, cycle_start, masks_of_quality, rate_day
from prepaid.tariff import Tariff, TariffVersion
from prepaid.tariff_document import parse_tariff
from prepaid.tou import PeriodArray, SpecialDays, period_of_interval

NO_METER = "no_meter"
NO_READINGS = "no_readings"
SUPPLY_OFF = "supply_off"
NO_TARIFF_VERSION = "no_tariff_version"
TARIFF_INVALID = "tariff_invalid"
INTERVAL_STRADDLES_PERIOD = "interval_straddles_period"


class TariffBook:
    """The tariffs of one run, parsed once. A tariff that does not parse charges nobody."""

    def __init__(self) -> None:
        self._tariffs: dict[int, Tariff | None] = {}

    async def load(self, uow: UnitOfWork, tariff_ids: Sequence[int]) -> None:
        """Make sure that the tariffs are known."""
        wanted = sorted(set(tariff_ids) - self._tariffs.keys())
        if not wanted:
            return
        documents = await uow.settlement.tariff_documents(wanted)
        for tariff_id in wanted:
            try:
                self._tariffs[tariff_id] = parse_tariff(documents[tariff_id])
            except (BadInput, KeyError):
                # Its days are recorded as unrated with this reason and rated when it is repaired.
                self._tariffs[tariff_id] = None

    def version_on(self, tariff_id: int, day: date) -> TariffVersion | str:
        """Return the version in force on ``day``, or the reason why there is none."""
        tariff = self._tariffs.get(tariff_id)
        if tariff is None:
            return TARIFF_INVALID
        try:
            return tariff.version_on(day)
        except BadInput:
            return NO_TARIFF_VERSION

    def version_effective(self, tariff_id: int, effective: date | None) -> TariffVersion | None:
        """Return the version that takes effect on exactly this day, if it still exists."""
        tariff = self._tariffs.get(tariff_id)
        if tariff is None:
            return None
        return next((v for v in tariff.versions if v.effective_from == effective), None)

    def tariff(self, tariff_id: int) -> Tariff | None:
        """Return a loaded tariff; None for one that does not parse."""
        return self._tariffs.get(tariff_id)


@dataclass(frozen=True, slots=True, eq=False)
class Rating:
    """Rated days of some points and what their charges are made of, over all of them [nano]."""

    days: RatedDays
    revenue_nano: Mapping[Book, int]


@dataclass(slots=True)
class _Sheet:
    """The result while it is filled."""

    days: RatedDays
    revenue_nano: dict[Book, int] = field(default_factory=lambda: defaultdict(int))


async def rate_points(
    uow: UnitOfWork,
    points: OccupiedPoints,
    day: date,
    *,
    tariffs: TariffBook,
    special: SpecialDays,
) -> Rating:
    """Rate local ``day`` of the points, in their order, on what is stored at this instant."""
    sheet = _Sheet(_blank(points, day))
    if not len(points):
        return Rating(sheet.days, {})
    await tariffs.load(uow, points.tariff_id.tolist())
    for block in await load_energy(uow, points, day, special):
        _note_block(sheet.days, block, day)
        for tariff_id in np.unique(points.tariff_id[block.rows]).tolist():
            chosen = np.flatnonzero(points.tariff_id[block.rows] == tariff_id)
            await _rate_tariff(uow, sheet, block, chosen, tariff_id, tariffs, special)
    return Rating(sheet.days, dict(sheet.revenue_nano))


def _blank(points: OccupiedPoints, day: date) -> RatedDays:
    """Return rows that say that nothing is known yet."""
    count = len(points)
    starts = {zone: int(day_span(day, zone)[0].timestamp()) for zone in set(points.zone)}

    def zeros() -> Int64Array:
        return np.zeros(count, dtype=np.int64)

    return RatedDays(
        business_date=day,
        account_id=points.account_id,
        usage_point_id=points.usage_point_id,
        meter_id=zeros(),
        multiplier=zeros(),
        tariff_id=points.tariff_id,
        tariff_effective=[None] * count,
        profile_revision=np.full(count, -1, dtype=np.int64),
        energy_wh=zeros(),
        estimated_wh=zeros(),
        cycle_before_wh=zeros(),
        cycle_before_estimated_wh=zeros(),
        cell_wh=[np.zeros((0, 0), dtype=np.int64)] * count,
        charge_nano=zeros(),
        estimated_nano=zeros(),
        fixed_nano=zeros(),
        worst_quality=np.full(count, Quality.MISSING, dtype=np.int64),
        unrated_intervals=zeros(),
        actual_until=np.array([starts[zone] for zone in points.zone], dtype=np.int64),
        register_gap_wh=[None] * count,
        unrated_reason=[NO_METER] * count,
        rating_no=zeros(),
        entry_key=[f"unrated:{point}" for point in points.usage_point_id.tolist()],
    )


def _note_block(days: RatedDays, block: EnergyBlock, day: date) -> None:
    """Write down what the day rests on, whether or not it can be rated."""
    start, end = (int(at.timestamp()) for at in day_span(day, block.zone))
    not_actual = block.quality > Quality.ACTUAL_LATE
    until = np.where(
        not_actual.any(axis=1), start + not_actual.argmax(axis=1) * block.interval_s, end
    )
    worst = block.quality.max(axis=1).astype(np.int64)
    for i, gap in enumerate(block.register_gap_wh):
        if gap:
            # The register is the legal quantity: intervals that contradict it prove nothing.
            until[i], worst[i] = start, max(int(worst[i]), Quality.SUSPECT)
    rows = block.rows
    days.meter_id[rows] = block.meter_id
    days.multiplier[rows] = block.multiplier
    days.profile_revision[rows] = block.profile_revision
    days.worst_quality[rows] = worst
    days.unrated_intervals[rows] = np.count_nonzero(block.quality >= Quality.SUSPECT, axis=1)
    days.actual_until[rows] = until
    _put(days.register_gap_wh, rows, block.register_gap_wh)


async def _rate_tariff(
    uow: UnitOfWork,
    sheet: _Sheet,
    block: EnergyBlock,
    chosen: Int64Array,
    tariff_id: int,
    tariffs: TariffBook,
    special: SpecialDays,
) -> None:
    """Rate the ``chosen`` rows of a block, all under one tariff."""
    days = sheet.days
    version = tariffs.version_on(tariff_id, days.business_date)
    if isinstance(version, str):
        _put(days.unrated_reason, block.rows[chosen], [version] * chosen.size)
        return
    try:
        period = period_of_interval(
            version, days.business_date, block.zone, block.interval_s, special
        )
    except BadInput:
        reasons = [INTERVAL_STRADDLES_PERIOD] * chosen.size
        _put(days.unrated_reason, block.rows[chosen], reasons)
        return
    something = (block.quality[chosen] < Quality.SUSPECT).any(axis=1)
    empty = chosen[~something]
    reasons = [SUPPLY_OFF if off else NO_READINGS for off in block.supply_off[empty].tolist()]
    _put(days.unrated_reason, block.rows[empty], reasons)
    chosen = chosen[something]
    if chosen.size:
        await _rate_rows(uow, sheet, block, chosen, version, period, tariffs)


async def _rate_rows(
    uow: UnitOfWork,
    sheet: _Sheet,
    block: EnergyBlock,
    chosen: Int64Array,
    version: TariffVersion,
    period: PeriodArray,
    tariffs: TariffBook,
) -> None:
    days, rows = sheet.days, block.rows[chosen]
    keys = list(
        zip(days.account_id[rows].tolist(), days.usage_point_id[rows].tolist(), strict=True)
    )
    before, before_estimated = await _cycle_so_far(uow, keys, version, days.business_date, tariffs)
    billable, estimated = masks_of_quality(block.quality[chosen])
    charges = rate_day(
        block.energy_wh[chosen],
        period_of_interval=period,
        version=version,
        cycle_to_date_wh=before,
        billable=billable,
        estimated=estimated,
        cycle_to_date_estimated_wh=before_estimated,
    )
    days.cycle_before_wh[rows] = before
    days.cycle_before_estimated_wh[rows] = before_estimated
    _write_charges(sheet, rows, charges)


def _write_charges(sheet: _Sheet, rows: Int64Array, charges: DayCharges) -> None:
    days, version, count = sheet.days, charges.version, int(rows.size)
    shares = fixed_charges_on(version, days.business_date)
    fixed = sum(share.amount_nano for share in shares)
    days.energy_wh[rows] = charges.total_wh
    days.estimated_wh[rows] = charges.estimated_wh
    days.charge_nano[rows] = charges.charge_nano + fixed
    days.estimated_nano[rows] = charges.estimated_nano
    days.fixed_nano[rows] = fixed
    _put(days.cell_wh, rows, list(charges.energy_wh))
    _put(days.tariff_effective, rows, [version.effective_from] * count)
    _put(days.unrated_reason, rows, [None] * count)
    points = days.usage_point_id[rows].tolist()
    _put(days.entry_key, rows, [f"energy:{point}" for point in points])
    for book, amount in charges.revenue_nano().items():
        sheet.revenue_nano[book] += amount
    for share in shares:
        sheet.revenue_nano[share.book] += share.amount_nano * count


async def _cycle_so_far(
    uow: UnitOfWork,
    keys: Sequence[PointKey],
    version: TariffVersion,
    day: date,
    tariffs: TariffBook,
) -> tuple[Int64Array, Int64Array]:
    """Return what was rated in the tier cycle before ``day``: all and estimated, (row,) [Wh]."""
    start = cycle_start(version, day)
    states = await uow.settlement.cycle_states(dict.fromkeys(keys, start), day)
    await tariffs.load(uow, [state.tariff_id for state in states.values()])
    broken = [key for key, state in states.items() if not _same_cycle(state, version, tariffs)]
    # The running sum of another cycle means nothing here: add the days up anew.
    sums = await uow.settlement.cycle_sums(dict.fromkeys(broken, start), day) if broken else {}
    before, estimated = np.zeros((2, len(keys)), dtype=np.int64)
    for i, key in enumerate(keys):
        if key in sums:
            before[i], estimated[i] = sums[key]
        elif key in states:
            before[i], estimated[i] = states[key].cycle_wh, states[key].cycle_estimated_wh
    return before, estimated


def _same_cycle(state: CycleState, version: TariffVersion, tariffs: TariffBook) -> bool:
    earlier = tariffs.version_effective(state.tariff_id, state.tariff_effective)
    return earlier is not None and earlier.cycle == version.cycle


def _put(target: Sequence[object], rows: Int64Array, values: Sequence[object]) -> None:
    """Write values into the given rows of a column that is a list."""
    if not isinstance(target, list):
        raise TypeError("a column that is being filled is a list")
    for row, value in zip(rows.tolist(), values, strict=True):
        target[row] = value
