"""Every batch sums to zero, names what it corrects, and has keys that follow from the event."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import numpy.typing as npt
import pytest

from headend.domain.errors import InvariantViolated
from prepaid.books import Book, clearing_account
from prepaid.ledger import (
    CorrectionReason,
    EntryKind,
    LedgerBatch,
    batch_of_entries,
    build_correction,
    build_debt_recovery,
    build_payment_batch,
    build_reversal,
    build_settlement_batch,
    build_transfer,
    check_balanced,
    entry_reference,
)

_DAY = date(2025, 7, 1)
_LATER = date(2025, 7, 9)


def _array(*values: int) -> npt.NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def _settlement() -> LedgerBatch:
    return build_settlement_batch(
        business_date=_DAY,
        batch_key="settlement:7:0",
        account_key=_array(11, 12, 13),
        charge_nano=_array(500, 0, 25),
        revenue_nano={Book.REVENUE_ENERGY: 500, Book.REVENUE_TIER_SURCHARGE: 25},
    )


def _total(batch: LedgerBatch) -> int:
    return sum(entry.amount_nano for entry in batch.entries())


def test_a_settlement_charges_each_account_once_and_credits_the_books() -> None:
    batch = _settlement()
    rows = [(e.account_key, e.entry_key, e.amount_nano) for e in batch.entries()]
    assert rows == [
        (11, "charge", -500),
        (12, "charge", 0),
        (13, "charge", -25),
        (int(Book.REVENUE_ENERGY), "settlement:7:0", 500),
        (int(Book.REVENUE_TIER_SURCHARGE), "settlement:7:0", 25),
    ]
    assert {e.kind for e in batch.entries()} == {EntryKind.CHARGE}
    assert _total(batch) == 0
    assert len(batch) == 3


def test_a_settlement_whose_revenue_differs_from_its_charges_is_refused() -> None:
    with pytest.raises(InvariantViolated, match="sums to -1 nano"):
        build_settlement_batch(
            business_date=_DAY,
            batch_key="b",
            account_key=_array(11),
            charge_nano=_array(500),
            revenue_nano={Book.REVENUE_ENERGY: 499},
        )


def test_the_same_account_twice_needs_keys_of_its_own() -> None:
    arguments = {
        "business_date": _DAY,
        "batch_key": "b",
        "account_key": _array(11, 11),
        "charge_nano": _array(1, 2),
        "revenue_nano": {Book.REVENUE_ENERGY: 3},
    }
    with pytest.raises(InvariantViolated, match="same entry twice"):
        build_settlement_batch(**arguments)
    batch = build_settlement_batch(**arguments, entry_key=["charge:501", "charge:502"])
    assert batch.entry_key == ("charge:501", "charge:502")


def test_a_payment_raises_the_balance_against_its_channels_clearing() -> None:
    batch = build_payment_batch(
        business_date=_DAY, account_key=11, channel="wechat", reference="W1", amount_nano=10**10
    )
    rows = [(e.account_key, e.entry_key, e.amount_nano) for e in batch.entries()]
    assert rows == [
        (11, "payment:wechat:W1", 10**10),
        (clearing_account("wechat"), "payment:wechat:W1", -(10**10)),
    ]


def test_a_reversal_is_the_exact_opposite_and_names_what_it_undoes() -> None:
    payment = build_payment_batch(
        business_date=_DAY, account_key=11, channel="wechat", reference="W1", amount_nano=10**10
    )
    reversal = build_reversal(payment, business_date=_LATER, reason="returned by bank")
    entry = next(reversal.entries())
    assert (entry.account_key, entry.amount_nano) == (11, -(10**10))
    assert entry.corrects == entry_reference(_DAY, "payment:wechat:W1")
    assert entry.entry_key == "reversal:payment:wechat:W1"
    assert reversal.business_date == _LATER
    assert _total(reversal) == 0
    with pytest.raises(InvariantViolated, match="is a reversal itself"):
        build_reversal(reversal, business_date=_LATER, reason="again")


def test_stored_entries_become_the_batch_that_they_were() -> None:
    batch = _settlement()
    again = batch_of_entries(list(batch.entries()), batch_key=batch.batch_key)
    assert list(again.entries()) == list(batch.entries())
    with pytest.raises(InvariantViolated, match="sums to"):
        batch_of_entries(list(batch.entries())[1:], batch_key=batch.batch_key)


def test_a_correction_posts_only_differences_and_names_the_entry() -> None:
    batch = build_correction(
        business_date=_LATER,
        charged_date=_DAY,
        batch_key="correction:9:0",
        account_key=_array(11, 12, 13),
        old_charge_nano=_array(500, 80, 25),
        new_charge_nano=_array(450, 80, 125),
        revision=2,
        reason=CorrectionReason.LATE_READING,
        revenue_change_nano={Book.REVENUE_ENERGY: 50},
    )
    assert batch is not None
    rows = [(e.account_key, e.amount_nano, e.entry_key, e.corrects) for e in batch.entries()]
    assert rows == [
        (11, 50, "correction:2025-07-01/charge:2", "2025-07-01/charge"),
        (13, -100, "correction:2025-07-01/charge:2", "2025-07-01/charge"),
        (int(Book.REVENUE_ENERGY), 50, "correction:9:0", None),
    ]
    assert batch.reason == "late_reading"


def test_a_correction_without_a_known_split_goes_to_its_own_book() -> None:
    batch = build_correction(
        business_date=_LATER,
        charged_date=_DAY,
        batch_key="c",
        account_key=_array(11),
        old_charge_nano=_array(500),
        new_charge_nano=_array(700),
        revision=[1],
        reason=CorrectionReason.REVISED_READING,
    )
    assert batch is not None
    assert batch.book_legs == {int(Book.REVENUE_CORRECTION): 200}


def test_no_difference_posts_nothing() -> None:
    assert (
        build_correction(
            business_date=_LATER,
            charged_date=_DAY,
            batch_key="c",
            account_key=_array(11),
            old_charge_nano=_array(500),
            new_charge_nano=_array(500),
            revision=1,
            reason=CorrectionReason.TARIFF_CHANGED,
        )
        is None
    )


def test_a_transfer_moves_money_between_customers() -> None:
    batch = build_transfer(
        business_date=_DAY, from_account=11, to_account=12, amount_nano=7, transfer_key="case-5"
    )
    assert [(e.account_key, e.amount_nano) for e in batch.entries()] == [(11, -7), (12, 7)]


def test_debt_recovery_lowers_credit_and_debt_alike() -> None:
    batch = build_debt_recovery(
        business_date=_DAY, account_key=11, channel="wechat", reference="W1", amount_nano=7
    )
    assert [(e.account_key, e.amount_nano) for e in batch.entries()] == [
        (11, -7),
        (int(Book.DEBT_RECEIVABLE), 7),
    ]


@pytest.mark.parametrize("amount_nano", [0, -1])
def test_amounts_that_are_not_positive_are_no_payment(amount_nano: int) -> None:
    with pytest.raises(InvariantViolated):
        build_payment_batch(
            business_date=_DAY,
            account_key=11,
            channel="wechat",
            reference="W1",
            amount_nano=amount_nano,
        )
    with pytest.raises(InvariantViolated):
        build_transfer(
            business_date=_DAY,
            from_account=11,
            to_account=12,
            amount_nano=amount_nano,
            transfer_key="t",
        )


def test_unsound_batches_are_refused() -> None:
    good = _settlement()
    broken = [
        replace(good, amount_nano=_array(-500, 1, -25)),
        replace(good, book_legs={int(Book.REVENUE_ENERGY): 524}),
        replace(good, entry_key=("charge",)),
        replace(good, corrects=("x",)),
        replace(good, account_key=_array(11, 0, 13)),
        replace(good, account_key=_array(11, 11, 13)),
        replace(good, book_legs={5: 525}),
        replace(good, book_legs={-1: 2**63 + 525, -2: -(2**63)}),
    ]
    check_balanced(good)
    for batch in broken:
        with pytest.raises(InvariantViolated):
            check_balanced(batch)


def test_a_sum_that_wraps_int64_is_still_seen() -> None:
    wrapping = LedgerBatch(
        kind=EntryKind.CHARGE,
        business_date=_DAY,
        batch_key="b",
        account_key=_array(1, 2, 3, 4),
        amount_nano=_array(2**62, 2**62, 2**62, 2**62),
        entry_key=("charge",) * 4,
        book_legs={},
    )
    assert int(wrapping.amount_nano.sum()) == 0
    with pytest.raises(InvariantViolated, match=str(2**64)):
        check_balanced(wrapping)
