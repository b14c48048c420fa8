"""What may be posted, and why it balances.

Sign convention: an account's balance is what the customer has with us. Payments are positive,
charges negative; every posting to a customer stands against postings to our own books
(`prepaid.books`), so that every batch sums to zero and the sum of all batches is zero for ever.

Nothing posted is ever changed. What was wrong is put right by a further posting that names the
entry it corrects (`build_correction`) or undoes (`build_reversal`). Entry keys are made by us from
what happened, never drawn at random: the same event makes the same key, and the ledger's unique key
(account, business date, entry key) refuses it the second time. Knows no database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

import numpy as np

from headend.domain.errors import InvariantViolated
from headend.domain.reading import Int64Array
from prepaid.books import Book, clearing_account
from prepaid.rating_kernel import exact_sum

CHARGE_KEY = "charge"
_INT64_MAX = 2**63 - 1


class EntryKind(StrEnum):
    """What kind of event a batch posts."""

    CHARGE = "charge"
    PAYMENT = "payment"
    CORRECTION = "correction"
    REVERSAL = "reversal"
    TRANSFER = "transfer"
    DEBT_RECOVERY = "debt_recovery"


class CorrectionReason(StrEnum):
    """Why a charge was rated again."""

    LATE_READING = "late_reading"
    REVISED_READING = "revised_reading"
    ESTIMATE_REPLACED = "estimate_replaced"
    METER_EXCHANGED = "meter_exchanged"
    MULTIPLIER_CORRECTED = "multiplier_corrected"
    TARIFF_CHANGED = "tariff_changed"


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One posting: one signed leg of a batch.

    ``corrects`` is `entry_reference` of the entry that this one corrects or reverses.
    """

    account_key: int
    business_date: date
    entry_key: str
    kind: EntryKind
    amount_nano: int
    corrects: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LedgerBatch:
    """Postings that sum to zero and are committed together or not at all.

    account_key, amount_nano: (entry,) int64, the customers' legs [nano]; entry_key and, where the
    kind has it, corrects: one text per entry. ``book_legs``: our side, book to amount [nano].
    ``batch_key`` is unique per business date and becomes the entry key of the book legs.
    """

    kind: EntryKind
    business_date: date
    batch_key: str
    account_key: Int64Array
    amount_nano: Int64Array
    entry_key: tuple[str, ...]
    book_legs: Mapping[int, int]
    corrects: tuple[str, ...] | None = None
    reason: str | None = None

    def __len__(self) -> int:
        return len(self.entry_key)

    def entries(self) -> Iterator[LedgerEntry]:
        """Walk all legs as rows, the customers' first."""
        keys, amounts = self.account_key.tolist(), self.amount_nano.tolist()
        for i, (account, amount) in enumerate(zip(keys, amounts, strict=True)):
            corrects = None if self.corrects is None else self.corrects[i]
            yield LedgerEntry(
                account, self.business_date, self.entry_key[i], self.kind, amount, corrects
            )
        for book, amount in self.book_legs.items():
            yield LedgerEntry(book, self.business_date, self.batch_key, self.kind, amount)


def entry_reference(business_date: date, entry_key: str) -> str:
    """Name an entry of an account in another entry's ``corrects``: ``2025-03-01/charge``."""
    return f"{business_date.isoformat()}/{entry_key}"


def check_balanced(batch: LedgerBatch) -> None:
    """Raise `InvariantViolated` unless the batch sums to zero and its keys are sound.

    The builders below call this; a store calls it again before it writes.
    """
    count = batch.account_key.shape[0]
    lengths = {count, batch.amount_nano.shape[0], len(batch.entry_key)}
    if batch.corrects is not None:
        lengths.add(len(batch.corrects))
    if len(lengths) != 1:
        raise InvariantViolated(f"batch {batch.batch_key}: arrays of lengths {sorted(lengths)}")
    total = exact_sum(batch.amount_nano.reshape(-1, 1))[0] + sum(batch.book_legs.values())
    if total != 0:
        raise InvariantViolated(f"batch {batch.batch_key} sums to {total} nano instead of zero")
    if count and int(batch.account_key.min()) <= 0:
        raise InvariantViolated(f"batch {batch.batch_key} posts a customer leg to a book")
    if any(book >= 0 for book in batch.book_legs):
        raise InvariantViolated(f"batch {batch.batch_key} posts a book leg to a customer")
    if any(abs(amount) > _INT64_MAX for amount in batch.book_legs.values()):
        raise InvariantViolated(f"batch {batch.batch_key} is too large for one posting; split it")
    if len(set(zip(batch.account_key.tolist(), batch.entry_key, strict=True))) != count:
        raise InvariantViolated(f"batch {batch.batch_key} posts the same entry twice")


