"""What a meter shows over DLMS: honest without faults, bent by them, and never the truth itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from headend.domain import obis as codes
from headend.domain.obis import Obis
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.errors import AccessError, AccessResult
from protocols.dlms.meter_model import load_model
from protocols.dlms.selection import (
    CLOCK_COLUMN,
    CaptureObject,
    EntrySelection,
    OtherSelection,
    RangeSelection,
    Selection,
)
from protocols.simulator.business_time import BusinessClock
from protocols.simulator.device import Device
from protocols.simulator.faults import Fault, FaultKind
from protocols.simulator.fleet import make_meter
from protocols.simulator.journal import NoJournal
from protocols.simulator.load import CHINA_OFFSET_S
from protocols.simulator.profile_buffer import CAPTURE_OBJECTS, INTERVAL_ENERGY

if TYPE_CHECKING:
    from conftest import WallClock

DAY = timedelta(days=1)
SHANGHAI_MIN = -480
CLASS_OF = {codes.CLOCK: 8, codes.LOAD_PROFILE_1: 7, codes.DISCONNECT_CONTROL: 70}


@pytest.fixture
def device(clock: BusinessClock) -> Device:
    commissioned = (clock.now() - 3 * DAY).isoformat()
    spec = make_meter(
        1, 0, address=1, commissioned_at=commissioned, relay_delay_ms=0, initial_wh=500
    )
    return Device(spec, clock, NoJournal(), utc_offset_s=CHINA_OFFSET_S)


def read(device: Device, obis: Obis, attribute: int = 2, selection: Selection | None = None) -> Any:
    class_id = CLASS_OF.get(obis) or (3 if obis.octets[0] == 1 else 1)
    return xdr.decode(device.objects.read(class_id, obis, attribute, selection))


def read_range(device: Device, first: datetime, last: datetime, *columns: CaptureObject) -> Any:
    ends = (
        CosemDateTime.from_instant(at, deviation_min=SHANGHAI_MIN).octets for at in (first, last)
    )
    selection = RangeSelection(*ends, CLOCK_COLUMN, columns)
    return read(device, codes.LOAD_PROFILE_1, 2, selection)


def instant(octets: bytes) -> datetime:
    return CosemDateTime(octets).to_instant(default_deviation_min=0)


def refusal(device: Device, *arguments: Any) -> AccessResult:
    with pytest.raises(AccessError) as caught:
        read(device, *arguments)
    return caught.value.result


def set_fault(device: Device, kind: FaultKind, **parameters: Any) -> None:
    device.set_fault(Fault.from_json({"fault": kind.value, **parameters}))


def test_identity_and_clock(device: Device, clock: BusinessClock) -> None:
    assert read(device, codes.LOGICAL_DEVICE_NAME) == device.spec.logical_device_name.encode()
    assert read(device, codes.DEVICE_SERIAL) == device.spec.serial.encode()
    shown = read(device, codes.CLOCK)
    assert abs(instant(shown) - clock.now()) < timedelta(seconds=0.02)
    assert CosemDateTime(shown).deviation_min == SHANGHAI_MIN
    assert CosemDateTime(shown).hour == 12


def test_registers_show_the_truth_with_scaler_and_unit(device: Device) -> None:
    value = read(device, codes.ACTIVE_ENERGY_IMPORT)
    assert value == device.meter.register_wh() > 500
    assert isinstance(value, d.DoubleLongUnsigned)
    assert read(device, codes.ACTIVE_ENERGY_IMPORT, 3) == (0, 30)
    assert read(device, codes.INSTANTANEOUS_POWER_IMPORT) == device.meter.power_w() > 0
    assert read(device, codes.INSTANTANEOUS_POWER_IMPORT, 3) == (0, 27)


def test_a_range_gives_the_rows_captured_in_it_both_ends_included(
    device: Device, clock: BusinessClock
) -> None:
    midnight = datetime(2025, 3, 9, 16, 0, tzinfo=UTC)  # the 10th begins in Shanghai
    rows = read_range(device, midnight + timedelta(minutes=15), midnight + timedelta(hours=2))
    assert [instant(row[0]) for row in rows] == [
        midnight + timedelta(minutes=15 * (k + 1)) for k in range(8)
    ]
    start_s = int(midnight.timestamp())
    truth = device.meter.rows(start_s, start_s + 7200)
    assert [int(row[2]) for row in rows] == truth.energy_wh.tolist()
    assert {int(row[1]) for row in rows} == {0}
    assert CosemDateTime(rows[0][0]).octets[4] == 1  # Monday


def test_encoded_times_equal_the_codec_s_own_over_a_new_year(
    wall: WallClock, clock: BusinessClock
) -> None:
    clock.set_offset((datetime(2028, 3, 1, 12, tzinfo=UTC) - clock.now()).total_seconds())
    spec = make_meter(1, 0, address=1, commissioned_at="2027-12-30T00:00:00Z")
    device = Device(spec, clock, NoJournal(), utc_offset_s=CHINA_OFFSET_S)
    rows = read(device, codes.LOAD_PROFILE_1)
    assert len(rows) == 62 * 96
    for row in rows[::97]:
        expected = CosemDateTime.from_instant(instant(row[0]), deviation_min=SHANGHAI_MIN)
        assert row[0] == expected.octets
    days = {CosemDateTime(row[0]).octets[2:4] for row in rows}
    assert bytes((2, 29)) in days


def test_unfinished_and_unborn_intervals_have_no_row(device: Device, clock: BusinessClock) -> None:
    rows = read_range(device, clock.now() - 30 * DAY, clock.now() + 30 * DAY)
    assert len(rows) == 3 * 96 == int(read(device, codes.LOAD_PROFILE_1, 7))
    assert instant(rows[-1][0]) == clock.now()
    assert read_range(device, clock.now() + DAY, clock.now() + 2 * DAY) == ()


def test_columns_and_entries_can_be_chosen(device: Device, clock: BusinessClock) -> None:
    whole = read(device, codes.LOAD_PROFILE_1)
    energy = CAPTURE_OBJECTS[2]
    some = read_range(device, clock.now() - DAY, clock.now(), CLOCK_COLUMN, energy)
    assert [tuple(row) for row in some] == [(row[0], row[2]) for row in whole[-97:]]
    entries = read(device, codes.LOAD_PROFILE_1, 2, EntrySelection(2, 4))
    assert entries == whole[1:4]
    newest = read(device, codes.LOAD_PROFILE_1, 2, EntrySelection(280, 0, 3, 3))
    assert [tuple(row) for row in newest] == [(row[2],) for row in whole[279:]]


def test_selections_that_are_not_served_are_refused(device: Device) -> None:
    profile = codes.LOAD_PROFILE_1
    foreign = CaptureObject(3, codes.INSTANTANEOUS_POWER_IMPORT)
    ends = (CosemDateTime.from_instant(datetime.now(UTC)).octets,) * 2
    scope = AccessResult.SCOPE_OF_ACCESS_VIOLATED
    assert refusal(device, profile, 2, OtherSelection(7, None)) is scope
    assert refusal(device, profile, 2, RangeSelection(*ends, foreign)) is scope
    assert refusal(device, profile, 2, RangeSelection(*ends, CLOCK_COLUMN, (foreign,))) is scope
    assert refusal(device, profile, 2, EntrySelection(1, 2, 9, 9)) is scope
    assert refusal(device, profile, 4, EntrySelection(1, 2)) is scope
    wildcard = RangeSelection(b"\xff" * 12, b"\xff" * 12)
    assert refusal(device, profile, 2, wildcard) is AccessResult.TYPE_UNMATCHED


def test_the_profile_is_what_the_meter_model_says(device: Device) -> None:
    profile = load_model(device.spec.model).profiles[codes.LOAD_PROFILE_1]
    columns = [CaptureObject.from_data(each) for each in read(device, codes.LOAD_PROFILE_1, 3)]
    assert columns[:2] == [profile.clock, profile.status]
    assert (columns[2], "interval") in [(each.column, each.kind) for each in profile.energy]
    assert profile.timestamp == "end"
    assert read(device, codes.LOAD_PROFILE_1, 4) == profile.interval_s
    assert int(read(device, codes.LOAD_PROFILE_1, 8)) == 62 * 96


def test_every_listed_attribute_can_be_read(device: Device) -> None:
    listed = xdr.decode(device.objects.read(15, codes.CURRENT_ASSOCIATION, 2, None))
    assert len(listed) > 10
    for class_id, _version, octets, (attributes, _methods) in listed:
        for number, _mode, _selectors in attributes:
            assert device.objects.read(class_id, Obis(octets), number, None)


def test_what_does_not_exist_is_refused_by_the_right_name(device: Device) -> None:
    assert refusal(device, Obis.parse("1.0.2.8.0.255")) is AccessResult.OBJECT_UNDEFINED
    assert refusal(device, codes.CLOCK, 77) is AccessResult.READ_WRITE_DENIED
    with pytest.raises(AccessError) as caught:
        device.objects.read(1, codes.ACTIVE_ENERGY_IMPORT, 2, None)
    assert caught.value.result is AccessResult.OBJECT_CLASS_INCONSISTENT
    with pytest.raises(AccessError):
        device.objects.write(8, codes.CLOCK, 2, b"\x00")
    with pytest.raises(AccessError):
        device.objects.invoke(70, codes.DISCONNECT_CONTROL, 3, None)


def switch(device: Device, method: int) -> None:
    device.objects.invoke(70, codes.DISCONNECT_CONTROL, method, xdr.encode(d.Integer(0)))


def relay(device: Device) -> tuple[Any, ...]:
    return tuple(read(device, codes.DISCONNECT_CONTROL, number) for number in (2, 3, 4))


def test_disconnect_control_moves_the_contact_and_stops_the_load(
    wall: WallClock, device: Device
) -> None:
    assert relay(device) == (True, 1, 4)
    switch(device, 1)
    assert relay(device) == (False, 0, 4)
    assert read(device, codes.INSTANTANEOUS_POWER_IMPORT) == 0
    before = read(device, codes.ACTIVE_ENERGY_IMPORT)
    wall.advance(86_400)
    assert read(device, codes.ACTIVE_ENERGY_IMPORT) == before
    switch(device, 2)
    assert relay(device) == (True, 1, 4)


def test_a_stuck_relay_contradicts_itself(device: Device) -> None:
    set_fault(device, FaultKind.RELAY_STUCK)
    switch(device, 1)
    assert relay(device) == (True, 0, 4)
    assert device.contact.closed


def test_an_ignoring_relay_shows_no_change_and_a_refusing_one_an_error(device: Device) -> None:
    set_fault(device, FaultKind.RELAY_IGNORED)
    switch(device, 1)
    assert relay(device) == (True, 1, 4)
    set_fault(device, FaultKind.RELAY_REFUSED)
    with pytest.raises(AccessError) as caught:
        switch(device, 1)
    assert caught.value.result is AccessResult.HARDWARE_FAULT


def test_button_required_arms_only(device: Device) -> None:
    set_fault(device, FaultKind.BUTTON_REQUIRED)
    switch(device, 1)
    switch(device, 2)
    assert relay(device) == (False, 2, 3)
    assert device.press_button()
    assert relay(device) == (True, 1, 3)


def test_a_relay_can_be_slower_than_usual(wall: WallClock, device: Device) -> None:
    set_fault(device, FaultKind.RELAY_DELAY_MS, delay_ms=3000)
    switch(device, 1)
    wall.advance(2.9)
    assert relay(device)[0] is True
    wall.advance(0.1)
    assert relay(device)[0] is False


def test_wrong_identity_is_another_device(device: Device) -> None:
    set_fault(device, FaultKind.WRONG_IDENTITY, serial="4711")
    assert read(device, codes.DEVICE_SERIAL) == b"4711"
    assert read(device, codes.LOGICAL_DEVICE_NAME) != device.spec.logical_device_name.encode()


def test_busy_answers_temporary_failure_to_everything(device: Device) -> None:
    set_fault(device, FaultKind.BUSY)
    assert refusal(device, codes.CLOCK) is AccessResult.TEMPORARY_FAILURE
    with pytest.raises(AccessError):
        switch(device, 1)
    assert device.contact.closed


def test_denied_hides_one_object(device: Device) -> None:
    set_fault(device, FaultKind.DENIED, obis=str(codes.ACTIVE_ENERGY_IMPORT))
    assert refusal(device, codes.ACTIVE_ENERGY_IMPORT) is AccessResult.READ_WRITE_DENIED
    assert read(device, codes.INSTANTANEOUS_POWER_IMPORT) >= 0


def test_missing_rows_leave_only_what_came_before(
    wall: WallClock, device: Device, clock: BusinessClock
) -> None:
    since = clock.now()
    set_fault(device, FaultKind.MISSING_ROWS, **{"from": since.isoformat()})
    wall.advance(86_400)
    rows = read_range(device, since - DAY, clock.now())
    assert instant(rows[-1][0]) == since
    for obis in (codes.ACTIVE_ENERGY_IMPORT, codes.INSTANTANEOUS_POWER_IMPORT, INTERVAL_ENERGY):
        assert refusal(device, obis) is AccessResult.READ_WRITE_DENIED
    assert relay(device) == (True, 1, 4)


def test_a_gap_of_rows_stays_when_the_meter_is_well_again(
    wall: WallClock, device: Device, clock: BusinessClock
) -> None:
    since = clock.now()
    window = {"from": since.isoformat(), "until": (since + timedelta(hours=1)).isoformat()}
    set_fault(device, FaultKind.MISSING_ROWS, **window)
    wall.advance(7200)
    rows = read_range(device, since, clock.now())
    minutes = [(instant(row[0]) - since) // timedelta(minutes=1) for row in rows]
    assert minutes == [0, 75, 90, 105, 120]
    assert read(device, codes.ACTIVE_ENERGY_IMPORT) == device.meter.register_wh()
