"""Port of the settlement repository: runs, chunks, what was rated per day, balances by difference.

Everything about many usage points comes and goes as columns, so that a chunk is a handful of
statements whatever its size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any, Protocol, TypeAlias

import numpy as np

from headend.domain.reading import Int64Array, QualityArray

# (account_id, usage_point_id): a usage point as one account sees it.
PointKey: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class SettlementRun:
    """One settlement of one business date for one shard of the accounts."""

    run_id: int
    business_date: date
    shard: int
    shards: int
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class SettlementChunk:
    """A fixed list of accounts that is settled in one transaction."""

    run_id: int
    chunk_no: int
    account_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class OccupiedPoints:
    """Usage points on one day with the account that pays, ordered by account and usage point.

    account_id, usage_point_id, tariff_id: (point,) int64; zone: one text per point.
    """

    account_id: Int64Array
    usage_point_id: Int64Array
    tariff_id: Int64Array
    zone: tuple[str, ...]

    def __len__(self) -> int:
        return int(self.account_id.shape[0])

    @property
    def keys(self) -> list[PointKey]:
        """The usage points in their order."""
        return list(zip(self.account_id.tolist(), self.usage_point_id.tolist(), strict=True))

    def take(self, rows: Int64Array) -> OccupiedPoints:
        """Return some of the points, in the order of ``rows``."""
        return OccupiedPoints(
            self.account_id[rows],
            self.usage_point_id[rows],
            self.tariff_id[rows],
            tuple(self.zone[row] for row in rows.tolist()),
        )


@dataclass(frozen=True, slots=True)
class Installation:
    """Which meter served a usage point, ``[valid_from, valid_to)``, with its CT x PT multiplier."""

    usage_point_id: int
    meter_id: int
    multiplier: int
    valid_from: datetime
    valid_to: datetime | None


@dataclass(frozen=True, slots=True, eq=False)
class StoredProfile:
    """One channel of one meter over one local day as stored.

    energy_wh: (interval,) int64 [Wh] before the multiplier; quality: (interval,) int16.
    """

    meter_id: int
    day: date
    interval_s: int
    revision: int
    energy_wh: Int64Array
    quality: QualityArray


@dataclass(frozen=True, slots=True)
class Indication:
    """The import register of a meter at one instant, before the multiplier."""

    meter_id: int
    measured_at: datetime
    value_wh: int


@dataclass(frozen=True, slots=True)
class SupplyInterruption:
    """A span in which a usage point's contact was, as far as we know, open."""

    usage_point_id: int
    off_from: datetime
    off_until: datetime | None


@dataclass(frozen=True, slots=True)
class CycleState:
    """What the last rated day of a usage point in a span says about its tier cycle so far [Wh]."""

    tariff_id: int
    tariff_effective: date | None
    cycle_wh: int
    cycle_estimated_wh: int


@dataclass(frozen=True, slots=True, eq=False)
class RatedDays:
    """What was rated on one business date, one row per account and usage point.

    All arrays are (row,) int64; sequences have one element per row. meter_id and multiplier are 0
    where no meter was installed; actual_until is seconds since the epoch, the start of the first
    interval that is not actual, or the end of the day. cell_wh: (tier, period) int64 [Wh] per row.
    charge_nano includes fixed_nano. An unrated row has a reason and charges nothing.
    """

    business_date: date
    account_id: Int64Array
    usage_point_id: Int64Array
    meter_id: Int64Array
    multiplier: Int64Array
    tariff_id: Int64Array
    tariff_effective: Sequence[date | None]
    profile_revision: Int64Array
    energy_wh: Int64Array
    estimated_wh: Int64Array
    cycle_before_wh: Int64Array
    cycle_before_estimated_wh: Int64Array
    cell_wh: Sequence[Int64Array]
    charge_nano: Int64Array
    estimated_nano: Int64Array
    fixed_nano: Int64Array
    worst_quality: Int64Array
    unrated_intervals: Int64Array
    actual_until: Int64Array
    register_gap_wh: Sequence[int | None]
    unrated_reason: Sequence[str | None]
    rating_no: Int64Array
    entry_key: Sequence[str]

    def __len__(self) -> int:
        return int(self.account_id.shape[0])

    @property
    def keys(self) -> list[PointKey]:
        """The usage points of the rows, in their order."""
        return list(zip(self.account_id.tolist(), self.usage_point_id.tolist(), strict=True))

    def take(self, rows: Int64Array) -> RatedDays:
        """Return some of the rows, in the order of ``rows``."""
        chosen = rows.tolist()
        columns: dict[str, Any] = {}
        for column in fields(self):
            value = getattr(self, column.name)
            if isinstance(value, np.ndarray):
                columns[column.name] = value[rows]
            elif isinstance(value, list | tuple):
                columns[column.name] = [value[row] for row in chosen]
            else:
                columns[column.name] = value
        return RatedDays(**columns)


