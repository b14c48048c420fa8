"""A meter's clock: read against ours, and set within a bound.

Setting the clock moves time for everything the meter records: across the end of an interval it
doubles or swallows a row. A correction is therefore bounded by who asks, and what was set is read
back.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from headend.domain.errors import BadInput
from headend.ports.inspection import ClockReading
from protocols.dlms import xdr
from protocols.dlms.cosem_time import (
    STATUS_DIFFERENT_BASE,
    STATUS_DOUBTFUL_VALUE,
    STATUS_INVALID_STATUS,
    STATUS_INVALID_VALUE,
    CosemDateTime,
)
from protocols.dlms.errors import MalformedData
from protocols.dlms.meter_model import MeterModel
from protocols.dlms.services import cosem
from protocols.dlms.services.cosem import CosemAccess
from protocols.dlms.services.values import date_time_of
from protocols.dlms.services.wall_clock import WallClock
from protocols.dlms.targets import Attribute

_TIME = 2
DEFAULT_LIMIT_S = 300  # DL/T 645 meters take a correction of up to 5 min (edition unverified)
_STATUS_NOTES = (
    (STATUS_INVALID_VALUE, "the meter says that its time is invalid"),
    (STATUS_DOUBTFUL_VALUE, "the meter says that its time is doubtful"),
    (STATUS_DIFFERENT_BASE, "the meter runs on another clock base"),
    (STATUS_INVALID_STATUS, "the meter says that its clock status is invalid"),
)


async def read_wall_clock(access: CosemAccess, model: MeterModel) -> WallClock:
    """Learn how the meter writes time; without a clock to read, its model says how."""
    value = await cosem.read_if_there(access, cosem.CLOCK, model.clock, _TIME)
    try:
        return WallClock(model, date_time_of(value))
    except MalformedData:
        return WallClock(model)


async def read_clock(
    access: CosemAccess,
    model: MeterModel,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[ClockReading, WallClock]:
    """Read the clock against ours, taken in the middle of the exchange."""
    before = now()
    sample = date_time_of(await cosem.read(access, cosem.CLOCK, model.clock, _TIME))
    ours = before + (now() - before) / 2
    wall = WallClock(model, sample)
    instant = wall.instant_of(sample)
    if instant is None:
        raise MalformedData(f"the clock says {sample.octets.hex()}, which is no instant")
    ahead_s = (instant - ours).total_seconds()
    return ClockReading(instant, round(ahead_s, 1) + 0.0, _notes_of(sample)), wall


def check_correction(correction_s: float, *, limit_s: float) -> None:
    """Raise `BadInput` when a correction is larger than allowed."""
    if abs(correction_s) > limit_s:
        raise BadInput(
            f"the clock would move by {correction_s:+.0f} s, more than the {limit_s:.0f} s that"
            " are allowed: find out why, then use --force",
            field="to",
        )


async def set_clock(access: CosemAccess, wall: WallClock, to: datetime) -> None:
    """Write the clock as the meter writes it itself; raises `MeterRefused`."""
    attribute = Attribute(cosem.CLOCK, wall.model.clock, _TIME)
    await access.set(attribute, xdr.encode(wall.write(to).octets))


def _notes_of(sample: CosemDateTime) -> tuple[str, ...]:
    status = sample.status
    notes = [] if status is None else [text for bit, text in _STATUS_NOTES if status & bit]
    if sample.deviation_min is None:
        notes.append("the meter does not tell its offset from UTC: its model's zone was taken")
    return tuple(notes)
