"""Payments as clients send and see them."""

from __future__ import annotations

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from api.schemas.common import (
    AccountNo,
    AmountText,
    Answer,
    ChannelCode,
    ChannelReference,
    Instant,
    RequestBody,
    Text,
    Yuan,
)
from headend.domain.supply import OrderState, SupplyAction
from headend.ports.payments import PaymentRecord, PaymentState
from headend.services.supply_views import PaymentView

_EXAMPLE: JsonDict = {
    "account_no": "3301000001",
    "channel": "wechat",
    "channel_reference": "4200002026030112345678",
    "amount": "200.00",
}


class PaymentIn(RequestBody):
    """Money that a channel reports as paid."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    account_no: AccountNo
    channel: ChannelCode
    channel_reference: ChannelReference
    amount: AmountText
    paid_at: Instant | None = Field(default=None, description="Business time; now when left out.")


class ReversalIn(RequestBody):
    """Why a payment is taken back."""

    reason: Text = Field(examples=["paid twice by mistake"])


class PaymentOut(Answer):
    """One payment as recorded."""

    channel: str
    channel_reference: str
    account_no: str
    amount: Yuan
    state: PaymentState
    paid_at: Instant
    posted_at: Instant | None
    balance_after: Yuan | None = Field(
        description="Balance right after the posting, as on the receipt, whatever happened since."
    )

    @classmethod
    def of(cls, payment: PaymentRecord) -> PaymentOut:
        return cls(
            channel=payment.channel_code,
            channel_reference=payment.channel_reference,
            account_no=payment.account_no,
            amount=payment.amount_nano,
            state=payment.state,
            paid_at=payment.paid_at,
            posted_at=payment.posted_at,
            balance_after=payment.balance_after_nano,
        )


class PaidOrderOut(Answer):
    """A supply order that the payment led to; follow it under `/v1/supply-orders/{order_id}`."""

    order_id: int
    usage_point_no: str
    action: SupplyAction
    state: OrderState
    refusal_codes: list[str]


class PaymentResultOut(Answer):
    """A payment, the balance after it, and what it set going."""

    payment: PaymentOut
    balance: Yuan | None = Field(description="As `payment.balance_after`.")
    balance_nano: int | None = Field(description="The same, exactly: 10⁻⁹ yuan.")
    supply_orders: list[PaidOrderOut]

    @classmethod
    def of(cls, view: PaymentView) -> PaymentResultOut:
        payment = view.payment
        return cls(
            payment=PaymentOut.of(payment),
            balance=payment.balance_after_nano,
            balance_nano=payment.balance_after_nano,
            supply_orders=[
                PaidOrderOut(
                    order_id=order.order_id,
                    usage_point_no=order.usage_point_no,
                    action=order.action,
                    state=order.state,
                    refusal_codes=list(order.refusal_codes),
                )
                for order in view.orders
            ],
        )
