"""What a meter enforces and pushes by itself: limiter, voltage thresholds, push set-up."""

from __future__ import annotations

from decimal import Decimal

import pytest

from headend.domain.errors import BadInput, MeterRefused
from headend.domain.obis import Obis
from protocols.dlms import data as d
from protocols.dlms.meter_model import load_model
from protocols.dlms.selection import CaptureObject
from protocols.dlms.services.limits import (
    read_limiter,
    read_threshold,
    write_limiter,
    write_threshold,
)
from protocols.dlms.services.meter_limits import MeterLimits
from protocols.dlms.services.push_setup import (
    push_now,
    read_push_setup,
    write_destination,
    write_objects,
    write_timing,
)
from protocols.dlms.services.testing import TableAccess, scaler_unit

LIMITER, POWER, SAG, PUSH = "0.0.17.0.0.255", "1.0.1.7.0.255", "1.0.12.31.0.255", "0.0.25.9.0.255"


def obis(text: str) -> Obis:
    return Obis.parse(text)


def limiter() -> TableAccess:
    monitored = d.Structure((d.LongUnsigned(3), obis(POWER).octets, d.Integer(2)))
    action = d.Structure((obis("0.0.10.0.106.255").octets, d.LongUnsigned(1)))
    return TableAccess(
        {
            (71, LIMITER, 2): monitored,
            (71, LIMITER, 3): d.LongUnsigned(500),
            (71, LIMITER, 4): d.LongUnsigned(500),
            (71, LIMITER, 6): d.DoubleLongUnsigned(60),
            (71, LIMITER, 7): d.DoubleLongUnsigned(30),
            (71, LIMITER, 11): d.Structure((action, action)),
            (3, POWER, 3): scaler_unit(1, 27),
            (3, SAG, 2): d.LongUnsigned(1955),
            (3, SAG, 3): scaler_unit(-1, 35),
        }
    )


async def test_a_limiter_is_read_in_the_unit_of_what_it_watches() -> None:
    found = await read_limiter(limiter(), obis(LIMITER))
    assert (found.monitored, found.unit) == (obis(POWER), "W")
    assert (found.active, found.normal, found.emergency) == (5000, 5000, None)
    assert (found.over_s, found.under_s, found.acts) == (60, 30, True)


async def test_a_limit_is_written_in_the_meters_own_type() -> None:
    access = limiter()
    await write_limiter(access, obis(LIMITER), normal=Decimal(6600), over_s=120)
    assert access.written == [
        ((71, LIMITER, 4), d.LongUnsigned(660)),
        ((71, LIMITER, 6), d.DoubleLongUnsigned(120)),
    ]
    assert isinstance(access.values[71, LIMITER, 4], d.LongUnsigned)


@pytest.mark.parametrize("watts", [Decimal(6605), Decimal(700_000), Decimal(-10)])
async def test_a_limit_that_the_meter_cannot_hold_is_refused(watts: Decimal) -> None:
    access = limiter()
    with pytest.raises(BadInput):
        await write_limiter(access, obis(LIMITER), normal=watts)
    assert access.written == []


async def test_voltage_thresholds_are_registers() -> None:
    access = limiter()
    found = await read_threshold(access, obis(SAG))
    assert (found.value, found.unit) == (Decimal("195.5"), "V")
    await write_threshold(access, obis(SAG), Decimal("198"))
    assert access.values[3, SAG, 2] == 1980
    with pytest.raises(MeterRefused):
        await read_threshold(access, obis("1.0.12.35.0.255"))


def push() -> TableAccess:
    item = CaptureObject(3, obis(POWER)).to_data()
    return TableAccess(
        {
            (40, PUSH, 2): d.Array((item,)),
            (40, PUSH, 3): d.Structure((d.Enum(0), b"10.0.0.1:4059", d.Enum(0))),
            (40, PUSH, 4): d.Array(),
            (40, PUSH, 5): d.LongUnsigned(30),
            (40, PUSH, 6): d.Unsigned(3),
            (40, PUSH, 7): d.LongUnsigned(60),
        }
    )


async def test_a_push_set_up_is_read() -> None:
    found = await read_push_setup(push())
    assert found.objects == (CaptureObject(3, obis(POWER)),)
    assert (found.transport, found.destination, found.message) == ("tcp", "10.0.0.1:4059", "a-xdr")
    assert (found.windows, found.randomisation_s, found.retries) == (0, 30, 3)
    assert found.repetition_delay_s == 60


async def test_a_binary_address_and_later_versions_are_read_too() -> None:
    access = push()
    restricted = d.Structure((*CaptureObject(3, obis(POWER)).to_data(), d.Structure(())))
    access.values[40, PUSH, 2] = d.Array((restricted,))
    access.values[40, PUSH, 3] = d.Structure(
        (d.Enum(1), bytes((10, 0, 0, 1, 0x0F, 0xDB)), d.Enum(0))
    )
    access.values[40, PUSH, 7] = d.Structure(
        (d.LongUnsigned(1), d.LongUnsigned(2), d.LongUnsigned(3))
    )
    found = await read_push_setup(access)
    assert found.objects == (CaptureObject(3, obis(POWER)),)
    assert (found.transport, found.destination) == ("udp", "10.0.0.1:4059")
    assert found.repetition_delay_s is None


async def test_a_push_set_up_is_written() -> None:
    access = push()
    await write_destination(access, "head-end.example:4059")
    await write_objects(access, [CaptureObject(1, obis("0.0.96.1.0.255"))])
    await write_timing(access, retries=5, repetition_delay_s=90)
    found = await read_push_setup(access)
    assert found.destination == "head-end.example:4059"
    assert found.objects == (CaptureObject(1, obis("0.0.96.1.0.255")),)
    assert (found.randomisation_s, found.retries, found.repetition_delay_s) == (30, 5, 90)
    await push_now(access)
    assert access.invoked == [((40, PUSH, 1), 0)]


async def test_wrong_settings_change_nothing() -> None:
    access = push()
    with pytest.raises(BadInput):
        await write_destination(access, "x", transport="pigeon")
    with pytest.raises(BadInput):
        await write_objects(access, [])
    with pytest.raises(BadInput):
        await write_timing(access, randomisation_s=1, retries=300)
    assert access.written == []


async def test_the_limits_of_a_meter_are_known_by_name() -> None:
    access = limiter()
    named = MeterLimits(access, load_model("generic"))
    found = {each.name: (each.value, each.unit, each.over_s) for each in await named.read()}
    # Its swell threshold is not there: passed over.
    assert found == {"power": (5000, "W", 60), "sag": (Decimal("195.5"), "V", None)}
    await named.write("power", Decimal(6600), over_s=30)
    await named.write("sag", Decimal("190"))
    assert [value for _, value in access.written] == [660, 30, 1900]
    with pytest.raises(BadInput, match=r"no limit 'frost', only power, sag, swell"):
        await named.write("frost", Decimal(1))
    with pytest.raises(BadInput, match="has no duration"):
        await named.write("sag", None, over_s=5)
