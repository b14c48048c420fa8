"""Port of the order repository: supply orders, their events, releases, and the stop switch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from headend.domain.supply import EvidenceGrade, OrderPurpose, OrderState, SupplyAction


@dataclass(frozen=True, slots=True)
class NewOrder:
    """What is known when an order is asked for. Times are business time."""

    usage_point_id: int
    meter_id: int
    link_id: int
    action: SupplyAction
    purpose: OrderPurpose
    priority: int
    reason: str
    requested_by: str
    idempotency_key: str
    account_id: int | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    deadline_at: datetime | None = None
    appliances_off: bool = False
    decision_id: int | None = None
    payment_id: int | None = None
    notice_cycle_id: int | None = None


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """One supply order as stored. ``*_real_at`` and ``lease_until`` are real time."""

    order_id: int
    usage_point_id: int
    account_id: int | None
    meter_id: int
    link_id: int
    action: SupplyAction
    purpose: OrderPurpose
    state: OrderState
    priority: int
    reason: str
    requested_by: str
    idempotency_key: str
    not_before: datetime | None
    not_after: datetime | None
    deadline_at: datetime | None
    next_attempt_at: datetime
    attempts: int
    lease_holder: str | None
    fence: int
    appliances_off: bool
    refusal_codes: tuple[str, ...]
    evidence_grade: EvidenceGrade
    evidence: Mapping[str, Any]
    decision_id: int | None
    payment_id: int | None
    notice_cycle_id: int | None
    created_at: datetime
    created_real_at: datetime
    finished_at: datetime | None
    finished_real_at: datetime | None


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """One move of an order: who, when, why, on what evidence."""

    event_no: int
    from_state: OrderState | None
    to_state: OrderState
    at: datetime
    real_at: datetime
    actor: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OrderChanges:
    """What a move changes besides the state; None leaves a column as it is."""

    next_attempt_at: datetime | None = None
    attempts: int | None = None
    refusal_codes: Sequence[str] | None = None
    evidence_grade: EvidenceGrade | None = None
    evidence: Mapping[str, Any] | None = None
    meter_id: int | None = None
    link_id: int | None = None
    lease: tuple[str, float] | None = None  # holder, seconds of real time; grows the fence
    keep_lease: bool = False


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders to list; None does not restrict. ``before_order_id`` is the page cursor."""

    usage_point_id: int | None = None
    account_id: int | None = None
    states: Sequence[OrderState] | None = None
    before_order_id: int | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class SwitchingCounts:
    """Disconnects let through in the last hour of business time, and their estimated load [W]."""

    system: int
    caller: int
    transformer_area: int
    power_w: int
    safety: int


@dataclass(frozen=True, slots=True)
class StopSwitch:
    """Whether all disconnects are suspended, by whom and why."""

    stopped: bool
    changed_by: str
    reason: str
    changed_at: datetime | None


NOT_STOPPED = StopSwitch(stopped=False, changed_by="", reason="", changed_at=None)


@dataclass(frozen=True, slots=True)
class StateCount:
    """How many orders of one action stand in one state."""

    action: SupplyAction
    state: OrderState
    orders: int


class OrderRepository(Protocol):
    """Stores orders. Every move passes the transition table and writes an event."""

    async def insert(self, new: NewOrder, *, at: datetime, actor: str) -> OrderRecord:
        """Store in ``requested`` with its first event.

        Raises `Conflict` when the usage point already has an unsent order.
        """
        ...

    async def get(self, order_id: int) -> OrderRecord:
        """Return one order; raises `NotFound`."""
        ...

    async def find_by_key(self, idempotency_key: str) -> OrderRecord | None: ...

    async def lock_open(self, usage_point_id: int) -> list[OrderRecord]:
        """Return the orders of a usage point that are not final, locked, oldest first."""
        ...

    async def lock(self, order_id: int) -> OrderRecord:
        """Return one order locked for update; raises `NotFound`."""
        ...

    async def has_unsent(self, usage_point_id: int) -> bool:
        """Whether an unsent order waits for the usage point."""
        ...

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
        """Move an order; raises `InvariantViolated` for an illegal move.

        Raises `Conflict` when the stored state or fence is no longer the one in ``order``.
        """
        ...

    async def await_read_back(
        self, order: OrderRecord, *, next_attempt_at: datetime, attempts: int
    ) -> OrderRecord:
        """Leave an order in ``outcome_unknown`` until its next read-back; frees its lease."""
        ...

    async def with_field_and_heard(self, *, limit: int) -> list[int]:
        """Return orders a field crew has whose meter was heard since, unless the crew locked it."""
        ...

    async def hasten(self, meter_id: int, *, at: datetime) -> int:
        """Make what waits for this meter due at ``at``: it was just heard. Returns how many.

        Queued orders and those whose outcome is unknown, unless their own time has not come yet
        (``not_before``) or somebody works on them.
        """
        ...

    async def claim_due(
        self, *, at: datetime, holder: str, lease_s: float, limit: int
    ) -> list[OrderRecord]:
        """Lock and lease the orders this process may work on now, most urgent first.

        Due are queued and scheduled orders whose time has come, and in-flight orders whose lease
        ran out. Orders on links leased by another process are left to it.
        """
        ...

    async def holders(self) -> set[str]:
        """Return who holds leases on orders that have not run out."""
        ...

    async def release_held(self, holders: Sequence[str]) -> int:
        """End the leases of holders known to be dead; their orders are read back at once."""
        ...

    async def next_due(self) -> datetime | None:
        """Return the earliest business instant at which a waiting order wants attention."""
        ...

    async def count_in_flight(self, at: datetime) -> int:
        """Count orders being worked on, or due now: while any is, a demo clock must not jump."""
        ...

    async def events(self, order_id: int) -> list[OrderEvent]: ...

    async def search(self, order_filter: OrderFilter) -> list[OrderRecord]: ...

    async def count_by_state(self) -> list[StateCount]: ...

    async def switching_counts(
        self, *, since: datetime, caller: str, usage_point_id: int
    ) -> SwitchingCounts:
        """Count disconnects let through since ``since``, under the governor's lock."""
        ...

    async def add_release(self, order_id: int, *, released_by: str, at: datetime) -> list[str]:
        """Record one person's release of a quarantined order; return all who released it."""
        ...

    async def stop_switch(self) -> StopSwitch: ...

    async def set_stop_switch(
        self, *, stopped: bool, changed_by: str, reason: str, at: datetime
    ) -> None: ...
