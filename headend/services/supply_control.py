"""Supply control: asks for, holds back, cancels and releases supply orders.

Everything here runs in the caller's transaction: a payment, its decision and the order they lead
to commit together or not at all. Sending is the dispatcher's work (`headend.services.dispatcher`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from headend.domain.errors import BadInput, Conflict
from headend.domain.supply import (
    IN_FLIGHT,
    UNSENT,
    OrderPurpose,
    OrderState,
    Restraint,
    SupplyAction,
)
from headend.ports import Clock
from headend.ports.orders import NewOrder, OrderChanges, OrderRecord
from headend.ports.supply import GuardRow
from headend.ports.unit_of_work import UnitOfWork
from headend.services.guard import Guard, show_remaining
from rules.governor import (
    WINDOW,
    GovernedOrder,
    GovernorLimits,
    Judgement,
    RecentDisconnects,
    check_release,
    judge,
)
from rules.guard_facts import GuardVerdict
from rules.reasons import RefusalReason
from rules.service_levels import reconnect_deadline

# Order of dispatch: the smaller goes first. Individual payments precede everything but safety.
PRIORITY_SAFETY = 0
PRIORITY_PAID_RECONNECT = 10
PRIORITY_RECONNECT = 20
PRIORITY_DISCONNECT = 50

SYSTEM_ACTOR = "system"


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """What somebody asks for. The same ``idempotency_key`` always gets the first result."""

    usage_point_id: int
    action: SupplyAction
    purpose: OrderPurpose
    reason: str
    requested_by: str
    idempotency_key: str
    account_id: int | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    decision_id: int | None = None
    payment_id: int | None = None
    notice_cycle_id: int | None = None
    appliances_off: bool = False


class SupplyControl:
    """Puts orders through guard and governor into the queue."""

    def __init__(self, *, clock: Clock, guard: Guard, limits: GovernorLimits) -> None:
        self._clock = clock
        self._guard = guard
        self._limits = limits

    async def request(self, uow: UnitOfWork, request: OrderRequest) -> OrderRecord:
        """Ask for a switching; return the order as it stands.

        It ends ``refused`` with every reason code, ``quarantined``, or ``scheduled``. A reconnect
        and a safety isolation supersede what is unsent; any other disconnect never does
        (`Conflict`). Asking again for what already waits, and not for longer, returns what waits.
        Raises `BadInput` when no meter is there.
        """
        at = self._clock.now()
        await uow.supply.lock_usage_point(request.usage_point_id)
        # Only under the lock: of two requests with one key the second must see the first.
        earlier = await uow.orders.find_by_key(request.idempotency_key)
        if earlier is not None:
            return _same_request(earlier, request)
        for order in await uow.orders.lock_open(request.usage_point_id):
            if order.state not in UNSENT:
                continue
            if _answers(order, request):
                return order
            if not _may_supersede(request):
                raise Conflict(
                    f"order {order.order_id} ({order.action}, {order.purpose}) already waits for"
                    f" this usage point",
                    field="usage_point",
                    code="order_waiting",
                )
            if order.action is request.action:  # what was recorded for the one holds for the other
                request = replace(
                    request, appliances_off=request.appliances_off or order.appliances_off
                )
            await uow.orders.move(
                order,
                OrderState.SUPERSEDED,
                at=at,
                actor=request.requested_by,
                detail={"by": request.action, "reason": request.reason},
            )
        row = await self._guard.row(uow, request.usage_point_id, at=at)
        order = await uow.orders.insert(
            _new_order(request, row, at), at=at, actor=request.requested_by
        )
        await uow.audit.record(
            request.requested_by,
            f"supply_order.{request.action}.requested",
            f"usage_point:{row.usage_point_id}",
            at=at,
            detail={"order_id": order.order_id, "purpose": request.purpose},
        )
        if request.action is SupplyAction.DISCONNECT:
            return await self._admit_disconnect(uow, order, row, at)
        return await self._admit_reconnect(uow, order, at)

    async def check_disconnect(
        self,
        uow: UnitOfWork,
        usage_point_id: int,
        purpose: OrderPurpose,
        *,
        account_id: int | None = None,
    ) -> GuardVerdict:
        """Say what the guard would answer now, changing nothing."""
        judgement = await self._guard.judge_disconnect(
            uow, usage_point_id, purpose=purpose, at=self._clock.now(), account_id=account_id
        )
        return judgement.verdict

    async def cancel_unsent_disconnects(
        self, uow: UnitOfWork, usage_point_id: int, *, actor: str, reason: str
    ) -> int:
        """Cancel unsent disconnects for arrears; return how many. Sent ones are left alone."""
        at = self._clock.now()
        cancelled = 0
        for order in await uow.orders.lock_open(usage_point_id):
            if _is_unsent_arrears(order):
                await uow.orders.move(
                    order, OrderState.CANCELLED, at=at, actor=actor, detail={"reason": reason}
                )
                cancelled += 1
        return cancelled

    async def clear_arrears(
        self,
        uow: UnitOfWork,
        *,
        account_id: int,
        usage_point_id: int,
        payment_id: int | None,
        actor: str,
    ) -> OrderRecord | None:
        """Undo what arrears did: cancel what is unsent, lift the restraint, get power back.

        Behind a disconnect already sent, the reconnect is queued and starts when that outcome is
        known. Returns the reconnect order (perhaps refused because another restraint stands), or
        None when the supply is on and nothing is under way.
        """
        at = self._clock.now()
        await uow.supply.lock_usage_point(usage_point_id)
        await self.cancel_unsent_disconnects(
            uow, usage_point_id, actor=actor, reason="arrears cleared"
        )
        lifted = await uow.supply.lift_restraint(
            usage_point_id, Restraint.ARREARS, lifted_by=actor, at=at
        )
        open_orders = await uow.orders.lock_open(usage_point_id)
        cutting = next(
            (
                order
                for order in open_orders
                if order.state in IN_FLIGHT
                and order.action is SupplyAction.DISCONNECT
                and order.purpose is OrderPurpose.ARREARS
            ),
            None,
        )
        if not lifted and cutting is None:
            return None
        cause = f"payment:{payment_id}" if payment_id is not None else f"cleared:{at.isoformat()}"
        return await self.restore(
            uow,
            OrderRequest(
                usage_point_id=usage_point_id,
                account_id=account_id,
                action=SupplyAction.RECONNECT,
                purpose=OrderPurpose.ARREARS,
                reason="arrears cleared by payment" if payment_id else "arrears cleared",
                requested_by=actor,
                idempotency_key=f"reconnect:{usage_point_id}:{cause}",
                payment_id=payment_id,
            ),
        )

    async def restore(self, uow: UnitOfWork, request: OrderRequest) -> OrderRecord | None:
        """Ask for a reconnect that follows from something that must not fail for want of a meter.

        A payment is money, meter or not. Without one a case is opened and None returned.
        """
        if await uow.supply.installed_meter(request.usage_point_id) is not None:
            return await self.request(uow, request)
        await uow.cases.open(
            "reconnect_without_meter",
            f"usage_point:{request.usage_point_id}",
            owner="field",
            detail={"reason": request.reason},
            at=self._clock.now(),
            usage_point_id=request.usage_point_id,
            account_id=request.account_id,
        )
        return None

    async def cancel(
        self, uow: UnitOfWork, order_id: int, *, actor: str, reason: str
    ) -> OrderRecord:
        """Cancel an unsent order. Raises `Conflict` when it was sent, `NotFound`."""
        order = await uow.orders.lock(order_id)
        if order.state not in UNSENT:
            raise Conflict(
                f"order {order_id} is {order.state}: only an unsent order can be cancelled",
                field="order_id",
                code="order_sent",
            )
        at = self._clock.now()
        await uow.audit.record(
            actor,
            "supply_order.cancelled",
            f"supply_order:{order_id}",
            at=at,
            detail={"reason": reason},
        )
        return await uow.orders.move(
            order, OrderState.CANCELLED, at=at, actor=actor, detail={"reason": reason}
        )

    async def release(self, uow: UnitOfWork, order_id: int, *, released_by: str) -> OrderRecord:
        """Release a quarantined order; it goes on when two different people have done so.

        The guard judges it again at sending. Raises `Conflict` when it is not quarantined.
        """
        order = await uow.orders.lock(order_id)
        if order.state is not OrderState.QUARANTINED:
            raise Conflict(
                f"order {order_id} is {order.state}, not quarantined",
                field="order_id",
                code="not_quarantined",
            )
        at = self._clock.now()
        people = await uow.orders.add_release(order_id, released_by=released_by, at=at)
        await uow.audit.record(
            released_by, "supply_order.released", f"supply_order:{order_id}", at=at
        )
        if not any(check_release(people[0], second) is None for second in people[1:]):
            return order
        return await uow.orders.move(
            order,
            OrderState.SCHEDULED,
            at=at,
            actor=released_by,
            detail={"released_by": people},
            changes=OrderChanges(next_attempt_at=_first_attempt(order.not_before, at)),
        )

    async def set_stop_switch(
        self, uow: UnitOfWork, *, stopped: bool, changed_by: str, reason: str
    ) -> None:
        """Suspend all disconnects everywhere, or let them go on. Reconnects are not touched."""
        if not reason.strip():
            raise BadInput("the stop switch needs a reason", field="reason")
        at = self._clock.now()
        await uow.orders.set_stop_switch(
            stopped=stopped, changed_by=changed_by, reason=reason, at=at
        )
        await uow.audit.record(
            changed_by,
            "stop_switch.on" if stopped else "stop_switch.off",
            "stop_switch",
            at=at,
            detail={"reason": reason},
        )

    async def govern(self, uow: UnitOfWork, order: OrderRecord, row: GuardRow) -> Judgement:
        """Ask the governor, holding its lock until the transaction ends."""
        counts = await uow.orders.switching_counts(
            since=self._clock.now() - WINDOW,
            caller=order.requested_by,
            usage_point_id=order.usage_point_id,
        )
        return judge(
            RecentDisconnects(
                system=counts.system,
                caller=counts.caller,
                area=counts.transformer_area,
                power_w=counts.power_w,
                safety=counts.safety,
            ),
            self._limits,
            GovernedOrder(
                action=order.action,
                purpose=order.purpose,
                caller=order.requested_by,
                area=str(row.transformer_area_id),
                power_w=row.expected_load_w,
            ),
            stop_switch_on=False,  # the guard refuses by it; nothing waits behind the switch
        )

    async def _admit_disconnect(
        self, uow: UnitOfWork, order: OrderRecord, row: GuardRow, at: datetime
    ) -> OrderRecord:
        judgement = await self._guard.judge_disconnect(
            uow,
            order.usage_point_id,
            purpose=order.purpose,
            at=_first_attempt(order.not_before, at),
            account_id=order.account_id,
            not_before=order.not_before,
            not_after=order.not_after,
        )
        evidence = {
            "facts": judgement.facts,
            "warnings": [reason.value for reason in judgement.verdict.warnings],
        }
        if not judgement.verdict.allowed:
            return await self._refuse(uow, order, judgement.verdict.reasons, evidence, at)
        governed = await self.govern(uow, order, row)
        if not governed.allowed:
            return await uow.orders.move(
                order,
                OrderState.QUARANTINED,
                at=at,
                actor="governor",
                detail={"reasons": [reason.value for reason in governed.reasons]},
                changes=OrderChanges(evidence=evidence, refusal_codes=governed.reasons),
            )
        return await self._schedule(uow, order, at, evidence)

    async def _admit_reconnect(
        self, uow: UnitOfWork, order: OrderRecord, at: datetime
    ) -> OrderRecord:
        judgement = await self._guard.judge_close(
            uow,
            order.usage_point_id,
            at=_first_attempt(order.not_before, at),
            automatic=order.requested_by == SYSTEM_ACTOR,
            appliances_off=order.appliances_off,
            not_before=order.not_before,
            not_after=order.not_after,
        )
        evidence = {
            "facts": judgement.facts,
            "remaining": show_remaining(judgement.verdict.remaining),
        }
        if not judgement.verdict.allowed:
            return await self._refuse(uow, order, judgement.verdict.reasons, evidence, at)
        return await self._schedule(uow, order, at, evidence)

    async def _schedule(
        self, uow: UnitOfWork, order: OrderRecord, at: datetime, evidence: Mapping[str, object]
    ) -> OrderRecord:
        return await uow.orders.move(
            order,
            OrderState.SCHEDULED,
            at=at,
            actor="guard",
            changes=OrderChanges(
                next_attempt_at=_first_attempt(order.not_before, at), evidence=evidence
            ),
        )

    async def _refuse(
        self,
        uow: UnitOfWork,
        order: OrderRecord,
        reasons: tuple[RefusalReason, ...],
        evidence: Mapping[str, object],
        at: datetime,
    ) -> OrderRecord:
        return await uow.orders.move(
            order,
            OrderState.REFUSED,
            at=at,
            actor="guard",
            detail={"reasons": [reason.value for reason in reasons]},
            changes=OrderChanges(refusal_codes=reasons, evidence=evidence),
        )


def _first_attempt(not_before: datetime | None, at: datetime) -> datetime:
    return at if not_before is None else max(not_before, at)


def _is_unsent_arrears(order: OrderRecord) -> bool:
    return (
        order.action is SupplyAction.DISCONNECT
        and order.purpose is OrderPurpose.ARREARS
        and order.state in UNSENT
    )


def _answers(waiting: OrderRecord, request: OrderRequest) -> bool:
    """Whether an unsent order is what is asked for, and does not make the asker wait longer."""
    same = waiting.action is request.action and waiting.purpose is request.purpose
    if waiting.not_before is None or request.action is SupplyAction.DISCONNECT:
        return same
    return same and request.not_before is not None and waiting.not_before <= request.not_before


def _may_supersede(request: OrderRequest) -> bool:
    return (
        request.action is SupplyAction.RECONNECT or request.purpose is OrderPurpose.SAFETY_ISOLATION
    )


def _same_request(earlier: OrderRecord, request: OrderRequest) -> OrderRecord:
    asked = (request.usage_point_id, request.action, request.purpose)
    stored = (earlier.usage_point_id, earlier.action, earlier.purpose)
    if asked != stored:
        raise Conflict(
            f"the key {request.idempotency_key!r} belongs to order {earlier.order_id}"
            f" ({earlier.action}, {earlier.purpose}, usage point {earlier.usage_point_id})",
            field="idempotency_key",
            code="key_reused",
        )
    return earlier


def _new_order(request: OrderRequest, row: GuardRow, at: datetime) -> NewOrder:
    if row.meter_id is None or row.link_id is None:
        raise BadInput(
            f"usage point {row.usage_point_no} has no meter that could be switched",
            field="usage_point",
            code="no_meter",
        )
    reconnecting = request.action is SupplyAction.RECONNECT
    return NewOrder(
        usage_point_id=request.usage_point_id,
        meter_id=row.meter_id,
        link_id=row.link_id,
        action=request.action,
        purpose=request.purpose,
        priority=_priority(request),
        reason=request.reason,
        requested_by=request.requested_by,
        idempotency_key=request.idempotency_key,
        account_id=request.account_id or row.account_id,
        not_before=request.not_before,
        not_after=request.not_after,
        deadline_at=reconnect_deadline(at, row.time_zone) if reconnecting else None,
        appliances_off=request.appliances_off,
        decision_id=request.decision_id,
        payment_id=request.payment_id,
        notice_cycle_id=request.notice_cycle_id,
    )


def _priority(request: OrderRequest) -> int:
    if request.purpose is OrderPurpose.SAFETY_ISOLATION:
        return PRIORITY_SAFETY
    if request.action is SupplyAction.DISCONNECT:
        return PRIORITY_DISCONNECT
    return PRIORITY_PAID_RECONNECT if request.payment_id is not None else PRIORITY_RECONNECT
