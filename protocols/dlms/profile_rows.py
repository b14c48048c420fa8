"""Load-profile rows in the head-end's terms: interval starts, energy in Wh, quality.

Joins what the buffer holds (`profile_buffer`) with what the meter model says it means. Pure.
Rows that name no instant, carry no energy or lie off the interval grid are left out: a gap that
backfill sees is better than energy in the wrong interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from headend.domain.errors import MeterMisbehaved
from headend.domain.reading import Int64Array, ProfileRows, Quality, QualityArray
from protocols.dlms import data as d
from protocols.dlms.cosem_time import (
    DEVIATION_UNSPECIFIED,
    STATUS_DAYLIGHT_SAVING,
    STATUS_DOUBTFUL_VALUE,
    STATUS_INVALID_VALUE,
    STATUS_UNSPECIFIED,
    CosemDateTime,
)
from protocols.dlms.meter_model import DeviationRule, EnergyColumn, LoadProfile, MeterModel
from protocols.dlms.profile_buffer import (
    Column,
    ProfileTable,
    continue_clock,
    decode_buffer,
    repeat_unchanged,
)
from protocols.dlms.selection import CaptureObject, RangeSelection
from protocols.dlms.units import ScalerUnit

GRID_TOLERANCE_S = 30  # a capture this close to its interval's edge belongs to the edge
_SIGNS: dict[DeviationRule, int] = {"standard": 1, "inverted": -1, "ignored": 0}


@dataclass(frozen=True, slots=True)
class ProfileColumns:
    """Where the columns of interest are in a row; ``energy`` says what its column holds."""

    width: int
    clock: int
    energy_at: int
    energy: EnergyColumn
    status: int | None


def find_columns(profile: LoadProfile, captured: Sequence[CaptureObject]) -> ProfileColumns:
    """Match the meter's capture objects with the model; raises `MeterMisbehaved` naming a lack."""
    if profile.clock not in captured:
        raise MeterMisbehaved(f"profile {profile.obis} captures no clock {profile.clock.obis}")
    for energy in profile.energy:
        if energy.column in captured:
            break
    else:
        names = ", ".join(str(energy.column.obis) for energy in profile.energy)
        raise MeterMisbehaved(f"profile {profile.obis} captures none of {names}")
    status = profile.status
    return ProfileColumns(
        width=len(captured),
        clock=captured.index(profile.clock),
        energy_at=captured.index(energy.column),
        energy=energy,
        status=captured.index(status) if status is not None and status in captured else None,
    )


def select_range(
    model: MeterModel, profile: LoadProfile, energy: EnergyColumn, start: datetime, end: datetime
) -> RangeSelection:
    """Return the selection of the rows whose interval starts in ``[start, end)``.

    Both ends of a selection are included. A cumulative register needs the row at ``start`` too.
    """
    step = timedelta(seconds=profile.interval_s)
    if energy.kind == "cumulative":
        first, last = start, end
    elif profile.timestamp == "end":
        first, last = start + step, end
    else:
        first, last = start, end - timedelta(seconds=1)
    return RangeSelection(
        first=_wall_clock(model, first), last=_wall_clock(model, last), column=profile.clock
    )


def decode_rows(
    octets: bytes,
    model: MeterModel,
    profile: LoadProfile,
    columns: ProfileColumns,
    scale: ScalerUnit,
    *,
    start: datetime,
    end: datetime,
) -> ProfileRows:
    """Decode a buffer to the rows whose interval starts in ``[start, end)``."""
    table = decode_buffer(octets)
    if table.rows == 0:
        return _no_rows(profile.interval_s)
    if len(table.columns) != columns.width:
        raise MeterMisbehaved(
            f"profile {profile.obis} has rows of {len(table.columns)} columns, it captures"
            f" {columns.width}"
        )
    clock, energy = table.columns[columns.clock], table.columns[columns.energy_at]
    if clock.deviation_min is None or energy.values.dtype == object:
        raise MeterMisbehaved(f"profile {profile.obis} holds no clock or no energy where it should")
    continue_clock(clock, table.starts, period_s=profile.interval_s)
    repeat_unchanged(energy, table.starts)
    at_s = _snap(_to_utc(clock, model), profile.interval_s)
    kept = clock.present & energy.present & (at_s % profile.interval_s == 0)
    energy_wh = _scale(energy, scale)
    quality = _judge(table, columns, profile)
    if columns.energy.kind == "cumulative":
        start_s, energy_wh, quality = _differences(
            at_s[kept], energy_wh[kept], quality[kept], profile.interval_s
        )
    else:
        shift = profile.interval_s if profile.timestamp == "end" else 0
        start_s, energy_wh, quality = at_s[kept] - shift, energy_wh[kept], quality[kept]
    wanted = (start_s >= start.timestamp()) & (start_s < end.timestamp())
    return ProfileRows(profile.interval_s, start_s[wanted], energy_wh[wanted], quality[wanted])


def read_instant(value: CosemDateTime, model: MeterModel) -> datetime:
    """Return the instant of a meter's date-time by its model's rules; raises `MalformedData`."""
    sign = _SIGNS[model.deviation]
    local = value.to_instant(default_deviation_min=0, deviation_sign=0)
    if sign and value.deviation_min is not None:
        return local + timedelta(minutes=value.deviation_min * sign)
    saving = value.status is not None and bool(value.status & STATUS_DAYLIGHT_SAVING)
    return local + timedelta(minutes=_zone_deviation(local, model.zone, saving=saving))


