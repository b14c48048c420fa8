"""Internal accounts have numbers that never collide with each other or with a customer."""

from __future__ import annotations

import pytest

from headend.domain.errors import BadInput
from prepaid.books import Book, book_name, clearing_account

_BUILT_IN = ("counter", "wechat", "alipay", "bank")


def test_stored_numbers_stay_what_they_are() -> None:
    # These are in ledgers; a change here would rewrite history.
    assert Book.REVENUE_ENERGY == -1
    assert Book.REVENUE_TIER_SURCHARGE == -2
    assert Book.SUSPENSE == -50
    assert clearing_account("counter") == -1001
    assert clearing_account("wechat") == -1010


def test_all_numbers_are_negative_and_different() -> None:
    numbers = [int(book) for book in Book] + [clearing_account(channel) for channel in _BUILT_IN]
    assert max(numbers) < 0
    assert len(set(numbers)) == len(numbers)


def test_a_channel_added_by_data_brings_its_number() -> None:
    assert clearing_account("kiosk_chain", number=140) == -1140
    assert clearing_account("wechat", number=10) == clearing_account("wechat")
    for channel, number in (("kiosk_chain", None), ("kiosk_chain", 10), ("wechat", 140)):
        with pytest.raises(BadInput):
            clearing_account(channel, number=number)


def test_a_trial_balance_can_name_every_account() -> None:
    assert book_name(Book.REVENUE_FIXED) == "revenue_fixed"
    assert book_name(clearing_account("alipay")) == "clearing:alipay"
    assert book_name(-1140) == "clearing:140"
    for number in (5, 0, -999):
        with pytest.raises(BadInput):
            book_name(number)
