"""GET, SET, ACTION and refusals: the octets of requests and responses."""

from __future__ import annotations

import pytest

from headend.domain.errors import (
    AuthenticationFailed,
    MeterBusy,
    MeterMisbehaved,
    MeterRefused,
)
from headend.domain.obis import ACTIVE_ENERGY_IMPORT, CLOCK, DISCONNECT_CONTROL, LOAD_PROFILE_1
from protocols.dlms import data as d
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms import xdr
from protocols.dlms.errors import AccessResult, MalformedData
from protocols.dlms.refusals import CounterBehind, fault_of
from protocols.dlms.selection import (
    CaptureObject,
    EntrySelection,
    OtherSelection,
    RangeSelection,
)

VALUE = xdr.encode(d.DoubleLongUnsigned(7))
CLOCK_TIME = rq.Attribute(8, CLOCK, 2)
PROFILE = rq.Attribute(7, LOAD_PROFILE_1, 2)
DAY = bytes.fromhex("07ea030107000f0000fe2000")

REQUESTS = [
    # Green Book: reading the clock.
    (rq.GetRequest(0x00, CLOCK_TIME), "C0010000080000010000FF0200"),
    (
        rq.GetRequest(0xC1, PROFILE, RangeSelection(DAY, DAY)),
        "C001C100070100630100FF0201"
        "01020402041200080906"
        "0000010000FF0F02120000"
        "090C07EA030107000F0000FE2000"
        "090C07EA030107000F0000FE2000"
        "0100",
    ),
    (
        rq.GetRequest(0xC1, PROFILE, EntrySelection(1, 10)),
        "C001C100070100630100FF02010202040600000001060000000A120001120000",
    ),
    (rq.GetRequestNext(0xC1, 3), "C002C100000003"),
    (
        rq.GetRequestList(0xC1, ((CLOCK_TIME, None), (CLOCK_TIME, None))),
        "C003C102" + "00080000010000FF0200" * 2,
    ),
    (rq.SetRequest(0xC1, CLOCK_TIME, VALUE), "C101C100080000010000FF02000600000007"),
    (
        rq.ActionRequest(0xC1, rq.Attribute(70, DISCONNECT_CONTROL, 1), b"\x0f\x00"),
        "C301C10046000060030AFF01010F00",
    ),
    (
        rq.ActionRequest(0xC1, rq.Attribute(70, DISCONNECT_CONTROL, 2)),
        "C301C10046000060030AFF0200",
    ),
]

RESPONSES = [
    (rs.GetResponse(0xC1, VALUE), "C401C1000600000007"),
    (rs.GetResponse(0xC1, AccessResult.OBJECT_UNDEFINED), "C401C10104"),
    (rs.GetResponseBlock(0xC1, False, 1, b"\x01\x02"), "C402C1000000000100020102"),
    (rs.GetResponseBlock(0xC1, True, 2, AccessResult.LONG_GET_ABORTED), "C402C10100000002010F"),
    (
        rs.GetResponseList(0xC1, (VALUE, AccessResult.READ_WRITE_DENIED)),
        "C403C1020006000000070103",
    ),
    (rs.SetResponse(0xC1, AccessResult.SUCCESS), "C501C100"),
    (rs.ActionResponse(0xC1, AccessResult.SUCCESS), "C701C10000"),
    (rs.ActionResponse(0xC1, AccessResult.SUCCESS, VALUE), "C701C10001000600000007"),
    (
        rs.ActionResponse(0xC1, AccessResult.HARDWARE_FAULT, AccessResult.OTHER_REASON),
        "C701C1010101FA",
    ),
    (rs.ExceptionResponse(1, 1), "D80101"),
    (rs.ExceptionResponse(1, 6, 0x1234), "D8010600001234"),
    (rs.ConfirmedServiceError(1, 6, 1), "0E010601"),
]


@pytest.mark.parametrize(
    ("request_", "octets"), REQUESTS, ids=[o[:4] + str(i) for i, (_, o) in enumerate(REQUESTS)]
)
def test_a_request_and_its_octets_name_each_other(request_: rq.Request, octets: str) -> None:
    assert request_.encode().hex().upper() == octets
    assert rq.decode_request(bytes.fromhex(octets)) == request_


@pytest.mark.parametrize(
    ("response", "octets"), RESPONSES, ids=[o[:4] + str(i) for i, (_, o) in enumerate(RESPONSES)]
)
def test_a_response_and_its_octets_name_each_other(response: rs.Response, octets: str) -> None:
    assert response.encode().hex().upper() == octets
    assert rs.decode_response(bytes.fromhex(octets)) == response


@pytest.mark.parametrize("octets", [octets for _, octets in REQUESTS])
def test_a_cut_or_longer_request_is_malformed(octets: str) -> None:
    whole = bytes.fromhex(octets)
    for size in range(len(whole)):
        with pytest.raises(MalformedData):
            rq.decode_request(whole[:size])
    with pytest.raises(MalformedData):
        rq.decode_request(whole + b"\x00")


@pytest.mark.parametrize("octets", [octets for _, octets in RESPONSES])
def test_a_cut_response_is_never_another_kind_of_success(octets: str) -> None:
    whole = bytes.fromhex(octets)
    for size in range(len(whole)):
        try:
            response = rs.decode_response(whole[:size])
        except MalformedData:
            continue
        # A value up to the end is checked by its reader; an action may lack its last flag.
        if isinstance(response, rs.GetResponse) and isinstance(response.data, bytes):
            with pytest.raises(MalformedData):
                xdr.decode(response.data)
        elif isinstance(response, rs.ActionResponse):
            assert response == rs.ActionResponse(0xC1, response.result)
        else:
            assert isinstance(response, rs.ExceptionResponse)


def test_selected_columns_and_unknown_selectors_survive() -> None:
    columns = (CaptureObject(3, ACTIVE_ENERGY_IMPORT),)
    for selection in (
        RangeSelection(DAY, DAY, columns=columns),
        OtherSelection(3, d.Array((d.Unsigned(1),))),
        OtherSelection(1, d.Unsigned(1)),  # a range selector with foreign parameters
    ):
        request = rq.GetRequest(0xC1, PROFILE, selection)
        assert rq.decode_request(request.encode()) == request


def test_unknown_results_are_malformed() -> None:
    with pytest.raises(MalformedData):
        rs.decode_response(bytes.fromhex("C501C1FE"))


@pytest.mark.parametrize(
    ("response", "fault"),
    [
        (rs.ExceptionResponse(1, 6, 5), CounterBehind),
        (rs.ExceptionResponse(1, 5), AuthenticationFailed),
        (rs.ExceptionResponse(1, 1), MeterBusy),
        (rs.ExceptionResponse(2, 2), MeterRefused),
        (rs.ConfirmedServiceError(5, 5, 1), MeterRefused),
        (rs.SetResponse(0xC1, AccessResult.SUCCESS), MeterMisbehaved),
    ],
)
def test_each_refusal_is_a_fault_of_its_own(response: rs.Response, fault: type) -> None:
    assert type(fault_of(response, "reading")) is fault
