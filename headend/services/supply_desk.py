"""The supply desk: what staff and programs ask of supply, by the numbers that they know.

Finds the usage point, takes the locks in their order, and hands over to `SupplyControl` and
`Restraints`; one transaction per request. It judges nothing itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from headend.domain.errors import BadInput, Conflict
from headend.domain.supply import OrderPurpose, Restraint, SupplyAction
from headend.ports.clock import Clock
from headend.ports.orders import OrderRecord, StopSwitch
from headend.ports.supply import StandingRestraint
from headend.ports.unit_of_work import Store, UnitOfWork
from headend.services.restraints import Restraints
from headend.services.supply_control import OrderRequest, SupplyControl
from headend.services.supply_views import OrderView, find_account, occupied_now, view_orders


@dataclass(frozen=True, slots=True)
class SwitchingRequest:
    """A switching asked for by account, by usage point, or by both.

    Without a usage point the account must occupy exactly one. With a usage point alone, the
    account is whoever occupies it. Times are business time.
    """

    action: SupplyAction
    purpose: OrderPurpose
    reason: str
    requested_by: str
    idempotency_key: str
    account_no: str | None = None
    usage_point_no: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    appliances_off: bool = False


@dataclass(frozen=True, slots=True)
class AskedOrder:
    """The order as it stands; not new when the same was asked before or already waits."""

    view: OrderView
    is_new: bool


@dataclass(frozen=True, slots=True)
class LiftedRestraint:
    """What remains after a restraint was lifted, and the reconnect it led to, if any."""

    remaining: list[StandingRestraint]
    reconnect: OrderView | None


class SupplyDesk:
    """Takes requests about supply. Methods raise `NotFound` for what does not exist."""

    def __init__(
        self, store: Store, clock: Clock, supply_control: SupplyControl, restraints: Restraints
    ) -> None:
        self._store = store
        self._clock = clock
        self._supply_control = supply_control
        self._restraints = restraints

    async def ask(self, request: SwitchingRequest) -> AskedOrder:
        """Ask for a switching; the answer may be a refused or quarantined order.

        Raises `BadInput` when no usage point, or none with a meter, is meant, and `Conflict` when
        an order that may not be superseded already waits.
        """
        _check(request)
        async with self._store.transaction() as uow:
            account_id, usage_point_id = await self._subject(uow, request)
            if request.action is SupplyAction.DISCONNECT and account_id is not None:
                # Behind the account's lock, so that a payment and a cut never pass each other.
                await uow.policies.lock_accounts([account_id])
            before = await uow.orders.find_by_key(request.idempotency_key)
            order = await self._supply_control.request(
                uow,
                OrderRequest(
                    usage_point_id=usage_point_id,
                    account_id=account_id,
                    action=request.action,
                    purpose=request.purpose,
                    reason=request.reason,
                    requested_by=request.requested_by,
                    idempotency_key=request.idempotency_key,
                    not_before=request.not_before,
                    not_after=request.not_after,
                    appliances_off=request.appliances_off,
                ),
            )
            is_new = before is None and order.idempotency_key == request.idempotency_key
            return AskedOrder(await _with_events(uow, order), is_new)

    async def cancel(self, order_id: int, *, actor: str, reason: str) -> OrderView:
        """Cancel an unsent order; raises `Conflict` when it was sent."""
        async with self._store.transaction() as uow:
            order = await self._supply_control.cancel(uow, order_id, actor=actor, reason=reason)
            return await _with_events(uow, order)

    async def release(self, order_id: int, *, released_by: str) -> OrderView:
        """Release a quarantined order; it goes on when two different people did."""
        async with self._store.transaction() as uow:
            order = await self._supply_control.release(uow, order_id, released_by=released_by)
            return await _with_events(uow, order)

    async def set_stop_switch(self, *, stopped: bool, changed_by: str, reason: str) -> StopSwitch:
        """Suspend all disconnects everywhere, or let them go on."""
        async with self._store.transaction() as uow:
            await self._supply_control.set_stop_switch(
                uow, stopped=stopped, changed_by=changed_by, reason=reason
            )
            return await uow.orders.stop_switch()

    async def place_restraint(
        self, usage_point_no: str, kind: Restraint, *, actor: str, evidence: str
    ) -> tuple[StandingRestraint, bool]:
        """Place a restraint; return it as it stands, and whether it is new."""
        async with self._store.transaction() as uow:
            point = await uow.supply_views.usage_point(usage_point_no)
        placed = await self._restraints.place(
            point.usage_point_id, kind, actor=actor, evidence=evidence
        )
        standing = await self._restraints.standing(point.usage_point_id)
        found = next((each for each in standing if each.kind is kind), None)
        if found is None:
            raise Conflict(f"the restraint {kind} was lifted again meanwhile", field="restraint")
        return found, placed

    async def lift_restraint(
        self, usage_point_no: str, kind: Restraint, *, actor: str, evidence: str
    ) -> LiftedRestraint:
        """Lift a restraint; the last one lifted gets power back. `NotFound` when none stands."""
        async with self._store.transaction() as uow:
            point = await uow.supply_views.usage_point(usage_point_no)
        order = await self._restraints.lift(
            point.usage_point_id, kind, actor=actor, evidence=evidence
        )
        async with self._store.transaction() as uow:
            remaining = await uow.supply.restraints(point.usage_point_id)
            views = await view_orders(uow, [order] if order else [])
            return LiftedRestraint(remaining, views[0] if views else None)

    async def _subject(self, uow: UnitOfWork, request: SwitchingRequest) -> tuple[int | None, int]:
        account = None
        if request.account_no is not None:
            account = await find_account(uow, request.account_no)
        if request.usage_point_no is not None:
            point = await uow.supply_views.usage_point(request.usage_point_no)
            return account.account_id if account else point.account_id, point.usage_point_id
        if account is None:
            raise BadInput("name an account_no or a usage_point_no", field="usage_point_no")
        points = await occupied_now(uow, account.account_id, self._clock.now())
        if len(points) == 1:
            return account.account_id, points[0].usage_point_id
        numbers = ", ".join(each.usage_point_no for each in points)
        raise BadInput(
            f"account {account.account_no} occupies {len(points)} usage points"
            f"{f' ({numbers}): name one' if points else ''}",
            field="usage_point_no",
            code="ambiguous_usage_point" if points else "no_usage_point",
        )


async def _with_events(uow: UnitOfWork, order: OrderRecord) -> OrderView:
    (view,) = await view_orders(uow, [order])
    return replace(view, events=await uow.orders.events(order.order_id))


def _check(request: SwitchingRequest) -> None:
    if not request.reason.strip():
        raise BadInput("say why: an order needs a reason", field="reason")
    if (
        request.not_before is not None
        and request.not_after is not None
        and request.not_after <= request.not_before
    ):
        raise BadInput("the order would expire before it may start", field="not_after")
