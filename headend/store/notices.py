"""PostgreSQL repository of notice cycles and notices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from headend.domain.errors import InvariantViolated, NotFound
from headend.ports.notices import (
    CycleClose,
    CyclePlan,
    NewNotice,
    Notice,
    NoticeContext,
    NoticeCycle,
    NoticeState,
)
from headend.store.connection import Connection
from headend.store.database import load_queries

_QUERIES = load_queries("notices")
_PRIVATE = ("claimed_until",)


class PostgresNoticeRepository:
    """Stores notice cycles and notices; claims use the database's real clock."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def open_cycle(
        self,
        *,
        account_id: int,
        usage_point_id: int,
        at: datetime,
        refused_since: datetime | None = None,
    ) -> NoticeCycle:
        values = {
            "account_id": account_id,
            "usage_point_id": usage_point_id,
            "at": at,
            "refused_since": refused_since,
        }
        row = await self._one("open_cycle", values)
        row = row or await self._one("open_cycle_of_usage_point", values)
        if row is None or row["account_id"] != account_id:
            raise InvariantViolated(
                f"usage point {usage_point_id} has a notice cycle of another account open"
            )
        return NoticeCycle(**row)

    async def lock_cycle(self, cycle_id: int) -> NoticeCycle:
        row = await self._one("lock_cycle", {"cycle_id": cycle_id})
        if row is None:
            raise NotFound(f"there is no notice cycle {cycle_id}", field="cycle_id")
        return NoticeCycle(**row)

    async def latest_cycle(self, usage_point_id: int, *, account_id: int) -> NoticeCycle | None:
        row = await self._one(
            "latest_cycle", {"usage_point_id": usage_point_id, "account_id": account_id}
        )
        return NoticeCycle(**row) if row else None

    async def close_cycle(self, cycle_id: int, *, at: datetime, reason: CycleClose) -> bool:
        values = {"cycle_id": cycle_id, "at": at, "reason": reason.value}
        if await self._one("close_cycle", values) is None:
            return False
        await self._connection.execute(_QUERIES["cancel_stages"], {"cycle_id": cycle_id})
        return True

    async def fix_plan(self, cycle_id: int, plan: CyclePlan) -> None:
        values = {"cycle_id": cycle_id, **asdict(plan)}
        await self._connection.execute(_QUERIES["fix_plan"], values)
        await self._connection.execute(_QUERIES["fix_plan_of_notices"], values)

    async def set_next_decision(
        self, cycle_id: int, *, next_decision_at: datetime | None, refused_since: datetime | None
    ) -> None:
        await self._connection.execute(
            _QUERIES["set_next_decision"],
            {
                "cycle_id": cycle_id,
                "next_decision_at": next_decision_at,
                "refused_since": refused_since,
            },
        )

    async def due_decisions(self, at: datetime, *, limit: int) -> Sequence[NoticeCycle]:
        rows = await self._all("due_decisions", {"at": at, "limit": limit})
        return [NoticeCycle(**row) for row in rows]

    async def next_decision_at(self) -> datetime | None:
        row = await self._one("next_decision_at", {})
        return row["at"] if row else None

    async def plan(self, notice: NewNotice) -> Notice | None:
        row = await self._one("plan", asdict(notice))
        return _notice_of(row) if row else None

    async def claim_due(self, at: datetime, *, limit: int, lease_s: float) -> Sequence[Notice]:
        rows = await self._all("claim_due", {"at": at, "limit": limit, "lease_s": lease_s})
        return sorted((_notice_of(row) for row in rows), key=_order)

    async def rewrite(
        self, notice_id: int, *, text_zh: str, text_en: str, planned_disconnect_at: datetime | None
    ) -> None:
        await self._connection.execute(
            _QUERIES["rewrite"],
            {
                "notice_id": notice_id,
                "text_zh": text_zh,
                "text_en": text_en,
                "planned_disconnect_at": planned_disconnect_at,
            },
        )

    async def record_delivery(
        self, notice_id: int, *, delivered_at: datetime, evidence: Mapping[str, Any]
    ) -> Notice:
        values = {
            "notice_id": notice_id,
            "delivered_at": delivered_at,
            "evidence": Jsonb(dict(evidence)),
        }
        return await self._record("record_delivery", values)

    async def record_failure(
        self, notice_id: int, *, failure: str, next_attempt_at: datetime | None
    ) -> Notice:
        values = {
            "notice_id": notice_id,
            "failure": failure,
            "next_attempt_at": next_attempt_at,
        }
        return await self._record("record_failure", values)

    async def get(self, notice_id: int) -> Notice:
        row = await self._one("get", {"notice_id": notice_id})
        if row is None:
            raise NotFound(f"there is no notice {notice_id}", field="notice_id")
        return _notice_of(row)

    async def notices_of_cycle(self, cycle_id: int) -> Sequence[Notice]:
        rows = await self._all("notices_of_cycle", {"cycle_id": cycle_id})
        return [_notice_of(row) for row in rows]

    async def notices_of_account(self, account_id: int, *, limit: int = 100) -> Sequence[Notice]:
        rows = await self._all("notices_of_account", {"account_id": account_id, "limit": limit})
        return [_notice_of(row) for row in rows]

    async def next_attempt_at(self) -> datetime | None:
        row = await self._one("next_attempt_at", {})
        return row["at"] if row else None

    async def context(self, *, account_id: int, usage_point_id: int) -> NoticeContext:
        row = await self._one(
            "context", {"account_id": account_id, "usage_point_id": usage_point_id}
        )
        if row is None:
            raise NotFound(
                f"there is no account {account_id} or no usage point {usage_point_id}",
                field="account_id",
            )
        return NoticeContext(**row)

    async def _record(self, query: str, values: dict[str, Any]) -> Notice:
        # No row: another process recorded the delivery first, and its evidence stands.
        row = await self._one(query, values)
        return _notice_of(row) if row else await self.get(values["notice_id"])

    async def _one(self, query: str, values: Mapping[str, Any]) -> dict[str, Any] | None:
        return await (await self._connection.execute(_QUERIES[query], values)).fetchone()

    async def _all(self, query: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        return await (await self._connection.execute(_QUERIES[query], values)).fetchall()


def _order(notice: Notice) -> tuple[datetime, int]:
    return notice.next_attempt_at, notice.notice_id


def _notice_of(row: Mapping[str, Any]) -> Notice:
    values = {name: value for name, value in row.items() if name not in _PRIVATE}
    return Notice(**{**values, "state": NoticeState(row["state"])})
