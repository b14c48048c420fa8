"""General blocks in an association: both ways, in windows, with blocks lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headend.domain.errors import LocalProtocolError
from headend.domain.obis import DISCONNECT_CONTROL, LOAD_PROFILE_1, LOGICAL_DEVICE_NAME
from protocols.dlms import client, gbt, xdr
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.admission import SERVED_CONFORMANCE
from protocols.dlms.association import PROPOSED_CONFORMANCE, State
from protocols.dlms.errors import AccessResult, MalformedData
from protocols.dlms.events import Answer, Continue, StaleAnswer
from protocols.dlms.initiate import Conformance
from protocols.dlms.security import SecurityFault
from protocols.dlms.testing import Loopback, TableObjects

MAKE = Callable[..., Loopback]
PROFILE = rq.Attribute(7, LOAD_PROFILE_1, 2)
NAME = rq.Attribute(1, LOGICAL_DEVICE_NAME, 2)
OPEN = rq.Attribute(70, DISCONNECT_CONTROL, 1)
LONG = xdr.encode(bytes(i & 0xFF for i in range(3000)))
GENERAL = Conformance.GENERAL_BLOCK_TRANSFER
SPECIFIC = (
    Conformance.BLOCK_TRANSFER_WITH_GET
    | Conformance.BLOCK_TRANSFER_WITH_SET
    | Conformance.BLOCK_TRANSFER_WITH_ACTION
)


@pytest.fixture
def make_ready(make_loopback: MAKE, objects: TableObjects) -> MAKE:
    objects.attributes[7, LOAD_PROFILE_1, 2] = LONG
    objects.methods[70, DISCONNECT_CONTROL, 1] = LONG

    def make(authentication: str = "gmac", window: int = 4, **changes: object) -> Loopback:
        values: dict[str, object] = {
            "conformance": PROPOSED_CONFORMANCE | GENERAL,
            "served": SERVED_CONFORMANCE & ~SPECIFIC,
            "max_pdu": 200,
            "client_max_pdu": 150,
            "general_blocks": window,
            **changes,
        }
        loopback = make_loopback(authentication, **values)
        loopback.associate()
        loopback.log.clear()
        return loopback

    return make


def run_all(loopback: Loopback) -> None:
    """Read, write and act, each longer than one APDU either way."""
    association = loopback.association
    draw = association.draw_invoke
    set_limit = association.limit_of(Conformance.BLOCK_TRANSFER_WITH_SET)
    action_limit = association.limit_of(Conformance.BLOCK_TRANSFER_WITH_ACTION)
    assert loopback.run(client.get(PROFILE, draw)) == LONG
    assert loopback.run(client.set_attribute(NAME, LONG, draw, limit=set_limit)) == b""
    assert loopback.run(client.action(OPEN, LONG, draw, limit=action_limit)) == LONG


@pytest.mark.parametrize("authentication", ["lls", "gmac"])
@pytest.mark.parametrize("window", [1, 2, 20, 63])
def test_everything_long_goes_in_blocks_that_fit(
    authentication: str, window: int, make_ready: MAKE, objects: TableObjects
) -> None:
    loopback = make_ready(authentication, window)
    run_all(loopback)
    assert objects.attributes[1, LOGICAL_DEVICE_NAME, 2] == LONG
    assert objects.invoked == [(70, DISCONNECT_CONTROL, 1, LONG)]
    assert max(map(len, loopback.log)) <= 200
    assert {apdu[0] for apdu in loopback.log if len(apdu) > 150} <= {gbt.TAG}


def test_a_window_saves_turns(make_ready: MAKE) -> None:
    turns = []
    for first, window in ((0, 1), (500, 20)):
        loopback = make_ready("gmac", window, first_counter=first)
        loopback.run(client.get(PROFILE, loopback.association.draw_invoke))
        blocks = [gbt.decode_block(apdu) for apdu in loopback.log if apdu[0] == gbt.TAG]
        turns.append(sum(not block.data for block in blocks))
    assert turns[0] >= turns[1] > 0


def test_blocks_of_the_service_come_first_where_both_are_offered(make_ready: MAKE) -> None:
    loopback = make_ready(served=SERVED_CONFORMANCE)
    run_all(loopback)
    assert gbt.TAG not in {apdu[0] for apdu in loopback.log}


def test_without_agreement_there_are_none(make_ready: MAKE) -> None:
    loopback = make_ready(conformance=PROPOSED_CONFORMANCE)
    association = loopback.association
    with pytest.raises(LocalProtocolError, match="takes 200"):
        association.request(rq.SetRequest(0xC1, NAME, LONG))
    association.request(rq.GetRequest(0xC1, NAME))
    block = gbt.encode_block(gbt.Block(1, 0, b"x", last=True))
    with pytest.raises(StaleAnswer):
        association.receive(block)
    assert association.state is State.WAITING


@pytest.mark.parametrize("lost", range(2, 26))
def test_any_one_block_may_be_lost(lost: int, make_ready: MAKE, objects: TableObjects) -> None:
    loopback = make_ready("gmac", 5)
    loopback.lose = lambda place: place == lost
    association = loopback.association
    assert loopback.run(client.get(PROFILE, association.draw_invoke)) == LONG
    loopback.log.clear()
    flow = client.action(OPEN, LONG, association.draw_invoke, limit=None)
    assert loopback.run(flow) == LONG
    assert len(objects.invoked) == 1  # what is sent again is not carried out again


def test_a_whole_that_is_not_the_meters_is_refused(make_ready: MAKE) -> None:
    loopback = make_ready("gmac")
    association = loopback.association
    association.request(rq.GetRequest(0xC1, NAME))
    plain = rs.GetResponse(0xC1, AccessResult.READ_WRITE_DENIED).encode()
    sealed = loopback.server.handle(b"") or plain
    for content in (sealed, b"\xcc\x20" + bytes(32), b"\x00"):
        block = gbt.encode_block(gbt.Block(1, 0, content, last=True, window=1))
        with pytest.raises((SecurityFault, MalformedData)):
            association.receive(block)
        assert association.state is State.WAITING


def test_a_mutated_block_changes_nothing(make_ready: MAKE) -> None:
    loopback = make_ready("gmac", 1)
    association = loopback.association
    request = association.request(rq.GetRequest(0xC1, PROFILE))
    (first,) = loopback.server.handle_all(request)
    for size in range(1, 9):
        with pytest.raises((MalformedData, SecurityFault)):
            association.receive(first[:size])
    event = association.receive(first)
    assert isinstance(event, Continue)
    for answer in loopback.server.handle_all(event.apdus[0]):
        event = association.receive(answer)
        for apdu in event.apdus if isinstance(event, Continue) else ():
            for rest in loopback.server.handle_all(apdu):
                event = association.receive(rest)
    assert isinstance(event, Answer)
    assert event.authenticated
    assert isinstance(event.response, rs.GetResponse)
    assert event.response.data == LONG


def test_a_server_answers_any_block_and_goes_on(make_ready: MAKE) -> None:
    loopback = make_ready("lls")
    handle = loopback.server.handle_all
    for octets in (b"\xe0", b"\xe0\x80\x00\x01\x00\x00\x05a", b"\xe0\x84\x01\x00\x00\x00\x01a"):
        (answer,) = handle(octets)
        assert isinstance(rs.decode_response(answer), rs.ExceptionResponse)
    assert loopback.run(client.get(PROFILE, loopback.association.draw_invoke)) == LONG


def test_blocks_before_the_association_are_refused(make_loopback: MAKE) -> None:
    server = make_loopback("lls", general_blocks=4).server
    block = gbt.encode_block(gbt.Block(1, 0, rq.GetRequest(0xC1, NAME).encode(), last=True))
    assert server.handle_all(block) == (b"\xd8\x01\x01",)
