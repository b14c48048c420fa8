"""Payments: posted once by (channel, reference), shown, taken back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from api.deps import App, Writing
from api.routes.errors import read_errors, write_errors
from api.schemas.common import ChannelCode, ChannelReference
from api.schemas.payments import PaymentIn, PaymentResultOut, ReversalIn
from headend.domain.money import parse_yuan
from headend.services.payments import PaymentRequest

router = APIRouter(prefix="/v1/payments", tags=["payments"])

Channel = Annotated[ChannelCode, Path()]
Reference = Annotated[ChannelReference, Path()]


@router.post(
    "",
    status_code=201,
    response_model=PaymentResultOut,
    responses={
        200: {"model": PaymentResultOut, "description": "Posted before: the first result."},
        **write_errors(404, 409),
    },
    summary="Post a payment",
)
async def post_payment(body: PaymentIn, app: App, write: Writing) -> JSONResponse:
    """Turn reported money into balance, once, and decide the account at once.

    The payment is known by its channel and reference: the same again answers 200 with the first
    result; with another amount or account it is 409 `payment_differs`. Repeating after any
    failure is safe. Where arrears had cut the supply, the reconnect is among `supply_orders`.
    """

    async def work() -> tuple[int, BaseModel]:
        result = await app.services.payments.post(
            PaymentRequest(
                channel_code=body.channel,
                channel_reference=body.channel_reference,
                account_no=body.account_no,
                amount_nano=parse_yuan(body.amount),
                paid_at=body.paid_at,
            )
        )
        view = await app.views.led_to(result.payment)
        if not result.replayed:
            app.metrics.payments_posted.labels(body.channel).inc()
        return 200 if result.replayed else 201, PaymentResultOut.of(view)

    return await write.once(body, work)


@router.get("/{channel}/{channel_reference}", responses=read_errors(404), summary="Show a payment")
async def get_payment(channel: Channel, channel_reference: Reference, app: App) -> PaymentResultOut:
    """Show a payment with the supply orders that it led to, as they stand now."""
    return PaymentResultOut.of(await app.views.payment(channel, channel_reference))


@router.post(
    "/{channel}/{channel_reference}/reversal",
    response_model=PaymentResultOut,
    responses=write_errors(404, 409),
    summary="Take a payment back",
)
async def reverse_payment(
    channel: Channel, channel_reference: Reference, body: ReversalIn, app: App, write: Writing
) -> JSONResponse:
    """Take a posted payment back by a posting that names it; the account is decided anew.

    The same again answers as the first time. A payment that never became money is 409 `not_posted`.
    """

    async def work() -> tuple[int, BaseModel]:
        payment = await app.services.payments.reverse(
            channel, channel_reference, actor=write.caller.actor, reason=body.reason
        )
        return 200, PaymentResultOut.of(await app.views.led_to(payment))

    return await write.once(body, work)
