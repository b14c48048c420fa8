"""A device over its own protocol: who gets in, what faults do to it, and counters that last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from headend.domain import obis as codes
from headend.domain.errors import CounterRejected, MeterRefused
from protocols.dlms.association import Associated, Rejected
from protocols.simulator.business_time import BusinessClock
from protocols.simulator.device import COUNTER_BLOCK, MANAGEMENT_CLIENT, PUBLIC_CLIENT, Device
from protocols.simulator.faults import Fault, FaultKind
from protocols.simulator.fleet import make_meter
from protocols.simulator.load import CHINA_OFFSET_S
from protocols.simulator.objects import FRAME_COUNTER

Connect = Callable[..., Any]


class ListJournal:
    """Keeps records in memory."""

    def __init__(self) -> None:
        self.records: list[Mapping[str, Any]] = []

    def append(self, record: Mapping[str, Any]) -> None:
        self.records.append(record)


@pytest.fixture
def journal() -> ListJournal:
    return ListJournal()


def build(clock: BusinessClock, journal: ListJournal) -> Device:
    return Device(
        make_meter(1, 0, address=1, relay_delay_ms=0), clock, journal, utc_offset_s=CHINA_OFFSET_S
    )


@pytest.fixture
def device(clock: BusinessClock, journal: ListJournal) -> Device:
    return build(clock, journal)


def fault(kind: FaultKind, **parameters: Any) -> Fault:
    return Fault.from_json({"fault": kind.value, **parameters})


def test_the_head_end_reads_and_switches_with_the_meter_s_keys(
    device: Device, connect: Connect
) -> None:
    head_end = connect(device)
    assert isinstance(head_end.associate(), Associated)
    assert head_end.read(3, codes.ACTIVE_ENERGY_IMPORT) == device.meter.register_wh()
    head_end.act(70, codes.DISCONNECT_CONTROL, 1)
    assert not device.contact.closed
    assert head_end.read(70, codes.DISCONNECT_CONTROL) is False
    assert device.requests_answered == 5
    assert device.sessions_opened == 1


def test_the_public_client_sees_who_it_is_and_nothing_more(
    device: Device, connect: Connect
) -> None:
    anyone = connect(device, PUBLIC_CLIENT)
    assert isinstance(anyone.associate(), Associated)
    assert anyone.read(1, codes.LOGICAL_DEVICE_NAME) == device.spec.logical_device_name.encode()
    assert anyone.read(1, FRAME_COUNTER) == 0
    with pytest.raises(MeterRefused):
        anyone.read(3, codes.ACTIVE_ENERGY_IMPORT)
    with pytest.raises(MeterRefused):
        anyone.act(70, codes.DISCONNECT_CONTROL, 1)
    assert device.contact.closed


def test_a_client_that_is_not_known_is_rejected(device: Device, connect: Connect) -> None:
    assert isinstance(connect(device, 77).associate(), Rejected)


def test_a_wrong_key_rejects_until_the_fault_is_cleared(device: Device, connect: Connect) -> None:
    device.set_fault(fault(FaultKind.WRONG_KEY))
    assert isinstance(connect(device).associate(), Rejected)
    device.clear_fault(FaultKind.WRONG_KEY)
    assert isinstance(connect(device).associate(), Associated)


def test_counter_ahead_happens_once_and_can_be_recovered_from_the_public_client(
    device: Device, connect: Connect
) -> None:
    connect(device).associate()
    device.set_fault(fault(FaultKind.COUNTER_AHEAD, by=5000))
    event = connect(device, first_counter=100).associate()
    assert isinstance(event, Rejected)
    assert isinstance(event.error(), CounterRejected)
    anyone = connect(device, PUBLIC_CLIENT)
    anyone.associate()
    highest = anyone.read(1, FRAME_COUNTER)
    assert highest >= 5000
    assert isinstance(connect(device, first_counter=highest + 1).associate(), Associated)


def test_counter_behind_happens_once_and_the_meter_goes_on_from_there(
    device: Device, connect: Connect
) -> None:
    connect(device, first_counter=9000).associate()
    device.set_fault(fault(FaultKind.COUNTER_BEHIND, by=5000))
    lost = connect(device, first_counter=4500)
    assert isinstance(lost.associate(), Associated)
    anyone = connect(device, PUBLIC_CLIENT)
    anyone.associate()
    assert 4500 <= anyone.read(1, FRAME_COUNTER) < 9000
    assert not device.faults


def test_an_unanswered_action_has_happened(
    device: Device, connect: Connect, no_answer: type[Exception]
) -> None:
    head_end = connect(device)
    head_end.associate()
    device.set_fault(fault(FaultKind.ACTION_UNANSWERED))
    with pytest.raises(no_answer):
        head_end.act(70, codes.DISCONNECT_CONTROL, 1)
    assert not device.contact.closed


def test_a_restart_never_repeats_a_counter_and_remembers_the_client_s(
    clock: BusinessClock, device: Device, journal: ListJournal, connect: Connect
) -> None:
    head_end = connect(device)
    head_end.associate()
    for _ in range(5):
        head_end.read(8, codes.CLOCK)
    used = device._counters.next_counter

    again = build(clock, journal)
    for record in list(journal.records):
        again.replay(record["kind"], record)
    assert again._counters.next_counter >= used
    assert again._counters.next_counter <= used + COUNTER_BLOCK
    assert isinstance(connect(again, first_counter=0).associate(), Rejected)
    resumed = connect(again, first_counter=head_end.counters.next_counter)
    assert isinstance(resumed.associate(), Associated)


def test_the_journal_is_written_before_the_answer_that_needs_it(
    device: Device, journal: ListJournal, connect: Connect
) -> None:
    session = device.open_session(MANAGEMENT_CLIENT)
    head_end = connect(device)
    aarq = head_end.association.open()
    assert journal.records == []
    assert device.answer(session, aarq) is not None
    assert [record["kind"] for record in journal.records] == ["counters"]
    assert journal.records[0]["next"] > device._counters.next_counter


def test_counters_are_journaled_in_blocks_not_by_request(
    device: Device, journal: ListJournal, connect: Connect
) -> None:
    head_end = connect(device)
    head_end.associate()
    for _ in range(100):
        head_end.read(8, codes.CLOCK)
    assert len(journal.records) == 1


def test_faults_and_contact_come_back_from_records_and_from_a_snapshot(
    clock: BusinessClock, device: Device, journal: ListJournal
) -> None:
    device.set_fault(fault(FaultKind.SLOW, delay_ms=7))
    device.set_fault(fault(FaultKind.SILENT))
    device.clear_fault(FaultKind.SILENT)
    device.contact.remote_disconnect()
    for records in (list(journal.records), device.snapshot()):
        again = build(clock, ListJournal())
        for record in records:
            again.replay(record["kind"], record)
        assert list(again.faults) == list(device.faults)
        assert again.contact.movements == device.contact.movements
        assert again.contact.control_state is device.contact.control_state
