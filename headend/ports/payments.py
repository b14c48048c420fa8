"""Port of the payment repository: channels, and payments known by (channel, channel reference)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class PaymentState(StrEnum):
    """Where a payment stands. A pending one is announced, not yet money."""

    PENDING = "pending"
    POSTED = "posted"
    FAILED = "failed"
    REVERSED = "reversed"


@dataclass(frozen=True, slots=True)
class ChannelRecord:
    """A way to pay, with its limits; all of it is data of the deployment."""

    channel_code: str
    name: str
    minimum_amount_nano: int
    maximum_amount_nano: int
    pending_limit_s: int
    fault_since: datetime | None
    cash: bool
    clearing_number: int | None


@dataclass(frozen=True, slots=True)
class NewPayment:
    """A payment as a channel reports it. ``paid_at`` is business time."""

    channel_code: str
    channel_reference: str
    account_id: int
    amount_nano: int
    paid_at: datetime


@dataclass(frozen=True, slots=True)
class PaymentRecord:
    """One payment as stored. ``posted_real_at`` is real time, for latency figures.

    ``balance_after_nano`` is the balance right after the posting, whatever happened since.
    """

    payment_id: int
    channel_code: str
    channel_reference: str
    account_id: int
    account_no: str
    amount_nano: int
    state: PaymentState
    paid_at: datetime
    posted_at: datetime | None
    posted_real_at: datetime | None
    batch_id: int | None
    reversal_batch_id: int | None
    balance_after_nano: int | None


class PaymentRepository(Protocol):
    """Stores channels and payments."""

    async def channel(self, channel_code: str) -> ChannelRecord | None:
        """Return a channel."""
        ...

    async def find(self, channel_code: str, channel_reference: str) -> PaymentRecord | None:
        """Return the payment with this reference.

        Whoever changes it holds the lock of its account's balance.
        """
        ...

    async def get(self, payment_id: int) -> PaymentRecord | None:
        """Return a payment by its key."""
        ...

    async def add_pending(self, payment: NewPayment) -> int | None:
        """Store a payment as pending and return its key; None when the reference exists.

        Waits for a concurrent transaction that stores the same reference.
        """
        ...

    async def mark_posted(
        self,
        payment_id: int,
        *,
        batch_id: int,
        posted_at: datetime,
        posted_real_at: datetime,
        balance_after_nano: int,
    ) -> None:
        """Record that a pending payment is in the ledger.

        Raises `InvariantViolated` when it is not pending.
        """
        ...

    async def mark_reversed(self, payment_id: int, *, reversal_batch_id: int) -> None:
        """Record that a posted payment was reversed; `InvariantViolated` when it is not posted."""
        ...

    async def mark_failed(self, payment_id: int) -> None:
        """Record that a pending payment will not come; `InvariantViolated` when not pending."""
        ...

    async def last(self, account_id: int, *, limit: int) -> list[PaymentRecord]:
        """Return the latest payments of an account, newest first."""
        ...

    async def pending(self, account_id: int) -> list[PaymentRecord]:
        """Return the payments of an account that are announced and not yet posted."""
        ...
