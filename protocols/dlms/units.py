"""COSEM units and scalers: a register's raw value to whole Wh, to exact W, V and so on.

The codes are those of the unit enumeration (Blue Book, scaler_unit; clause unverified).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from protocols.dlms.data import Data, Float32
from protocols.dlms.errors import MalformedData

UNIT_NAMES = {
    1: "a", 2: "mo", 3: "wk", 4: "d", 5: "h", 6: "min", 7: "s", 8: "°", 9: "°C", 10: "currency",
    11: "m", 13: "m³", 14: "m³", 15: "m³/h", 19: "l", 20: "kg", 23: "Pa", 24: "bar", 25: "J",
    27: "W", 28: "VA", 29: "var", 30: "Wh", 31: "VAh", 32: "varh", 33: "A", 34: "C", 35: "V",
    36: "V/m", 37: "F", 38: "Ω", 44: "Hz", 47: "s", 56: "%", 57: "Ah", 255: "",
}  # fmt: skip
ENERGY_UNITS = frozenset(("Wh", "VAh", "varh"))
# Scaling past these would overflow or be a mutated octet rather than a meter.
_SCALERS = range(-12, 13)


@dataclass(frozen=True, slots=True)
class ScalerUnit:
    """value x 10^scaler is in ``unit``."""

    scaler: int
    unit: str

    def scale(self, raw: int) -> int:
        """Return the value in whole units, rounded down, so that energy is never overstated."""
        factor = int(10 ** abs(self.scaler))
        return raw * factor if self.scaler >= 0 else raw // factor

    def exact(self, raw: int | float) -> int | Decimal:
        """Return the value with all its places; energy in whole units, rounded down.

        A floating-point register gives the decimal that its shortest text says. Raises
        `MalformedData` for infinity and NaN.
        """
        if isinstance(raw, float):
            if not math.isfinite(raw):
                raise MalformedData("a register holds no finite number")
            value: int | Decimal = Decimal(shortest_text(raw)).scaleb(self.scaler)
        else:
            whole = int(raw)
            if self.scaler >= 0:
                return whole * int(10**self.scaler)
            value = Decimal(whole).scaleb(self.scaler)
        return math.floor(value) if self.unit in ENERGY_UNITS else value


def shortest_text(value: float) -> str:
    """Return the shortest decimal that tells a single (`Float32`) or double from its neighbours."""
    return str(np.float32(value)) if isinstance(value, Float32) else repr(float(value))


def parse_scaler_unit(value: Data) -> ScalerUnit:
    """Read attribute 3 of a register; raises `MalformedData`."""
    match value:
        case (int(scaler), int(unit)) if int(scaler) in _SCALERS:
            return ScalerUnit(int(scaler), UNIT_NAMES.get(int(unit), f"unit {int(unit)}"))
    raise MalformedData("not a scaler and a unit")
