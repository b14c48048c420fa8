"""Port of the ledger repository: immutable batches of postings that sum to zero.

Customer accounts have positive ids, internal ones (`prepaid.books`) negative ones without a stored
balance. An entry is known by (account, business date, entry key).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

from prepaid.ledger import LedgerBatch


@dataclass(frozen=True, slots=True)
class EntryRecord:
    """One posting as stored."""

    account_id: int
    business_date: date
    entry_key: str
    batch_id: int
    kind: str
    amount_nano: int
    corrects: str | None
    posted_at: datetime


@dataclass(frozen=True, slots=True, order=True)
class LedgerCursor:
    """Where a page of the ledger ends: entries before it come next, newest first."""

    business_date: date
    entry_key: str


@dataclass(frozen=True, slots=True)
class Imbalance:
    """What is wrong with the ledger as a whole; both are zero, always.

    ``worst_batch_nano`` is the largest absolute sum of one batch, ``total_nano`` the sum of all
    postings. Python integers: fleet totals exceed int64.
    """

    worst_batch_nano: int
    total_nano: int

    @property
    def nano(self) -> int:
        """The larger of the two, as one figure."""
        return max(self.worst_batch_nano, abs(self.total_nano))


@dataclass(frozen=True, slots=True)
class BalanceMismatch:
    """An account whose stored balance is not the sum of its entries."""

    account_id: int
    balance_nano: int
    entries_nano: int


class LedgerRepository(Protocol):
    """Stores immutable, balanced batches of postings."""

    async def post(
        self,
        batch: LedgerBatch,
        *,
        posted_at: datetime,
        detail: Mapping[str, Any] | None = None,
    ) -> int:
        """Write one whole batch and return its id.

        Raises `InvariantViolated` unless it sums to zero; a key used before aborts the transaction.
        """
        ...

    async def page(
        self, account_id: int, *, before: LedgerCursor | None, limit: int
    ) -> list[EntryRecord]:
        """Return entries of one account, newest first, that come after the cursor."""
        ...

    async def entries_between(self, account_id: int, first: date, last: date) -> list[EntryRecord]:
        """Return one account's entries on business dates ``first`` to ``last``, oldest first."""
        ...

    async def batch_entries(self, batch_id: int) -> list[EntryRecord]:
        """Return the entries of one batch."""
        ...

    async def balance_before(self, account_id: int, day: date) -> int:
        """Return the sum of an account's entries on business dates before ``day``."""
        ...

    async def imbalance(self) -> Imbalance:
        """Return how far the ledger is from balanced, computed by the database in numeric."""
        ...

    async def imbalance_nano(self) -> int:
        """Return `Imbalance.nano` as one figure: zero, or the ledger is wrong."""
        ...

    async def trial_balance(self) -> dict[int, int]:
        """Return the sum of postings by internal account, and under key 0 of all customers."""
        ...

    async def mismatches(self, *, limit: int = 100) -> list[BalanceMismatch]:
        """Return accounts whose stored balance differs from the sum of their entries."""
        ...
