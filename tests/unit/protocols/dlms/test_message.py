"""APDUs that are no push: named, with their data, and without a secret."""

from __future__ import annotations

import pytest

from headend.domain.obis import ACTIVE_ENERGY_IMPORT, DISCONNECT_CONTROL
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.acse import Aarq, Context, Mechanism
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.errors import AccessResult, MalformedData
from protocols.dlms.message import read_message
from protocols.dlms.notification import EventNotification, InformationReport
from protocols.dlms.push_values import show_value
from protocols.dlms.requests import Attribute, GetRequest, SetRequest
from protocols.dlms.responses import GetResponse

TIME = CosemDateTime(bytes.fromhex("07e60b0c0610360000ffc400"))
REGISTER = Attribute(3, ACTIVE_ENERGY_IMPORT, 2)


def test_event_notification_is_one_named_value() -> None:
    event = EventNotification(TIME, 70, DISCONNECT_CONTROL, 3, bytes.fromhex("1600"))
    message = read_message(event.encode())
    (item,) = message.layout.items
    assert (item.obis, item.class_id, item.attribute, item.value) == (DISCONNECT_CONTROL, 70, 3, 0)
    assert (message.service, message.time) == ("event-notification", TIME)


def test_information_report_names_its_variables() -> None:
    report = InformationReport(None, (0x2BC0,), (xdr.encode(d.DoubleLongUnsigned(5)),))
    message = read_message(report.encode())
    assert (message.service, message.layout.loose) == ("information-report", (5,))
    assert "0x2bc0" in message.detail


def test_answer_with_data_is_read_like_a_push() -> None:
    pair = d.Structure((ACTIVE_ENERGY_IMPORT.octets, d.DoubleLongUnsigned(5)))
    message = read_message(GetResponse(0xC1, xdr.encode(pair)).encode())
    assert message.service == "get-response"
    assert [(item.obis, item.value) for item in message.layout.items] == [(ACTIVE_ENERGY_IMPORT, 5)]


def test_refusal_and_request_are_described() -> None:
    refused = read_message(GetResponse(0xC1, AccessResult.READ_WRITE_DENIED).encode())
    assert "READ_WRITE_DENIED" in refused.detail
    request = read_message(GetRequest(0xC1, REGISTER).encode())
    assert (request.service, "1.0.1.8.0.255" in request.detail) == ("get-request", True)


def test_secrets_of_requests_never_show() -> None:
    secret = b"secret-password"
    asked = Aarq(
        Context.LOGICAL_NAME, Mechanism.LLS, authentication=secret, user_information=secret
    )
    written = SetRequest(0xC1, Attribute(15, ACTIVE_ENERGY_IMPORT, 7), xdr.octet_string(secret))
    for octets in (asked.encode(), written.encode()):
        detail = read_message(octets).detail
        assert "secret" not in detail
        assert secret.hex() not in detail
        assert "octets)" in detail


@pytest.mark.parametrize("octets", ["", "ff", "c0", "60ff", "02ff", "c40100"])
def test_what_is_no_apdu(octets: str) -> None:
    with pytest.raises(MalformedData):
        read_message(bytes.fromhex(octets))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (d.Unsigned(5), 5),
        (d.Float32(1.5), 1.5),
        (d.Float64(float("nan")), "nan"),
        (b"\x01\xff", "01ff"),
        (b"METER-1 \0", "METER-1"),
        (ACTIVE_ENERGY_IMPORT.octets, "1.0.1.8.0.255"),
        (TIME.octets, "2022-11-12T16:54:00+01:00"),
        (TIME, "2022-11-12T16:54:00+01:00"),
        (CosemDateTime(bytes.fromhex("07e60b0c0610360000800000")), "2022-11-12T16:54:00"),
        (CosemDateTime(b"\xff" * 12), "ff" * 12),
        (d.VisibleString("T1\0"), "T1"),
        (d.BitString.from_bits("0110"), "0110"),
        (d.Array((d.Integer(-1), b"")), [-1, ""]),
    ],
)
def test_values_as_json_shows_them(value: d.Data, shown: object) -> None:
    assert show_value(value) == shown
