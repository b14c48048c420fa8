"""PostgreSQL repository of the registry: bulk insertion by name, and how each meter is reached."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import sql

from headend.domain.errors import NotFound
from headend.domain.reading import MeterIdentity
from headend.ports.registry import (
    InstalledDevice,
    InstalledMeter,
    MeterAccessRecord,
    NewAccount,
    NewArea,
    NewConcentrator,
    NewInstallation,
    NewMeter,
    NewOccupancy,
    NewTransformerArea,
    NewUsagePoint,
    RowProblem,
    StoredRows,
    WrappedKey,
    WrappedKeys,
)
from headend.store.connection import Connection
from headend.store.database import load_queries

_QUERIES = load_queries("registry")


class PostgresRegistryRepository:
    """Stores places, devices, customers and links."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add_areas(self, rows: Sequence[NewArea]) -> StoredRows:
        return await self._add("areas", rows)

    async def add_transformer_areas(self, rows: Sequence[NewTransformerArea]) -> StoredRows:
        return await self._add("transformer_areas", rows)

    async def add_usage_points(self, rows: Sequence[NewUsagePoint]) -> StoredRows:
        return await self._add("usage_points", rows)

    async def add_concentrators(self, rows: Sequence[NewConcentrator]) -> StoredRows:
        return await self._add("concentrators", rows)

    async def add_meters(self, rows: Sequence[NewMeter]) -> StoredRows:
        return await self._add("meters", rows)

    async def add_installations(self, rows: Sequence[NewInstallation]) -> StoredRows:
        return await self._add("installations", rows)

    async def add_accounts(self, rows: Sequence[NewAccount]) -> StoredRows:
        return await self._add("accounts", rows)

    async def add_occupancies(self, rows: Sequence[NewOccupancy]) -> StoredRows:
        return await self._add("occupancies", rows)

    async def add_meter_keys(self, rows: Sequence[WrappedKey]) -> StoredRows:
        return await self._add("meter_keys", rows)

    async def meter_access(self, meter_id: int) -> MeterAccessRecord:
        cursor = await self._connection.execute(_QUERIES["access"], {"meter_id": meter_id})
        row = await cursor.fetchone()
        if row is None:
            raise NotFound(f"there is no meter {meter_id}", field="meter_id")
        keys = await self._keys([meter_id])
        return _access(row, keys.get(meter_id, {}))

    async def access_by_title(self, system_title: bytes) -> MeterAccessRecord | None:
        cursor = await self._connection.execute(
            _QUERIES["access_by_title"], {"system_title": system_title}
        )
        row = await cursor.fetchone()
        if row is None:
            return None
        keys = await self._keys([row["meter_id"]])
        return _access(row, keys.get(row["meter_id"], {}))

    async def find_installed(self, identity: MeterIdentity, at: datetime) -> InstalledDevice | None:
        cursor = await self._connection.execute(
            _QUERIES["find_installed"],
            {"name": identity.logical_device_name, "serial": identity.serial, "at": at},
        )
        row = await cursor.fetchone()
        return None if row is None else InstalledDevice(row["meter_no"], row["usage_point_no"])

    async def installed_meter(self, meter_id: int, at: datetime) -> InstalledMeter | None:
        found = await self._installed("installed_meter", {"meter_id": meter_id, "at": at})
        return found[0] if found else None

    async def concentrator_meters(
        self, concentrator_id: int, since: datetime
    ) -> list[InstalledMeter]:
        return await self._installed(
            "concentrator_meters", {"concentrator_id": concentrator_id, "since": since}
        )

    async def concentrator_ids(self) -> list[int]:
        cursor = await self._connection.execute(_QUERIES["concentrator_ids"])
        return [row["concentrator_id"] for row in await cursor.fetchall()]

    async def meter_ids(self, meter_nos: Collection[str]) -> dict[str, int]:
        cursor = await self._connection.execute(
            _QUERIES["meter_ids"], {"meter_nos": list(meter_nos)}
        )
        return {row["meter_no"]: row["meter_id"] for row in await cursor.fetchall()}

    async def _installed(self, query: str, parameters: Mapping[str, Any]) -> list[InstalledMeter]:
        cursor = await self._connection.execute(_QUERIES[query], parameters)
        rows = await cursor.fetchall()
        keys = await self._keys([row["meter_id"] for row in rows])
        return [
            InstalledMeter(
                access=_access(row, keys.get(row["meter_id"], {})),
                concentrator_id=row["concentrator_id"],
                usage_point_id=row["usage_point_id"],
                account_id=row["account_id"],
                time_zone=row["time_zone"],
                multiplier=row["multiplier"],
                maximum_current_a=row["maximum_current_a"],
                served_from=row["valid_from"],
                served_to=row["valid_to"],
                failures_in_row=row["failures_in_row"],
            )
            for row in rows
        ]

    async def _keys(self, meter_ids: Sequence[int]) -> dict[int, dict[str, WrappedKeys]]:
        cursor = await self._connection.execute(_QUERIES["keys"], {"meter_ids": list(meter_ids)})
        by_kind: dict[tuple[int, str, str], dict[str, bytes]] = defaultdict(dict)
        for row in await cursor.fetchall():
            place = by_kind[row["meter_id"], row["key_id"], row["kek_id"]]
            place[row["kind"]] = bytes(row["wrapped_key"])
        keys: dict[int, dict[str, WrappedKeys]] = defaultdict(dict)
        for (meter_id, key_id, kek_id), wrapped in by_kind.items():
            keys[meter_id][key_id] = WrappedKeys(kek_id, wrapped)
        return keys

    async def _add(self, noun: str, rows: Sequence[Any]) -> StoredRows:
        """Insert dataclass rows whose fields are the columns of the noun's temporary table."""
        if not rows:
            return StoredRows(0, 0)
        await self._copy_given(noun, rows)
        unresolved = await self._report(f"{noun}_unresolved", "{value!r} is not known")
        bad = {"bad": [problem.row for problem in unresolved]}
        if f"{noun}_prepare" in _QUERIES:
            await self._connection.execute(_QUERIES[f"{noun}_prepare"])
        cursor = await self._connection.execute(_QUERIES[f"{noun}_insert"], bad)
        inserted = cursor.rowcount
        if f"{noun}_finish" in _QUERIES:
            await self._connection.execute(_QUERIES[f"{noun}_finish"], bad)
        known = set(bad["bad"])
        clashing = await self._report(f"{noun}_clashing", "{value!r} is taken by another row")
        problems = (*unresolved, *(clash for clash in clashing if clash.row not in known))
        return StoredRows(
            inserted=inserted,
            present=len(rows) - inserted - len({problem.row for problem in problems}),
            problems=tuple(sorted(problems, key=lambda problem: problem.row)),
        )

    async def _copy_given(self, noun: str, rows: Sequence[Any]) -> None:
        table = sql.Identifier(f"given_{noun}")
        await self._connection.execute(_QUERIES[f"{noun}_given"])
        await self._connection.execute(sql.SQL("truncate {}").format(table))
        names = [column.name for column in dataclasses.fields(rows[0])]
        columns = sql.SQL(", ").join(map(sql.Identifier, ("row_no", *names)))
        statement = sql.SQL("copy {} ({}) from stdin").format(table, columns)
        async with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            for number, row in enumerate(rows):
                await copy.write_row((number, *(getattr(row, name) for name in names)))

    async def _report(self, query: str, message: str) -> list[RowProblem]:
        cursor = await self._connection.execute(_QUERIES[query])
        return [
            RowProblem(row["row_no"], row["field"], message.format(value=row["value"]))
            for row in await cursor.fetchall()
        ]


def _access(row: Mapping[str, Any], keys: Mapping[str, WrappedKeys]) -> MeterAccessRecord:
    return MeterAccessRecord(
        meter_id=row["meter_id"],
        meter_no=row["meter_no"],
        link_id=row["link_id"],
        link_address=row["link_address"],
        model=row["model"],
        client_address=row["client_address"],
        authentication=row["authentication"],
        identity=MeterIdentity(row["logical_device_name"], row["serial"]),
        keys=keys,
    )
