"""Payments: what a request to post money means beside what is already posted.

A payment is known by (channel, channel reference). The same request again is a replay and returns
the first result; the same reference with another amount or account is refused with both shown.
Plans only: it posts nothing and reads nothing, so the caller decides under its own lock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from headend.domain.errors import BadInput, Conflict
from headend.domain.money import NANO_PER_FEN, format_yuan

_CHANNEL_CODE = re.compile(r"[a-z][a-z0-9_]{0,31}")
_REFERENCE = re.compile(r"[\x21-\x7e]{1,64}")


@dataclass(frozen=True, slots=True)
class PaymentChannel:
    """A way in which money reaches us [nano, s]."""

    code: str
    minimum_nano: int = NANO_PER_FEN
    maximum_nano: int = 10**15
    pending_limit_s: int = 1800
    clearing_number: int | None = None

    def __post_init__(self) -> None:
        # The code becomes part of ledger keys, where a colon would separate.
        if _CHANNEL_CODE.fullmatch(self.code) is None:
            raise BadInput(
                f"{self.code!r} is no channel code: small letters, digits and _", field="channel"
            )


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """Money that a channel reports as paid for an account [nano]."""

    channel: str
    reference: str
    account_key: int
    amount_nano: int


@dataclass(frozen=True, slots=True)
class PostedPayment:
    """A payment that is already recorded under the same (channel, reference)."""

    payment_id: int
    channel: str
    reference: str
    account_key: int
    amount_nano: int


@dataclass(frozen=True, slots=True)
class Accept:
    """New: post it."""

    request: PaymentRequest


@dataclass(frozen=True, slots=True)
class Replay:
    """Seen before with the same content: answer with the first result and post nothing."""

    payment: PostedPayment


PaymentPlan: TypeAlias = Accept | Replay


def plan_payment(
    existing: PostedPayment | None, request: PaymentRequest, channel: PaymentChannel
) -> PaymentPlan:
    """Decide whether to post a payment or to repeat the first answer.

    ``existing`` is what is recorded under the request's (channel, reference), if anything. Raises
    `Conflict` (``payment_differs``) when that has another amount or account, and `BadInput` for an
    amount that is not positive, has a fraction of a fen or lies outside the channel's limits, and
    for a reference that is not 1 to 64 printable ASCII characters. A replay is answered even where
    the limits have changed since.
    """
    if request.channel != channel.code:
        raise BadInput(
            f"payment by {request.channel!r} planned with channel {channel.code!r}", field="channel"
        )
    _check_amount(request.amount_nano)
    if existing is not None:
        return _compare(existing, request)
    if _REFERENCE.fullmatch(request.reference) is None:
        raise BadInput(
            "a payment reference is 1 to 64 printable ASCII characters without spaces",
            field="reference",
        )
    if not channel.minimum_nano <= request.amount_nano <= channel.maximum_nano:
        raise BadInput(
            f"{format_yuan(request.amount_nano)} yuan is outside the limits of {channel.code}: "
            f"{format_yuan(channel.minimum_nano)} to {format_yuan(channel.maximum_nano)} yuan",
            field="amount",
            code="outside_limits",
        )
    return Accept(request)


def _compare(existing: PostedPayment, request: PaymentRequest) -> Replay:
    if (existing.channel, existing.reference) != (request.channel, request.reference):
        raise BadInput(
            f"payment {existing.channel}/{existing.reference} is not "
            f"{request.channel}/{request.reference}",
            field="reference",
        )
    name = f"{request.channel}/{request.reference}"
    if existing.amount_nano != request.amount_nano:
        raise Conflict(
            f"{name} is recorded as {format_yuan(existing.amount_nano)} yuan, "
            f"this request says {format_yuan(request.amount_nano)} yuan",
            field="amount",
            code="payment_differs",
        )
    if existing.account_key != request.account_key:
        raise Conflict(
            f"{name} is recorded for account {existing.account_key}, "
            f"this request says account {request.account_key}",
            field="account",
            code="payment_differs",
        )
    return Replay(existing)


def _check_amount(amount_nano: int) -> None:
    if amount_nano <= 0:
        raise BadInput(
            f"{format_yuan(amount_nano)} yuan is no payment; it must be more than zero",
            field="amount",
            code="not_positive",
        )
    if amount_nano % NANO_PER_FEN:
        raise BadInput(
            "the amount has more than two decimals", field="amount", code="fraction_of_fen"
        )
