"""Debt: what is overdue, what a top-up pays back, what counts when supply is at stake.

Pure arithmetic on amounts and dates; whether anybody is cut is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from headend.domain.errors import InvariantViolated
from headend.domain.money import round_to_fen
from headend.domain.reading import Int64Array
from prepaid.apportion import share_of


def actual_balance(balance_nano: Int64Array, estimated_nano: Int64Array) -> Int64Array:
    """Return the balance by actual readings only: (account,) int64 [nano].

    ``estimated_nano`` is the part of past charges that still rests on estimates (the sum of
    `DayCharges.estimated_nano` over days not yet replaced). The result is never below the balance,
    so judging by it favours the customer. Raises `InvariantViolated` for a negative part.
    """
    if estimated_nano.size and int(estimated_nano.min()) < 0:
        row = int(np.argmin(estimated_nano))
        raise InvariantViolated(f"row {row}: {int(estimated_nano[row])} nano rest on estimates")
    return balance_nano + estimated_nano


@dataclass(frozen=True, slots=True)
class TopUpSplit:
    """How a top-up divides [nano]; the parts add up to the payment."""

    to_credit_nano: int
    to_debt_nano: int


def plan_debt_recovery(payment_nano: int, debt_nano: int, share_ppm: int) -> TopUpSplit:
    """Divide a payment between credit and old debt.

    ``share_ppm`` of the payment, in whole fen by largest remainder, but never more than the debt:
    its last payment is its rest, to the nano. ``debt_nano`` is positive while something is owed.
    Raises `InvariantViolated` for a payment that is not positive whole fen.
    """
    if payment_nano <= 0 or round_to_fen(payment_nano) != payment_nano:
        raise InvariantViolated(f"a payment of {payment_nano} nano is not positive whole fen")
    to_debt = min(share_of(payment_nano, share_ppm), max(debt_nano, 0))
    return TopUpSplit(to_credit_nano=payment_nano - to_debt, to_debt_nano=to_debt)


def days_overdue(due: date, today: date) -> int:
    """Return how many days after its due date a debt is; 0 on the due date and before."""
    return max((today - due).days, 0)
