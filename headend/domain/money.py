"""Money: ``int64`` nano-units of the currency (10^-9 yuan), and the one place that rounds.

Prices are integer 10^-6 yuan/kWh and energy is integer Wh, so that ``Wh x price`` is exact in
nano-yuan. Nothing rounds before showing or billing; then `round_to_fen` does.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from headend.domain.errors import BadInput

NANO_PER_YUAN = 1_000_000_000
NANO_PER_FEN = 10_000_000
_INT64_MAX = 2**63 - 1


def round_to_fen(amount_nano: int) -> int:
    """Round to whole fen, half away from zero (commercial rounding); [nano] -> [nano]."""
    sign = -1 if amount_nano < 0 else 1
    fen = (abs(amount_nano) + NANO_PER_FEN // 2) // NANO_PER_FEN
    return sign * fen * NANO_PER_FEN


def format_yuan(amount_nano: int) -> str:
    """Show an amount as decimal yuan with two places, rounded by `round_to_fen`."""
    fen = round_to_fen(amount_nano) // NANO_PER_FEN
    return f"{'-' if fen < 0 else ''}{abs(fen) // 100}.{abs(fen) % 100:02d}"


def format_yuan_exact(amount_nano: int) -> str:
    """Show an amount as decimal yuan with all nine places, unrounded."""
    sign = "-" if amount_nano < 0 else ""
    return f"{sign}{abs(amount_nano) // NANO_PER_YUAN}.{abs(amount_nano) % NANO_PER_YUAN:09d}"


def parse_yuan(text: str, *, field: str = "amount") -> int:
    """Read a decimal string in yuan with at most two places as nano.

    Raises `BadInput` for anything else (exponents, signs other than '-', more places, overflow).
    """
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise BadInput(f"{text!r} is not an amount in yuan such as 12.30", field=field) from None
    if not value.is_finite() or "e" in text.lower():
        raise BadInput(f"{text!r} is not an amount in yuan such as 12.30", field=field)
    fen = value * 100
    if fen != fen.to_integral_value():
        raise BadInput(f"{text!r} has a fraction of a fen", field=field)
    nano = int(fen) * NANO_PER_FEN
    if abs(nano) > _INT64_MAX:
        raise BadInput(f"{text!r} is beyond what an account can hold", field=field)
    return nano
