"""Limits that a meter itself enforces: power by its limiter (class 71), voltage by thresholds.

A limiter opens the contact when the monitored value stays above a threshold for too long, without
any order of ours. Thresholds are written in the unit of the monitored register; reading them back
is the caller's proof. Attributes are those of IEC 62056-6-2, class 71 (clause unverified).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from headend.domain.errors import BadInput, MeterRefused
from headend.domain.obis import Obis
from protocols.dlms import xdr
from protocols.dlms.data import Data
from protocols.dlms.errors import MalformedData
from protocols.dlms.services import cosem
from protocols.dlms.services.cosem import CosemAccess
from protocols.dlms.services.values import read_scale, scale_exactly
from protocols.dlms.targets import Attribute
from protocols.dlms.units import ScalerUnit

_MONITORED, _ACTIVE, _NORMAL, _EMERGENCY, _OVER_S, _UNDER_S, _ACTIONS = 2, 3, 4, 5, 6, 7, 11
MAX_DURATION_S = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Limiter:
    """A limiter as it stands; thresholds in ``unit``.

    ``active`` is the threshold that counts now. The contact opens when the value was above it for
    ``over_s``, and is given back when it was below for ``under_s`` [s].
    """

    obis: Obis
    monitored: Obis | None
    unit: str
    active: int | Decimal | None
    normal: int | Decimal | None
    emergency: int | Decimal | None
    over_s: int | None
    under_s: int | None
    acts: bool  # whether going over runs a script at all


async def read_limiter(access: CosemAccess, obis: Obis) -> Limiter:
    """Read a limiter; raises `MeterRefused` where there is none."""
    monitored, scale = await _read_monitored(access, obis)
    values = [
        await cosem.read_if_there(access, cosem.LIMITER, obis, number)
        for number in (_ACTIVE, _NORMAL, _EMERGENCY, _OVER_S, _UNDER_S, _ACTIONS)
    ]
    active, normal, emergency = (_scaled(value, scale) for value in values[:3])
    over_s, under_s = (int(v) if isinstance(v, int) else None for v in values[3:5])
    unit = "" if scale is None else scale.unit
    return Limiter(
        obis, monitored, unit, active, normal, emergency, over_s, under_s, _acts(values[5])
    )


async def write_limiter(
    access: CosemAccess, obis: Obis, *, normal: Decimal | None = None, over_s: int | None = None
) -> None:
    """Write the normal threshold, in the monitored register's unit, and how long it may be passed.

    Raises `BadInput` for a value that the meter's resolution or type cannot carry.
    """
    _, scale = await _read_monitored(access, obis)
    if normal is not None:
        await _write_number(access, cosem.LIMITER, obis, _NORMAL, normal, scale)
    if over_s is not None:
        if not 0 <= over_s <= MAX_DURATION_S:
            raise BadInput(f"{over_s} s is no duration of a limiter", field="over_s")
        await _write_number(access, cosem.LIMITER, obis, _OVER_S, Decimal(over_s), None)


@dataclass(frozen=True, slots=True)
class Threshold:
    """One threshold that stands in a register of its own, e.g. for voltage sags."""

    obis: Obis
    value: int | Decimal | None
    unit: str


async def read_threshold(access: CosemAccess, obis: Obis) -> Threshold:
    """Read a threshold register; raises `MeterRefused` where there is none."""
    value = await cosem.read(access, cosem.REGISTER, obis, 2)
    scale = read_scale(await cosem.read_if_there(access, cosem.REGISTER, obis, 3))
    return Threshold(obis, _scaled(value, scale), "" if scale is None else scale.unit)


async def write_threshold(access: CosemAccess, obis: Obis, value: Decimal) -> None:
    """Write a threshold register in its unit; raises `BadInput`, `MeterRefused`."""
    scale = read_scale(await cosem.read_if_there(access, cosem.REGISTER, obis, 3))
    await _write_number(access, cosem.REGISTER, obis, 2, value, scale)


async def _read_monitored(access: CosemAccess, obis: Obis) -> tuple[Obis | None, ScalerUnit | None]:
    """Return what a limiter watches, and the scale that its thresholds have."""
    match await cosem.read(access, cosem.LIMITER, obis, _MONITORED):
        case (int(class_id), bytes(name), int(attribute)) if len(name) == 6:
            watched = Obis(name)
            number = cosem.SCALER_ATTRIBUTE.get((int(class_id), int(attribute)))
            if number is None:
                return watched, None
            found = await cosem.read_if_there(access, int(class_id), watched, number)
            return watched, read_scale(found)
    raise MalformedData(f"limiter {obis} names no monitored value")


async def _write_number(
    access: CosemAccess,
    class_id: int,
    obis: Obis,
    number: int,
    value: Decimal,
    scale: ScalerUnit | None,
) -> None:
    """Write a number in the type that the meter holds there."""
    attribute = Attribute(class_id, obis, number)
    held = xdr.decode(await access.get(attribute))
    if not isinstance(held, int | float) or isinstance(held, bool):
        raise MeterRefused(f"{attribute} holds no number", code="type-unmatched")
    raw = value.scaleb(-(0 if scale is None else scale.scaler))
    await access.set(attribute, xdr.encode(_same_type(held, raw, value)))


def _same_type(held: Data, raw: Decimal, value: Decimal) -> Data:
    if isinstance(held, float):
        return type(held)(float(raw))
    if raw != raw.to_integral_value():
        raise BadInput(f"{value} is finer than the meter resolves", field="value")
    kind = type(held)
    low, high = getattr(kind, "low", None), getattr(kind, "high", None)
    if low is None or high is None or not low <= int(raw) <= high:
        raise BadInput(f"{value} does not fit the meter's {kind.__name__}", field="value")
    return kind(int(raw))


def _scaled(value: Data, scale: ScalerUnit | None) -> int | Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return scale_exactly(value, 0 if scale is None else scale.scaler)


def _acts(actions: Data) -> bool:
    """Tell whether going over the threshold runs a script: its selector is not 0."""
    match actions:
        case ((_, int(selector)), *_):
            return int(selector) != 0
    return False
