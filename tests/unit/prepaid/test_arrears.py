"""Debt and what counts as balance when supply is at stake."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from headend.domain.errors import InvariantViolated
from headend.domain.money import NANO_PER_FEN, NANO_PER_YUAN
from prepaid.arrears import actual_balance, days_overdue, plan_debt_recovery


def test_the_actual_balance_takes_back_what_rests_on_estimates() -> None:
    balance = np.array([-100, 50], dtype=np.int64)
    assert actual_balance(balance, np.array([30, 0], dtype=np.int64)).tolist() == [-70, 50]


def test_a_negative_estimated_part_is_a_defect() -> None:
    with pytest.raises(InvariantViolated, match="row 1"):
        actual_balance(np.zeros(2, dtype=np.int64), np.array([0, -1], dtype=np.int64))


def test_a_share_of_a_top_up_pays_back_debt() -> None:
    split = plan_debt_recovery(100 * NANO_PER_YUAN, 500 * NANO_PER_YUAN, 250_000)
    assert (split.to_debt_nano, split.to_credit_nano) == (25 * NANO_PER_YUAN, 75 * NANO_PER_YUAN)


def test_shares_are_whole_fen_and_add_up() -> None:
    split = plan_debt_recovery(NANO_PER_FEN * 101, NANO_PER_YUAN, 333_333)
    assert split.to_debt_nano == 34 * NANO_PER_FEN
    assert split.to_debt_nano + split.to_credit_nano == 101 * NANO_PER_FEN


@pytest.mark.parametrize(("debt", "recovered"), [(0, 0), (-5, 0), (7, 7)])
def test_no_more_than_the_debt_is_recovered(debt: int, recovered: int) -> None:
    assert plan_debt_recovery(NANO_PER_YUAN, debt, 1_000_000).to_debt_nano == recovered


@pytest.mark.parametrize("payment", [0, -NANO_PER_YUAN, 1])
def test_what_is_no_payment_has_no_share(payment: int) -> None:
    with pytest.raises(InvariantViolated):
        plan_debt_recovery(payment, NANO_PER_YUAN, 100_000)


def test_overdue_counts_from_the_day_after_the_due_date() -> None:
    due = date(2025, 7, 31)
    assert days_overdue(due, date(2025, 7, 1)) == 0
    assert days_overdue(due, due) == 0
    assert days_overdue(due, date(2025, 8, 1)) == 1
    assert days_overdue(due, date(2025, 8, 31)) == 31
