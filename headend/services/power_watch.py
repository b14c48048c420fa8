"""The last net of supply: finds whom nothing and nobody would bring power back to.

Theory of operation. A contact is open because of a restraint, or an order is about to change it.
Where neither is so although it was opened by us, something fell through: a reconnect was refused
for want of consent or for works on the area, and the cause has gone since; it was cancelled; it
expired; there was no meter to close. The watch asks the guard again and queues the reconnect as
soon as it may be sent; until then a case names what stands against it. It also looks again after
what a field crew has: when the meter was heard since, the contact is read, which ends the order if
the crew closed it, and lets it be tried from afar if not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog

from headend.domain.errors import HeadEndError
from headend.domain.supply import (
    IN_FLIGHT,
    OrderPurpose,
    OrderState,
    SupplyAction,
)
from headend.ports import Clock
from headend.ports.orders import OrderChanges
from headend.ports.unit_of_work import Store, UnitOfWork
from headend.services.guard import Guard, show_remaining
from headend.services.supply_control import SYSTEM_ACTOR, OrderRequest, SupplyControl

_LOG = structlog.get_logger()
CASE_KIND = "off_without_restraint"
CASE_OWNER = "operations"
ACTOR = "power_watch"
LIMIT = 200
SWEEP_EVERY_S = 5.0  # real time

_Work = Callable[[UnitOfWork, int], Awaitable[bool]]


class PowerWatch:
    """Sweeps over what is off without a reason. Any number of processes may do so at once."""

    def __init__(
        self, *, store: Store, clock: Clock, guard: Guard, supply_control: SupplyControl
    ) -> None:
        self._store = store
        self._clock = clock
        self._guard = guard
        self._supply_control = supply_control

    async def run(self) -> None:
        """Sweep again and again until cancelled."""
        while True:
            try:
                await self.sweep()
            except HeadEndError as error:
                _LOG.error("power watch did not sweep", error=str(error))
            await asyncio.sleep(SWEEP_EVERY_S)

    async def sweep(self, limit: int = LIMIT) -> int:
        """Look once; return how many supplies were moved on.

        One that cannot be moved on does not keep the others from it: it is logged, and comes again.
        """
        async with self._store.transaction() as uow:
            forgotten = await uow.supply.off_without_reason(limit=limit)
            heard = await uow.orders.with_field_and_heard(limit=limit)
        moved = 0
        for usage_point_id in forgotten:
            moved += await self._apart(self._restore, usage_point_id)
        for order_id in heard:
            moved += await self._apart(self._look_again, order_id)
        return moved

    async def _apart(self, work: _Work, key: int) -> bool:
        try:
            async with self._store.transaction() as uow:
                return await work(uow, key)
        except HeadEndError as error:
            _LOG.error("not moved on", key=key, error=str(error))
            return False

    async def _restore(self, uow: UnitOfWork, usage_point_id: int) -> bool:
        now = self._clock.now()
        await uow.supply.lock_usage_point(usage_point_id)
        if usage_point_id not in await uow.supply.off_without_reason(
            limit=1, usage_point_id=usage_point_id
        ):
            return False
        judged = await self._guard.judge_close(
            uow, usage_point_id, at=now, automatic=True, appliances_off=False
        )
        subject = f"usage_point:{usage_point_id}"
        if judged.row.meter_id is None or not judged.verdict.allowed:
            reasons = [reason.value for reason in judged.verdict.reasons] or ["no_meter"]
            await uow.cases.open(
                CASE_KIND,
                subject,
                owner=CASE_OWNER,
                detail={"reasons": reasons, "remaining": show_remaining(judged.verdict.remaining)},
                at=now,
                usage_point_id=usage_point_id,
                account_id=judged.row.account_id,
                meter_id=judged.row.meter_id,
            )
            return False
        await uow.cases.close(
            CASE_KIND, subject, closed_by=ACTOR, outcome="reconnect queued", at=now
        )
        await self._supply_control.request(uow, _back_on(usage_point_id, now))
        return True

    async def _look_again(self, uow: UnitOfWork, order_id: int) -> bool:
        now = self._clock.now()
        await uow.supply.lock_usage_point((await uow.orders.get(order_id)).usage_point_id)
        order = await uow.orders.lock(order_id)
        siblings = await uow.orders.lock_open(order.usage_point_id)
        if order.state is not OrderState.WITH_FIELD or any(
            each.state in IN_FLIGHT for each in siblings
        ):
            return False
        await uow.orders.move(
            order,
            OrderState.VERIFYING,
            at=now,
            actor=ACTOR,
            detail={"meter": "heard again"},
            changes=OrderChanges(next_attempt_at=now, attempts=0),
        )
        return True


def _back_on(usage_point_id: int, at: datetime) -> OrderRequest:
    return OrderRequest(
        usage_point_id=usage_point_id,
        action=SupplyAction.RECONNECT,
        purpose=OrderPurpose.ARREARS,
        reason="off without a restraint",
        requested_by=SYSTEM_ACTOR,
        idempotency_key=f"restore:{usage_point_id}:{at.isoformat()}",
    )
