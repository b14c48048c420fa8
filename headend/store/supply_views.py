"""PostgreSQL repository of the read views of supply."""

from __future__ import annotations

from collections.abc import Collection

from headend.domain.errors import NotFound
from headend.domain.supply import OrderState, SupplyAction
from headend.ports.supply_views import Numbers, PaidOrder, UsagePointEntry
from headend.store.connection import Connection
from headend.store.database import load_queries

_QUERIES = load_queries("supply_views")


class PostgresSupplyViewRepository:
    """Finds things by their public numbers, and the numbers of things."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def usage_point(self, usage_point_no: str) -> UsagePointEntry:
        cursor = await self._connection.execute(
            _QUERIES["usage_point"], {"usage_point_no": usage_point_no}
        )
        row = await cursor.fetchone()
        if row is None:
            raise NotFound(f"there is no usage point {usage_point_no!r}", field="usage_point_no")
        return UsagePointEntry(**row)

    async def numbers(
        self,
        *,
        usage_points: Collection[int] = (),
        accounts: Collection[int] = (),
        meters: Collection[int] = (),
    ) -> Numbers:
        cursor = await self._connection.execute(
            _QUERIES["numbers"],
            {
                "usage_points": list(usage_points),
                "accounts": list(accounts),
                "meters": list(meters),
            },
        )
        found: dict[str, dict[int, str]] = {"usage_point": {}, "account": {}, "meter": {}}
        for row in await cursor.fetchall():
            found[row["kind"]][row["id"]] = row["number"]
        return Numbers(found["usage_point"], found["account"], found["meter"])

    async def orders_of_payment(self, payment_id: int, *, account_id: int) -> list[PaidOrder]:
        cursor = await self._connection.execute(
            _QUERIES["orders_of_payment"], {"payment_id": payment_id, "account_id": account_id}
        )
        return [
            PaidOrder(
                order_id=row["order_id"],
                usage_point_no=row["usage_point_no"],
                action=SupplyAction(row["action"]),
                state=OrderState(row["state"]),
                refusal_codes=tuple(row["refusal_codes"]),
            )
            for row in await cursor.fetchall()
        ]
