"""Port of the account repository: accounts, occupancy and their balances.

Balances are nano-units of the currency; positive is the customer's credit, negative is owed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """One customer account; ``account_no`` is the 户号."""

    account_id: int
    account_no: str
    name: str
    phone: str | None
    customer_class: str
    payment_mode: str
    tariff_id: int
    tariff_code: str
    agreement_signed_at: datetime | None
    standing_close_consent_at: datetime | None
    emergency_credit_nano: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class BalanceRecord:
    """The stored balance of one account.

    ``estimated_nano`` is the part of the charges in it that rests on estimated energy:
    ``balance_nano + estimated_nano`` is the balance by actual readings. ``actual_through`` is the
    instant up to which every settled interval is an actual reading; None when there is none.
    """

    account_id: int
    balance_nano: int
    estimated_nano: int
    settled_through: date | None
    actual_through: datetime | None
    changed_at: datetime | None

    @property
    def balance_by_actual_nano(self) -> int:
        """The balance as if every charge that rests on an estimate had not been made."""
        return self.balance_nano + self.estimated_nano


@dataclass(frozen=True, slots=True)
class OccupiedPoint:
    """A usage point that an account occupies or occupied, ``[valid_from, valid_to)`` local days."""

    usage_point_id: int
    usage_point_no: str
    address: str
    time_zone: str
    valid_from: date
    valid_to: date | None
    meter_no: str | None


class AccountRepository(Protocol):
    """Stores accounts, occupancy and their balances.

    Whoever changes a balance holds its lock first, and locks several in account id order.
    """

    async def find(self, account_no: str) -> AccountRecord | None:
        """Return the account with this number."""
        ...

    async def get(self, account_id: int) -> AccountRecord | None:
        """Return the account with this key."""
        ...

    async def points(self, account_id: int) -> list[OccupiedPoint]:
        """Return every occupancy of the account, the latest first."""
        ...

    async def account_on(self, usage_point_id: int, day: date) -> AccountRecord | None:
        """Return the account that occupies the usage point on a local day."""
        ...

    async def balance(self, account_id: int) -> BalanceRecord:
        """Return the balance without locking it; zero for an account that never had a posting."""
        ...

    async def lock_balances(
        self, account_ids: Sequence[int], *, changed_at: datetime
    ) -> list[BalanceRecord]:
        """Lock the balances in account id order until the transaction ends, and return them.

        Rows that do not exist yet are made at zero.
        """
        ...

    async def add_to_balance(
        self, account_id: int, difference_nano: int, *, changed_at: datetime
    ) -> int:
        """Add to one balance by difference and return the new one; the caller holds the lock."""
        ...
