"""Restraints placed and lifted by people: why a contact stays open, and who said that it may close.

``arrears`` is not lifted here: only money lifts it (`SupplyControl.clear_arrears`), or an agent's
reconnect without a posted payment within its limits.
"""

from __future__ import annotations

from headend.domain.errors import BadInput, NotFound
from headend.domain.supply import (
    RESTRAINT_OF_PURPOSE,
    OrderPurpose,
    OrderState,
    Restraint,
    SupplyAction,
    SupplyState,
)
from headend.ports import Clock
from headend.ports.orders import OrderRecord
from headend.ports.supply import StandingRestraint
from headend.ports.unit_of_work import Store, UnitOfWork
from headend.services.supply_control import OrderRequest, SupplyControl

_PURPOSE_OF_RESTRAINT = {
    Restraint.CUSTOMER_REQUEST: OrderPurpose.CUSTOMER_REQUEST,
    Restraint.MOVE_OUT: OrderPurpose.MOVE_OUT,
    Restraint.VACANT: OrderPurpose.MOVE_OUT,
    Restraint.UNSAFE: OrderPurpose.SAFETY_ISOLATION,
    Restraint.WORKS: OrderPurpose.TEST,
}
# A disconnect leaves its purpose's own restraint, so only where that is the one placed it helps.
_PURPOSE_THAT_DISARMS = {restraint: purpose for purpose, restraint in RESTRAINT_OF_PURPOSE.items()}


class Restraints:
    """Places and lifts restraints; the last one lifted gets power back."""

    def __init__(self, *, store: Store, clock: Clock, supply_control: SupplyControl) -> None:
        self._store = store
        self._clock = clock
        self._supply_control = supply_control

    async def standing(self, usage_point_id: int) -> list[StandingRestraint]:
        """Return what keeps the contact of a usage point open."""
        async with self._store.transaction() as uow:
            return await uow.supply.restraints(usage_point_id)

    async def place(
        self, usage_point_id: int, kind: Restraint, *, actor: str, evidence: str
    ) -> bool:
        """Place a restraint; False when it stands already. Never switches anything off.

        A contact that is armed would close at the press of a button: it is disarmed.
        """
        _check(kind, evidence)
        at = self._clock.now()
        async with self._store.transaction() as uow:
            await uow.supply.lock_usage_point(usage_point_id)
            placed = await uow.supply.place_restraint(
                usage_point_id, kind, placed_by=actor, evidence=evidence, at=at
            )
            await uow.audit.record(
                actor,
                "restraint.placed",
                f"usage_point:{usage_point_id}",
                at=at,
                detail={"restraint": kind, "evidence": evidence, "new": placed},
            )
            if placed:
                await self._disarm(uow, usage_point_id, kind, actor, evidence)
            return placed

    async def lift(
        self, usage_point_id: int, kind: Restraint, *, actor: str, evidence: str
    ) -> OrderRecord | None:
        """Lift a restraint; return the reconnect order it leads to, if any.

        Raises `NotFound` when it does not stand.
        """
        _check(kind, evidence)
        at = self._clock.now()
        async with self._store.transaction() as uow:
            await uow.supply.lock_usage_point(usage_point_id)
            standing = {each.kind: each for each in await uow.supply.restraints(usage_point_id)}
            if kind not in standing:
                raise NotFound(f"no restraint {kind} stands here", field="restraint")
            await uow.supply.lift_restraint(usage_point_id, kind, lifted_by=actor, at=at)
            await uow.audit.record(
                actor,
                "restraint.lifted",
                f"usage_point:{usage_point_id}",
                at=at,
                detail={"restraint": kind, "evidence": evidence},
            )
            if len(standing) > 1:
                return None
            return await self._reconnect(uow, usage_point_id, standing[kind], actor, evidence)

    async def _disarm(
        self, uow: UnitOfWork, usage_point_id: int, kind: Restraint, actor: str, evidence: str
    ) -> None:
        open_orders = await uow.orders.lock_open(usage_point_id)
        if not any(order.state is OrderState.AWAITING_CUSTOMER for order in open_orders):
            return
        purpose, now, order = _PURPOSE_THAT_DISARMS.get(kind), self._clock.now(), None
        if purpose is not None:
            request = OrderRequest(
                usage_point_id=usage_point_id,
                action=SupplyAction.DISCONNECT,
                purpose=purpose,
                reason=f"{kind} placed on an armed contact: {evidence}",
                requested_by=actor,
                idempotency_key=f"disarm:{usage_point_id}:{kind}:{now.isoformat()}",
            )
            try:
                async with uow.savepoint():
                    order = await self._supply_control.request(uow, request)
            except BadInput as error:  # another order waits, or the meter is gone: the case tells
                evidence = f"{evidence} ({error})"
        if order is None or order.state is not OrderState.SCHEDULED:
            await uow.cases.open(
                "armed_under_restraint",
                f"usage_point:{usage_point_id}",
                owner="operations",
                detail={
                    "restraint": kind,
                    "evidence": evidence,
                    "order_id": order.order_id if order else None,
                },
                at=now,
                usage_point_id=usage_point_id,
            )

    async def _reconnect(
        self,
        uow: UnitOfWork,
        usage_point_id: int,
        lifted: StandingRestraint,
        actor: str,
        evidence: str,
    ) -> OrderRecord | None:
        seen = await uow.supply.supply_state(usage_point_id)
        if seen is not None and seen.state is SupplyState.CONNECTED:
            return None
        return await self._supply_control.restore(
            uow,
            OrderRequest(
                usage_point_id=usage_point_id,
                action=SupplyAction.RECONNECT,
                purpose=_PURPOSE_OF_RESTRAINT.get(lifted.kind, OrderPurpose.CUSTOMER_REQUEST),
                reason=f"{lifted.kind} lifted: {evidence}",
                requested_by=actor,
                idempotency_key=f"lifted:{lifted.restraint_id}",
            ),
        )


def _check(kind: Restraint, evidence: str) -> None:
    if kind is Restraint.ARREARS:
        raise BadInput("arrears is placed by a disconnect and lifted by money", field="restraint")
    if not evidence.strip():
        raise BadInput("say what shows it: a restraint needs evidence", field="evidence")
