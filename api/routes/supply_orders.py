"""Supply orders: ask, follow, cancel, release; and the stop switch for all of them."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from api.deps import App, Writing
from api.routes.errors import read_errors, write_errors
from api.schemas.common import AccountNo, PublicId, RequestBody, UsagePointNo
from api.schemas.supply_orders import (
    CancelIn,
    StopSwitchIn,
    StopSwitchOut,
    SupplyOrderDetail,
    SupplyOrderIn,
    SupplyOrderPage,
)
from headend.domain.supply import OrderState
from headend.services.supply_desk import SwitchingRequest
from headend.services.supply_views import OrderSearch

router = APIRouter(prefix="/v1/supply-orders", tags=["supply orders"])
stop_switch_router = APIRouter(prefix="/v1/stop-switch", tags=["supply orders"])

OrderId = Annotated[PublicId, Path()]


class OrderQuery(RequestBody):
    """Which orders to list."""

    account_no: Annotated[AccountNo | None, Query()] = None
    usage_point_no: Annotated[UsagePointNo | None, Query()] = None
    state: Annotated[
        list[OrderState],
        Field(default_factory=list, description="Any of these; all when left out."),
    ]
    open: Annotated[bool, Query(description="Only orders that may still move.")] = False
    cursor: Annotated[str | None, Query(pattern=r"^[0-9]{1,18}$")] = None
    limit: Annotated[int, Query(ge=1, le=500)] = 50


@router.post(
    "",
    status_code=201,
    response_model=SupplyOrderDetail,
    responses={
        200: {"model": SupplyOrderDetail, "description": "The same already waits: that order."},
        **write_errors(404, 409),
    },
    summary="Ask for a switching",
)
async def ask_for_supply_order(body: SupplyOrderIn, app: App, write: Writing) -> JSONResponse:
    """Ask for a disconnection or reconnection; the guard judges it at once, and again at sending.

    A refusal is an answer, not an error: 201 with `state` refused and the reasons as codes and
    sentences. Above the limits of the governor an order is quarantined until two people release
    it. A reconnect supersedes an unsent disconnect; the reverse is 409 `order_waiting`.
    """
    key = write.order_key(otherwise=uuid.uuid4().hex)

    async def work() -> tuple[int, BaseModel]:
        asked = await app.desk.ask(
            SwitchingRequest(
                action=body.action,
                purpose=body.purpose,
                reason=body.reason,
                requested_by=write.caller.actor,
                idempotency_key=key,
                account_no=body.account_no,
                usage_point_no=body.usage_point_no,
                not_before=body.not_before,
                not_after=body.not_after,
                appliances_off=body.appliances_off,
            )
        )
        return 201 if asked.is_new else 200, SupplyOrderDetail.of(asked.view)

    return await write.once(body, work)


@router.get("", responses=read_errors(404), summary="List supply orders")
async def list_supply_orders(app: App, query: Annotated[OrderQuery, Query()]) -> SupplyOrderPage:
    """List orders, newest first."""
    page = await app.views.orders(
        OrderSearch(
            account_no=query.account_no,
            usage_point_no=query.usage_point_no,
            states=query.state or None,
            open_only=query.open,
            before_order_id=None if query.cursor is None else int(query.cursor),
            limit=query.limit,
        )
    )
    return SupplyOrderPage.of(page)


@router.get("/{order_id}", responses=read_errors(404), summary="Follow a supply order")
async def get_supply_order(order_id: OrderId, app: App) -> SupplyOrderDetail:
    """Show an order with every move it made: who, when, why, on what evidence."""
    return SupplyOrderDetail.of(await app.views.order(order_id))


@router.post(
    "/{order_id}/cancel",
    response_model=SupplyOrderDetail,
    responses=write_errors(404, 409),
    summary="Cancel an unsent order",
)
async def cancel_supply_order(
    order_id: OrderId, body: CancelIn, app: App, write: Writing
) -> JSONResponse:
    """Cancel an order that was not sent yet; afterwards it is 409 `order_sent`."""

    async def work() -> tuple[int, BaseModel]:
        view = await app.desk.cancel(order_id, actor=write.caller.actor, reason=body.reason)
        return 200, SupplyOrderDetail.of(view)

    return await write.once(body, work)


@router.post(
    "/{order_id}/release",
    response_model=SupplyOrderDetail,
    responses=write_errors(404, 409),
    summary="Release a quarantined order",
)
async def release_supply_order(order_id: OrderId, app: App, write: Writing) -> JSONResponse:
    """Release an order that the governor holds back; it goes on when two different people did."""

    async def work() -> tuple[int, BaseModel]:
        view = await app.desk.release(order_id, released_by=write.caller.actor)
        return 200, SupplyOrderDetail.of(view)

    return await write.once(None, work)


@stop_switch_router.get("", responses=read_errors(), summary="Show the stop switch")
async def get_stop_switch(app: App) -> StopSwitchOut:
    """Say whether all disconnects are suspended, by whom and why."""
    return StopSwitchOut.of(await app.views.stop_switch())


@stop_switch_router.put(
    "", response_model=StopSwitchOut, responses=write_errors(), summary="Turn the stop switch"
)
async def put_stop_switch(body: StopSwitchIn, app: App, write: Writing) -> JSONResponse:
    """Suspend all disconnects everywhere, or let them go on. Reconnects are never touched."""

    async def work() -> tuple[int, BaseModel]:
        switch = await app.desk.set_stop_switch(
            stopped=body.stopped, changed_by=write.caller.actor, reason=body.reason
        )
        return 200, StopSwitchOut.of(switch)

    return await write.once(body, work)