def build_settlement_batch(
    *,
    business_date: date,
    batch_key: str,
    account_key: Int64Array,
    charge_nano: Int64Array,
    revenue_nano: Mapping[Book, int],
    entry_key: str | Sequence[str] = CHARGE_KEY,
) -> LedgerBatch:
    """Post one day's charges of a chunk of accounts.

    account_key, charge_nano: (account,) int64; charges are positive here and reduce the balance.
    ``revenue_nano`` says what they are made of, over all accounts (`DayCharges.revenue_nano`, plus
    fixed charges); it must add up to the charges, else `InvariantViolated`. An account charged
    nothing keeps its entry: it proves that the day was settled.
    """
    count = account_key.shape[0]
    return _checked(
        LedgerBatch(
            kind=EntryKind.CHARGE,
            business_date=business_date,
            batch_key=batch_key,
            account_key=account_key,
            amount_nano=-charge_nano,
            entry_key=_per_entry(entry_key, count),
            book_legs=_legs(revenue_nano),
        )
    )


def build_correction(
    *,
    business_date: date,
    charged_date: date,
    batch_key: str,
    account_key: Int64Array,
    old_charge_nano: Int64Array,
    new_charge_nano: Int64Array,
    revision: int | Sequence[int],
    reason: CorrectionReason,
    revenue_change_nano: Mapping[Book, int] | None = None,
    entry_key: str | Sequence[str] = CHARGE_KEY,
) -> LedgerBatch | None:
    """Post the difference of a re-rated day, naming the entry that it corrects.

    old_charge_nano: (account,) int64 [nano], what stands in the ledger for ``charged_date`` with
    earlier corrections; new_charge_nano: what it should be. Accounts without a difference get no
    entry; None when there is none at all. ``revision`` counts the corrections of that day, so that
    each is posted once. ``revenue_change_nano`` is the change by book; without it the whole
    difference goes to `Book.REVENUE_CORRECTION`. The posting date is ``business_date``: closed days
    keep their sums.
    """
    count = account_key.shape[0]
    change = old_charge_nano - new_charge_nano
    rows = np.flatnonzero(change)
    if not rows.size:
        return None
    originals = _per_entry(entry_key, count)
    revisions = [revision] * count if isinstance(revision, int) else list(revision)
    chosen = rows.tolist()
    if revenue_change_nano is None:
        total = exact_sum(change.reshape(-1, 1))[0]
        revenue_change_nano = {Book.REVENUE_CORRECTION: -total}
    return _checked(
        LedgerBatch(
            kind=EntryKind.CORRECTION,
            business_date=business_date,
            batch_key=batch_key,
            account_key=account_key[rows],
            amount_nano=change[rows],
            entry_key=tuple(
                f"correction:{entry_reference(charged_date, originals[i])}:{revisions[i]}"
                for i in chosen
            ),
            book_legs=_legs(revenue_change_nano),
            corrects=tuple(entry_reference(charged_date, originals[i]) for i in chosen),
            reason=reason.value,
        )
    )


def payment_key(channel: str, reference: str) -> str:
    """Return the entry key of a payment: the same (channel, reference) is the same payment."""
    return f"payment:{channel}:{reference}"


def build_payment_batch(
    *,
    business_date: date,
    account_key: int,
    channel: str,
    reference: str,
    amount_nano: int,
    clearing_number: int | None = None,
) -> LedgerBatch:
    """Post one payment: the customer's balance rises, the channel owes us its money."""
    if amount_nano <= 0:
        raise InvariantViolated(f"payment {channel}/{reference} of {amount_nano} nano")
    return _single(
        EntryKind.PAYMENT,
        business_date=business_date,
        account_key=account_key,
        amount_nano=amount_nano,
        entry_key=payment_key(channel, reference),
        book=clearing_account(channel, number=clearing_number),
    )


