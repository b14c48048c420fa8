"""Notifications on the wire, ours and the variants of meters."""

from __future__ import annotations

import pytest

from headend.domain.errors import LocalProtocolError
from headend.domain.obis import DISCONNECT_CONTROL
from protocols.dlms import notification as n
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.errors import MalformedData

TIME = CosemDateTime(bytes.fromhex("07e1090f05052128ff800000"))
BODY = bytes.fromhex("06000003b4")


@pytest.mark.parametrize("time", [TIME, None])
def test_data_notification_round_trip(time: CosemDateTime | None) -> None:
    notification = n.DataNotification(0x40000001, time, BODY)
    assert n.decode_notification(notification.encode()) == notification


@pytest.mark.parametrize("head", ["0c", "090c", "19"])
def test_time_of_a_data_notification_as_meters_send_it(head: str) -> None:
    apdu = bytes.fromhex("0f40000000" + head) + TIME.octets + BODY
    assert n.decode_notification(apdu) == n.DataNotification(0x40000000, TIME, BODY)


@pytest.mark.parametrize("head", ["00", "0900"])
def test_no_time(head: str) -> None:
    apdu = bytes.fromhex("0f00000007" + head) + BODY
    assert n.decode_notification(apdu) == n.DataNotification(7, None, BODY)


@pytest.mark.parametrize("time", [TIME, None])
def test_event_notification_round_trip(time: CosemDateTime | None) -> None:
    event = n.EventNotification(time, 70, DISCONNECT_CONTROL, 3, bytes.fromhex("1601"))
    octets = event.encode()
    assert octets[0] == 0xC2
    assert n.decode_notification(octets) == event


@pytest.mark.parametrize("time", ["20260312152430Z", None])
def test_information_report_round_trip(time: str | None) -> None:
    report = n.InformationReport(time, (0x2BC0, -8), (BODY, b"\x00"))
    assert n.decode_notification(report.encode()) == report


def test_report_with_names_and_values_that_differ_in_number() -> None:
    with pytest.raises(LocalProtocolError):
        n.InformationReport(None, (1,), ()).encode()


@pytest.mark.parametrize(
    "octets",
    [
        "",
        "c0",
        "0f",
        "0f4000000000",  # no body
        "0f40000000",
        "0f400000000c07e1",
        "0f400000000307e109" + "00",
        "c2",
        "c205",
        "c200004600006003",
        "c2000046000060030aff03",  # no value
        "1805",
        "18000101",
        "180001020001" + "02",
        "180001020001" + "01",
        "180001020001" + "0100ff",
        "1800ffff",
    ],
)
def test_malformed_notifications(octets: str) -> None:
    with pytest.raises(MalformedData):
        n.decode_notification(bytes.fromhex(octets))
