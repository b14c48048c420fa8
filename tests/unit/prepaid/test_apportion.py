"""Parts always add up to the whole."""

from __future__ import annotations

from datetime import date

import pytest

from headend.domain.errors import BadInput
from headend.domain.money import NANO_PER_FEN, NANO_PER_YUAN
from prepaid.apportion import PPM, apportion_fen, largest_remainder, prorate, share_of
from prepaid.fixed_charges import fixed_charges_on
from prepaid.tariff import Tariff


def test_units_left_over_go_to_the_largest_remainders() -> None:
    assert largest_remainder(10, (1, 1, 1)) == [4, 3, 3]
    assert largest_remainder(100, (333_333, 333_333, 333_334)) == [33, 33, 34]
    assert largest_remainder(-10, (1, 1, 1)) == [-4, -3, -3]
    assert largest_remainder(5, (0, 1)) == [0, 5]
    assert largest_remainder(0, (3, 4)) == [0, 0]


@pytest.mark.parametrize("weights", [(), (0, 0), (2, -1)])
def test_weights_must_make_a_whole(weights: tuple[int, ...]) -> None:
    with pytest.raises(BadInput):
        largest_remainder(10, weights)


def test_amounts_are_rounded_to_fen_once_and_then_split() -> None:
    parts = apportion_fen(10 * NANO_PER_YUAN + 4_999_999, (1, 1, 1))
    assert [part // NANO_PER_FEN for part in parts] == [334, 333, 333]


def test_a_percentage_is_whole_fen() -> None:
    assert share_of(100 * NANO_PER_YUAN, 130_000) == 13 * NANO_PER_YUAN
    assert share_of(NANO_PER_FEN, 499_999) == 0
    assert share_of(NANO_PER_FEN, 500_000) == NANO_PER_FEN
    assert share_of(-100 * NANO_PER_YUAN, 500) == -5 * NANO_PER_FEN
    assert share_of(NANO_PER_YUAN, PPM) == NANO_PER_YUAN
    for ppm in (-1, PPM + 1):
        with pytest.raises(BadInput):
            share_of(NANO_PER_YUAN, ppm)


def test_days_add_up_to_the_month_in_any_order() -> None:
    amount = 10 * NANO_PER_YUAN
    for days in (28, 29, 30, 31):
        assert sum(prorate(amount, day, days) for day in reversed(range(days))) == amount
    assert prorate(1, 0, 3) + prorate(1, 1, 3) + prorate(1, 2, 3) == 1
    with pytest.raises(BadInput):
        prorate(amount, 31, 31)


def test_fixed_charges_of_all_days_add_up_to_the_month(tariff: Tariff) -> None:
    version = tariff.versions[0]
    by_code = {"basic": 0, "meter": 0}
    for day in range(1, 32):
        for share in fixed_charges_on(version, date(2025, 7, day)):
            by_code[share.code] += share.amount_nano
    assert by_code == {"basic": 10 * NANO_PER_YUAN, "meter": 62 * NANO_PER_FEN}
