"""Which order goes on where two meet at one usage point, or where the meter was exchanged.

Per usage point one order is in flight and one waits behind it. When the one in flight would have to
be sent again, it goes on or gives way; it never joins the queue beside the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from headend.domain.supply import UNSENT, OrderPurpose, OrderState, SupplyAction
from headend.ports.orders import OrderChanges, OrderRecord
from headend.ports.supply import InstalledMeterRef
from headend.ports.unit_of_work import UnitOfWork

DISPATCHER = "dispatcher"


async def gives_way(uow: UnitOfWork, order: OrderRecord, *, at: datetime) -> bool:
    """Say whether an order that waits behind takes the place of this one.

    Everything takes the place of a disconnect. A reconnect makes way for a safety isolation, and
    for another reconnect that may start now. Any other disconnect behind a reconnect is superseded
    here: it may wait for long, or be refused, and the customer would stay in the dark.
    """
    waiting = await _waiting(uow, order)
    if waiting is None:
        return False
    if (
        order.action is SupplyAction.DISCONNECT
        or waiting.purpose is OrderPurpose.SAFETY_ISOLATION
        or (waiting.action is SupplyAction.RECONNECT and _may_start(waiting, at))
    ):
        return True
    await uow.orders.move(
        waiting,
        OrderState.SUPERSEDED,
        at=at,
        actor=DISPATCHER,
        detail={"by": f"order {order.order_id}, which has to be tried again"},
    )
    return False


async def must_disarm(uow: UnitOfWork, order: OrderRecord, *, at: datetime) -> bool:
    """Say whether a disconnect waits for a contact that the customer could close by its button."""
    waiting = await _waiting(uow, order)
    return (
        waiting is not None
        and waiting.action is SupplyAction.DISCONNECT
        and waiting.state in (OrderState.SCHEDULED, OrderState.QUEUED)
        and _may_start(waiting, at)
    )


async def supersede(
    uow: UnitOfWork, order: OrderRecord, detail: Mapping[str, Any], *, at: datetime
) -> OrderRecord:
    """Leave it to the order that waits behind: the contact is where that one starts from."""
    return await uow.orders.move(
        order,
        OrderState.SUPERSEDED,
        at=at,
        actor=DISPATCHER,
        detail={"by": "the order that waited behind", **detail},
    )


async def hand_to_new_meter(
    uow: UnitOfWork,
    order: OrderRecord,
    meter: InstalledMeterRef,
    detail: Mapping[str, Any],
    *,
    at: datetime,
) -> OrderRecord:
    """Queue a reconnect for the meter that serves now, which was never sent anything."""
    return await uow.orders.move(
        order,
        OrderState.QUEUED,
        at=at,
        actor=DISPATCHER,
        detail=detail,
        changes=OrderChanges(
            next_attempt_at=at,
            attempts=0,
            meter_id=meter.meter_id,
            link_id=meter.link_id,
            evidence={"commands": 0},
        ),
    )


async def _waiting(uow: UnitOfWork, order: OrderRecord) -> OrderRecord | None:
    open_orders = await uow.orders.lock_open(order.usage_point_id)
    return next(
        (each for each in open_orders if each.state in UNSENT and each.order_id != order.order_id),
        None,
    )


def _may_start(order: OrderRecord, at: datetime) -> bool:
    return order.not_before is None or order.not_before <= at
