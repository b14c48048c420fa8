"""The utility's own accounts, which stand against the customers' in every batch.

Customer accounts have positive keys; these have fixed negative ones, because ledger rows keep them
for ever: a number is never reused or renumbered, only added. They have no stored balance (it would
serialise every payment); a trial balance sums their postings.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

from headend.domain.errors import BadInput


class Book(IntEnum):
    """One internal account. Revenue books collect what charges are made of."""

    REVENUE_ENERGY = -1
    REVENUE_TIER_SURCHARGE = -2
    REVENUE_FIXED = -3
    REVENUE_CAPACITY = -4
    REVENUE_DEMAND = -5
    REVENUE_POWER_FACTOR = -6
    REVENUE_TRANSMISSION = -7
    REVENUE_LINE_LOSS = -8
    REVENUE_SYSTEM_OPERATION = -9
    GOVERNMENT_FUND = -10
    TAX = -11
    LATE_CHARGE = -12
    # Differences of a re-rating whose split by component is no longer known.
    REVENUE_CORRECTION = -13
    SUSPENSE = -50  # money received that belongs to no account yet
    DEBT_RECEIVABLE = -51  # old debt carried beside the prepaid balance
    DEPOSITS = -52
    ALLOWANCES = -53  # free allowances and goodwill credits
    WRITE_OFF = -54


# Clearing accounts: what each payment channel owes us until its money arrives in the bank.
_CLEARING_BASE = -1000
_CLEARING_NUMBERS: Mapping[str, int] = MappingProxyType(
    {
        "counter": 1,
        "pos": 2,
        "bank": 3,
        "direct_debit": 4,
        "self_service": 5,
        "atm": 6,
        "net_bank": 7,
        "telephone_bank": 8,
        "mobile_bank": 9,
        "wechat": 10,
        "alipay": 11,
        "unionpay": 12,
        "post_office": 13,
        "village_agent": 14,
        "top_up_card": 15,
        "digital_tv": 16,
        "city_card": 17,
        "app": 18,
    }
)
_FIRST_FREE_CLEARING_NUMBER = 100


def clearing_account(channel: str, *, number: int | None = None) -> int:
    """Return the clearing account key of a payment channel (always below -1000).

    ``number`` (100 and up) belongs to channels that a deployment adds by data; the built-in ones
    have theirs. Raises `BadInput` when a channel has neither.
    """
    known = _CLEARING_NUMBERS.get(channel)
    if known is None and number is None:
        raise BadInput(f"channel {channel!r} has no clearing account number", field="channel")
    if known is not None and number not in (None, known):
        raise BadInput(f"channel {channel!r} already clears through {known}", field="number")
    if known is None and number is not None and number < _FIRST_FREE_CLEARING_NUMBER:
        raise BadInput(
            f"clearing number {number} of channel {channel!r} is below "
            f"{_FIRST_FREE_CLEARING_NUMBER}, which are built in",
            field="number",
        )
    chosen = known if known is not None else number
    return _CLEARING_BASE - (chosen or 0)


def book_name(account_key: int) -> str:
    """Name an internal account for a trial balance: ``revenue_energy``, ``clearing:wechat``."""
    if account_key < _CLEARING_BASE:
        number = _CLEARING_BASE - account_key
        names = {value: key for key, value in _CLEARING_NUMBERS.items()}
        return f"clearing:{names.get(number, number)}"
    try:
        return Book(account_key).name.lower()
    except ValueError:
        raise BadInput(f"{account_key} is no internal account", field="account_key") from None
