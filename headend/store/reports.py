"""PostgreSQL repository of reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from headend.domain.errors import InvariantViolated
from headend.domain.supply import OrderState, SupplyAction, SupplyState
from headend.ports.reports import (
    AccountProgress,
    CompletedSwitching,
    PaymentTime,
    ProtocolCount,
    StateTotals,
)
from headend.store.connection import Connection
from headend.store.database import load_queries

_QUERIES = load_queries("reports")


class PostgresReportRepository:
    """Counts what is stored; see `headend.ports.reports.ReportRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def progress(
        self, account_nos: Sequence[str], *, since: datetime
    ) -> list[AccountProgress]:
        rows = await self._rows("progress", {"account_nos": list(account_nos), "since": since})
        return [_progress(row) for row in rows]

    async def completed_switchings(self, *, since: datetime) -> list[CompletedSwitching]:
        rows = await self._rows("completed_switchings", {"since": since})
        return [
            CompletedSwitching(**{**row, "action": SupplyAction(row["action"])}) for row in rows
        ]

    async def payments(self, *, since: datetime) -> list[PaymentTime]:
        return [PaymentTime(**row) for row in await self._rows("payments", {"since": since})]

    async def protocols(self) -> list[ProtocolCount]:
        return [ProtocolCount(**row) for row in await self._rows("protocols", {})]

    async def notices_delivered(self, *, since: datetime) -> int:
        (row,) = await self._rows("notices_delivered", {"since": since})
        count: int = row["notices"]
        return count

    async def totals(self) -> StateTotals:
        rows = await self._rows("totals", {})
        if not rows:
            raise InvariantViolated("an aggregate without a row")
        return StateTotals(**rows[0])

    async def _rows(self, query: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        cursor = await self._connection.execute(_QUERIES[query], parameters)
        return await cursor.fetchall()


def _progress(row: Mapping[str, Any]) -> AccountProgress:
    values = dict(row)
    for name in ("restraints", "notices", "disconnect_codes", "reconnect_codes", "decision_codes"):
        values[name] = tuple(row[name])
    for name in ("disconnect_state", "reconnect_state"):
        values[name] = OrderState(row[name]) if row[name] else None
    values["supply_state"] = SupplyState(row["supply_state"])
    return AccountProgress(**values)
