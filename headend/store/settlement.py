"""PostgreSQL repository: settlement runs, chunks, rated days, balances by difference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from psycopg import AsyncCursor

from headend.domain.errors import InvariantViolated
from headend.domain.reading import Int64Array
from headend.ports.settlement import (
    BalanceChange,
    CalendarDay,
    ChangedBalance,
    ChangedPoint,
    CycleState,
    Indication,
    Installation,
    OccupiedPoints,
    PointKey,
    RatedDays,
    SettlementChunk,
    SettlementRun,
    StoredProfile,
    SupplyInterruption,
)
from headend.store.array_loading import load_arrays_as_numpy
from headend.store.connection import Connection
from headend.store.database import load_queries

_QUERIES = load_queries("settlement")
# Partitions are made this far ahead, so that no payment has to make one beside a running chunk.
_PARTITIONS_AHEAD = timedelta(days=35)
_DAY_TYPES = [
    *("int8", "int8", "date", "int8", "int4", "int4", "date", "int4"),
    *("int8", "int8", "int8", "int8", "int8[]", "int8", "int8", "int8"),
    *("int2", "int2", "timestamptz", "int8", "text", "int4", "text"),
]
_CHANGE_TYPES = ["int8", "int8", "int8", "date", "timestamptz"]


class PostgresSettlementRepository:
    """Stores settlement runs and what they rated."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def begin_run(
        self, business_date: date, *, shard: int, shards: int, chunk_accounts: int, at: datetime
    ) -> SettlementRun:
        await self._rows(
            "ensure_partitions", first=business_date, last=business_date + _PARTITIONS_AHEAD
        )
        key = {"business_date": business_date, "shard": shard, "shards": shards}
        inserted = await self._rows("insert_run", **key, at=at)
        if not inserted:
            # A concurrent first call was waited for by the insert; its row is visible now.
            return SettlementRun(**(await self._rows("find_run", **key))[0])
        run = SettlementRun(**inserted[0])
        await self._connection.execute(
            _QUERIES["insert_chunks"],
            {**key, "run_id": run.run_id, "chunk_accounts": chunk_accounts},
        )
        return run

    async def open_chunks(self, run_id: int) -> list[int]:
        return [row["chunk_no"] for row in await self._rows("open_chunks", run_id=run_id)]

    async def claim_chunk(self, run_id: int, chunk_no: int) -> SettlementChunk | None:
        rows = await self._rows("claim_chunk", run_id=run_id, chunk_no=chunk_no)
        if not rows:
            return None
        return SettlementChunk(run_id, chunk_no, tuple(rows[0]["account_ids"].tolist()))

    async def finish_chunk(
        self, chunk: SettlementChunk, *, batch_id: int | None, at: datetime
    ) -> None:
        cursor = await self._connection.execute(
            _QUERIES["finish_chunk"],
            {"run_id": chunk.run_id, "chunk_no": chunk.chunk_no, "batch_id": batch_id, "at": at},
        )
        if cursor.rowcount != 1:
            raise InvariantViolated(
                f"chunk {chunk.chunk_no} of settlement run {chunk.run_id} was settled twice"
            )

    async def finish_run(self, run_id: int, *, at: datetime) -> None:
        await self._connection.execute(_QUERIES["finish_run"], {"run_id": run_id, "at": at})

    async def points(self, account_ids: Sequence[int], day: date) -> OccupiedPoints:
        rows = await self._rows("points", account_ids=list(account_ids), day=day)
        return OccupiedPoints(
            account_id=_column(rows, "account_id"),
            usage_point_id=_column(rows, "usage_point_id"),
            tariff_id=_column(rows, "tariff_id"),
            zone=tuple(row["time_zone"] for row in rows),
        )

    async def tariff_documents(self, tariff_ids: Sequence[int]) -> dict[int, Mapping[str, Any]]:
        rows = await self._rows("tariff_documents", tariff_ids=list(tariff_ids))
        return {row["tariff_id"]: row["document"] for row in rows}

    async def installations(
        self, usage_point_ids: Sequence[int], start: datetime, end: datetime
    ) -> list[Installation]:
        rows = await self._rows(
            "installations", usage_point_ids=list(usage_point_ids), start=start, end=end
        )
        return [Installation(**row) for row in rows]

    async def profiles(
        self, meter_ids: Sequence[int], channel: str, first: date, last: date
    ) -> list[StoredProfile]:
        rows = await self._rows(
            "profiles", meter_ids=list(meter_ids), channel=channel, first=first, last=last
        )
        return [StoredProfile(**row) for row in rows]

    async def indications(
        self, meter_ids: Sequence[int], obis: str, start: datetime, end: datetime
    ) -> list[Indication]:
        rows = await self._rows(
            "indications", meter_ids=list(meter_ids), obis=obis, start=start, end=end
        )
        return [Indication(**row) for row in rows]

    async def interruptions(
        self, usage_point_ids: Sequence[int], start: datetime, end: datetime
    ) -> list[SupplyInterruption]:
        rows = await self._rows(
            "interruptions", usage_point_ids=list(usage_point_ids), start=start, end=end
        )
        return [SupplyInterruption(**row) for row in rows]

    async def cycle_states(
        self, starts: Mapping[PointKey, date], before: date
    ) -> dict[PointKey, CycleState]:
        rows = await self._rows("cycle_states", **_split(starts), before=before)
        return {
            (row["account_id"], row["usage_point_id"]): CycleState(
                row["tariff_id"],
                row["tariff_effective"],
                row["cycle_wh"],
                row["cycle_estimated_wh"],
            )
            for row in rows
        }

    async def cycle_sums(
        self, starts: Mapping[PointKey, date], before: date
    ) -> dict[PointKey, tuple[int, int]]:
        rows = await self._rows("cycle_sums", **_split(starts), before=before)
        return {
            (row["account_id"], row["usage_point_id"]): (
                row["cycle_wh"],
                row["cycle_estimated_wh"],
            )
            for row in rows
        }

    async def rated_days(self, points: Sequence[PointKey], day: date) -> RatedDays:
        rows = await self._rows(
            "rated_days",
            account_ids=[account for account, _ in points],
            usage_point_ids=[point for _, point in points],
            day=day,
        )
        return _rated_days(rows, day)

    async def store_days(self, days: RatedDays, *, replace: bool) -> None:
        if not len(days):
            return
        if not replace:
            await self._copy("copy_days", _DAY_TYPES, _day_rows(days))
            return
        await self._connection.execute(_QUERIES["make_rerated_days"])
        await self._connection.execute(_QUERIES["clear_rerated_days"])
        await self._copy("copy_rerated_days", _DAY_TYPES, _day_rows(days))
        cursor = await self._connection.execute(
            _QUERIES["replace_days"], {"day": days.business_date}
        )
        if cursor.rowcount != len(days):
            raise InvariantViolated(
                f"{cursor.rowcount} of {len(days)} ratings of {days.business_date} were replaced"
            )

    async def changed_points(
        self, channel: str, first: date, last: date, *, shard: int, shards: int
    ) -> list[ChangedPoint]:
        rows = await self._rows(
            "changed_points", channel=channel, first=first, last=last, shard=shard, shards=shards
        )
        return [ChangedPoint(**row) for row in rows]

    async def actual_through(
        self, account_ids: Sequence[int], first: date, last: date
    ) -> dict[int, datetime]:
        rows = await self._rows(
            "actual_through", account_ids=list(account_ids), first=first, last=last
        )
        return {row["account_id"]: row["actual_through"] for row in rows}

    async def apply_changes(
        self, changes: Sequence[BalanceChange], *, at: datetime
    ) -> list[ChangedBalance]:
        if not changes:
            return []
        await self._connection.execute(_QUERIES["make_balance_changes"])
        await self._connection.execute(_QUERIES["clear_balance_changes"])
        await self._copy(
            "copy_balance_changes",
            _CHANGE_TYPES,
            (
                (
                    change.account_id,
                    change.amount_nano,
                    change.estimated_nano,
                    change.settled_through,
                    change.actual_through,
                )
                for change in changes
            ),
        )
        rows = await self._rows("apply_changes", at=at)
        if len(rows) != len(changes):
            raise InvariantViolated(
                f"{len(changes) - len(rows)} accounts have no balance to change"
            )
        return sorted(
            (ChangedBalance(**row) for row in rows), key=lambda changed: changed.account_id
        )

    async def calendar(self, account_id: int, first: date, last: date) -> list[CalendarDay]:
        rows = await self._rows("calendar", account_id=account_id, first=first, last=last)
        return [CalendarDay(**row) for row in rows]

    async def _rows(self, name: str, **parameters: object) -> list[dict[str, Any]]:
        async with self._connection.cursor(binary=True) as cursor:
            load_arrays_as_numpy(cursor)
            await cursor.execute(_QUERIES[name], parameters)
            return await cursor.fetchall()

    async def _copy(self, name: str, types: list[str], rows: Iterable[Sequence[object]]) -> None:
        cursor: AsyncCursor[dict[str, Any]]
        async with self._connection.cursor() as cursor, cursor.copy(_QUERIES[name]) as copy:
            copy.set_types(types)
            for row in rows:
                await copy.write_row(row)


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> Int64Array:
    return np.array([row[name] or 0 for row in rows], dtype=np.int64)


