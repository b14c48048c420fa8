"""The dispatcher: claims due supply orders, judges them once more, and carries them out.

Theory of operation. A claim is one short transaction: it takes a batch of due orders that no other
process works on, runs the guard on each, and commits ``sending`` with a lease and a fence, or the
refusal. No row stays locked while a meter is spoken to. When a process dies in between, its lease
runs out, and whoever claims the order next finds it ``sending``: whether the command had left is
unknown then, so the contact is read back before anything else. A NOTIFY wakes the loop; a floor
poll makes it independent of that.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from headend.domain.errors import (
    Conflict,
    HeadEndError,
    MeterRefused,
    MeterUnreachable,
    OutcomeUnknown,
)
from headend.domain.supply import OrderState, SupplyAction
from headend.ports import Clock, MeterKeys
from headend.ports.orders import OrderChanges, OrderRecord
from headend.ports.unit_of_work import Store, UnitOfWork
from headend.ports.wake import WakeSignal
from headend.services.guard import Guard, show_remaining
from headend.services.links import LinkPool
from headend.services.order_evidence import one_more_command
from headend.services.order_outcomes import OrderOutcomes
from headend.services.order_succession import DISPATCHER
from headend.services.supply_control import SYSTEM_ACTOR
from headend.services.switching import SETTLE_S, Progress, carry_out, read_back
from headend.services.turnstile import Priority
from rules.reasons import RefusalReason

_LOG = structlog.get_logger()
FLOOR_POLL_S = 0.25
LEASE_S = 40.0
# The conversation ends before its lease does, so that two processes never speak for one order.
CONVERSATION_S = 30.0
MAXIMUM_AT_ONCE = 64


class _MeterExchanged(Exception):
    """Another meter serves the usage point by now, or none."""


class _StoppedAtLastLook(Exception):
    """The guard said no between the claim and the command."""

    def __init__(self, reasons: tuple[RefusalReason, ...]) -> None:
        super().__init__(", ".join(reasons))
        self.reasons = reasons


@dataclass(frozen=True, slots=True)
class DispatcherParts:
    """What a dispatcher works with. ``settle_s`` [s]: how long a contact may take to move."""

    store: Store
    clock: Clock
    guard: Guard
    links: LinkPool
    keys: MeterKeys
    outcomes: OrderOutcomes
    wake: WakeSignal
    settle_s: float = SETTLE_S


class Dispatcher:
    """Works on due orders until cancelled; at most `MAXIMUM_AT_ONCE` at a time."""

    def __init__(self, parts: DispatcherParts) -> None:
        self._parts = parts
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Claim and carry out for ever. Cancelled, it lets the conversations under way finish."""
        try:
            while True:
                try:
                    claimed = await self.pump()
                except HeadEndError as error:
                    _LOG.error("orders not claimed", error=str(error))
                    claimed = 0
                if claimed == 0:
                    await self._parts.wake.wait(FLOOR_POLL_S)
        finally:
            await self.drain()

    async def pump(self) -> int:
        """Claim what is due and start on it; return how many orders were claimed."""
        free = MAXIMUM_AT_ONCE - len(self._tasks)
        if free <= 0:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            return 1
        ready: list[OrderRecord] = []
        async with self._parts.store.transaction() as uow:
            claimed = await uow.orders.claim_due(
                at=self._parts.clock.now(),
                holder=self._parts.links.holder,
                lease_s=LEASE_S,
                limit=free,
            )
            for order in claimed:
                admitted = await self._admit_apart(uow, order)
                if admitted is not None:
                    ready.append(admitted)
        for order in ready:
            task = asyncio.create_task(self._carry_out(order), name=f"order-{order.order_id}")
            self._tasks.add(task)
            task.add_done_callback(self._finished)
        return len(claimed)

    async def drain(self) -> None:
        """Wait for the conversations under way; their time is bounded."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CONVERSATION_S)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # A defect: the lease runs out, and the order is read back by whoever claims it then.
            _LOG.error("conversation crashed", task=task.get_name(), exc_info=task.exception())

    async def _admit_apart(self, uow: UnitOfWork, order: OrderRecord) -> OrderRecord | None:
        """Admit one order of a batch: where that fails, the others go on.

        The order stays claimed until its lease runs out, and is tried again then.
        """
        try:
            async with uow.savepoint():
                return await self._admit(uow, order)
        except HeadEndError as error:
            _LOG.error("order not admitted", order_id=order.order_id, error=str(error))
            return None

    async def _admit(self, uow: UnitOfWork, order: OrderRecord) -> OrderRecord | None:
        """Judge a claimed order in the claim's transaction; None when there is nothing to send."""
        now = self._parts.clock.now()
        keep = OrderChanges(keep_lease=True)
        if order.state is OrderState.SENDING:
            return await uow.orders.move(
                order,
                OrderState.OUTCOME_UNKNOWN,
                at=now,
                actor=DISPATCHER,
                detail={"error": "the process that was sending it died"},
                changes=OrderChanges(keep_lease=True, attempts=0, evidence=one_more_command(order)),
            )
        if order.state in (OrderState.OUTCOME_UNKNOWN, OrderState.VERIFYING):
            return order
        if order.state is OrderState.AWAITING_CUSTOMER:
            return await uow.orders.move(
                order, OrderState.VERIFYING, at=now, actor=DISPATCHER, changes=keep
            )
        if order.not_after is not None and now > order.not_after:
            await uow.orders.move(order, OrderState.EXPIRED, at=now, actor=DISPATCHER)
            return None
        reasons, detail = await self._judge(uow, order)
        if reasons:
            await uow.orders.move(
                order,
                OrderState.REFUSED,
                at=now,
                actor="guard",
                detail={"reasons": [reason.value for reason in reasons], "when": "at send"},
                changes=OrderChanges(refusal_codes=reasons, evidence=detail),
            )
            return None
        if order.state is OrderState.SCHEDULED:
            order = await uow.orders.move(
                order, OrderState.QUEUED, at=now, actor=DISPATCHER, changes=keep
            )
        return await uow.orders.move(
            order,
            OrderState.SENDING,
            at=now,
            actor=DISPATCHER,
            detail={"fence": order.fence, "holder": self._parts.links.holder},
            changes=OrderChanges(keep_lease=True, evidence=detail),
        )

    async def _judge(
        self, uow: UnitOfWork, order: OrderRecord
    ) -> tuple[tuple[RefusalReason, ...], dict[str, object]]:
        now = self._parts.clock.now()
        if order.action is SupplyAction.DISCONNECT:
            judged = await self._parts.guard.judge_disconnect(
                uow,
                order.usage_point_id,
                purpose=order.purpose,
                at=now,
                account_id=order.account_id,
                not_before=order.not_before,
                not_after=order.not_after,
            )
            return judged.verdict.reasons, {"facts_at_send": judged.facts}
        close = await self._parts.guard.judge_close(
            uow,
            order.usage_point_id,
            at=now,
            automatic=order.requested_by == SYSTEM_ACTOR,
            appliances_off=order.appliances_off,
            not_before=order.not_before,
            not_after=order.not_after,
        )
        remaining = show_remaining(close.verdict.remaining)
        return close.verdict.reasons, {"facts_at_send": close.facts, "remaining": remaining}

    async def _carry_out(self, order: OrderRecord) -> None:
        try:
            await self._converse(order)
        except Conflict as error:
            # Another process holds the order now: its fence grew, and its word counts.
            _LOG.warning("order moved on", order_id=order.order_id, error=str(error))
        except HeadEndError as error:
            _LOG.error("order not carried out", order_id=order.order_id, error=str(error))

    async def _converse(self, order: OrderRecord) -> None:
        progress, current = Progress(), order

        async def last_look() -> None:
            # A payment or a hold may have come since the claim, or somebody may have found that
            # it is not safe to close.
            async with self._parts.store.transaction() as uow:
                await _check_ours(uow, order)
                await _check_meter(uow, order)
                reasons, _ = await self._judge(uow, order)
            if reasons:
                raise _StoppedAtLastLook(reasons)

        async def acknowledged() -> None:
            nonlocal current
            current = await self._parts.outcomes.acknowledged(order)

        try:
            async with asyncio.timeout(CONVERSATION_S):
                async with self._parts.store.transaction() as uow:
                    await _check_meter(uow, order)
                    expected = await uow.supply.expected_identity(order.meter_id)
                access = await self._parts.keys.access_for(order.meter_id)
                async with self._parts.links.session(
                    order.link_id, access, Priority.ORDER
                ) as session:
                    if order.state is OrderState.SENDING:
                        switched = await carry_out(
                            session,
                            order.action,
                            expected=expected,
                            progress=progress,
                            last_look=last_look,
                            acknowledged=acknowledged,
                            settle_s=self._parts.settle_s,
                        )
                    else:
                        switched = await read_back(
                            session,
                            order.action,
                            expected=expected,
                            settle_s=self._parts.settle_s,
                        )
        except _MeterExchanged:
            await self._parts.outcomes.exchanged(current)
        except _StoppedAtLastLook as stopped:
            await self._parts.outcomes.stopped_at_last_look(order, stopped.reasons)
        except TimeoutError:
            slow = f"no end of the conversation within {CONVERSATION_S:.0f} s"
            error = OutcomeUnknown(slow) if progress.commanded else MeterUnreachable(slow)
            await self._parts.outcomes.broke(current, error, commanded=progress.commanded)
        except HeadEndError as error:
            # Refused or unreachable means that the command did not act, unless it had been
            # acknowledged before; every other error after it leaves the outcome unknown.
            sure = not progress.acknowledged and not _leaves_doubt(error)
            await self._parts.outcomes.broke(
                current, error, commanded=progress.commanded and not sure
            )
        else:
            await self._parts.outcomes.seen(current, switched)


async def _check_ours(uow: UnitOfWork, order: OrderRecord) -> None:
    """Raise `Conflict` when another process took the order over: its word counts now."""
    stored = await uow.orders.get(order.order_id)
    if (stored.fence, stored.state) != (order.fence, order.state):
        raise Conflict(
            f"order {order.order_id} is {stored.state} under another fence",
            field="order_id",
            code="order_moved_on",
        )


async def _check_meter(uow: UnitOfWork, order: OrderRecord) -> None:
    """Raise `_MeterExchanged` when the order's meter no longer serves its usage point.

    It may serve a neighbour now: switching it would switch the neighbour.
    """
    installed = await uow.supply.installed_meter(order.usage_point_id)
    if installed is None or installed.meter_id != order.meter_id:
        raise _MeterExchanged


def _leaves_doubt(error: HeadEndError) -> bool:
    """Whether a command that ended in this error may still have acted."""
    return not isinstance(error, MeterRefused | MeterUnreachable)