@dataclass(frozen=True, slots=True)
class ChangedPoint:
    """A usage point whose stored rating no longer rests on the readings there are."""

    account_id: int
    usage_point_id: int
    first_day: date


@dataclass(frozen=True, slots=True)
class BalanceChange:
    """What settling changes in one account's balance, all by difference except the last two."""

    account_id: int
    amount_nano: int
    estimated_nano: int
    settled_through: date | None
    actual_through: datetime | None


@dataclass(frozen=True, slots=True)
class ChangedBalance:
    """A balance after a change was applied."""

    account_id: int
    balance_nano: int
    amount_nano: int


@dataclass(frozen=True, slots=True, eq=False)
class CalendarDay:
    """One day of one usage point as the customer sees it."""

    usage_point_id: int
    business_date: date
    energy_wh: int
    estimated_wh: int
    charge_nano: int
    fixed_nano: int
    worst_quality: int
    unrated_reason: str | None
    tariff_id: int
    tariff_effective: date | None
    meter_id: int | None
    multiplier: int | None
    rating_no: int
    cell_wh: Int64Array


class SettlementRepository(Protocol):
    """Stores settlement runs and what they rated."""

    async def begin_run(
        self, business_date: date, *, shard: int, shards: int, chunk_accounts: int, at: datetime
    ) -> SettlementRun:
        """Return the run of a day and shard; the first call fixes the account list of each chunk.

        The accounts are those that occupy a usage point on the day, by ``account_id mod shards``.
        """
        ...

    async def open_chunks(self, run_id: int) -> list[int]:
        """Return the numbers of the chunks that are not settled."""
        ...

    async def claim_chunk(self, run_id: int, chunk_no: int) -> SettlementChunk | None:
        """Lock a chunk until the transaction ends; None when it is settled already."""
        ...

    async def finish_chunk(
        self, chunk: SettlementChunk, *, batch_id: int | None, at: datetime
    ) -> None:
        """Record that a chunk is settled, in the transaction that settled it."""
        ...

    async def finish_run(self, run_id: int, *, at: datetime) -> None:
        """Record that every chunk of a run is settled."""
        ...

    async def points(self, account_ids: Sequence[int], day: date) -> OccupiedPoints:
        """Return the usage points that the accounts occupy on a local day."""
        ...

    async def tariff_documents(self, tariff_ids: Sequence[int]) -> dict[int, Mapping[str, Any]]:
        """Return tariff documents by key."""
        ...

    async def installations(
        self, usage_point_ids: Sequence[int], start: datetime, end: datetime
    ) -> list[Installation]:
        """Return the installations that overlap ``[start, end)``, by usage point and start."""
        ...

    async def profiles(
        self, meter_ids: Sequence[int], channel: str, first: date, last: date
    ) -> list[StoredProfile]:
        """Return the profile days of the meters in ``[first, last]``."""
        ...

    async def indications(
        self, meter_ids: Sequence[int], obis: str, start: datetime, end: datetime
    ) -> list[Indication]:
        """Return actual readings of a register in ``[start, end]``, by meter and instant."""
        ...

    async def interruptions(
        self, usage_point_ids: Sequence[int], start: datetime, end: datetime
    ) -> list[SupplyInterruption]:
        """Return the spans within ``[start, end)`` in which supply was off, as far as known."""
        ...

    async def cycle_states(
        self, starts: Mapping[PointKey, date], before: date
    ) -> dict[PointKey, CycleState]:
        """Return the state after the last rated day in ``[start, before)`` of each point."""
        ...

    async def cycle_sums(
        self, starts: Mapping[PointKey, date], before: date
    ) -> dict[PointKey, tuple[int, int]]:
        """Return (energy, estimated part) [Wh] rated in ``[start, before)``, summed day by day."""
        ...

    async def rated_days(self, points: Sequence[PointKey], day: date) -> RatedDays:
        """Return what is stored for the points on one day, by account and usage point."""
        ...

    async def store_days(self, days: RatedDays, *, replace: bool) -> None:
        """Write rated days; ``replace`` overwrites the earlier rating of each."""
        ...

    async def changed_points(
        self, channel: str, first: date, last: date, *, shard: int, shards: int
    ) -> list[ChangedPoint]:
        """Return points whose days in ``[first, last]`` have other readings than when rated.

        Each comes once with its first changed day, ordered by account and usage point.
        """
        ...

    async def actual_through(
        self, account_ids: Sequence[int], first: date, last: date
    ) -> dict[int, datetime]:
        """Return, by account, up to when its days in ``[first, last]`` are actual without a gap.

        Accounts without a rated day there are left out.
        """
        ...

    async def apply_changes(
        self, changes: Sequence[BalanceChange], *, at: datetime
    ) -> list[ChangedBalance]:
        """Add changes to balances that the caller has locked, in one statement.

        ``settled_through`` only grows; ``actual_through`` is set unless None.
        """
        ...

    async def calendar(self, account_id: int, first: date, last: date) -> list[CalendarDay]:
        """Return the rated days of an account in ``[first, last]``, by day and usage point."""
        ...
