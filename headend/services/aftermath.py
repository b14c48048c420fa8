"""What follows when a contact was seen to have moved, in the same transaction.

After a disconnect the account is decided again at once: a payment that came while the command was
on its way finds its reconnect here, and the customer is told. After a reconnect the old notices
are worthless, and the customer is told.
"""

from __future__ import annotations

from headend.domain.supply import OrderPurpose, SupplyAction
from headend.ports import Clock
from headend.ports.notices import CycleClose
from headend.ports.orders import OrderRecord
from headend.ports.unit_of_work import UnitOfWork
from headend.services.notices import Notices
from headend.services.payments import DecideAccount
from rules.notices import NoticeStage


class SupplyAftermath:
    """Tells the customer, closes the notice cycle, decides the account anew."""

    def __init__(self, *, clock: Clock, notices: Notices, decide: DecideAccount) -> None:
        self._clock = clock
        self._notices = notices
        self._decide = decide

    async def switched(self, uow: UnitOfWork, order: OrderRecord) -> None:
        """Follow up a completed order."""
        if order.account_id is None:
            return
        off = order.action is SupplyAction.DISCONNECT
        stage = NoticeStage.DISCONNECTED if off else NoticeStage.RECONNECTED
        reason = CycleClose.DISCONNECTED if off else CycleClose.RECONNECTION
        now = self._clock.now()
        cycle = await uow.notices.latest_cycle(order.usage_point_id, account_id=order.account_id)
        if cycle is not None:
            await uow.notices.close_cycle(cycle.cycle_id, at=now, reason=reason)
        if order.purpose is OrderPurpose.ARREARS:  # the texts speak of arrears
            await self._notices.enqueue(
                uow,
                usage_point_id=order.usage_point_id,
                account_id=order.account_id,
                stage=stage,
                reference=f"supply_order:{order.order_id}",
                switched_at=now,
            )
        if off:
            # Who moved in meanwhile must not sit in the dark for somebody else's debt.
            occupants = await uow.holds.accounts_of(order.usage_point_id)
            for account_id in sorted({order.account_id, *occupants}):
                await self._decide(uow, account_id, trigger="disconnected")

    async def handed_to_field(self, uow: UnitOfWork, order: OrderRecord) -> None:
        """Record who has the order now; the crew's work order is its case."""
        await uow.audit.record(
            "dispatcher",
            "supply_order.with_field",
            f"supply_order:{order.order_id}",
            at=self._clock.now(),
            detail={"usage_point_id": order.usage_point_id},
        )
