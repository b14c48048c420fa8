"""A meter is asked all that tells what it is, and nothing must be answered."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headend.domain.errors import MeterBusy
from headend.domain.obis import Obis
from headend.domain.reading import MeterIdentity
from headend.ports.inspection import ProfileWindow
from protocols.dlms import data as d
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.meter_model import load_model
from protocols.dlms.selection import CaptureObject
from protocols.dlms.services.clock import read_wall_clock
from protocols.dlms.services.events import find_event_logs, read_events
from protocols.dlms.services.identify import fitting_models, identify, read_identity
from protocols.dlms.services.object_list import parse_object_list
from protocols.dlms.services.testing import FailingAccess, TableAccess, list_object

GENERIC = load_model("generic")
LOG = "0.0.99.98.1.255"
SIMULATED = (
    list_object(1, "0.0.42.0.0.255"), list_object(3, "1.0.1.8.0.255"),
    list_object(3, "1.0.1.29.0.255"), list_object(3, "1.0.1.7.0.255"),
    list_object(7, "1.0.99.1.0.255"), list_object(8, "0.0.1.0.0.255"),
    list_object(70, "0.0.96.3.10.255"),
)  # fmt: skip


def stamp(hour: int) -> bytes:
    instant = datetime(2026, 3, 1, hour, tzinfo=UTC)
    return CosemDateTime.from_instant(instant, deviation_min=-480).octets


def meter() -> TableAccess:
    captured = (
        CaptureObject(8, Obis.parse("0.0.1.0.0.255")),
        CaptureObject(1, Obis.parse("0.0.96.11.1.255")),
    )
    return TableAccess(
        {
            (1, "0.0.42.0.0.255", 2): b"SIM0000000000042",
            (1, "0.0.96.1.0.255", 2): b"0042\0\0",
            (1, "1.0.0.2.0.255", 2): b"FW 1.2",
            (1, "0.0.43.1.0.255", 2): d.DoubleLongUnsigned(77),
            (8, "0.0.1.0.0.255", 2): stamp(4),
            (15, "0.0.40.0.0.255", 2): d.Array((*SIMULATED, list_object(7, LOG))),
            (70, "0.0.96.3.10.255", 2): True,
            (70, "0.0.96.3.10.255", 3): d.Enum(1),
            (70, "0.0.96.3.10.255", 4): d.Enum(4),
            (7, LOG, 3): d.Array(each.to_data() for each in captured),
            (7, LOG, 2): d.Array(
                (d.Structure((stamp(3), d.Unsigned(12))), d.Structure((stamp(2), d.Unsigned(9))))
            ),
        }
    )


async def test_a_meter_that_shows_everything() -> None:
    summary = await identify(meter(), GENERIC, negotiated={"max_pdu": 1024})
    assert summary.identity == MeterIdentity("SIM0000000000042", "0042")
    assert summary.models == ("sim-single-phase", "generic")
    assert summary.relay is not None
    assert summary.relay.reading.output_state
    assert summary.relay.meaning.endswith("a remote close closes at once")
    assert summary.classes["register"] == 3
    assert (summary.profiles, summary.event_logs) == (("1.0.99.1.0.255",), (LOG,))
    assert summary.facts == {"max_pdu": 1024, "firmware": "FW 1.2", "frame_counter": 77}
    assert summary.notes == ()


async def test_a_meter_that_shows_nothing_says_so() -> None:
    summary = await identify(TableAccess({}), GENERIC)
    assert summary.identity == MeterIdentity("", "")
    assert (summary.clock, summary.relay, summary.classes) == (None, None, {})
    assert summary.models == ("generic",)
    assert [note.split(" could")[0] for note in summary.notes] == [
        "it shows this client no logical device name", "its clock", "its object list",
        "its disconnect control",
    ]  # fmt: skip


async def test_a_busy_meter_is_no_meter_without_objects() -> None:
    with pytest.raises(MeterBusy):
        await identify(FailingAccess(fault=MeterBusy("later")), GENERIC)


async def test_a_name_of_octets_is_told_in_hex() -> None:
    access = TableAccess({(1, "0.0.42.0.0.255", 2): b"\x01\x02"})
    assert (await read_identity(access, GENERIC)).logical_device_name == "0102"


def test_a_model_fits_by_name_and_objects() -> None:
    objects = parse_object_list(d.Array(SIMULATED))
    assert fitting_models("SIM0000000000042", objects) == ("sim-single-phase", "generic")
    assert fitting_models("KFM1200200000001", objects) == ("generic",)
    fewer = parse_object_list(d.Array(SIMULATED[:3]))
    assert fitting_models("SIM0000000000042", fewer) == ("generic",)
    assert fitting_models("SIM0000000000042", None) == ("sim-single-phase", "generic")


async def test_events_come_in_order_with_their_codes() -> None:
    access = meter()
    wall = await read_wall_clock(access, GENERIC)
    logs = await find_event_logs(access, None)
    assert list(map(str, logs)) == [LOG]
    events, notes = await read_events(access, logs, ProfileWindow(), wall)
    assert [(event.code, event.time) for event in events] == [
        (9, datetime(2026, 3, 1, 2, tzinfo=UTC)),
        (12, datetime(2026, 3, 1, 3, tzinfo=UTC)),
    ]
    assert events[0].values["0.0.96.11.1.255"] == 9
    assert notes == []


async def test_a_log_that_may_not_be_read_is_a_note() -> None:
    access = meter()
    wall = await read_wall_clock(access, GENERIC)
    other = Obis.parse("0.0.99.98.2.255")
    events, notes = await read_events(access, [other, Obis.parse(LOG)], ProfileWindow(), wall)
    assert len(events) == 2
    assert notes[0].startswith("0.0.99.98.2.255 could not be read")
