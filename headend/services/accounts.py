"""What customers and staff see of an account: balance, ledger, days, statements; and the books.

Reads only. Amounts are nano-units and unrounded; who shows them rounds by `round_to_fen`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from headend.domain.days import DEFAULT_ZONE, day_span
from headend.domain.errors import BadInput, NotFound
from headend.domain.money import format_yuan, format_yuan_exact
from headend.ports.accounts import AccountRecord, BalanceRecord, OccupiedPoint
from headend.ports.ledger import BalanceMismatch, EntryRecord, Imbalance, LedgerCursor
from headend.ports.payments import PaymentRecord
from headend.ports.settlement import CalendarDay
from headend.ports.unit_of_work import Store, UnitOfWork
from headend.services.account_statement import Statement, build_statement
from headend.services.billing_energy import ENERGY_CHANNEL
from headend.services.billing_rating import TariffBook
from headend.services.billing_registers import NEAR_MIDNIGHT
from prepaid.books import book_name

LARGEST_PAGE = 500
LONGEST_PERIOD_DAYS = 400


@dataclass(frozen=True, slots=True)
class AccountView:
    """One account as it stands. ``pending`` are payments that are announced, not yet money."""

    account: AccountRecord
    balance: BalanceRecord
    points: Sequence[OccupiedPoint]
    payments: Sequence[PaymentRecord]
    pending: Sequence[PaymentRecord]

    @property
    def balance_yuan(self) -> str:
        """The balance rounded to fen."""
        return format_yuan(self.balance.balance_nano)

    @property
    def balance_yuan_exact(self) -> str:
        """The balance with all nine places."""
        return format_yuan_exact(self.balance.balance_nano)


@dataclass(frozen=True, slots=True)
class LedgerPage:
    """Entries of one account, newest first; ``next_cursor`` is None on the last page."""

    entries: Sequence[EntryRecord]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class BooksCheck:
    """Whether the books are right. ``trial_balance_nano``: by book name, customers together."""

    imbalance: Imbalance
    mismatches: Sequence[BalanceMismatch]
    trial_balance_nano: dict[str, int]

    @property
    def is_right(self) -> bool:
        """Every batch and the whole sum to zero, and every balance is the sum of its entries."""
        return self.imbalance.nano == 0 and not self.mismatches


class Accounts:
    """Answers questions about accounts. Every method raises `NotFound` for an unknown one."""

    def __init__(self, store: Store, *, zone: str = DEFAULT_ZONE) -> None:
        self._store = store
        self._zone = zone

    async def view(self, account_no: str, *, payments: int = 5) -> AccountView:
        """Return the account with its balance, usage points and last payments."""
        async with self._store.transaction() as uow:
            account = await _account(uow, account_no)
            return AccountView(
                account=account,
                balance=await uow.accounts.balance(account.account_id),
                points=await uow.accounts.points(account.account_id),
                payments=await uow.payments.last(account.account_id, limit=payments),
                pending=await uow.payments.pending(account.account_id),
            )

    async def ledger(
        self, account_no: str, *, cursor: str | None = None, limit: int = 50
    ) -> LedgerPage:
        """Return a page of the account's postings, newest first.

        Raises `BadInput` for a cursor that this method did not give, or a limit beyond 1 to 500.
        """
        if not 1 <= limit <= LARGEST_PAGE:
            raise BadInput(f"limit {limit} is not within 1 to {LARGEST_PAGE}", field="limit")
        before = None if cursor is None else _read_cursor(cursor)
        async with self._store.transaction() as uow:
            account = await _account(uow, account_no)
            found = await uow.ledger.page(account.account_id, before=before, limit=limit + 1)
        entries = found[:limit]
        return LedgerPage(entries, _write_cursor(entries[-1]) if len(found) > limit else None)

    async def usage_calendar(self, account_no: str, first: date, last: date) -> list[CalendarDay]:
        """Return energy, charge and quality of each rated day from ``first`` to ``last``."""
        _check_period(first, last)
        async with self._store.transaction() as uow:
            account = await _account(uow, account_no)
            return await uow.settlement.calendar(account.account_id, first, last)

    async def statement(self, account_no: str, first: date, last: date) -> Statement:
        """Return what was used, charged, paid and corrected from ``first`` to ``last``."""
        _check_period(first, last)
        tariffs = TariffBook()
        async with self._store.transaction() as uow:
            account = await _account(uow, account_no)
            days = await uow.settlement.calendar(account.account_id, first, last)
            await tariffs.load(uow, [day.tariff_id for day in days])
            meters = sorted({day.meter_id for day in days if day.meter_id is not None})
            return build_statement(
                account=account,
                first=first,
                last=last,
                balance_before_nano=await uow.ledger.balance_before(account.account_id, first),
                entries=await uow.ledger.entries_between(account.account_id, first, last),
                days=days,
                indications=await uow.settlement.indications(
                    meters,
                    ENERGY_CHANNEL,
                    day_span(first, self._zone)[0] - NEAR_MIDNIGHT,
                    day_span(last, self._zone)[1] + NEAR_MIDNIGHT,
                ),
                tariffs=tariffs,
            )

    async def check_books(self, *, limit: int = 100) -> BooksCheck:
        """Compare every stored balance with its entries and add the whole ledger up.

        Reads all postings: for `doctor`, the end of a demo and tests, not for every request.
        """
        async with self._store.transaction() as uow:
            trial = await uow.ledger.trial_balance()
            return BooksCheck(
                imbalance=await uow.ledger.imbalance(),
                mismatches=await uow.ledger.mismatches(limit=limit),
                trial_balance_nano={
                    book_name(key) if key else "customers": amount for key, amount in trial.items()
                },
            )


async def _account(uow: UnitOfWork, account_no: str) -> AccountRecord:
    account = await uow.accounts.find(account_no)
    if account is None:
        raise NotFound(f"there is no account {account_no!r}", field="account_no")
    return account


def _check_period(first: date, last: date) -> None:
    if last < first:
        raise BadInput(f"{last} is before {first}", field="to")
    if last - first > timedelta(days=LONGEST_PERIOD_DAYS):
        raise BadInput(f"{first} to {last} is longer than {LONGEST_PERIOD_DAYS} days", field="to")


def _write_cursor(entry: EntryRecord) -> str:
    text = f"{entry.business_date.isoformat()}/{entry.entry_key}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def _read_cursor(cursor: str) -> LedgerCursor:
    try:
        text = base64.urlsafe_b64decode(cursor.encode()).decode()
        day, _, entry_key = text.partition("/")
        return LedgerCursor(date.fromisoformat(day), entry_key)
    except (binascii.Error, ValueError):
        raise BadInput(f"{cursor!r} is no cursor of a ledger page", field="cursor") from None
