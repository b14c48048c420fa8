"""The clock is read against ours, and set as the meter writes time, within a bound."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from headend.domain.errors import BadInput
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.errors import MalformedData
from protocols.dlms.meter_model import load_model
from protocols.dlms.services.clock import check_correction, read_clock, read_wall_clock, set_clock
from protocols.dlms.services.testing import TableAccess

NOW = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
CLOCK = (8, "0.0.1.0.0.255", 2)
MODEL = load_model("generic")


def meter(octets: bytes) -> TableAccess:
    return TableAccess({CLOCK: octets})


def stamp(instant: datetime, deviation_min: int = -480, status: int = 0) -> bytes:
    return CosemDateTime.from_instant(instant, deviation_min=deviation_min, status=status).octets


async def test_the_offset_is_ahead_of_the_middle_of_the_exchange() -> None:
    moments = iter((NOW, NOW + timedelta(seconds=2)))
    reading, _ = await read_clock(
        meter(stamp(NOW + timedelta(seconds=31))), MODEL, now=lambda: next(moments)
    )
    assert reading.ahead_s == 30.0
    assert reading.time.isoformat() == "2026-03-01T12:00:31+08:00"
    assert reading.notes == ()


async def test_doubt_and_a_missing_offset_are_told() -> None:
    octets = stamp(NOW, status=0x03)[:9] + b"\x80\x00" + b"\x03"
    reading, _ = await read_clock(meter(octets), MODEL, now=lambda: NOW)
    assert reading.ahead_s == 0
    assert [note.split(" is ")[-1] for note in reading.notes][:2] == ["invalid", "doubtful"]
    assert "does not tell its offset" in reading.notes[2]


async def test_the_zone_of_a_model_can_be_another() -> None:
    octets = stamp(NOW, 0)[:9] + b"\x80\x00\xff"
    reading, _ = await read_clock(meter(octets), replace(MODEL, zone="UTC"), now=lambda: NOW)
    assert reading.ahead_s == 0


async def test_a_pattern_is_no_clock() -> None:
    with pytest.raises(MalformedData, match="no instant"):
        await read_clock(meter(b"\xff" * 12), MODEL, now=lambda: NOW)


@pytest.mark.parametrize("octets", [stamp(NOW), stamp(NOW, 0), stamp(NOW)[:9] + b"\x80\x00\xff"])
async def test_it_is_set_as_the_meter_writes_it(octets: bytes) -> None:
    access = meter(octets)
    wall = await read_wall_clock(access, MODEL)
    await set_clock(access, wall, NOW)
    assert access.values[CLOCK] == octets


async def test_without_a_clock_to_read_the_model_decides() -> None:
    wall = await read_wall_clock(TableAccess({}), MODEL)
    assert wall.write(NOW).octets == stamp(NOW)


def test_a_correction_beyond_the_bound_is_refused() -> None:
    check_correction(-300, limit_s=300)
    with pytest.raises(BadInput, match=r"-301 s, more than the 300 s"):
        check_correction(-301, limit_s=300)
