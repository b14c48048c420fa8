"""The server role: who is let in, what is served, and how long answers go out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headend.domain.errors import MeterBusy, MeterMisbehaved, MeterRefused
from headend.domain.obis import (
    ACTIVE_ENERGY_IMPORT,
    CURRENT_ASSOCIATION,
    DISCONNECT_CONTROL,
    LOAD_PROFILE_1,
    LOGICAL_DEVICE_NAME,
)
from protocols.dlms import acse, client, xdr
from protocols.dlms import data as d
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.acse import Aarq, Mechanism
from protocols.dlms.errors import AccessResult
from protocols.dlms.initiate import Conformance, InitiateRequest
from protocols.dlms.security import Form
from protocols.dlms.selection import EntrySelection
from protocols.dlms.testing import Loopback, TableObjects

MakeLoopback = Callable[..., Loopback]
REGISTER = rq.Attribute(3, ACTIVE_ENERGY_IMPORT, 2)
PROFILE = rq.Attribute(7, LOAD_PROFILE_1, 2)
OPEN = rq.Attribute(70, DISCONNECT_CONTROL, 1)
SERVICE_NOT_ALLOWED = b"\xd8\x01\x01"


@pytest.mark.parametrize("authentication", ["lls", "gmac"])
def test_nothing_is_served_before_the_client_is_let_in(
    authentication: str, make_loopback: MakeLoopback, objects: TableObjects
) -> None:
    loopback = make_loopback(authentication)
    request = rq.ActionRequest(0xC1, OPEN, xdr.encode(d.Integer(0)))
    assert loopback.server.handle(request.encode()) == SERVICE_NOT_ALLOWED
    assert objects.invoked == []


def test_nothing_but_the_proof_is_served_before_it(
    make_loopback: MakeLoopback, objects: TableObjects
) -> None:
    loopback = make_loopback("gmac")
    loopback.exchange(loopback.association.open())
    channel = loopback.association._channel
    assert channel is not None
    for request in (rq.ActionRequest(0xC1, OPEN), rq.GetRequest(0xC1, REGISTER)):
        answer = loopback.server.handle(channel.protect(request.encode()))
        assert answer == SERVICE_NOT_ALLOWED
    assert objects.invoked == []
    assert not loopback.server.associated


def test_a_wrong_proof_ends_the_association(make_loopback: MakeLoopback) -> None:
    loopback = make_loopback("gmac")
    loopback.exchange(loopback.association.open())
    channel = loopback.association._channel
    assert channel is not None
    proof = xdr.octet_string(channel.make_hls_tag(b"not the challenge"))
    request = rq.ActionRequest(0xC1, rq.Attribute(15, CURRENT_ASSOCIATION, 1), proof)
    answer = channel.unprotect(loopback.server.handle(channel.protect(request.encode())) or b"")
    assert rs.decode_response(answer) == rs.ActionResponse(0xC1, AccessResult.OTHER_REASON)
    repeated = loopback.server.handle(channel.protect(request.encode()))
    assert repeated == SERVICE_NOT_ALLOWED


def test_a_plain_request_in_a_ciphered_association_is_refused(
    make_loopback: MakeLoopback, objects: TableObjects
) -> None:
    loopback = make_loopback("gmac")
    loopback.associate()
    assert loopback.server.handle(rq.ActionRequest(0xC1, OPEN).encode()) == SERVICE_NOT_ALLOWED
    assert objects.invoked == []
    assert loopback.server.associated


def test_a_replayed_request_is_refused_with_the_counter_expected(
    make_loopback: MakeLoopback, objects: TableObjects
) -> None:
    loopback = make_loopback("gmac")
    loopback.associate()
    request = loopback.association.request(rq.ActionRequest(0xC1, OPEN))
    assert loopback.server.handle(request) is not None
    counter = int.from_bytes(request[3:7], "big")
    refusal = rs.decode_response(loopback.server.handle(request) or b"")
    assert refusal == rs.ExceptionResponse(1, 6, counter + 1)
    assert len(objects.invoked) == 1


def test_counters_are_shared_by_all_connections_of_a_client(
    make_loopback: MakeLoopback, objects: TableObjects
) -> None:
    first = make_loopback("gmac", first_counter=0)
    first.associate()
    kept_back = first.association.request(rq.ActionRequest(0xC1, OPEN))
    make_loopback("gmac", first_counter=500).associate()
    refusal = rs.decode_response(first.server.handle(kept_back) or b"")
    assert isinstance(refusal, rs.ExceptionResponse)
    assert refusal.service_error == rs.ServiceError.INVOCATION_COUNTER_ERROR
    assert objects.invoked == []


def test_the_answer_comes_in_the_form_of_the_request(make_loopback: MakeLoopback) -> None:
    loopback = make_loopback("gmac")
    loopback.associate()
    channel = loopback.association._channel
    assert channel is not None
    for form, tag in ((Form.GENERAL_GLO, 0xDB), (Form.GLO, 0xCC)):
        sealed = channel.protect(rq.GetRequest(0xC1, REGISTER).encode(), form=form)
        answer = loopback.server.handle(sealed) or b""
        assert answer[0] == tag
        assert rs.decode_response(channel.unprotect(answer)) == rs.GetResponse(
            0xC1, xdr.encode(d.DoubleLongUnsigned(12345))
        )


@pytest.mark.parametrize("authentication", ["lls", "gmac"])
@pytest.mark.parametrize("limit", [64, 100, 512])
def test_a_long_answer_goes_out_in_blocks_that_fit(
    authentication: str, limit: int, make_loopback: MakeLoopback, objects: TableObjects
) -> None:
    content = xdr.encode(bytes(i & 0xFF for i in range(3000)))
    objects.attributes[7, LOAD_PROFILE_1, 2] = content
    loopback = make_loopback(authentication, client_max_pdu=limit)
    loopback.associate()
    flow = client.get(PROFILE, loopback.association.draw_invoke, EntrySelection(1, 5))
    loopback.log.clear()
    assert loopback.run(flow) == content
    assert len(loopback.log) > 2 * 3000 // limit
    assert max(map(len, loopback.log)) <= limit
    assert objects.selections == [EntrySelection(1, 5)]


def test_a_list_is_served_and_split_like_one_answer(
    make_loopback: MakeLoopback, objects: TableObjects
) -> None:
    objects.attributes[7, LOAD_PROFILE_1, 2] = xdr.encode(bytes(300))
    loopback = make_loopback("lls", client_max_pdu=64)
    loopback.associate()
    missing = rq.Attribute(3, LOAD_PROFILE_1, 2)
    flow = client.get_list([REGISTER, PROFILE, missing], loopback.association.draw_invoke)
    assert loopback.run(flow) == [
        xdr.encode(d.DoubleLongUnsigned(12345)),
        xdr.encode(bytes(300)),
        AccessResult.OBJECT_UNDEFINED,
    ]


def test_blocks_out_of_order_end_the_long_answer(
    make_loopback: MakeLoopback, objects: TableObjects
) -> None:
    objects.attributes[7, LOAD_PROFILE_1, 2] = xdr.encode(bytes(300))
    loopback = make_loopback("lls", client_max_pdu=64)
    loopback.associate()
    handle = loopback.server.handle
    handle(rq.GetRequest(0xC1, PROFILE).encode())
    wrong = rs.decode_response(handle(rq.GetRequestNext(0xC1, 7).encode()) or b"")
    assert wrong == rs.GetResponseBlock(0xC1, True, 7, AccessResult.DATA_BLOCK_NUMBER_INVALID)
    none = rs.decode_response(handle(rq.GetRequestNext(0xC1, 1).encode()) or b"")
    assert none == rs.GetResponseBlock(0xC1, True, 1, AccessResult.NO_LONG_GET_IN_PROGRESS)


def test_a_client_without_block_transfer_is_told_so(
    make_loopback: MakeLoopback, objects: TableObjects
) -> None:
    objects.attributes[7, LOAD_PROFILE_1, 2] = xdr.encode(bytes(300))
    server = make_loopback("lls").server
    information = InitiateRequest(Conformance.GET, 64).encode()
    server.handle(Aarq(1, Mechanism.LLS, None, b"12345678", information).encode())
    answer = rs.decode_response(server.handle(rq.GetRequest(0xC1, PROFILE).encode()) or b"")
    assert answer == rs.GetResponse(0xC1, AccessResult.DATA_BLOCK_UNAVAILABLE)


@pytest.mark.parametrize(
    ("information", "error"),
    [
        (InitiateRequest(Conformance.GET, 20).encode(), b"\x0e\x01\x06\x03"),
        (InitiateRequest(Conformance.READ, 0).encode(), b"\x0e\x01\x06\x02"),
    ],
)
def test_a_proposal_that_cannot_be_met_is_refused(
    information: bytes, error: bytes, make_loopback: MakeLoopback
) -> None:
    server = make_loopback("lls").server
    aare = acse.decode_aare(
        server.handle(Aarq(1, Mechanism.LLS, None, b"12345678", information).encode()) or b""
    )
    assert (aare.result, aare.user_information) == (1, error)


@pytest.mark.parametrize(
    ("aarq", "diagnostic"),
    [
        (Aarq(1, Mechanism.NONE), "authentication-mechanism-name-required"),
        (Aarq(1, Mechanism.LLS, None, b"pw"), "authentication-mechanism-name-not-recognised"),
        (
            Aarq(1, Mechanism.HLS_GMAC, b"CLIENT01", bytes(16)),
            "application-context-name-not-supported",
        ),
        (
            Aarq(3, Mechanism.HLS_GMAC, None, bytes(16), b"\x21\x00"),
            "calling-ap-title-not-recognized",
        ),
        (Aarq(3, Mechanism.HLS_GMAC, b"CLIENT01", b"short"), "authentication-failure"),
        (
            Aarq(3, Mechanism.HLS_GMAC, b"CLIENT01", bytes(16), b"\x21\x00"),
            "authentication-failure",
        ),
    ],
)
def test_each_wrong_aarq_has_its_diagnostic(
    aarq: Aarq, diagnostic: str, make_loopback: MakeLoopback
) -> None:
    server = make_loopback("gmac").server
    aare = acse.decode_aare(server.handle(aarq.encode()) or b"")
    assert aare.result == 1
    assert acse.name_diagnostic(aare.diagnostic, by_provider=aare.by_provider) == diagnostic


def test_a_wrong_aarq_does_not_end_an_association(make_loopback: MakeLoopback) -> None:
    loopback = make_loopback("gmac")
    loopback.associate()
    for octets in (Aarq(1, Mechanism.NONE).encode(), b"\x60\x00", b"\x60\x7f"):
        loopback.server.handle(octets)
    assert loopback.server.associated


def test_a_new_aarq_begins_anew(make_loopback: MakeLoopback) -> None:
    loopback = make_loopback("lls")
    loopback.associate()
    again = make_loopback("lls")
    again.server = loopback.server
    again.associate()
    assert again.run(client.get(REGISTER, again.association.draw_invoke))


def test_a_public_client_reads_what_it_may_and_changes_nothing(
    make_loopback: MakeLoopback, objects: TableObjects
) -> None:
    loopback = make_loopback("none")
    loopback.associate()
    draw = loopback.association.draw_invoke
    assert loopback.run(client.get(rq.Attribute(1, LOGICAL_DEVICE_NAME, 2), draw))
    denied = [
        client.get(REGISTER, draw),
        client.set_attribute(REGISTER, b"\x00", draw),
        client.action(OPEN, None, draw),
    ]
    for flow in denied:
        with pytest.raises(MeterRefused, match="read-write-denied"):
            loopback.run(flow)
    assert objects.invoked == []


def test_set_and_action_reach_the_objects(
    make_loopback: MakeLoopback, objects: TableObjects
) -> None:
    loopback = make_loopback("gmac")
    loopback.associate()
    draw = loopback.association.draw_invoke
    value, parameter = xdr.encode(d.DoubleLongUnsigned(9)), xdr.encode(d.Integer(0))
    assert loopback.run(client.set_attribute(REGISTER, value, draw)) == b""
    assert objects.attributes[3, ACTIVE_ENERGY_IMPORT, 2] == value
    assert loopback.run(client.action(OPEN, parameter, draw)) == b""
    assert objects.invoked == [(70, DISCONNECT_CONTROL, 1, parameter)]
    objects.methods[70, DISCONNECT_CONTROL, 1] = AccessResult.HARDWARE_FAULT
    with pytest.raises(MeterRefused, match="hardware-fault"):
        loopback.run(client.action(OPEN, parameter, draw))


def test_an_unconfirmed_request_is_carried_out_without_answer(
    make_loopback: MakeLoopback, objects: TableObjects
) -> None:
    loopback = make_loopback("lls")
    loopback.associate()
    assert loopback.server.handle(rq.ActionRequest(0x81, OPEN).encode()) is None
    assert len(objects.invoked) == 1


def test_the_association_object_speaks_of_this_association(make_loopback: MakeLoopback) -> None:
    loopback = make_loopback("gmac")
    loopback.associate()
    values = {}
    for number in (1, 3, 4, 6, 8):
        attribute = rq.Attribute(15, CURRENT_ASSOCIATION, number)
        data = loopback.run(client.get(attribute, loopback.association.draw_invoke))
        assert isinstance(data, bytes)
        values[number] = xdr.decode(data)
    assert values[1] == CURRENT_ASSOCIATION.octets
    assert values[3] == (1, 1)
    assert values[4].hex() == "60857405080103"
    assert values[6].hex() == "60857405080205"
    assert values[8] == 2


def test_released_means_gone(make_loopback: MakeLoopback) -> None:
    loopback = make_loopback("lls")
    loopback.associate()
    loopback.exchange(loopback.association.release())
    assert loopback.server.handle(rq.GetRequest(0xC1, REGISTER).encode()) == SERVICE_NOT_ALLOWED


@pytest.mark.parametrize("octets", ["C0", "C001", "C0FFC1", "FF00", "62FF", "C101C1", "0102"])
def test_malformed_requests_are_answered_and_change_nothing(
    octets: str, make_loopback: MakeLoopback
) -> None:
    loopback = make_loopback("lls")
    loopback.associate()
    answer = rs.decode_response(loopback.server.handle(bytes.fromhex(octets)) or b"")
    assert isinstance(answer, rs.ExceptionResponse)
    assert loopback.server.associated
    assert loopback.server.handle(b"") is None


class TestALongAnswer:
    """What the client's flow does with blocks that a meter gets wrong."""

    @staticmethod
    def feed(*responses: rs.Response) -> bytes:
        flow = client.get(PROFILE, lambda: 0xC1)
        next(flow)
        try:
            for response in responses:
                flow.send(response)
        except StopIteration as end:
            data: bytes = end.value
            return data
        raise AssertionError("the flow asks on")

    def test_is_joined(self) -> None:
        first = rs.GetResponseBlock(0xC1, False, 1, b"ab")
        assert self.feed(first, rs.GetResponseBlock(0xC1, True, 2, b"cd")) == b"abcd"

    @pytest.mark.parametrize(
        "second",
        [
            rs.GetResponseBlock(0xC1, False, 3, b"x"),
            rs.GetResponseBlock(0xC1, False, 1, b"x"),
            rs.GetResponseBlock(0xC1, False, 2, b""),
            rs.SetResponse(0xC1, AccessResult.SUCCESS),
        ],
    )
    def test_out_of_order_or_empty_is_misbehaviour(self, second: rs.Response) -> None:
        with pytest.raises(MeterMisbehaved):
            self.feed(rs.GetResponseBlock(0xC1, False, 1, b"ab"), second)

    def test_aborted_may_be_tried_again(self) -> None:
        aborted = rs.GetResponseBlock(0xC1, True, 2, AccessResult.LONG_GET_ABORTED)
        with pytest.raises(MeterBusy, match="long-get-aborted"):
            self.feed(rs.GetResponseBlock(0xC1, False, 1, b"ab"), aborted)

    def test_without_end_is_stopped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client, "MAX_LONG_ANSWER", 100)
        blocks = [rs.GetResponseBlock(0xC1, False, n + 1, bytes(30)) for n in range(4)]
        with pytest.raises(MeterMisbehaved, match="more than 100"):
            self.feed(*blocks)

    def test_success_without_data_is_misbehaviour(self) -> None:
        with pytest.raises(MeterMisbehaved):
            self.feed(rs.GetResponse(0xC1, AccessResult.SUCCESS))
