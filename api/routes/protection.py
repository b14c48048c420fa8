"""Holds, which keep a supply from being cut, and restraints, which keep a contact open."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from api.deps import App, Writing
from api.routes.errors import read_errors, write_errors
from api.schemas.common import AccountNo, PublicId, RequestBody, UsagePointNo
from api.schemas.protection import (
    HoldEndIn,
    HoldIn,
    HoldList,
    HoldOut,
    LiftedOut,
    RestraintIn,
    RestraintList,
    RestraintOut,
)
from api.schemas.supply_orders import SupplyOrderOut
from headend.services.holds import HoldRequest

holds_router = APIRouter(prefix="/v1/holds", tags=["holds"])
restraints_router = APIRouter(prefix="/v1/restraints", tags=["restraints"])

HoldId = Annotated[PublicId, Path()]


class HoldQuery(RequestBody):
    """Which holds to list; all active ones when nothing is named."""

    usage_point_no: Annotated[UsagePointNo | None, Query()] = None
    account_no: Annotated[AccountNo | None, Query()] = None
    include_ended: Annotated[
        bool, Query(description="Ended ones too, of the usage point or account named.")
    ] = False
    limit: Annotated[int, Query(ge=1, le=500)] = 100


class RestraintQuery(RequestBody):
    """At which usage point."""

    usage_point_no: Annotated[UsagePointNo, Query()]


@holds_router.post(
    "",
    status_code=201,
    response_model=HoldOut,
    responses=write_errors(404),
    summary="Place a hold",
)
async def place_hold(body: HoldIn, app: App, write: Writing) -> JSONResponse:
    """Protect a usage point from being cut; what was about to happen is withdrawn at once."""

    async def work() -> tuple[int, BaseModel]:
        hold = await app.services.holds.place(
            HoldRequest(
                usage_point_no=body.usage_point_no,
                kind=body.hold,
                owner=body.owner,
                evidence=body.evidence,
                valid_from=body.valid_from,
                valid_to=body.valid_to,
            ),
            actor=write.caller.actor,
        )
        return 201, HoldOut.of(await app.views.hold(hold.hold_id))

    return await write.once(body, work)


@holds_router.get("", responses=read_errors(404), summary="List holds")
async def list_holds(app: App, query: Annotated[HoldQuery, Query()]) -> HoldList:
    """List holds, newest first."""
    found = await app.views.holds(
        usage_point_no=query.usage_point_no,
        account_no=query.account_no,
        include_ended=query.include_ended,
        limit=query.limit,
    )
    return HoldList(items=[HoldOut.of(view) for view in found])


@holds_router.get("/{hold_id}", responses=read_errors(404), summary="Show a hold")
async def get_hold(hold_id: HoldId, app: App) -> HoldOut:
    """Show one hold."""
    return HoldOut.of(await app.views.hold(hold_id))


@holds_router.post(
    "/{hold_id}/end",
    response_model=HoldOut,
    responses=write_errors(404, 409),
    summary="End a hold",
)
async def end_hold(hold_id: HoldId, body: HoldEndIn, app: App, write: Writing) -> JSONResponse:
    """End a hold. Earlier notices are worthless from then on: they have to be given again."""

    async def work() -> tuple[int, BaseModel]:
        await app.services.holds.end(hold_id, actor=write.caller.actor, reason=body.reason)
        return 200, HoldOut.of(await app.views.hold(hold_id))

    return await write.once(body, work)


@restraints_router.post(
    "",
    status_code=201,
    response_model=RestraintOut,
    responses={
        200: {"model": RestraintOut, "description": "It stood already."},
        **write_errors(404, 409),
    },
    summary="Place a restraint",
)
async def place_restraint(body: RestraintIn, app: App, write: Writing) -> JSONResponse:
    """Say why a contact must not be closed. It switches nothing off."""

    async def work() -> tuple[int, BaseModel]:
        standing, is_new = await app.desk.place_restraint(
            body.usage_point_no, body.restraint, actor=write.caller.actor, evidence=body.evidence
        )
        return 201 if is_new else 200, RestraintOut.of(standing)

    return await write.once(body, work)


@restraints_router.get("", responses=read_errors(404), summary="List standing restraints")
async def list_restraints(app: App, query: Annotated[RestraintQuery, Query()]) -> RestraintList:
    """List what keeps the contact of a usage point open, and who lifts each."""
    standing = await app.views.restraints(query.usage_point_no)
    return RestraintList(
        usage_point_no=query.usage_point_no, items=[RestraintOut.of(each) for each in standing]
    )


@restraints_router.post(
    "/lift",
    response_model=LiftedOut,
    responses=write_errors(404, 409),
    summary="Lift a restraint",
)
async def lift_restraint(body: RestraintIn, app: App, write: Writing) -> JSONResponse:
    """Lift a restraint with what shows that it may be; the last one lifted gets power back."""

    async def work() -> tuple[int, BaseModel]:
        lifted = await app.desk.lift_restraint(
            body.usage_point_no, body.restraint, actor=write.caller.actor, evidence=body.evidence
        )
        order = lifted.reconnect
        return 200, LiftedOut(
            usage_point_no=body.usage_point_no,
            remaining=[RestraintOut.of(each) for each in lifted.remaining],
            supply_order=None if order is None else SupplyOrderOut.of(order),
        )

    return await write.once(body, work)
