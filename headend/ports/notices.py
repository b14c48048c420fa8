"""Port of the notice repository: notice cycles, the notices in them, and proof of delivery.

A cycle belongs to one usage point and one account; at most one is open per usage point. A notice
is owed (`due`), and ends `delivered` with evidence, `failed` when its attempts ran out, or
`cancelled` when its cycle closed first. Only evidence starts a waiting time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol


class NoticeState(StrEnum):
    """Where a notice stands."""

    DUE = "due"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


class CycleClose(StrEnum):
    """Why a notice cycle ended."""

    PAID = "paid"
    DISCONNECTED = "disconnected"
    EXPIRED = "expired"  # the notified time passed by more than its tolerance
    MOVED_OUT = "moved_out"
    NOTICE_FAILED = "notice_failed"  # the disconnect notice could not be delivered
    # What makes every earlier notice worthless; a new cycle begins at its beginning.
    HOLD_ENDED = "hold_ended"
    REVERSAL = "reversal"
    RE_RATING = "re_rating"
    RECONNECTION = "reconnection"


@dataclass(frozen=True, slots=True)
class NoticeCycle:
    """A notice cycle as it is stored; see the columns' comments in the schema."""

    cycle_id: int
    account_id: int
    usage_point_id: int
    opened_at: datetime
    planned_disconnect_at: datetime | None
    expires_at: datetime | None
    next_decision_at: datetime | None
    refused_since: datetime | None
    closed_at: datetime | None
    close_reason: str | None


@dataclass(frozen=True, slots=True)
class CyclePlan:
    """When the cut is planned, when the notice for it expires, and when to decide next."""

    planned_disconnect_at: datetime
    expires_at: datetime
    next_decision_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewNotice:
    """A notice to be planned; ``reference`` is empty for the stages of a cycle.

    Without a cycle it tells of a switching that no notice led to.
    """

    cycle_id: int | None
    account_id: int
    usage_point_id: int
    stage: str
    due_at: datetime
    planned_disconnect_at: datetime | None
    recipient: str = field(repr=False)
    text_zh: str = field(repr=False)
    text_en: str = field(repr=False)
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice as it is stored. Recipient and texts never show in ``repr``."""

    notice_id: int
    cycle_id: int | None
    account_id: int
    usage_point_id: int
    stage: str
    state: NoticeState
    reference: str
    due_at: datetime
    next_attempt_at: datetime
    planned_disconnect_at: datetime | None
    recipient: str = field(repr=False)
    text_zh: str = field(repr=False)
    text_en: str = field(repr=False)
    attempts: int
    delivered_at: datetime | None
    failure: str | None
    evidence: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class NoticeContext:
    """What the texts of a notice need to know about its account and usage point."""

    account_id: int
    account_no: str
    customer_class: str
    usage_point_id: int
    time_zone: str
    address: str = field(repr=False)
    recipient: str = field(repr=False)
    balance_nano: int | None


class NoticeRepository(Protocol):
    """Stores notice cycles and notices."""

    async def open_cycle(
        self,
        *,
        account_id: int,
        usage_point_id: int,
        at: datetime,
        refused_since: datetime | None = None,
    ) -> NoticeCycle:
        """Open a cycle, or return the one that the usage point has open already."""
        ...

    async def lock_cycle(self, cycle_id: int) -> NoticeCycle:
        """Lock and return a cycle, open or closed; raises `NotFound`."""
        ...

    async def latest_cycle(self, usage_point_id: int, *, account_id: int) -> NoticeCycle | None:
        """Return the newest cycle of the account at this usage point, open or closed."""
        ...

    async def close_cycle(self, cycle_id: int, *, at: datetime, reason: CycleClose) -> bool:
        """Close an open cycle and cancel its undelivered stages; False when it was closed."""
        ...

    async def fix_plan(self, cycle_id: int, plan: CyclePlan) -> None:
        """Store the plan of a cycle whose disconnect notice is proven to be delivered."""
        ...

    async def set_next_decision(
        self, cycle_id: int, *, next_decision_at: datetime | None, refused_since: datetime | None
    ) -> None:
        """Record when the cycle is decided next and since when it has been refused."""
        ...

    async def due_decisions(self, at: datetime, *, limit: int) -> Sequence[NoticeCycle]:
        """Return open cycles whose next decision is due, the longest overdue first. No lock."""
        ...

    async def next_decision_at(self) -> datetime | None:
        """Return the earliest next decision of any open cycle."""
        ...

    async def plan(self, notice: NewNotice) -> Notice | None:
        """Store a notice; None when its cycle has that stage (and reference) already."""
        ...

    async def claim_due(self, at: datetime, *, limit: int, lease_s: float) -> Sequence[Notice]:
        """Claim due notices for delivery by this process, and count the attempt.

        A claim ends with its record, or after ``lease_s`` of real time when the process died.
        """
        ...

    async def rewrite(
        self, notice_id: int, *, text_zh: str, text_en: str, planned_disconnect_at: datetime | None
    ) -> None:
        """Replace the text of an undelivered notice, before it is delivered."""
        ...

    async def record_delivery(
        self, notice_id: int, *, delivered_at: datetime, evidence: Mapping[str, Any]
    ) -> Notice:
        """Store the evidence. A notice cancelled meanwhile keeps its state beside it."""
        ...

    async def record_failure(
        self, notice_id: int, *, failure: str, next_attempt_at: datetime | None
    ) -> Notice:
        """Note a failed attempt; without a next attempt the notice has failed for good."""
        ...

    async def get(self, notice_id: int) -> Notice:
        """Return one notice; raises `NotFound`."""
        ...

    async def notices_of_cycle(self, cycle_id: int) -> Sequence[Notice]:
        """Return the notices of one cycle in the order in which they fall due."""
        ...

    async def notices_of_account(self, account_id: int, *, limit: int = 100) -> Sequence[Notice]:
        """Return the notices of an account, newest first."""
        ...

    async def next_attempt_at(self) -> datetime | None:
        """Return when the next notice falls due."""
        ...

    async def context(self, *, account_id: int, usage_point_id: int) -> NoticeContext:
        """Return what the texts need. Raises `NotFound`."""
        ...
