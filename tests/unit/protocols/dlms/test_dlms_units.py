"""Scalers and units."""

from __future__ import annotations

import pytest

from protocols.dlms import data as d
from protocols.dlms.data import Float32, Float64
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


@pytest.mark.parametrize(
    ("scale", "raw", "text"),
    [
        (ScalerUnit(-1, "V"), 2304, "230.4"),
        (ScalerUnit(-1, "V"), 2300, "230.0"),
        (ScalerUnit(-2, "A"), -5, "-0.05"),
        (ScalerUnit(0, "W"), 12, "12"),
        (ScalerUnit(3, "W"), 12, "12000"),
        (ScalerUnit(0, "V"), Float32(230.1), "230.1"),
        (ScalerUnit(-1, "V"), Float64(2301.5), "230.15"),
        (ScalerUnit(-1, "Wh"), 12345, "1234"),
        (ScalerUnit(-1, "varh"), -5, "-1"),
        (ScalerUnit(0, "Wh"), Float32(7.9), "7"),
    ],
)
def test_everything_but_energy_keeps_its_places(scale: ScalerUnit, raw: float, text: str) -> None:
    value = scale.exact(raw)
    assert str(value) == text
    assert isinstance(value, int) == ("." not in text)


@pytest.mark.parametrize("raw", [Float32("nan"), Float64("inf")])
def test_what_is_no_number_is_malformed(raw: float) -> None:
    with pytest.raises(MalformedData):
        ScalerUnit(0, "V").exact(raw)
