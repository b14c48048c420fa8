"""PostgreSQL repository of audit events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from headend.ports.audit import AuditEvent
from headend.store.connection import Connection
from headend.store.database import load_queries

_QUERIES = load_queries("audit")


class PostgresAuditRepository:
    """Records audit events; the table refuses every change to them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def record(
        self,
        actor: str,
        action: str,
        subject: str,
        *,
        at: datetime,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        await self._connection.execute(
            _QUERIES["record"],
            {
                "at": at,
                "actor": actor,
                "action": action,
                "subject": subject,
                "detail": Jsonb(dict(detail or {})),
            },
        )

    async def about(self, subject: str, *, limit: int = 100) -> list[AuditEvent]:
        cursor = await self._connection.execute(
            _QUERIES["about"], {"subject": subject, "limit": limit}
        )
        return [AuditEvent(**row) for row in await cursor.fetchall()]
