"""What an order's conversation led to, committed: evidence, restraints, retries, hand-overs.

Each function here is one transaction. It locks the account's balance before the order, as every
transaction that touches both does, so that a payment and an outcome never wait for each other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Protocol

import structlog

from headend.domain.errors import HeadEndError
from headend.domain.supply import (
    RESTRAINT_OF_PURPOSE,
    EvidenceGrade,
    OrderState,
    RelayReading,
    Restraint,
    SupplyAction,
    SupplyState,
)
from headend.ports import Clock
from headend.ports.orders import OrderChanges, OrderRecord
from headend.ports.unit_of_work import Store, UnitOfWork
from headend.services.order_evidence import (
    commands_sent,
    one_more_command,
    show_contact,
    tell_error,
)
from headend.services.order_succession import (
    DISPATCHER,
    gives_way,
    hand_to_new_meter,
    must_disarm,
    supersede,
)
from headend.services.switching import Contact, Switched, grade_evidence, is_contradicted
from rules.reasons import RefusalReason
from rules.service_levels import AttemptDecision, NextStep, RetryPolicy, next_attempt

_LOG = structlog.get_logger()
# A relay is a mechanical part with a duty limit: after so many commands a crew looks at it.
MAXIMUM_COMMANDS = 3
CUSTOMER_CHECK_EVERY = timedelta(minutes=1)


class Aftermath(Protocol):
    """What follows in the same transaction when a contact was seen to have moved."""

    async def switched(self, uow: UnitOfWork, order: OrderRecord) -> None: ...

    async def handed_to_field(self, uow: UnitOfWork, order: OrderRecord) -> None: ...


class OrderOutcomes:
    """Commits what happened to an order in flight."""

    def __init__(
        self, *, store: Store, clock: Clock, aftermath: Aftermath, retry_policy: RetryPolicy
    ) -> None:
        self._store = store
        self._clock = clock
        self._aftermath = aftermath
        self._retry_policy = retry_policy

    async def acknowledged(self, order: OrderRecord) -> OrderRecord:
        """Record that the meter said yes, which is not evidence of the contact."""
        async with self._of(order) as uow:
            return await uow.orders.move(
                order,
                OrderState.VERIFYING,
                at=self._clock.now(),
                actor=DISPATCHER,
                detail={"meter": "acknowledged"},
                changes=OrderChanges(
                    evidence_grade=EvidenceGrade.ACKNOWLEDGED,
                    attempts=0,
                    evidence=one_more_command(order),
                    keep_lease=True,
                ),
            )

    async def seen(self, order: OrderRecord, switched: Switched) -> OrderRecord:
        """Commit a contact that was read after (or instead of) switching."""
        async with self._of(order) as uow:
            if not await self._still_serves(uow, order):
                return await self._exchanged(uow, order)
            if order.state is not OrderState.VERIFYING:
                order = await uow.orders.move(
                    order,
                    OrderState.VERIFYING,
                    at=self._clock.now(),
                    actor=DISPATCHER,
                    detail={"meter": "contact read"},
                    changes=OrderChanges(keep_lease=True),
                )
            if switched.contact is Contact.AS_ORDERED:
                return await self._complete(uow, order, switched)
            await self._record_state(uow, order, switched.relay)
            if switched.contact is Contact.ARMED:
                if await must_disarm(uow, order, at=self._clock.now()):
                    shown = show_contact(switched.relay)
                    return await supersede(uow, order, shown, at=self._clock.now())
                return await uow.orders.move(
                    order,
                    OrderState.AWAITING_CUSTOMER,
                    at=self._clock.now(),
                    actor=DISPATCHER,
                    detail=show_contact(switched.relay),
                    changes=OrderChanges(
                        next_attempt_at=self._clock.now() + CUSTOMER_CHECK_EVERY,
                        evidence={"contact": show_contact(switched.relay)},
                    ),
                )
            return await self._not_moved(uow, order, switched.relay)

    async def broke(
        self, order: OrderRecord, error: HeadEndError, *, commanded: bool
    ) -> OrderRecord:
        """Commit that the conversation broke. ``commanded``: the command may have left."""
        now = self._clock.now()
        decision = next_attempt(
            error,
            attempt=order.attempts + 1,
            now=now,
            due_at=order.not_before or order.created_at,
            action=order.action,
            not_after=order.not_after,
            policy=self._retry_policy,
        )
        detail = {"error": type(error).__name__, "message": str(error)}
        async with self._of(order) as uow:
            if commanded or order.state in (OrderState.VERIFYING, OrderState.OUTCOME_UNKNOWN):
                return await self._unknown(uow, order, decision, detail)
            return await self._unsent(uow, order, decision, error, detail)

    async def exchanged(self, order: OrderRecord) -> OrderRecord:
        """Commit that the meter the order was made for no longer serves the usage point."""
        async with self._of(order) as uow:
            return await self._exchanged(uow, order)

    async def stopped_at_last_look(
        self, order: OrderRecord, reasons: tuple[RefusalReason, ...]
    ) -> OrderRecord:
        """Commit that the guard refused in the session itself, before the command."""
        async with self._of(order) as uow:
            return await uow.orders.move(
                order,
                OrderState.REFUSED,
                at=self._clock.now(),
                actor="guard",
                detail={"reasons": [reason.value for reason in reasons], "when": "in session"},
                changes=OrderChanges(refusal_codes=reasons),
            )

    @asynccontextmanager
    async def _of(self, order: OrderRecord) -> AsyncIterator[UnitOfWork]:
        async with self._store.transaction() as uow:
            # The occupant may be another one by now, and is decided too.
            concerned = {*await uow.holds.accounts_of(order.usage_point_id)}
            concerned |= {order.account_id} if order.account_id is not None else set()
            await uow.accounts.lock_balances(sorted(concerned), changed_at=self._clock.now())
            await uow.supply.lock_usage_point(order.usage_point_id)
            yield uow

    async def _complete(
        self, uow: UnitOfWork, order: OrderRecord, switched: Switched
    ) -> OrderRecord:
        now, relay = self._clock.now(), switched.relay
        if order.action is SupplyAction.DISCONNECT:
            await self._restrain(uow, order)
        done = await uow.orders.move(
            order,
            OrderState.COMPLETED,
            at=now,
            actor=DISPATCHER,
            detail=show_contact(relay),
            changes=OrderChanges(
                evidence_grade=grade_evidence(relay, order.action),
                evidence={"contact": show_contact(relay), "command_sent": switched.commanded},
            ),
        )
        await self._record_state(uow, done, relay)
        if is_contradicted(relay, order.action):
            await self._open_case(uow, done, "load_through_open_contact", show_contact(relay))
        await self._look_for_restraints(uow, done)
        await self._follow_up(uow, done)
        return done

    async def _follow_up(self, uow: UnitOfWork, done: OrderRecord) -> None:
        """Let the aftermath follow; what was seen of the contact is stored even if it fails."""
        try:
            async with uow.savepoint():
                await self._aftermath.switched(uow, done)
        except HeadEndError as error:
            if error.retryable:
                raise
            _LOG.exception("aftermath_failed", order_id=done.order_id)
            detail = {"error": type(error).__name__, "message": str(error)}
            await self._open_case(uow, done, "aftermath_failed", detail)

    async def _look_for_restraints(self, uow: UnitOfWork, done: OrderRecord) -> None:
        """Tell a person when a contact was closed while somebody placed a restraint."""
        if done.action is not SupplyAction.RECONNECT:
            return
        standing = [each.kind for each in await uow.supply.restraints(done.usage_point_id)]
        if standing:
            await self._open_case(uow, done, "closed_under_restraint", {"restraints": standing})

    async def _restrain(self, uow: UnitOfWork, order: OrderRecord) -> None:
        await uow.supply.place_restraint(
            order.usage_point_id,
            RESTRAINT_OF_PURPOSE[order.purpose],
            placed_by=order.requested_by,
            evidence=order.reason,
            at=self._clock.now(),
            order_id=order.order_id,
        )

    async def _not_moved(
        self, uow: UnitOfWork, order: OrderRecord, relay: RelayReading
    ) -> OrderRecord:
        now, commands = self._clock.now(), commands_sent(order)
        if await gives_way(uow, order, at=now):
            return await supersede(uow, order, show_contact(relay), at=now)
        if commands < MAXIMUM_COMMANDS:
            return await uow.orders.move(
                order,
                OrderState.QUEUED,
                at=now,
                actor=DISPATCHER,
                detail={"contact": "did not move", **show_contact(relay)},
                changes=OrderChanges(
                    next_attempt_at=now + self._retry_policy.wait_after(commands), attempts=0
                ),
            )
        in_doubt = relay.supply_state is not SupplyState.CONNECTED
        return await self._give_up(
            uow, order, kind="relay_did_not_move", detail=show_contact(relay), in_doubt=in_doubt
        )

    async def _unknown(
        self,
        uow: UnitOfWork,
        order: OrderRecord,
        decision: AttemptDecision,
        detail: Mapping[str, Any],
    ) -> OrderRecord:
        """The command may have acted: read back, never send again before that."""
        now = self._clock.now()
        if order.state is not OrderState.OUTCOME_UNKNOWN:
            # From here the attempts count read-backs; those before it must not use them up.
            sent = one_more_command(order) if order.state is OrderState.SENDING else None
            order = await uow.orders.move(
                order,
                OrderState.OUTCOME_UNKNOWN,
                at=now,
                actor=DISPATCHER,
                detail=detail,
                changes=OrderChanges(keep_lease=True, attempts=0, evidence=sent),
            )
            await uow.supply.record_supply_state(
                order.usage_point_id,
                order.meter_id,
                None,
                source=f"supply_order:{order.order_id}",
                at=now,
            )
        attempts = order.attempts + 1
        exhausted = attempts > self._retry_policy.read_back_attempts
        if exhausted or decision.step is NextStep.REFUSE:
            if await gives_way(uow, order, at=now):
                return await supersede(uow, order, detail, at=now)
            return await self._give_up(
                uow, order, kind="outcome_unknown", detail=detail, in_doubt=True
            )
        wait = self._retry_policy.wait_after(attempts)
        return await uow.orders.await_read_back(
            order, next_attempt_at=now + wait, attempts=attempts
        )

    async def _unsent(
        self,
        uow: UnitOfWork,
        order: OrderRecord,
        decision: AttemptDecision,
        error: HeadEndError,
        detail: Mapping[str, Any],
    ) -> OrderRecord:
        """Nothing left for the meter: try again, hand over, or say no."""
        now = self._clock.now()
        if decision.step is NextStep.REFUSE and decision.reason is not None:
            await self._open_case(uow, order, decision.reason.value, tell_error(error, detail))
            return await uow.orders.move(
                order,
                OrderState.REFUSED,
                at=now,
                actor=DISPATCHER,
                detail=tell_error(error, detail),
                changes=OrderChanges(refusal_codes=(decision.reason,)),
            )
        if await gives_way(uow, order, at=now):
            return await supersede(uow, order, detail, at=now)
        if decision.step is NextStep.FAIL:
            return await self._give_up(uow, order, kind="order_failed", detail=detail)
        queued = await uow.orders.move(
            order,
            OrderState.QUEUED,
            at=now,
            actor=DISPATCHER,
            detail=detail,
            changes=OrderChanges(next_attempt_at=decision.at or now, attempts=order.attempts + 1),
        )
        if decision.step is NextStep.EXPIRE:
            return await uow.orders.move(queued, OrderState.EXPIRED, at=now, actor=DISPATCHER)
        if decision.step is NextStep.TO_FIELD:
            return await self._give_up(uow, queued, kind="not_reached", detail=detail)
        return queued

    async def _still_serves(self, uow: UnitOfWork, order: OrderRecord) -> bool:
        installed = await uow.supply.installed_meter(order.usage_point_id)
        return installed is not None and installed.meter_id == order.meter_id

    async def _exchanged(self, uow: UnitOfWork, order: OrderRecord) -> OrderRecord:
        """Give a reconnect to the meter that serves now; a disconnect ends with its meter.

        What the old device did or shows says nothing about the usage point any more.
        """
        now, sent = self._clock.now(), order.state is not OrderState.SENDING
        detail: dict[str, Any] = {"exchanged": True, "meter_id": order.meter_id}
        if await gives_way(uow, order, at=now):
            return await supersede(uow, order, detail, at=now)
        installed = await uow.supply.installed_meter(order.usage_point_id)
        if order.action is SupplyAction.RECONNECT and installed is not None:
            return await hand_to_new_meter(uow, order, installed, detail, at=now)
        if sent:
            return await self._give_up(uow, order, kind="meter_exchanged", detail=detail)
        return await uow.orders.move(
            order,
            OrderState.REFUSED,
            at=now,
            actor="guard",
            detail=detail,
            changes=OrderChanges(refusal_codes=(RefusalReason.METER_LINK_UNCONFIRMED,)),
        )

    async def _give_up(
        self,
        uow: UnitOfWork,
        order: OrderRecord,
        *,
        kind: str,
        detail: Mapping[str, Any],
        in_doubt: bool = False,
    ) -> OrderRecord:
        """End the remote attempts: a reconnect goes to a field crew, a disconnect fails.

        A disconnect that fails ``in_doubt`` may have opened the contact: its restraint says whose
        opening that is and who lifts it, until the contact is seen closed.
        """
        await self._open_case(uow, order, kind, detail)
        reconnecting = order.action is SupplyAction.RECONNECT
        if in_doubt and not reconnecting:
            await self._restrain(uow, order)
        if reconnecting and order.state is OrderState.SENDING:
            order = await uow.orders.move(
                order, OrderState.QUEUED, at=self._clock.now(), actor=DISPATCHER, detail=detail
            )
        moved = await uow.orders.move(
            order,
            OrderState.WITH_FIELD if reconnecting else OrderState.FAILED,
            at=self._clock.now(),
            actor=DISPATCHER,
            detail={"why": kind, **detail},
        )
        if reconnecting:
            await self._aftermath.handed_to_field(uow, moved)
        return moved

    async def _record_state(
        self, uow: UnitOfWork, order: OrderRecord, relay: RelayReading
    ) -> Restraint | None:
        return await uow.supply.record_supply_state(
            order.usage_point_id,
            order.meter_id,
            relay,
            source=f"supply_order:{order.order_id}",
            at=self._clock.now(),
        )

    async def _open_case(
        self, uow: UnitOfWork, order: OrderRecord, kind: str, detail: Mapping[str, Any]
    ) -> None:
        owner = "field" if order.action is SupplyAction.RECONNECT else "operations"
        await uow.cases.open(
            kind,
            f"usage_point:{order.usage_point_id}",
            owner=owner,
            detail={"order_id": order.order_id, **detail},
            at=self._clock.now(),
            usage_point_id=order.usage_point_id,
            account_id=order.account_id,
            meter_id=order.meter_id,
            due_at=order.deadline_at,
        )