def _no_rows(interval_s: int) -> ProfileRows:
    empty = np.empty(0, dtype=np.int64)
    return ProfileRows(interval_s, empty, empty, np.empty(0, dtype=np.int16))


def _wall_clock(model: MeterModel, instant: datetime) -> d.Data:
    """Return the octets by which the meter names an instant: its zone's wall clock."""
    offset = instant.astimezone(ZoneInfo(model.zone)).utcoffset() or timedelta(0)
    deviation_min = -int(offset.total_seconds()) // 60
    octets = CosemDateTime.from_instant(instant, deviation_min=deviation_min).octets
    if model.deviation == "inverted":
        octets = octets[:9] + (-deviation_min).to_bytes(2, "big", signed=True) + octets[11:]
    return octets


def _to_utc(clock: Column, model: MeterModel) -> Int64Array:
    """Return (row,) int64 seconds since the epoch UTC; rows not present mean nothing."""
    deviation, status = clock.deviation_min, clock.clock_status
    if deviation is None or status is None:
        raise MeterMisbehaved("the clock column holds no date-time")
    sign = _SIGNS[model.deviation]
    shift_min = deviation * sign
    by_zone = clock.present & ((deviation == DEVIATION_UNSPECIFIED) | (sign == 0))
    for row in np.flatnonzero(by_zone):
        local = datetime.fromtimestamp(int(clock.values[row]), UTC)
        saving = status[row] != STATUS_UNSPECIFIED and bool(status[row] & STATUS_DAYLIGHT_SAVING)
        shift_min[row] = _zone_deviation(local, model.zone, saving=saving)
    instant: Int64Array = clock.values + shift_min * 60
    return instant


def _zone_deviation(local: datetime, zone: str, *, saving: bool) -> int:
    """Return minutes from ``local`` (a wall clock marked as UTC) to UTC in the zone.

    The hour that a zone repeats is told apart by ``saving``, the clock status' daylight bit.
    """
    wall = local.replace(tzinfo=ZoneInfo(zone), fold=0 if saving else 1)
    offset = wall.utcoffset() or timedelta(0)
    return -int(offset.total_seconds()) // 60


def _snap(at_s: Int64Array, interval_s: int) -> Int64Array:
    """Move captures that are a little off their interval's edge onto it."""
    nearest = (at_s + interval_s // 2) // interval_s * interval_s
    return np.where(
        np.abs(at_s - nearest) <= min(GRID_TOLERANCE_S, interval_s // 10), nearest, at_s
    )


def _scale(energy: Column, scale: ScalerUnit) -> Int64Array:
    scaled: Int64Array
    if energy.values.dtype != np.int64:
        scaled = np.rint(energy.values * 10.0**scale.scaler).astype(np.int64)
    elif scale.scaler >= 0:
        scaled = energy.values * 10**scale.scaler
    else:
        scaled = energy.values // 10**-scale.scaler
    return scaled


def _judge(table: ProfileTable, columns: ProfileColumns, profile: LoadProfile) -> QualityArray:
    """Return (row,) int16 quality codes: the worst that status bits and clock status call for."""
    quality = np.full(table.rows, Quality.ACTUAL, dtype=np.int16)
    clock_status = table.columns[columns.clock].clock_status
    if clock_status is not None:
        doubtful = clock_status & (STATUS_INVALID_VALUE | STATUS_DOUBTFUL_VALUE)
        quality[(doubtful != 0) & (clock_status != STATUS_UNSPECIFIED)] = Quality.SUSPECT
    if columns.status is None:
        return quality
    column = table.columns[columns.status]
    repeat_unchanged(column, table.starts)
    bits = _status_bits(column)
    for rule in profile.status_rules:
        hit = (bits & rule.mask) != 0
        quality[hit] = np.maximum(quality[hit], rule.quality)
    return quality


def _status_bits(column: Column) -> Int64Array:
    if column.values.dtype == np.int64:
        return column.values
    bits = [
        int.from_bytes(value.octets, "big") if isinstance(value, d.BitString) else int(value or 0)
        for value in column.values
    ]
    return np.asarray(bits, dtype=np.int64)


def _differences(
    at_s: Int64Array, register_wh: Int64Array, quality: QualityArray, interval_s: int
) -> tuple[Int64Array, Int64Array, QualityArray]:
    """Turn register rows into interval energy where two of them lie one interval apart.

    A register that runs backwards (exchange, overflow, fault) gives a suspect interval of zero.
    """
    order = np.argsort(at_s, kind="stable")
    at_s, register_wh, quality = at_s[order], register_wh[order], quality[order]
    neighbours = np.diff(at_s) == interval_s
    energy_wh = np.diff(register_wh)
    worst = np.maximum(quality[1:], quality[:-1])
    worst[energy_wh < 0] = Quality.SUSPECT
    energy_wh = np.maximum(energy_wh, 0)
    return at_s[:-1][neighbours], energy_wh[neighbours], worst[neighbours]
