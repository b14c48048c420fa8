"""Pushed values as people and JSON show them: numbers scaled, texts and times readable.

A value with scaler and unit is shown in that unit; one without stays as it was sent. Times keep
the wall clock that the meter sent, with its UTC offset where it tells one. Never raises for data
that the decoder accepted.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TypeAlias

from protocols.dlms import data as d
from protocols.dlms.compact_array import compact_array_elements
from protocols.dlms.cosem_time import CosemDate, CosemDateTime, CosemTime
from protocols.dlms.data import Data
from protocols.dlms.errors import MalformedData
from protocols.dlms.push_body import AttributeDescriptor, is_obis
from protocols.dlms.units import ScalerUnit

Shown: TypeAlias = "bool | int | float | str | list[Shown] | None"

_DATE_TIME_SIZE = 12
_YEARS = range(1970, 2200)
_MAX_DEVIATION_MIN = 14 * 60
_WILDCARD = 0xFF


def show_value(value: Data, scaler_unit: ScalerUnit | None = None) -> Shown:
    """Return a value for JSON; numbers are scaled where the push says how."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return scale(int(value), scaler_unit.scaler if scaler_unit else 0)
    if isinstance(value, float):
        return _show_float(value, scaler_unit)
    if isinstance(value, bytes):
        return show_octets(value)
    if isinstance(value, str):
        return value.rstrip("\0")
    return _show_compound(value)


def scale(raw: int, scaler: int) -> int | float:
    """Return raw x 10^scaler: exact for whole numbers, else the nearest double."""
    factor = int(10 ** abs(scaler))
    return raw * factor if scaler >= 0 else raw / factor


def show_octets(octets: bytes) -> str:
    """Return an octet string as a time, an OBIS code or a text where it is one, else as hex."""
    moment = as_date_time(octets)
    if moment is not None:
        shown = show_time(moment)
        if shown is not None:
            return shown
    if is_obis(octets) and octets[5] == 0xFF:
        return ".".join(map(str, octets))
    return as_text(octets) or octets.hex()


def as_text(octets: bytes) -> str | None:
    """Return printable ASCII without the zeros or blanks that fill it up, else None."""
    plain = octets.rstrip(b"\0 ")
    return plain.decode("ascii") if plain and all(0x20 <= o < 0x7F for o in plain) else None


def as_date_time(value: Data) -> CosemDateTime | None:
    """Return the date-time that a value is, tagged or as 12 octets; None for anything else."""
    if isinstance(value, CosemDateTime):
        return value
    if not isinstance(value, bytes) or len(value) != _DATE_TIME_SIZE:
        return None
    moment = CosemDateTime(value)
    try:
        moment.to_instant(default_deviation_min=0)
    except MalformedData:
        return None
    plausible = moment.year in _YEARS and (value[4] == _WILDCARD or value[4] <= 7)
    hundredths = moment.hundredths
    return moment if plausible and (hundredths is None or hundredths < 100) else None


def show_time(moment: CosemDateTime) -> str | None:
    """Return the meter's wall clock in ISO form, None for a pattern with wildcards.

    The offset stands behind it where the meter tells a possible one.
    """
    local = _local(moment)
    if local is None:
        return None
    deviation = _deviation(moment)
    if deviation is not None:
        local = local.replace(tzinfo=timezone(timedelta(minutes=-deviation)))
    return local.isoformat()


def instant_of(moment: CosemDateTime) -> datetime | None:
    """Return the instant, aware UTC, None where the meter does not tell its offset."""
    local, deviation = _local(moment), _deviation(moment)
    if local is None or deviation is None:
        return None
    try:
        return local.replace(tzinfo=UTC) + timedelta(minutes=deviation)
    except OverflowError:
        return None


def _local(moment: CosemDateTime) -> datetime | None:
    try:
        # With the deviation set to zero the instant is the wall clock itself.
        return moment.to_instant(default_deviation_min=0, deviation_sign=0).replace(tzinfo=None)
    except MalformedData:
        return None


def _deviation(moment: CosemDateTime) -> int | None:
    deviation = moment.deviation_min
    return deviation if deviation is not None and abs(deviation) <= _MAX_DEVIATION_MIN else None


def _show_float(value: float, scaler_unit: ScalerUnit | None) -> Shown:
    number = float(value) * 10 ** (scaler_unit.scaler if scaler_unit else 0)
    # JSON knows neither infinity nor NaN.
    return number if abs(number) < float("inf") else str(number)


def _show_compound(value: Data) -> Shown:
    match value:
        case d.Array() | d.Structure():
            return [show_value(element) for element in value]
        case d.CompactArray():
            try:
                return show_value(compact_array_elements(value))
            except MalformedData:
                return value.contents.hex()
        case d.BitString():
            return value.bits
        case CosemDateTime():
            return show_time(value) or value.octets.hex()
        case CosemDate() | CosemTime():
            return _show_part(value)
        case AttributeDescriptor():
            return f"{value.class_id}:{value.obis}:{value.attribute}"
    return str(value)


def _show_part(value: CosemDate | CosemTime) -> str:
    octets = value.octets
    if isinstance(value, CosemTime):
        shown = ":".join("**" if part == _WILDCARD else f"{part:02d}" for part in octets[:3])
        return shown if octets[3] in (0, _WILDCARD) else f"{shown}.{octets[3]:02d}"
    year = int.from_bytes(octets[:2], "big")
    first = "****" if year == 0xFFFF else f"{year:04d}"
    return "-".join((first, *("**" if p == _WILDCARD else f"{p:02d}" for p in octets[2:4])))
