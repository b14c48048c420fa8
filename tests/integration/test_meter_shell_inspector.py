"""The inspector's writing services and event logs, over the wire, on a meter made of a table."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from headend.domain.errors import BadInput
from headend.domain.obis import CLOCK, DISCONNECT_CONTROL, Obis
from headend.meter_counters import CounterFile
from headend.ports.inspection import InspectionOptions, ProfileWindow
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.selection import CaptureObject
from protocols.dlms.services.inspector import DlmsInspector
from protocols.dlms.testing import TableObjects
from protocols.dlms.testing_site import AK, EK, Site, serve_site

LOG = Obis.parse("0.0.99.98.0.255")
CODE = Obis.parse("0.0.96.11.0.255")
LIMITER, POWER = Obis.parse("0.0.17.0.0.255"), Obis.parse("1.0.1.7.0.255")
PUSH = Obis.parse("0.0.25.9.0.255")
OTHER_RELAY = Obis.parse("0.1.96.3.10.255")
ASSOCIATION = Obis.parse("0.0.40.0.0.255")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve_site() as served:
        yield served


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def inspector(tmp_path: Path, notes: list[str]) -> DlmsInspector:
    return DlmsInspector(
        InspectionOptions(CounterFile(tmp_path, notes.append), notes.append, timeout_s=1)
    )


def url(site: Site) -> str:
    return f"dlms+tcp://127.0.0.1:{site.port}?auth=gmac&ek={EK.hex()}&ak={AK.hex()}"


def put(meter: TableObjects, class_id: int, obis: Obis, **attributes: d.Data) -> None:
    for name, value in attributes.items():
        meter.attributes[class_id, obis, int(name[1:])] = xdr.encode(value)


def stamp(hour: int) -> bytes:
    instant = datetime(2026, 3, 1, hour, tzinfo=UTC)
    return CosemDateTime.from_instant(instant, deviation_min=-480).octets


async def test_the_clock_is_set_within_its_bound(site: Site, inspector: DlmsInspector) -> None:
    async with inspector.open(url(site)) as meter:
        with pytest.raises(BadInput, match="more than the 300 s"):
            await meter.set_clock()
        await meter.set_clock(limit_s=float("inf"))
        assert abs((await meter.read_clock()).ahead_s) <= 1
        held = xdr.decode(site.meters[1].attributes[8, CLOCK, 2])
        assert CosemDateTime(held).deviation_min == -480
        # As the meter's own wall clock says it.
        await meter.set_clock(datetime(2026, 3, 1, 20, 0), limit_s=float("inf"))  # noqa: DTZ001
        held = xdr.decode(site.meters[1].attributes[8, CLOCK, 2])
        assert held == stamp(12)


async def test_events_are_read_with_and_without_an_object_list(
    site: Site, inspector: DlmsInspector, notes: list[str]
) -> None:
    meter = site.meters[1]
    captured = d.Array(each.to_data() for each in (CaptureObject(8, CLOCK), CaptureObject(1, CODE)))
    rows = d.Array(d.Structure((stamp(hour), d.Unsigned(hour))) for hour in (1, 2, 3))
    put(meter, 7, LOG, a2=rows, a3=captured, a4=d.DoubleLongUnsigned(0))
    listed = d.Structure((d.LongUnsigned(7), d.Unsigned(1), LOG.octets, d.Structure(())))
    for has_list in (False, True):
        if has_list:
            put(meter, 15, ASSOCIATION, a2=d.Array((listed,)))
        async with inspector.open(url(site)) as inspection:
            whole = await inspection.read_events(ProfileWindow())
            assert [event.code for event in whole] == [1, 2, 3]
            part = await inspection.read_events(ProfileWindow(whole[1].time, None), log=str(LOG))
            assert [event.code for event in part] == [2, 3]
    assert notes == []


async def test_limits_and_pushes_are_written_and_read_back(
    site: Site, inspector: DlmsInspector
) -> None:
    meter = site.meters[1]
    monitored = d.Structure((d.LongUnsigned(3), POWER.octets, d.Integer(2)))
    put(meter, 71, LIMITER, a2=monitored, a4=d.LongUnsigned(5000), a6=d.DoubleLongUnsigned(60))
    destination = d.Structure((d.Enum(0), b"10.0.0.1:4059", d.Enum(0)))
    put(meter, 40, PUSH, a2=d.Array((CaptureObject(8, CLOCK).to_data(),)), a3=destination)
    meter.methods[40, PUSH, 1] = None
    async with inspector.open(url(site)) as inspection:
        (before,) = await inspection.read_limits()
        assert (before.value, before.unit, before.over_s) == (5000, "W", 60)
        await inspection.write_limit("power", Decimal(6600), over_s=30)
        (after,) = await inspection.read_limits()
        assert (after.value, after.over_s) == (6600, 30)
        await inspection.write_push_destination("192.0.2.7:4059", "udp")
        push = await inspection.read_push()
        assert (push.transport, push.destination) == ("udp", "192.0.2.7:4059")
        assert push.objects == ("8/0.0.1.0.0.255/2",)
        await inspection.push_now()
    assert meter.invoked[-1][:3] == (40, PUSH, 1)


async def test_a_relay_elsewhere_is_found_in_the_object_list(
    site: Site, inspector: DlmsInspector
) -> None:
    meter = site.meters[1]
    for number in (2, 3, 4):
        key = (70, DISCONNECT_CONTROL, number)
        meter.attributes[70, OTHER_RELAY, number] = meter.attributes.pop(key)
    entry = d.Structure((d.LongUnsigned(70), d.Unsigned(0), OTHER_RELAY.octets, d.Structure(())))
    put(meter, 15, ASSOCIATION, a2=d.Array((entry,)))
    async with inspector.open(url(site)) as inspection:
        state = await inspection.read_relay()
        assert (state.obis, state.reading.output_state) == (str(OTHER_RELAY), True)


async def test_the_window_of_a_profile_is_the_meters(
    site: Site, inspector: DlmsInspector, notes: list[str]
) -> None:
    """This meter answers every selection with all that it has."""
    first = datetime(2026, 2, 28, 16, 15, tzinfo=UTC)
    async with inspector.open(url(site)) as inspection:
        window = ProfileWindow(first, first + timedelta(minutes=15))
        table = await inspection.read_profile("1.0.99.1.0.255", window)
    assert [row[0] for row in table.rows] == [first, first + timedelta(minutes=15)]
    assert notes == []
