"""PostgreSQL repository of readings: profile days with revisions, registers, events, coverage.

Storing is set-based: rows travel by binary COPY into a temporary table and are merged from there
in a handful of statements, whatever their number.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import numpy as np

from headend.domain.coverage import CoverageCause
from headend.domain.errors import InvariantViolated
from headend.domain.obis import Obis
from headend.domain.reading import ProfileDay
from headend.ports.readings import (
    Gap,
    MeterContact,
    MeterEvent,
    MeterRegister,
    MissingDay,
    StoredDays,
    StoredProfileDay,
)
from headend.store.connection import Connection
from headend.store.database import load_queries
from headend.store.profile_copy import encode_profile_days

_QUERIES = load_queries("readings")


class PostgresReadingRepository:
    """Stores what meters delivered, and keeps coverage true in the same transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def ensure_partitions(self, first: date, last: date) -> None:
        await self._connection.execute(
            _QUERIES["ensure_partitions"], {"first": first, "last": last}
        )

    async def store_profile_days(
        self, days: Sequence[ProfileDay], *, source: str, at: datetime
    ) -> StoredDays:
        if not days:
            return StoredDays(0, 0, 0)
        _refuse_repeated(days)
        parameters = {"source": source, "at": at}
        await self._copy_given(days)
        await self._run("changed_days")
        await self._run("clear_changed_days")
        inserted = await self._run("insert_days", parameters)
        revised = 0
        if inserted < len(days) and await self._run("lock_differing_days") > 0:
            revised = await self._run("find_changed_days")
            await self._run("keep_revisions", parameters)
            await self._run("revise_days", parameters)
        await self._run("cover_days", parameters)
        return StoredDays(inserted, revised, len(days) - inserted - revised)

    async def profile_days(
        self, meter_ids: Sequence[int], channel: Obis, first: date, last: date
    ) -> list[StoredProfileDay]:
        async with self._connection.cursor(binary=True) as cursor:
            await cursor.execute(
                _QUERIES["profile_days"],
                {
                    "meter_ids": list(meter_ids),
                    "channel": str(channel),
                    "first": first,
                    "last": last,
                },
            )
            return [_stored_day(row) async for row in cursor]

    async def store_registers(self, registers: Sequence[MeterRegister], *, source: str) -> int:
        if not registers:
            return 0
        return await self._run(
            "store_registers",
            {
                "meter_ids": [register.meter_id for register in registers],
                "obis": [str(register.reading.obis) for register in registers],
                "measured_at": [register.reading.measured_at for register in registers],
                "values": [register.reading.whole for register in registers],
                "units": [register.reading.unit for register in registers],
                "qualities": [int(register.reading.quality) for register in registers],
                "source": source,
            },
        )

    async def store_events(self, events: Sequence[MeterEvent], *, source: str) -> int:
        if not events:
            return 0
        return await self._run(
            "store_events",
            {
                "meter_ids": [event.meter_id for event in events],
                "occurred_at": [event.occurred_at for event in events],
                "codes": [event.event_code for event in events],
                "details": [json.dumps(dict(event.detail)) for event in events],
                "source": source,
            },
        )

    async def record_contacts(self, contacts: Sequence[MeterContact]) -> None:
        if not contacts:
            return
        await self._run(
            "record_contacts",
            {
                "meter_ids": [contact.meter_id for contact in contacts],
                "at": [contact.at for contact in contacts],
                "failures": [contact.failure for contact in contacts],
            },
        )

    async def record_gaps(self, gaps: Sequence[Gap], *, at: datetime) -> None:
        if not gaps:
            return
        await self._run(
            "record_gaps",
            {
                "meter_ids": [gap.meter_id for gap in gaps],
                "channels": [str(gap.channel) for gap in gaps],
                "days": [gap.day for gap in gaps],
                "expected": [gap.expected for gap in gaps],
                "causes": [gap.cause for gap in gaps],
                "at": at,
            },
        )

    async def missing_days(
        self, meter_ids: Sequence[int], channel: Obis, first: date, last: date
    ) -> list[MissingDay]:
        cursor = await self._connection.execute(
            _QUERIES["missing_days"],
            {"meter_ids": list(meter_ids), "channel": str(channel), "first": first, "last": last},
        )
        return [
            MissingDay(
                meter_id=row["meter_id"],
                day=row["day"],
                present=row["present"],
                cause=CoverageCause(row["cause"]) if row["cause"] else None,
            )
            for row in await cursor.fetchall()
        ]

    async def _copy_given(self, days: Sequence[ProfileDay]) -> None:
        await self._run("given_days")
        await self._run("clear_given_days")
        async with (
            self._connection.cursor() as cursor,
            cursor.copy(_QUERIES["copy_given_days"]) as copy,
        ):
            for block in encode_profile_days(days):
                await copy.write(block)

    async def _run(self, query: str, parameters: dict[str, Any] | None = None) -> int:
        cursor = await self._connection.execute(_QUERIES[query], parameters)
        return cursor.rowcount


def _refuse_repeated(days: Sequence[ProfileDay]) -> None:
    keys = {(day.meter_id, day.channel, day.day) for day in days}
    if len(keys) != len(days):
        raise InvariantViolated("the same meter, channel and day is stored twice in one call")
    for day in days:
        if day.energy_wh.shape[0] == 0:
            raise InvariantViolated(f"meter {day.meter_id} {day.day} has no intervals at all")


def _stored_day(row: dict[str, Any]) -> StoredProfileDay:
    return StoredProfileDay(
        profile=ProfileDay(
            meter_id=row["meter_id"],
            channel=Obis.parse(row["channel"]),
            day=row["day"],
            interval_s=row["interval_s"],
            energy_wh=np.array(row["energy_wh"], dtype=np.int64),
            quality=np.array(row["quality"], dtype=np.int16),
        ),
        revision=row["revision"],
        source=row["source"],
        stored_at=row["stored_at"],
    )
