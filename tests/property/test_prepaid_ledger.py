"""Whatever is posted, in whatever order: everything sums to zero and repeats change nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import count

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headend.domain.errors import BadInput, Conflict
from headend.domain.money import NANO_PER_FEN
from prepaid.arrears import plan_debt_recovery
from prepaid.books import Book
from prepaid.ledger import (
    CorrectionReason,
    LedgerBatch,
    build_correction,
    build_debt_recovery,
    build_payment_batch,
    build_reversal,
    build_settlement_batch,
)
from prepaid.vending import Accept, PaymentChannel, PaymentRequest, PostedPayment, plan_payment

_FIRST = date(2025, 7, 1)
_ACCOUNTS = (1, 2, 3)
_WECHAT = PaymentChannel("wechat")


@dataclass
class Ledger:
    """A plain ledger with the unique key of the real one."""

    entries: dict[tuple[int, date, str], int] = field(default_factory=dict)
    payments: dict[str, PostedPayment] = field(default_factory=dict)
    charged: dict[tuple[int, date], int] = field(default_factory=dict)
    numbers: count[int] = field(default_factory=count)

    def post(self, batch: LedgerBatch) -> bool:
        """Add a batch unless one of its keys is there already."""
        rows = {
            (e.account_key, e.business_date, e.entry_key): e.amount_nano for e in batch.entries()
        }
        if rows.keys() & self.entries.keys():
            return False
        self.entries |= rows
        return True

    def balance(self, account: int) -> int:
        """Sum an account's entries."""
        return sum(amount for (key, _, _), amount in self.entries.items() if key == account)


def settle(ledger: Ledger, day: date, charges: list[int]) -> None:
    """Settle a day as a run would: first the charge, later the difference."""
    account = np.array(_ACCOUNTS, dtype=np.int64)
    new = np.array(charges, dtype=np.int64)
    if (1, day) not in ledger.charged:
        batch: LedgerBatch | None = build_settlement_batch(
            business_date=day,
            batch_key=f"settlement:{day}",
            account_key=account,
            charge_nano=new,
            revenue_nano={Book.REVENUE_ENERGY: sum(charges)},
        )
    else:
        number = next(ledger.numbers)
        batch = build_correction(
            business_date=day + timedelta(days=30),
            charged_date=day,
            batch_key=f"correction:{number}",
            account_key=account,
            old_charge_nano=np.array([ledger.charged[key, day] for key in _ACCOUNTS]),
            new_charge_nano=new,
            revision=number,
            reason=CorrectionReason.LATE_READING,
        )
    assert batch is None or ledger.post(batch)
    ledger.charged |= {(key, day): amount for key, amount in zip(_ACCOUNTS, charges, strict=True)}


def pay(ledger: Ledger, reference: str, account: int, amount_nano: int) -> None:
    """Post a payment as a service would."""
    request = PaymentRequest("wechat", reference, account, amount_nano)
    try:
        plan = plan_payment(ledger.payments.get(reference), request, _WECHAT)
    except (BadInput, Conflict):
        return
    if isinstance(plan, Accept):
        batch = build_payment_batch(
            business_date=_FIRST,
            account_key=account,
            channel="wechat",
            reference=reference,
            amount_nano=amount_nano,
        )
        assert ledger.post(batch)
        ledger.payments[reference] = PostedPayment(1, "wechat", reference, account, amount_nano)


_charges = st.lists(st.integers(0, 10**14), min_size=3, max_size=3)
_days = st.integers(0, 3).map(lambda offset: _FIRST + timedelta(days=offset))
_payments = st.tuples(
    st.sampled_from(("a", "b", "c")), st.sampled_from(_ACCOUNTS), st.integers(-1, 3)
)


@given(st.lists(st.one_of(st.tuples(_days, _charges), _payments), max_size=25))
def test_any_history_sums_to_zero_and_leaves_what_happened(
    history: list[tuple[date, list[int]] | tuple[str, int, int]],
) -> None:
    ledger = Ledger()
    for event in history:
        if len(event) == 2:
            settle(ledger, *event)
        else:
            reference, account, yuan = event
            pay(ledger, reference, account, yuan * 100 * NANO_PER_FEN)
        assert sum(ledger.entries.values()) == 0
    for account in _ACCOUNTS:
        paid = sum(p.amount_nano for p in ledger.payments.values() if p.account_key == account)
        charged = sum(amount for (key, _), amount in ledger.charged.items() if key == account)
        assert ledger.balance(account) == paid - charged


@given(_charges, st.permutations(range(3)))
def test_revisions_in_any_order_end_in_the_same_balance(final: list[int], order: list[int]) -> None:
    ledger = Ledger()
    earlier = [[7, 8, 9], [0, 0, 0], [10**9, 1, 5]]
    for i in order:
        settle(ledger, _FIRST, earlier[i])
    settle(ledger, _FIRST, final)
    assert [ledger.balance(account) for account in _ACCOUNTS] == [-charge for charge in final]


@given(st.sampled_from(_ACCOUNTS), st.integers(1, 10**9), st.integers(1, 5))
def test_a_replay_changes_nothing(account: int, fen: int, times: int) -> None:
    ledger = Ledger()
    pay(ledger, "a", account, fen * NANO_PER_FEN)
    before = dict(ledger.entries)
    for _ in range(times):
        pay(ledger, "a", account, fen * NANO_PER_FEN)
        pay(ledger, "a", account, (fen + 1) * NANO_PER_FEN)
    assert ledger.entries == before


@given(st.integers(1, 10**8), st.integers(0, 10**18), st.integers(0, 1_000_000))
def test_debt_recovery_moves_and_never_makes_money(fen: int, debt: int, ppm: int) -> None:
    payment = fen * NANO_PER_FEN
    split = plan_debt_recovery(payment, debt, ppm)
    assert split.to_credit_nano + split.to_debt_nano == payment
    assert 0 <= split.to_debt_nano <= min(debt, payment)
    ledger = Ledger()
    pay(ledger, "a", 1, payment)
    if split.to_debt_nano:
        recovery = build_debt_recovery(
            business_date=_FIRST,
            account_key=1,
            channel="wechat",
            reference="a",
            amount_nano=split.to_debt_nano,
        )
        assert ledger.post(recovery)
        assert not ledger.post(recovery)
    assert ledger.balance(1) == split.to_credit_nano
    assert sum(ledger.entries.values()) == 0


@given(_charges)
def test_a_reversal_restores_every_balance(charges: list[int]) -> None:
    ledger = Ledger()
    batch = build_settlement_batch(
        business_date=_FIRST,
        batch_key="s",
        account_key=np.array(_ACCOUNTS, dtype=np.int64),
        charge_nano=np.array(charges, dtype=np.int64),
        revenue_nano={Book.REVENUE_ENERGY: sum(charges)},
    )
    reversal = build_reversal(batch, business_date=_FIRST, reason="rated for the wrong tariff")
    assert ledger.post(batch)
    assert ledger.post(reversal)
    assert not ledger.post(reversal)
    assert [ledger.balance(account) for account in (*_ACCOUNTS, int(Book.REVENUE_ENERGY))] == [
        0
    ] * 4
