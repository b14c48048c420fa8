"""Splits against `fractions.Fraction`: parts add up, and no part is off by a unit or more."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from headend.domain.money import NANO_PER_FEN, round_to_fen
from prepaid.apportion import PPM, apportion_fen, largest_remainder, prorate, share_of

_weights = st.lists(st.integers(0, 10**12), min_size=1, max_size=12).filter(any)
_amounts = st.integers(-(10**18), 10**18)


@given(_amounts, _weights)
def test_parts_add_up_and_are_within_one_unit(total: int, weights: list[int]) -> None:
    parts = largest_remainder(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(total * weight, sum(weights))) < 1


@given(_amounts, _weights)
def test_a_larger_remainder_is_never_passed_over(total: int, weights: list[int]) -> None:
    parts = largest_remainder(abs(total), weights)
    exact = [Fraction(abs(total) * weight, sum(weights)) for weight in weights]
    raised = [
        share - share.__floor__() for share, part in zip(exact, parts, strict=True) if part > share
    ]
    kept = [share - part for share, part in zip(exact, parts, strict=True) if part <= share]
    assert not raised or min(raised) >= max(kept, default=Fraction(0))


@given(_amounts, _weights)
def test_fen_parts_add_up_to_the_rounded_amount(amount: int, weights: list[int]) -> None:
    parts = apportion_fen(amount, weights)
    assert sum(parts) == round_to_fen(amount)
    assert all(part % NANO_PER_FEN == 0 for part in parts)


@given(_amounts, st.integers(0, PPM))
def test_a_share_is_the_fraction_rounded_to_the_nearest_fen(amount: int, ppm: int) -> None:
    exact = Fraction(round_to_fen(amount) * ppm, PPM)
    assert abs(share_of(amount, ppm) - exact) <= Fraction(NANO_PER_FEN, 2)


@given(_amounts, st.integers(1, 366), st.integers(1, 6))
def test_days_add_up_to_the_whole_however_grouped(amount: int, days: int, step: int) -> None:
    parts = [prorate(amount, day, days) for day in range(days)]
    assert sum(parts) == amount
    assert max(parts) - min(parts) <= 1
    grouped = [sum(parts[start : start + step]) for start in range(0, days, step)]
    assert sum(grouped) == amount
