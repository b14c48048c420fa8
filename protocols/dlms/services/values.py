"""COSEM values as exact numbers, texts and times that people and JSON can take.

A number keeps every place that its scaler gives and is never rounded: whole numbers stay whole, the
others become decimals.
"""

from __future__ import annotations

import math
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias

from headend.domain.errors import MeterMisbehaved
from protocols.dlms import data as d
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.data import Data
from protocols.dlms.errors import MalformedData
from protocols.dlms.meter_model import MeterModel
from protocols.dlms.profile_rows import read_instant
from protocols.dlms.push_values import as_date_time, show_time, show_value
from protocols.dlms.units import ScalerUnit, parse_scaler_unit, shortest_text

Value: TypeAlias = "bool | int | Decimal | str | list[Value] | None"


def scale_exactly(raw: int | float, scaler: int) -> int | Decimal | None:
    """Return raw x 10^scaler with all its places; None for infinity and NaN.

    A floating-point number counts as the shortest decimal that tells it from its neighbours.
    """
    if isinstance(raw, float):
        if not math.isfinite(raw):
            return None
        value = Decimal(shortest_text(raw)).scaleb(scaler)
        return int(value) if scaler >= 0 and value == value.to_integral_value() else value
    if scaler >= 0:
        return int(raw) * int(10**scaler)
    return Decimal(int(raw)).scaleb(scaler)


def show(value: Data, scale: ScalerUnit | None = None) -> Value:
    """Return a value as JSON can carry it; numbers are scaled where ``scale`` says how."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return scale_exactly(value, 0 if scale is None else scale.scaler)
    if isinstance(value, d.Array | d.Structure):
        return [show(each) for each in value]
    shown = show_value(value)
    return Decimal(str(shown)) if isinstance(shown, float) else _plain(shown)


def _plain(shown: object) -> Value:
    if isinstance(shown, list):
        return [_plain(each) for each in shown]
    if isinstance(shown, float):
        return Decimal(str(shown))
    return shown if isinstance(shown, bool | int | str) else None


def read_scale(value: Data) -> ScalerUnit | None:
    """Read a scaler and unit; None where the meter holds something else."""
    try:
        return parse_scaler_unit(value)
    except MalformedData:
        return None


def instant_of(value: Data, model: MeterModel) -> datetime | None:
    """Return the instant that a date-time names by the model's rules, None for anything else."""
    moment = as_date_time(value)
    if moment is None:
        return None
    try:
        return read_instant(moment, model)
    except MeterMisbehaved:
        return None


def show_instant(value: Data) -> str | None:
    """Return a date-time as the meter's wall clock with its offset, None for anything else."""
    moment = as_date_time(value)
    return None if moment is None else show_time(moment)


def date_time_of(value: Data) -> CosemDateTime:
    """Return the date-time in a clock attribute; raises `MalformedData`."""
    if isinstance(value, CosemDateTime):
        return value
    if isinstance(value, bytes):
        return CosemDateTime.parse(value)
    raise MalformedData("the clock holds no date-time")
