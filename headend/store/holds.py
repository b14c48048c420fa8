"""PostgreSQL repository of the holds that protect a usage point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from headend.domain.errors import Conflict, NotFound
from headend.ports.holds import Hold, NewHold
from headend.store.connection import Connection
from headend.store.database import load_queries
from rules.reasons import HoldKind

_QUERIES = load_queries("holds")


class PostgresHoldRepository:
    """Stores holds; an ended hold is kept with who ended it and when."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def usage_point_of(self, usage_point_no: str) -> int:
        cursor = await self._connection.execute(
            _QUERIES["find_usage_point"], {"usage_point_no": usage_point_no}
        )
        row = await cursor.fetchone()
        if row is None:
            raise NotFound(f"there is no usage point {usage_point_no!r}", field="usage_point_no")
        return int(row["usage_point_id"])

    async def place(self, hold: NewHold) -> Hold:
        cursor = await self._connection.execute(
            _QUERIES["place"],
            {
                "usage_point_id": hold.usage_point_id,
                "kind": hold.kind.value,
                "valid_from": hold.valid_from,
                "valid_to": hold.valid_to,
                "owner": hold.owner,
                "evidence": hold.evidence,
            },
        )
        row = await cursor.fetchone()
        if row is None:
            raise NotFound(
                f"there is no usage point with id {hold.usage_point_id}", field="usage_point_id"
            )
        return _hold_of(row)

    async def end(self, hold_id: int, *, ended_by: str, at: datetime) -> Hold:
        cursor = await self._connection.execute(
            _QUERIES["end"], {"hold_id": hold_id, "ended_by": ended_by, "at": at}
        )
        row = await cursor.fetchone()
        if row is None:
            hold = await self.get(hold_id)
            raise Conflict(
                f"hold {hold_id} was ended by {hold.ended_by} at {hold.ended_at}", field="hold_id"
            )
        return _hold_of(row)

    async def get(self, hold_id: int) -> Hold:
        cursor = await self._connection.execute(_QUERIES["get"], {"hold_id": hold_id})
        row = await cursor.fetchone()
        if row is None:
            raise NotFound(f"there is no hold {hold_id}", field="hold_id")
        return _hold_of(row)

    async def list_active(
        self, at: datetime, *, usage_point_id: int | None = None, limit: int = 500
    ) -> Sequence[Hold]:
        cursor = await self._connection.execute(
            _QUERIES["list_active"], {"at": at, "usage_point_id": usage_point_id, "limit": limit}
        )
        return [_hold_of(row) for row in await cursor.fetchall()]

    async def list_of_usage_point(self, usage_point_id: int, *, limit: int = 100) -> Sequence[Hold]:
        cursor = await self._connection.execute(
            _QUERIES["list_of_usage_point"], {"usage_point_id": usage_point_id, "limit": limit}
        )
        return [_hold_of(row) for row in await cursor.fetchall()]

    async def accounts_of(self, usage_point_id: int) -> Sequence[int]:
        cursor = await self._connection.execute(
            _QUERIES["accounts_of"], {"usage_point_id": usage_point_id}
        )
        return [int(row["account_id"]) for row in await cursor.fetchall()]


def _hold_of(row: Mapping[str, Any]) -> Hold:
    return Hold(**{**row, "kind": HoldKind(row["kind"])})