def build_debt_recovery(
    *, business_date: date, account_key: int, channel: str, reference: str, amount_nano: int
) -> LedgerBatch:
    """Move a share of a top-up from the prepaid balance to the account's old debt."""
    if amount_nano <= 0:
        raise InvariantViolated(f"debt recovery {channel}/{reference} of {amount_nano} nano")
    return _single(
        EntryKind.DEBT_RECOVERY,
        business_date=business_date,
        account_key=account_key,
        amount_nano=-amount_nano,
        entry_key=f"debt_recovery:{channel}:{reference}",
        book=Book.DEBT_RECEIVABLE,
    )


def build_reversal(batch: LedgerBatch, *, business_date: date, reason: str) -> LedgerBatch:
    """Undo a whole batch by its opposite; every entry names the one that it undoes.

    The key follows from the original's, so that a second reversal on the same day is refused by the
    ledger; on another day the payment's own state must refuse it.
    """
    if batch.kind is EntryKind.REVERSAL:
        raise InvariantViolated(f"batch {batch.batch_key} is a reversal itself; post anew instead")
    return _checked(
        LedgerBatch(
            kind=EntryKind.REVERSAL,
            business_date=business_date,
            batch_key=f"reversal:{batch.batch_key}",
            account_key=batch.account_key,
            amount_nano=-batch.amount_nano,
            entry_key=tuple(f"reversal:{key}" for key in batch.entry_key),
            book_legs={book: -amount for book, amount in batch.book_legs.items()},
            corrects=tuple(entry_reference(batch.business_date, key) for key in batch.entry_key),
            reason=reason,
        )
    )


def build_transfer(
    *, business_date: date, from_account: int, to_account: int, amount_nano: int, transfer_key: str
) -> LedgerBatch:
    """Move money between two customers, e.g. a payment made for the wrong account."""
    if amount_nano <= 0 or from_account == to_account:
        raise InvariantViolated(f"transfer {transfer_key}: {amount_nano} nano to the same account")
    key = f"transfer:{transfer_key}"
    return _checked(
        LedgerBatch(
            kind=EntryKind.TRANSFER,
            business_date=business_date,
            batch_key=key,
            account_key=np.array([from_account, to_account], dtype=np.int64),
            amount_nano=np.array([-amount_nano, amount_nano], dtype=np.int64),
            entry_key=(key, key),
            book_legs={},
        )
    )


def batch_of_entries(
    entries: Sequence[LedgerEntry], *, batch_key: str, reason: str | None = None
) -> LedgerBatch:
    """Put the stored legs of one batch together again, e.g. to reverse it.

    Raises `InvariantViolated` when they are of several kinds or dates, or do not sum to zero.
    """
    if len({(entry.kind, entry.business_date) for entry in entries}) != 1:
        raise InvariantViolated(f"batch {batch_key} is not of one kind and date")
    customers = [entry for entry in entries if entry.account_key > 0]
    named = [entry.corrects for entry in customers if entry.corrects is not None]
    return _checked(
        LedgerBatch(
            kind=entries[0].kind,
            business_date=entries[0].business_date,
            batch_key=batch_key,
            account_key=np.array([entry.account_key for entry in customers], dtype=np.int64),
            amount_nano=np.array([entry.amount_nano for entry in customers], dtype=np.int64),
            entry_key=tuple(entry.entry_key for entry in customers),
            book_legs={e.account_key: e.amount_nano for e in entries if e.account_key < 0},
            corrects=tuple(named) if named else None,
            reason=reason,
        )
    )


def _single(
    kind: EntryKind,
    *,
    business_date: date,
    account_key: int,
    amount_nano: int,
    entry_key: str,
    book: int,
) -> LedgerBatch:
    return _checked(
        LedgerBatch(
            kind=kind,
            business_date=business_date,
            batch_key=entry_key,
            account_key=np.array([account_key], dtype=np.int64),
            amount_nano=np.array([amount_nano], dtype=np.int64),
            entry_key=(entry_key,),
            book_legs={book: -amount_nano},
        )
    )


def _legs(amounts: Mapping[Book, int]) -> dict[int, int]:
    return {int(book): amount for book, amount in amounts.items() if amount}


def _per_entry(entry_key: str | Sequence[str], count: int) -> tuple[str, ...]:
    return (entry_key,) * count if isinstance(entry_key, str) else tuple(entry_key)


def _checked(batch: LedgerBatch) -> LedgerBatch:
    check_balanced(batch)
    return batch
