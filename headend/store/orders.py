"""PostgreSQL repository of supply orders: the row is the state machine and the queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from headend.domain.errors import Conflict, NotFound
from headend.domain.supply import (
    FINAL,
    UNSENT,
    EvidenceGrade,
    OrderPurpose,
    OrderState,
    SupplyAction,
    check_transition,
)
from headend.ports.orders import (
    NOT_STOPPED,
    NewOrder,
    OrderChanges,
    OrderEvent,
    OrderFilter,
    OrderRecord,
    StateCount,
    StopSwitch,
    SwitchingCounts,
)
from headend.store.connection import Connection
from headend.store.database import load_queries

_QUERIES = load_queries("orders")
_COLUMNS = tuple(column.name for column in fields(OrderRecord))
_NO_CHANGES = OrderChanges()


class PostgresOrderRepository:
    """Stores orders; see `headend.ports.orders.OrderRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def insert(self, new: NewOrder, *, at: datetime, actor: str) -> OrderRecord:
        try:
            async with self._connection.transaction():
                row = await self._one("insert", {**asdict(new), "at": at})
        except UniqueViolation as error:
            raise Conflict(
                f"usage point {new.usage_point_id} already has an order waiting, or the key "
                f"{new.idempotency_key!r} is taken",
                field="usage_point_id",
                code="order_waiting",
            ) from error
        order = _record(row)
        await self._add_event(order.order_id, None, OrderState.REQUESTED, at, actor, {})
        return order

    async def get(self, order_id: int) -> OrderRecord:
        return await self._existing("get", order_id)

    async def lock(self, order_id: int) -> OrderRecord:
        return await self._existing("lock", order_id)

    async def find_by_key(self, idempotency_key: str) -> OrderRecord | None:
        row = await self._maybe("find_by_key", {"idempotency_key": idempotency_key})
        return _record(row) if row else None

    async def lock_open(self, usage_point_id: int) -> list[OrderRecord]:
        return await self._many(
            "lock_open", {"usage_point_id": usage_point_id, "final": sorted(FINAL)}
        )

    async def has_unsent(self, usage_point_id: int) -> bool:
        row = await self._one(
            "has_unsent", {"usage_point_id": usage_point_id, "unsent": sorted(UNSENT)}
        )
        return bool(row["waiting"])

    async def move(
        self,
        order: OrderRecord,
        to: OrderState,
        *,
        at: datetime,
        actor: str,
        detail: Mapping[str, Any] | None = None,
        changes: OrderChanges | None = None,
    ) -> OrderRecord:
        check_transition(order.state, to)
        changes = changes or _NO_CHANGES
        holder, lease_s = changes.lease or (None, None)
        parameters = {
            "order_id": order.order_id,
            "from_state": order.state,
            "to_state": to,
            "fence": order.fence,
            "final": to in FINAL,
            "at": at,
            "next_attempt_at": changes.next_attempt_at,
            "attempts": changes.attempts,
            "refusal_codes": _texts(changes.refusal_codes),
            "evidence_grade": changes.evidence_grade,
            "evidence": None if changes.evidence is None else Jsonb(dict(changes.evidence)),
            "meter_id": changes.meter_id,
            "link_id": changes.link_id,
            "keep_lease": changes.keep_lease,
            "lease_holder": holder,
            "lease_s": lease_s,
        }
        row = await self._maybe("move", parameters)
        if row is None:
            raise _moved_on(order)
        await self._add_event(order.order_id, order.state, to, at, actor, detail or {})
        await self._connection.execute(
            _QUERIES["notify"], {"payload": f"{order.order_id}:{to}:{order.link_id}"}
        )
        return _record(row)

    async def await_read_back(
        self, order: OrderRecord, *, next_attempt_at: datetime, attempts: int
    ) -> OrderRecord:
        row = await self._maybe(
            "await_read_back",
            {
                "order_id": order.order_id,
                "fence": order.fence,
                "next_attempt_at": next_attempt_at,
                "attempts": attempts,
            },
        )
        if row is None:
            raise _moved_on(order)
        return _record(row)

    async def with_field_and_heard(self, *, limit: int) -> list[int]:
        cursor = await self._connection.execute(_QUERIES["with_field_and_heard"], {"limit": limit})
        return [row["order_id"] for row in await cursor.fetchall()]

    async def hasten(self, meter_id: int, *, at: datetime) -> int:
        cursor = await self._connection.execute(
            _QUERIES["hasten"], {"meter_id": meter_id, "at": at}
        )
        hastened = await cursor.fetchall()
        for row in hastened:
            payload = f"{row['order_id']}:{row['state']}:{row['link_id']}"
            await self._connection.execute(_QUERIES["notify"], {"payload": payload})
        return len(hastened)

    async def claim_due(
        self, *, at: datetime, holder: str, lease_s: float, limit: int
    ) -> list[OrderRecord]:
        claimed = await self._many(
            "claim_due", {"at": at, "holder": holder, "lease_s": lease_s, "limit": limit}
        )
        return sorted(claimed, key=lambda order: (order.priority, order.order_id))

    async def holders(self) -> set[str]:
        cursor = await self._connection.execute(_QUERIES["holders"])
        return {row["lease_holder"] for row in await cursor.fetchall()}

    async def release_held(self, holders: Sequence[str]) -> int:
        cursor = await self._connection.execute(
            _QUERIES["release_held"], {"holders": list(holders)}
        )
        return cursor.rowcount

    async def next_due(self) -> datetime | None:
        due: datetime | None = (await self._one("next_due", {}))["due"]
        return due

    async def count_in_flight(self, at: datetime) -> int:
        return int((await self._one("count_in_flight", {"at": at}))["orders"])

    async def events(self, order_id: int) -> list[OrderEvent]:
        cursor = await self._connection.execute(_QUERIES["events"], {"order_id": order_id})
        return [
            OrderEvent(
                event_no=row["event_no"],
                from_state=OrderState(row["from_state"]) if row["from_state"] else None,
                to_state=OrderState(row["to_state"]),
                at=row["at"],
                real_at=row["real_at"],
                actor=row["actor"],
                detail=row["detail"],
            )
            for row in await cursor.fetchall()
        ]

    async def search(self, order_filter: OrderFilter) -> list[OrderRecord]:
        return await self._many(
            "search", {**asdict(order_filter), "states": _texts(order_filter.states)}
        )

    async def count_by_state(self) -> list[StateCount]:
        cursor = await self._connection.execute(_QUERIES["count_by_state"])
        return [
            StateCount(SupplyAction(row["action"]), OrderState(row["state"]), row["orders"])
            for row in await cursor.fetchall()
        ]

    async def switching_counts(
        self, *, since: datetime, caller: str, usage_point_id: int
    ) -> SwitchingCounts:
        await self._connection.execute(_QUERIES["governor_lock"])
        row = await self._one(
            "switching_counts",
            {"since": since, "caller": caller, "usage_point_id": usage_point_id},
        )
        return SwitchingCounts(**row)

    async def add_release(self, order_id: int, *, released_by: str, at: datetime) -> list[str]:
        await self._connection.execute(
            _QUERIES["add_release"], {"order_id": order_id, "released_by": released_by, "at": at}
        )
        cursor = await self._connection.execute(_QUERIES["releases"], {"order_id": order_id})
        return [row["released_by"] for row in await cursor.fetchall()]

    async def stop_switch(self) -> StopSwitch:
        row = await self._maybe("stop_switch", {})
        return StopSwitch(**row) if row else NOT_STOPPED

    async def set_stop_switch(
        self, *, stopped: bool, changed_by: str, reason: str, at: datetime
    ) -> None:
        await self._connection.execute(
            _QUERIES["set_stop_switch"],
            {"stopped": stopped, "changed_by": changed_by, "reason": reason, "at": at},
        )

    async def _add_event(
        self,
        order_id: int,
        from_state: OrderState | None,
        to_state: OrderState,
        at: datetime,
        actor: str,
        detail: Mapping[str, Any],
    ) -> None:
        await self._connection.execute(
            _QUERIES["add_event"],
            {
                "order_id": order_id,
                "from_state": from_state,
                "to_state": to_state,
                "at": at,
                "actor": actor,
                "detail": Jsonb(dict(detail)),
            },
        )

    async def _existing(self, query: str, order_id: int) -> OrderRecord:
        row = await self._maybe(query, {"order_id": order_id})
        if row is None:
            raise NotFound(f"there is no supply order {order_id}", field="order_id")
        return _record(row)

    async def _many(self, query: str, parameters: Mapping[str, Any]) -> list[OrderRecord]:
        cursor = await self._connection.execute(_QUERIES[query], parameters)
        return [_record(row) for row in await cursor.fetchall()]

    async def _maybe(self, query: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        cursor = await self._connection.execute(_QUERIES[query], parameters)
        return await cursor.fetchone()

    async def _one(self, query: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        row = await self._maybe(query, parameters)
        if row is None:
            raise NotFound(f"query {query} found nothing", field=query)
        return row


def _moved_on(order: OrderRecord) -> Conflict:
    return Conflict(
        f"order {order.order_id} is no longer {order.state} under fence {order.fence}",
        field="order_id",
        code="order_moved_on",
    )


def _texts(values: Any) -> list[str] | None:
    return None if values is None else [str(value) for value in values]


def _record(row: Mapping[str, Any]) -> OrderRecord:
    values = {name: row[name] for name in _COLUMNS}
    values["action"] = SupplyAction(row["action"])
    values["purpose"] = OrderPurpose(row["purpose"])
    values["state"] = OrderState(row["state"])
    values["refusal_codes"] = tuple(row["refusal_codes"])
    values["evidence_grade"] = EvidenceGrade(row["evidence_grade"])
    return OrderRecord(**values)
