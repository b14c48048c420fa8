"""Splitting amounts so that the parts always add up to the whole.

Percentages are integer parts per million applied to amounts rounded to fen, with largest remainder;
amounts spread over time use the difference of cumulative shares. This is, beside
`headend.domain.money.round_to_fen`, the only arithmetic on money that rounds.
"""

from __future__ import annotations

from collections.abc import Sequence

from headend.domain.errors import BadInput
from headend.domain.money import NANO_PER_FEN, round_to_fen

PPM = 1_000_000


def largest_remainder(total: int, weights: Sequence[int]) -> list[int]:
    """Split a whole number in proportion to ``weights``; the parts add up to ``total`` exactly.

    Each part is the exact share rounded down or up by one unit; units left over go to the largest
    remainders, and to the earlier one among equals. A negative total splits as its opposite does.
    Raises `BadInput` for weights that are negative or all zero.
    """
    whole = sum(weights)
    if whole <= 0 or min(weights) < 0:
        raise BadInput("weights must not be negative nor all zero", field="weights")
    sign = -1 if total < 0 else 1
    shares = [divmod(abs(total) * weight, whole) for weight in weights]
    parts = [share for share, _ in shares]
    left = abs(total) - sum(parts)
    by_remainder = sorted(range(len(shares)), key=lambda i: (-shares[i][1], i))
    for i in by_remainder[:left]:
        parts[i] += 1
    return [sign * part for part in parts]


def apportion_fen(amount_nano: int, weights: Sequence[int]) -> list[int]:
    """Split an amount, rounded to fen once, into whole fen; [nano] -> [nano] per weight."""
    fen = round_to_fen(amount_nano) // NANO_PER_FEN
    return [part * NANO_PER_FEN for part in largest_remainder(fen, weights)]


def share_of(amount_nano: int, share_ppm: int) -> int:
    """Return ``share_ppm`` of an amount in whole fen (VAT, late charge, debt share) [nano].

    The share and the rest (``share_of(a, p)`` and ``share_of(a, PPM - p)``) add up to the amount
    rounded to fen, except that exactly half a fen goes to the share asked for.
    """
    if not 0 <= share_ppm <= PPM:
        raise BadInput(f"{share_ppm} ppm is not between 0 and {PPM}", field="share_ppm")
    return apportion_fen(amount_nano, (share_ppm, PPM - share_ppm))[0]


def prorate(amount_nano: int, position: int, count: int) -> int:
    """Return the part of an amount that falls on day ``position`` (from 0) of ``count`` [nano].

    The difference of cumulative shares, each rounded down: the parts of all days add up exactly,
    whichever days are asked for and in whatever order.
    """
    if not 0 <= position < count:
        raise BadInput(f"day {position} is not one of {count}", field="position")
    return amount_nano * (position + 1) // count - amount_nano * position // count
