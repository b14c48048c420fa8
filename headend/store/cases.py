"""PostgreSQL repository of cases."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from headend.domain.errors import InvariantViolated
from headend.ports.cases import CaseRecord
from headend.store.connection import Connection
from headend.store.database import load_queries

_QUERIES = load_queries("cases")


class PostgresCaseRepository:
    """Stores cases; see `headend.ports.cases.CaseRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def open(
        self,
        kind: str,
        subject_key: str,
        *,
        owner: str,
        detail: Mapping[str, Any],
        at: datetime,
        usage_point_id: int | None = None,
        account_id: int | None = None,
        meter_id: int | None = None,
        due_at: datetime | None = None,
    ) -> int:
        cursor = await self._connection.execute(
            _QUERIES["open"],
            {
                "kind": kind,
                "subject_key": subject_key,
                "usage_point_id": usage_point_id,
                "account_id": account_id,
                "meter_id": meter_id,
                "owner": owner,
                "detail": Jsonb(dict(detail)),
                "at": at,
                "due_at": due_at,
            },
        )
        row = await cursor.fetchone()
        if row is None:
            raise InvariantViolated(f"case {kind} {subject_key} was neither found nor opened")
        case_id: int = row["case_id"]
        return case_id

    async def close(
        self, kind: str, subject_key: str, *, closed_by: str, outcome: str, at: datetime
    ) -> bool:
        cursor = await self._connection.execute(
            _QUERIES["close"],
            {
                "kind": kind,
                "subject_key": subject_key,
                "closed_by": closed_by,
                "outcome": outcome,
                "at": at,
            },
        )
        return await cursor.fetchone() is not None

    async def list_open(self, *, usage_point_id: int | None = None) -> list[CaseRecord]:
        cursor = await self._connection.execute(
            _QUERIES["list_open"], {"usage_point_id": usage_point_id}
        )
        return [CaseRecord(**row) for row in await cursor.fetchall()]
