"""PostgreSQL repository of business runs, their leases, and the business clock's offset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from psycopg.types.json import Jsonb

from headend.domain.errors import InvariantViolated
from headend.ports.runs import (
    BusinessRun,
    ClockSetting,
    Dependency,
    PlannedRun,
    RunKey,
    RunKind,
    RunState,
)
from headend.store.connection import Connection
from headend.store.database import load_queries

_QUERIES = load_queries("runs")


class PostgresRunRepository:
    """Stores what was due and done, and the business clock."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def plan(self, runs: Sequence[PlannedRun]) -> int:
        return await self._change(
            "plan",
            {
                "kinds": [run.key.kind for run in runs],
                "dates": [run.key.business_date for run in runs],
                "scopes": [run.key.scope for run in runs],
                "due": [run.due_at for run in runs],
            },
        )

    async def last_planned(self, kind: RunKind) -> date | None:
        found: date | None = (await self._one("last_planned", {"kind": kind}))["business_date"]
        return found

    async def last_done(self, kind: RunKind) -> date | None:
        found: date | None = (await self._one("last_done", {"kind": kind}))["business_date"]
        return found

    async def claim_due(
        self,
        now: datetime,
        *,
        dependencies: Sequence[Dependency],
        holder: str,
        lease_s: float,
        limit: int,
    ) -> list[BusinessRun]:
        cursor = await self._connection.execute(
            _QUERIES["claim_due"],
            {
                "now": now,
                "dependents": [dependency.kind for dependency in dependencies],
                "needs": [dependency.needs for dependency in dependencies],
                "give_up_s": [dependency.give_up_s for dependency in dependencies],
                "later": [dependency.later_dates for dependency in dependencies],
                "holder": holder,
                "lease_s": lease_s,
                "limit": limit,
            },
        )
        found = [_run(row) for row in await cursor.fetchall()]
        return sorted(found, key=lambda run: (run.due_at, run.key))

    async def start(
        self, key: RunKey, *, at: datetime, holder: str, lease_s: float
    ) -> BusinessRun | None:
        cursor = await self._connection.execute(
            _QUERIES["start"], {**_place(key), "at": at, "holder": holder, "lease_s": lease_s}
        )
        row = await cursor.fetchone()
        return _run(row) if row else None

    async def extend_lease(self, key: RunKey, *, holder: str, lease_s: float) -> bool:
        return await self._owned("extend_lease", key, holder=holder, lease_s=lease_s)

    async def finish(
        self, key: RunKey, *, holder: str, at: datetime, detail: Mapping[str, Any]
    ) -> bool:
        return await self._owned("finish", key, holder=holder, at=at, detail=Jsonb(dict(detail)))

    async def put_back(
        self, key: RunKey, *, holder: str, detail: Mapping[str, Any], delay_s: float
    ) -> bool:
        return await self._owned(
            "put_back", key, holder=holder, detail=Jsonb(dict(detail)), delay_s=delay_s
        )

    async def fail(
        self, key: RunKey, *, holder: str, at: datetime, detail: Mapping[str, Any]
    ) -> bool:
        return await self._owned("fail", key, holder=holder, at=at, detail=Jsonb(dict(detail)))

    async def holders(self) -> set[str]:
        cursor = await self._connection.execute(_QUERIES["holders"])
        return {row["lease_holder"] for row in await cursor.fetchall()}

    async def release_held(self, holders: Sequence[str]) -> int:
        return await self._change("release_held", {"holders": list(holders)})

    async def get(self, key: RunKey) -> BusinessRun | None:
        cursor = await self._connection.execute(_QUERIES["get"], _place(key))
        row = await cursor.fetchone()
        return _run(row) if row else None

    async def runs_of(self, business_date: date) -> list[BusinessRun]:
        cursor = await self._connection.execute(
            _QUERIES["runs_of"], {"business_date": business_date}
        )
        return [_run(row) for row in await cursor.fetchall()]

    async def next_due(self) -> datetime | None:
        due_at: datetime | None = (await self._one("next_due"))["due_at"]
        return due_at

    async def busy(self, now: datetime) -> bool:
        return bool((await self._one("busy", {"now": now}))["busy"])

    async def clock(self) -> ClockSetting:
        cursor = await self._connection.execute(_QUERIES["clock"])
        row = await cursor.fetchone()
        return _clock(row) if row else ClockSetting(demo=False, offset_s=0.0)

    async def set_clock_mode(self, *, demo: bool) -> ClockSetting:
        return _clock(await self._one("set_clock_mode", {"mode": "demo" if demo else "real"}))

    async def advance_clock(self, offset_s: float) -> ClockSetting:
        cursor = await self._connection.execute(_QUERIES["advance_clock"], {"offset_s": offset_s})
        row = await cursor.fetchone()
        if row is None:
            raise InvariantViolated("business time is real time here: it cannot be moved")
        return _clock(row)

    async def _one(self, query: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        cursor = await self._connection.execute(_QUERIES[query], parameters)
        row = await cursor.fetchone()
        if row is None:
            raise InvariantViolated(f"the query {query} always returns a row, but did not")
        return row

    async def _change(self, query: str, parameters: dict[str, Any]) -> int:
        cursor = await self._connection.execute(_QUERIES[query], parameters)
        return cursor.rowcount

    async def _owned(self, query: str, key: RunKey, **parameters: Any) -> bool:
        return await self._change(query, {**_place(key), **parameters}) == 1


def _place(key: RunKey) -> dict[str, Any]:
    return {"kind": key.kind, "business_date": key.business_date, "scope": key.scope}


def _run(row: Mapping[str, Any]) -> BusinessRun:
    return BusinessRun(
        key=RunKey(RunKind(row["kind"]), row["business_date"], row["scope"]),
        state=RunState(row["state"]),
        due_at=row["due_at"],
        attempts=row["attempts"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        detail=row["detail"],
    )


def _clock(row: Mapping[str, Any]) -> ClockSetting:
    return ClockSetting(demo=row["mode"] == "demo", offset_s=row["offset_s"])
