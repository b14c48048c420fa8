"""PostgreSQL repository: channels, and payments known by (channel, channel reference)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from headend.domain.errors import InvariantViolated
from headend.ports.payments import ChannelRecord, NewPayment, PaymentRecord, PaymentState
from headend.store.connection import Connection
from headend.store.database import load_queries

_QUERIES = load_queries("payments")


class PostgresPaymentRepository:
    """Stores channels and payments; the reference is unique per channel in the database."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def channel(self, channel_code: str) -> ChannelRecord | None:
        cursor = await self._connection.execute(_QUERIES["channel"], {"channel_code": channel_code})
        row = await cursor.fetchone()
        return ChannelRecord(**row) if row else None

    async def find(self, channel_code: str, channel_reference: str) -> PaymentRecord | None:
        found = await self._payments(
            "find", channel_code=channel_code, channel_reference=channel_reference
        )
        return found[0] if found else None

    async def get(self, payment_id: int) -> PaymentRecord | None:
        found = await self._payments("get", payment_id=payment_id)
        return found[0] if found else None

    async def add_pending(self, payment: NewPayment) -> int | None:
        cursor = await self._connection.execute(
            _QUERIES["add_pending"],
            {
                "channel_code": payment.channel_code,
                "channel_reference": payment.channel_reference,
                "account_id": payment.account_id,
                "amount_nano": payment.amount_nano,
                "paid_at": payment.paid_at,
            },
        )
        row = await cursor.fetchone()
        return int(row["payment_id"]) if row else None

    async def mark_posted(
        self,
        payment_id: int,
        *,
        batch_id: int,
        posted_at: datetime,
        posted_real_at: datetime,
        balance_after_nano: int,
    ) -> None:
        await self._move(
            "mark_posted",
            PaymentState.PENDING,
            payment_id=payment_id,
            batch_id=batch_id,
            posted_at=posted_at,
            posted_real_at=posted_real_at,
            balance_after_nano=balance_after_nano,
        )

    async def mark_reversed(self, payment_id: int, *, reversal_batch_id: int) -> None:
        await self._move(
            "mark_reversed",
            PaymentState.POSTED,
            payment_id=payment_id,
            reversal_batch_id=reversal_batch_id,
        )

    async def mark_failed(self, payment_id: int) -> None:
        await self._move("mark_failed", PaymentState.PENDING, payment_id=payment_id)

    async def last(self, account_id: int, *, limit: int) -> list[PaymentRecord]:
        return await self._payments("last", account_id=account_id, limit=limit)

    async def pending(self, account_id: int) -> list[PaymentRecord]:
        return await self._payments("pending", account_id=account_id)

    async def _move(self, name: str, expected: PaymentState, **parameters: object) -> None:
        cursor = await self._connection.execute(_QUERIES[name], parameters)
        if cursor.rowcount != 1:
            raise InvariantViolated(
                f"payment {parameters['payment_id']} is not {expected}: {name} changed nothing"
            )

    async def _payments(self, name: str, **parameters: object) -> list[PaymentRecord]:
        cursor = await self._connection.execute(_QUERIES[name], parameters)
        rows: list[dict[str, Any]] = await cursor.fetchall()
        return [PaymentRecord(**{**row, "state": PaymentState(row["state"])}) for row in rows]
