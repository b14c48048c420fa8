"""Scalers and units."""

from __future__ import annotations

import pytest

from protocols.dlms import data as d
from protocols.dlms.errors import MalformedData
from protocols.dlms.units import ScalerUnit, parse_scaler_unit


@pytest.mark.parametrize(
    ("scaler", "raw", "value"),
    [(0, 12345, 12345), (3, 12, 12000), (-1, 2309, 230), (-1, -5, -1), (-3, 999, 0)],
)
def test_values_are_whole_and_never_above_the_reading(scaler: int, raw: int, value: int) -> None:
    assert ScalerUnit(scaler, "Wh").scale(raw) == value


def test_the_wire_form() -> None:
    assert parse_scaler_unit(d.Structure((d.Integer(-1), d.Enum(35)))) == ScalerUnit(-1, "V")
    assert parse_scaler_unit(d.Structure((d.Integer(0), d.Enum(200)))).unit == "unit 200"


@pytest.mark.parametrize(
    "value", [None, d.Structure((d.Integer(0),)), d.Structure((d.Integer(100), d.Enum(30)))]
)
def test_anything_else_is_malformed(value: d.Data) -> None:
    with pytest.raises(MalformedData):
        parse_scaler_unit(value)
