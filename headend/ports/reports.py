"""Port of the report repository: what happened, counted from what is stored. Read only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from headend.domain.supply import OrderState, SupplyAction, SupplyState


@dataclass(frozen=True, slots=True)
class AccountProgress:
    """Where one account stands on the way from credit to cut and back, since an instant.

    ``notices`` are the stages proven delivered; the disconnect is the latest one, the reconnect the
    latest one after it.
    """

    account_no: str
    usage_point_no: str
    meter_no: str
    balance_nano: int
    supply_state: SupplyState
    restraints: tuple[str, ...]
    notices: tuple[str, ...]
    disconnect_state: OrderState | None
    disconnect_codes: tuple[str, ...]
    reconnect_state: OrderState | None
    reconnect_codes: tuple[str, ...]
    decision_codes: tuple[str, ...]
    planned_disconnect_at: datetime | None


@dataclass(frozen=True, slots=True)
class CompletedSwitching:
    """One supply order that ended with the contact seen as ordered. ``*_real`` is real time.

    ``noticed_at`` is the proven delivery of the disconnect notice of its cycle; ``paid_real`` is
    when the payment behind a reconnect was posted.
    """

    order_id: int
    account_no: str
    meter_no: str
    protocol: str
    action: SupplyAction
    purpose: str
    evidence_grade: int
    sent_at: datetime
    sent_real: datetime
    finished_at: datetime
    finished_real: datetime
    noticed_at: datetime | None
    reminded_at: datetime | None
    paid_real: datetime | None


@dataclass(frozen=True, slots=True)
class PaymentTime:
    """When a payment became money, in real time."""

    account_no: str
    posted_real: datetime


@dataclass(frozen=True, slots=True)
class ProtocolCount:
    """How many meters speak a protocol, and how many of their intervals are stored."""

    protocol: str
    meters: int
    readings: int


@dataclass(frozen=True, slots=True)
class StateTotals:
    """The fleet at a glance."""

    connected: int
    disconnected: int
    unknown: int
    warned: int
    open_cases: int
    notices_delivered: int


class ReportRepository(Protocol):
    """Counts what is stored."""

    async def progress(
        self, account_nos: Sequence[str], *, since: datetime
    ) -> list[AccountProgress]:
        """Return where accounts stand, in account number order."""
        ...

    async def completed_switchings(self, *, since: datetime) -> list[CompletedSwitching]:
        """Return orders completed since a business instant, in the order of completion."""
        ...

    async def payments(self, *, since: datetime) -> list[PaymentTime]:
        """Return payments posted since a business instant."""
        ...

    async def protocols(self) -> list[ProtocolCount]:
        """Count meters and stored intervals by protocol."""
        ...

    async def notices_delivered(self, *, since: datetime) -> int:
        """Count notices proven delivered since a business instant."""
        ...

    async def totals(self) -> StateTotals: ...
