"""Supply orders as clients ask for them and follow them."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from api.schemas.common import (
    AccountNo,
    Answer,
    Bilingual,
    Instant,
    PublicId,
    Refusal,
    RequestBody,
    Text,
    UsagePointNo,
)
from headend.domain.supply import OPEN, OrderPurpose, OrderState, SupplyAction
from headend.ports.orders import OrderEvent, StopSwitch
from headend.services.supply_views import OrderPage, OrderView

_EXAMPLE: JsonDict = {
    "account_no": "3301000001",
    "action": "reconnect",
    "purpose": "customer_request",
    "reason": "customer is back from abroad",
    "appliances_off": True,
}


class SupplyOrderIn(RequestBody):
    """A switching that is asked for, by account or by usage point."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    account_no: AccountNo | None = Field(
        default=None, description="Whose supply; it must occupy exactly one usage point."
    )
    usage_point_no: UsagePointNo | None = None
    action: SupplyAction
    purpose: OrderPurpose
    reason: Text
    not_before: Instant | None = Field(default=None, description="Business time.")
    not_after: Instant | None = Field(
        default=None, description="Business time after which the order expires."
    )
    appliances_off: bool = Field(
        default=False,
        description="Somebody confirmed it; needed where the meter closes directly.",
    )


class CancelIn(RequestBody):
    """Why an order is cancelled."""

    reason: Text = Field(examples=["asked for by mistake"])


class RemainingRestraint(Answer):
    """A restraint that keeps the contact open, and who lifts it."""

    restraint: str
    lifted_by: Bilingual


class OrderEventOut(Answer):
    """One move of the order. ``at`` is business time, ``real_at`` real time."""

    event_no: int
    from_state: OrderState | None
    to_state: OrderState
    at: Instant
    real_at: Instant
    actor: str
    detail: dict[str, Any]

    @classmethod
    def of(cls, event: OrderEvent) -> OrderEventOut:
        return cls(
            event_no=event.event_no,
            from_state=event.from_state,
            to_state=event.to_state,
            at=event.at,
            real_at=event.real_at,
            actor=event.actor,
            detail=dict(event.detail),
        )


class SupplyOrderOut(Answer):
    """A supply order as it stands. Times are business time except ``*_real_at``."""

    order_id: PublicId
    usage_point_no: str
    account_no: str | None
    meter_no: str
    action: SupplyAction
    purpose: OrderPurpose
    state: OrderState
    is_open: bool = Field(description="Whether the order may still move.")
    reason: str
    requested_by: str
    refusals: list[Refusal] = Field(
        description="Why it was refused, or held back (`quarantined`); most decisive first."
    )
    remaining_restraints: list[RemainingRestraint] = Field(
        description="Of a refused reconnect: what keeps the contact open, and who lifts it."
    )
    evidence_grade: str = Field(
        description="none, acknowledged, contact_reported or load_seen.",
        examples=["contact_reported"],
    )
    evidence: dict[str, Any] = Field(
        description="What guard and meter said: the facts judged, and the contact as read."
    )
    appliances_off: bool
    not_before: Instant | None
    not_after: Instant | None
    deadline_at: Instant | None = Field(description="When a reconnect must be done.")
    next_attempt_at: Instant
    attempts: int
    created_at: Instant
    created_real_at: Instant
    finished_at: Instant | None
    finished_real_at: Instant | None

    @classmethod
    def of(cls, view: OrderView) -> SupplyOrderOut:
        return cls(**_fields(view))


class SupplyOrderDetail(SupplyOrderOut):
    """A supply order with every move it made, oldest first."""

    events: list[OrderEventOut]

    @classmethod
    def of(cls, view: OrderView) -> SupplyOrderDetail:
        return cls(**_fields(view), events=[OrderEventOut.of(event) for event in view.events])


class SupplyOrderPage(Answer):
    """Orders, newest first."""

    items: list[SupplyOrderOut]
    next_cursor: str | None = Field(description="Ask again with it; null on the last page.")

    @classmethod
    def of(cls, page: OrderPage) -> SupplyOrderPage:
        return cls(
            items=[SupplyOrderOut.of(view) for view in page.orders],
            next_cursor=None if page.next_before is None else str(page.next_before),
        )


class StopSwitchIn(RequestBody):
    """Suspend all disconnects everywhere, or let them go on."""

    stopped: bool
    reason: Text = Field(examples=["storm: no cuts until further notice"])


class StopSwitchOut(Answer):
    """Whether all disconnects are suspended; reconnects are never touched."""

    stopped: bool
    changed_by: str
    reason: str
    changed_at: Instant | None

    @classmethod
    def of(cls, switch: StopSwitch) -> StopSwitchOut:
        return cls(
            stopped=switch.stopped,
            changed_by=switch.changed_by,
            reason=switch.reason,
            changed_at=switch.changed_at,
        )


def _fields(view: OrderView) -> dict[str, Any]:
    order = view.order
    evidence = dict(order.evidence)
    remaining = evidence.pop("remaining", [])
    return {
        "order_id": order.order_id,
        "usage_point_no": view.usage_point_no,
        "account_no": view.account_no,
        "meter_no": view.meter_no,
        "action": order.action,
        "purpose": order.purpose,
        "state": order.state,
        "is_open": order.state in OPEN,
        "reason": order.reason,
        "requested_by": order.requested_by,
        "refusals": [Refusal.of(code) for code in order.refusal_codes],
        "remaining_restraints": [
            RemainingRestraint(
                restraint=each["restraint"],
                lifted_by=Bilingual(zh=each["lifted_by_zh"], en=each["lifted_by_en"]),
            )
            for each in remaining
        ],
        "evidence_grade": order.evidence_grade.name.lower(),
        "evidence": evidence,
        "appliances_off": order.appliances_off,
        "not_before": order.not_before,
        "not_after": order.not_after,
        "deadline_at": order.deadline_at,
        "next_attempt_at": order.next_attempt_at,
        "attempts": order.attempts,
        "created_at": order.created_at,
        "created_real_at": order.created_real_at,
        "finished_at": order.finished_at,
        "finished_real_at": order.finished_real_at,
    }
