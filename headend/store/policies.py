"""PostgreSQL repository of policy versions, the facts of accounts, and decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

from psycopg.rows import tuple_row
from psycopg.types.json import Jsonb

from headend.domain.errors import InvariantViolated, NotFound
from headend.ports.policies import (
    FACT_NAMES,
    DecisionRecord,
    FactBatch,
    NewDecision,
    PolicyVersion,
)
from headend.store.connection import Connection
from headend.store.database import load_queries

_QUERIES = load_queries("policies")


class PostgresPolicyRepository:
    """Stores policy versions and decisions; facts come in columns by one statement."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def effective_version(self, policy_code: str, at: datetime) -> int | None:
        row = await self._one("effective_version", {"policy_code": policy_code, "at": at})
        return int(row["version"]) if row else None

    async def get_version(self, policy_code: str, version: int) -> PolicyVersion:
        row = await self._one("get_version", {"policy_code": policy_code, "version": version})
        if row is None:
            raise NotFound(f"policy {policy_code!r} has no version {version}", field="version")
        return PolicyVersion(**row)

    async def list_versions(self, policy_code: str) -> Sequence[PolicyVersion]:
        rows = await self._all("list_versions", {"policy_code": policy_code})
        return [PolicyVersion(**row) for row in rows]

    async def publish(
        self,
        policy_code: str,
        document: Mapping[str, Any],
        *,
        published_by: str,
        approved_by: str,
        effective_from: datetime,
    ) -> PolicyVersion:
        await self._connection.execute(_QUERIES["lock_policy"], {"policy_code": policy_code})
        row = await self._one(
            "publish",
            {
                "policy_code": policy_code,
                "document": Jsonb(dict(document)),
                "published_by": published_by,
                "approved_by": approved_by,
                "effective_from": effective_from,
            },
        )
        if row is None:
            raise InvariantViolated(f"policy {policy_code!r} was not stored")
        return PolicyVersion(**row)

    async def ensure_first(
        self,
        policy_code: str,
        document: Mapping[str, Any],
        *,
        published_by: str,
        approved_by: str,
        effective_from: datetime,
    ) -> bool:
        row = await self._one(
            "ensure_first",
            {
                "policy_code": policy_code,
                "document": Jsonb(dict(document)),
                "published_by": published_by,
                "approved_by": approved_by,
                "effective_from": effective_from,
            },
        )
        return row is not None

    async def lock_accounts(self, account_ids: Sequence[int]) -> None:
        values = {"account_ids": list(account_ids)}
        await self._connection.execute(_QUERIES["lock_balances"], values)
        await self._connection.execute(_QUERIES["lock_cycles"], values)
        points = await (await self._connection.execute(_QUERIES["lock_points"], values)).fetchall()
        await self._connection.execute(
            _QUERIES["lock_disconnects"],
            {"usage_point_ids": [row["usage_point_id"] for row in points]},
        )

    async def facts_of_accounts(
        self, account_ids: Sequence[int], *, at: datetime, business_date: date
    ) -> FactBatch:
        async with self._connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(
                _QUERIES["facts"],
                {"account_ids": list(account_ids), "at": at, "business_date": business_date},
            )
            rows = await cursor.fetchall()
        columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(FACT_NAMES)
        return FactBatch(dict(zip(FACT_NAMES, columns, strict=True)))

    async def accounts_of_shard(
        self, *, shard: int, shards: int, after_account_id: int, limit: int
    ) -> Sequence[int]:
        rows = await self._all(
            "accounts_of_shard",
            {
                "shard": shard,
                "shards": shards,
                "after_account_id": after_account_id,
                "limit": limit,
            },
        )
        return [int(row["account_id"]) for row in rows]

    async def record_decision(self, decision: NewDecision) -> DecisionRecord:
        row = await self._one(
            "record_decision",
            {
                **asdict(decision),
                "facts": Jsonb(dict(decision.facts)),
                "refusal_codes": list(decision.refusal_codes),
            },
        )
        if row is None:
            raise InvariantViolated(f"the decision on account {decision.account_id} was not stored")
        return _decision_of(row)

    async def record_refusals(
        self, decision_id: int, *, business_date: date, refusal_codes: Sequence[str]
    ) -> None:
        await self._connection.execute(
            _QUERIES["record_refusals"],
            {
                "decision_id": decision_id,
                "business_date": business_date,
                "refusal_codes": list(refusal_codes),
            },
        )

    async def decided_on(
        self, account_ids: Sequence[int], *, business_date: date, trigger: str
    ) -> set[int]:
        values = {
            "account_ids": list(account_ids),
            "business_date": business_date,
            "trigger": trigger,
        }
        return {int(row["account_id"]) for row in await self._all("decided_on", values)}

    async def get_decision(self, decision_id: int) -> DecisionRecord:
        row = await self._one("get_decision", {"decision_id": decision_id})
        if row is None:
            raise NotFound(f"there is no decision {decision_id}", field="decision_id")
        return _decision_of(row)

    async def decisions_of_account(
        self, account_id: int, *, limit: int = 100
    ) -> Sequence[DecisionRecord]:
        rows = await self._all("decisions_of_account", {"account_id": account_id, "limit": limit})
        return [_decision_of(row) for row in rows]

    async def _one(self, query: str, values: Mapping[str, Any]) -> dict[str, Any] | None:
        return await (await self._connection.execute(_QUERIES[query], values)).fetchone()

    async def _all(self, query: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        return await (await self._connection.execute(_QUERIES[query], values)).fetchall()


def _decision_of(row: Mapping[str, Any]) -> DecisionRecord:
    return DecisionRecord(**{**row, "refusal_codes": tuple(row["refusal_codes"])})
