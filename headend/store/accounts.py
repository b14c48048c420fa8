"""PostgreSQL repository: accounts, occupancy and their balances."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from headend.domain.errors import InvariantViolated
from headend.ports.accounts import AccountRecord, BalanceRecord, OccupiedPoint
from headend.store.connection import Connection
from headend.store.database import load_queries

_QUERIES = load_queries("accounts")


class PostgresAccountRepository:
    """Stores accounts, occupancy and their balances."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, account_no: str) -> AccountRecord | None:
        cursor = await self._connection.execute(_QUERIES["find"], {"account_no": account_no})
        row = await cursor.fetchone()
        return AccountRecord(**row) if row else None

    async def get(self, account_id: int) -> AccountRecord | None:
        cursor = await self._connection.execute(_QUERIES["get"], {"account_id": account_id})
        row = await cursor.fetchone()
        return AccountRecord(**row) if row else None

    async def points(self, account_id: int) -> list[OccupiedPoint]:
        cursor = await self._connection.execute(_QUERIES["points"], {"account_id": account_id})
        return [OccupiedPoint(**row) for row in await cursor.fetchall()]

    async def account_on(self, usage_point_id: int, day: date) -> AccountRecord | None:
        cursor = await self._connection.execute(
            _QUERIES["account_on"], {"usage_point_id": usage_point_id, "day": day}
        )
        row = await cursor.fetchone()
        return AccountRecord(**row) if row else None

    async def balance(self, account_id: int) -> BalanceRecord:
        cursor = await self._connection.execute(_QUERIES["balance"], {"account_id": account_id})
        row = await cursor.fetchone()
        return BalanceRecord(**row) if row else BalanceRecord(account_id, 0, 0, None, None, None)

    async def lock_balances(
        self, account_ids: Sequence[int], *, changed_at: datetime
    ) -> list[BalanceRecord]:
        wanted = {"account_ids": list(account_ids), "changed_at": changed_at}
        await self._connection.execute(_QUERIES["make_balances"], wanted)
        # Uncommitted rows of another transaction made `make_balances` wait, so all rows are seen.
        cursor = await self._connection.execute(_QUERIES["lock_balances"], wanted)
        return [BalanceRecord(**row) for row in await cursor.fetchall()]

    async def add_to_balance(
        self, account_id: int, difference_nano: int, *, changed_at: datetime
    ) -> int:
        cursor = await self._connection.execute(
            _QUERIES["add_to_balance"],
            {
                "account_id": account_id,
                "difference_nano": difference_nano,
                "changed_at": changed_at,
            },
        )
        row = await cursor.fetchone()
        if row is None:
            raise InvariantViolated(f"the balance of account {account_id} was never locked")
        return int(row["balance_nano"])