def _split(starts: Mapping[PointKey, date]) -> dict[str, list[Any]]:
    return {
        "account_ids": [account for account, _ in starts],
        "usage_point_ids": [point for _, point in starts],
        "starts": list(starts.values()),
    }


def _rated_days(rows: Sequence[Mapping[str, Any]], day: date) -> RatedDays:
    return RatedDays(
        business_date=day,
        account_id=_column(rows, "account_id"),
        usage_point_id=_column(rows, "usage_point_id"),
        meter_id=_column(rows, "meter_id"),
        multiplier=_column(rows, "multiplier"),
        tariff_id=_column(rows, "tariff_id"),
        tariff_effective=[row["tariff_effective"] for row in rows],
        profile_revision=_column(rows, "profile_revision"),
        energy_wh=_column(rows, "energy_wh"),
        estimated_wh=_column(rows, "estimated_wh"),
        cycle_before_wh=_column(rows, "cycle_before_wh"),
        cycle_before_estimated_wh=_column(rows, "cycle_before_estimated_wh"),
        cell_wh=[row["cell_wh"] for row in rows],
        charge_nano=_column(rows, "charge_nano"),
        estimated_nano=_column(rows, "estimated_nano"),
        fixed_nano=_column(rows, "fixed_nano"),
        worst_quality=_column(rows, "worst_quality"),
        unrated_intervals=_column(rows, "unrated_intervals"),
        actual_until=np.array(
            [int(row["actual_until"].timestamp()) for row in rows], dtype=np.int64
        ),
        register_gap_wh=[row["register_gap_wh"] for row in rows],
        unrated_reason=[row["unrated_reason"] for row in rows],
        rating_no=_column(rows, "rating_no"),
        entry_key=[row["entry_key"] for row in rows],
    )


def _day_rows(days: RatedDays) -> Iterable[tuple[object, ...]]:
    count = len(days)
    return zip(
        days.account_id.tolist(),
        days.usage_point_id.tolist(),
        [days.business_date] * count,
        [meter or None for meter in days.meter_id.tolist()],
        [multiplier or None for multiplier in days.multiplier.tolist()],
        days.tariff_id.tolist(),
        days.tariff_effective,
        days.profile_revision.tolist(),
        days.energy_wh.tolist(),
        days.estimated_wh.tolist(),
        days.cycle_before_wh.tolist(),
        days.cycle_before_estimated_wh.tolist(),
        [cells.tolist() for cells in days.cell_wh],
        days.charge_nano.tolist(),
        days.estimated_nano.tolist(),
        days.fixed_nano.tolist(),
        days.worst_quality.tolist(),
        days.unrated_intervals.tolist(),
        [datetime.fromtimestamp(instant, UTC) for instant in days.actual_until.tolist()],
        days.register_gap_wh,
        days.unrated_reason,
        days.rating_no.tolist(),
        days.entry_key,
        strict=True,
    )
