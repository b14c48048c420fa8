"""PostgreSQL repository: immutable batches of postings that sum to zero."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from psycopg.types.json import Jsonb

from headend.ports.ledger import BalanceMismatch, EntryRecord, Imbalance, LedgerCursor
from headend.store.connection import Connection
from headend.store.database import load_queries
from prepaid.ledger import LedgerBatch, check_balanced

_QUERIES = load_queries("ledger")
_COPY_TYPES = ["int8", "date", "text", "int8", "text", "int8", "text", "timestamptz"]


class PostgresLedgerRepository:
    """Stores batches; the database itself refuses to change or delete a posting."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def post(
        self,
        batch: LedgerBatch,
        *,
        posted_at: datetime,
        detail: Mapping[str, Any] | None = None,
    ) -> int:
        check_balanced(batch)
        await self._connection.execute(_QUERIES["ensure_partitions"], {"day": batch.business_date})
        row = (
            await self._rows(
                "open_batch",
                kind=batch.kind.value,
                business_date=batch.business_date,
                posted_at=posted_at,
                detail=Jsonb(
                    {"batch_key": batch.batch_key, "reason": batch.reason, **(detail or {})}
                ),
            )
        )[0]
        batch_id = int(row["batch_id"])
        async with (
            self._connection.cursor() as cursor,
            cursor.copy(_QUERIES["copy_entries"]) as copy,
        ):
            copy.set_types(_COPY_TYPES)
            for entry in batch.entries():
                await copy.write_row(
                    (
                        entry.account_key,
                        entry.business_date,
                        entry.entry_key,
                        batch_id,
                        entry.kind.value,
                        entry.amount_nano,
                        entry.corrects,
                        posted_at,
                    )
                )
        return batch_id

    async def page(
        self, account_id: int, *, before: LedgerCursor | None, limit: int
    ) -> list[EntryRecord]:
        return await self._entries(
            "page",
            account_id=account_id,
            before_date=before.business_date if before else None,
            before_key=before.entry_key if before else None,
            limit=limit,
        )

    async def entries_between(self, account_id: int, first: date, last: date) -> list[EntryRecord]:
        return await self._entries("entries_between", account_id=account_id, first=first, last=last)

    async def batch_entries(self, batch_id: int) -> list[EntryRecord]:
        return await self._entries("batch_entries", batch_id=batch_id)

    async def balance_before(self, account_id: int, day: date) -> int:
        rows = await self._rows("balance_before", account_id=account_id, day=day)
        return int(rows[0]["balance_nano"])

    async def imbalance(self) -> Imbalance:
        row = (await self._rows("imbalance"))[0]
        return Imbalance(int(row["worst_batch_nano"]), int(row["total_nano"]))

    async def imbalance_nano(self) -> int:
        return (await self.imbalance()).nano

    async def trial_balance(self) -> dict[int, int]:
        rows = await self._rows("trial_balance")
        return {int(row["account_id"]): int(row["amount_nano"]) for row in rows}

    async def mismatches(self, *, limit: int = 100) -> list[BalanceMismatch]:
        rows = await self._rows("mismatches", limit=limit)
        return [
            BalanceMismatch(row["account_id"], row["balance_nano"], int(row["entries_nano"]))
            for row in rows
        ]

    async def _entries(self, name: str, **parameters: object) -> list[EntryRecord]:
        return [EntryRecord(**row) for row in await self._rows(name, **parameters)]

    async def _rows(self, name: str, **parameters: object) -> list[dict[str, Any]]:
        cursor = await self._connection.execute(_QUERIES[name], parameters)
        return await cursor.fetchall()
