"""Writing and acting in blocks and lists: client and server, right and wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headend.domain.errors import LocalProtocolError, MeterBusy, MeterMisbehaved, MeterRefused
from headend.domain.obis import ACTIVE_ENERGY_IMPORT, DISCONNECT_CONTROL, LOGICAL_DEVICE_NAME
from protocols.dlms import client, serving, xdr
from protocols.dlms import data as d
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.errors import AccessResult
from protocols.dlms.initiate import Conformance
from protocols.dlms.testing import Loopback, TableObjects

MAKE = Callable[..., Loopback]
REGISTER = rq.Attribute(3, ACTIVE_ENERGY_IMPORT, 2)
NAME = rq.Attribute(1, LOGICAL_DEVICE_NAME, 2)
OPEN = rq.Attribute(70, DISCONNECT_CONTROL, 1)
ABSENT = rq.Attribute(3, DISCONNECT_CONTROL, 2)
LONG = xdr.encode(bytes(i & 0xFF for i in range(3000)))
SHORT = xdr.encode(d.Unsigned(5))


def ready(make_loopback: MAKE, authentication: str = "gmac", **changes: object) -> Loopback:
    loopback = make_loopback(authentication, **changes)
    loopback.associate()
    loopback.log.clear()
    return loopback


@pytest.mark.parametrize("authentication", ["lls", "gmac"])
@pytest.mark.parametrize("limit", [64, 100, 512, 4000])
def test_a_long_value_is_written_in_blocks_that_fit(
    authentication: str, limit: int, make_loopback: MAKE, objects: TableObjects
) -> None:
    loopback = ready(make_loopback, authentication, max_pdu=limit)
    association = loopback.association
    flow = client.set_attribute(
        NAME, LONG, association.draw_invoke, limit=association.request_limit
    )
    assert loopback.run(flow) == b""
    assert objects.attributes[1, LOGICAL_DEVICE_NAME, 2] == LONG
    assert max(map(len, loopback.log)) <= limit
    assert (len(loopback.log) > 2) == (limit < 4000)


@pytest.mark.parametrize("limit", [90, 300, 8000])
def test_several_values_are_written_at_once(
    limit: int, make_loopback: MAKE, objects: TableObjects
) -> None:
    loopback = ready(make_loopback, max_pdu=limit)
    association = loopback.association
    flow = client.set_list(
        [(NAME, LONG), (ABSENT, SHORT), (REGISTER, SHORT)],
        association.draw_invoke,
        limit=association.request_limit,
    )
    denied = AccessResult.READ_WRITE_DENIED
    assert loopback.run(flow) == [AccessResult.SUCCESS, denied, AccessResult.SUCCESS]
    assert objects.attributes[1, LOGICAL_DEVICE_NAME, 2] == LONG
    assert objects.attributes[3, ACTIVE_ENERGY_IMPORT, 2] == SHORT
    assert max(map(len, loopback.log)) <= limit


@pytest.mark.parametrize("limit", [64, 500, 8000])
@pytest.mark.parametrize("parameter", [SHORT, LONG])
@pytest.mark.parametrize("answer", [None, SHORT, LONG])
def test_parameter_and_answer_of_a_method_may_be_long(
    limit: int, parameter: bytes, answer: bytes | None, make_loopback: MAKE, objects: TableObjects
) -> None:
    objects.methods[70, DISCONNECT_CONTROL, 1] = answer
    loopback = ready(make_loopback, max_pdu=limit, client_max_pdu=limit)
    association = loopback.association
    flow = client.action(OPEN, parameter, association.draw_invoke, limit=association.request_limit)
    assert loopback.run(flow) == (answer or b"")
    assert objects.invoked == [(70, DISCONNECT_CONTROL, 1, parameter)]
    assert max(map(len, loopback.log)) <= limit


def test_several_methods_run_in_one_request(make_loopback: MAKE, objects: TableObjects) -> None:
    objects.methods[70, DISCONNECT_CONTROL, 1] = SHORT
    loopback = ready(make_loopback)
    unknown = rq.Attribute(70, DISCONNECT_CONTROL, 9)
    request = rq.ActionRequestList(0xC1, (OPEN, unknown), (xdr.encode(None), SHORT))
    event = loopback.exchange(loopback.association.request(request))
    assert getattr(event, "response", None) == rs.ActionResponseList(
        0xC1, ((AccessResult.SUCCESS, SHORT), (AccessResult.OBJECT_UNDEFINED, None))
    )


@pytest.mark.parametrize(
    ("service", "request_"),
    [
        (Conformance.SET, rq.SetRequest(0xC1, NAME, SHORT)),
        (Conformance.ACTION, rq.ActionRequest(0xC1, OPEN)),
        (Conformance.MULTIPLE_REFERENCES, rq.GetRequestList(0xC1, ((NAME, None),))),
        (Conformance.MULTIPLE_REFERENCES, rq.SetRequestList(0xC1, ((NAME, None),), (SHORT,))),
        (
            Conformance.BLOCK_TRANSFER_WITH_SET,
            rq.SetRequestFirstBlock(0xC1, NAME, rq.Block(1, True, SHORT)),
        ),
        (
            Conformance.BLOCK_TRANSFER_WITH_ACTION,
            rq.ActionRequestFirstBlock(0xC1, OPEN, rq.Block(1, True, SHORT)),
        ),
    ],
)
def test_what_was_not_negotiated_is_not_served(
    service: Conformance, request_: rq.Request, make_loopback: MAKE, objects: TableObjects
) -> None:
    before = dict(objects.attributes)
    loopback = ready(make_loopback, "lls", served=serving_all() & ~service)
    event = loopback.exchange(loopback.association.request(request_))
    assert getattr(event, "response", None) == rs.ExceptionResponse(1, 2)
    assert objects.attributes == before
    assert objects.invoked == []
    served = ready(make_loopback, "lls")
    event = served.exchange(served.association.request(request_))
    assert not isinstance(getattr(event, "response", None), rs.ExceptionResponse)


def serving_all() -> Conformance:
    return Conformance(sum(flag.value for flag in Conformance))


class TestBlocksOutOfOrder:
    """Whatever comes wrongly ends the transfer, and nothing of it is carried out."""

    FIRST = rq.SetRequestFirstBlock(0xC1, NAME, rq.Block(1, False, LONG[:50]))

    @staticmethod
    def ask(loopback: Loopback, request: rq.Request) -> rs.Response:
        return rs.decode_response(loopback.server.handle(request.encode()) or b"")

    @pytest.mark.parametrize(
        ("block", "result"),
        [
            (rq.Block(3, False, b"x"), AccessResult.DATA_BLOCK_NUMBER_INVALID),
            (rq.Block(1, True, b"x"), AccessResult.DATA_BLOCK_NUMBER_INVALID),
            (rq.Block(2, False, b""), AccessResult.LONG_SET_ABORTED),
        ],
    )
    def test_in_a_set(
        self, block: rq.Block, result: AccessResult, make_loopback: MAKE, objects: TableObjects
    ) -> None:
        before = dict(objects.attributes)
        loopback = ready(make_loopback, "lls")
        assert self.ask(loopback, self.FIRST) == rs.SetResponseBlock(0xC1, 1)
        wrong = self.ask(loopback, rq.SetRequestBlock(0xC1, block))
        assert wrong == rs.SetResponseLastBlock(0xC1, result, block.number)
        rest = rq.SetRequestBlock(0xC1, rq.Block(2, True, LONG[50:]))
        none = AccessResult.NO_LONG_SET_IN_PROGRESS
        assert self.ask(loopback, rest) == rs.SetResponseLastBlock(0xC1, none, 2)
        assert objects.attributes == before

    def test_in_an_action(self, make_loopback: MAKE, objects: TableObjects) -> None:
        loopback = ready(make_loopback, "lls")
        first = rq.ActionRequestFirstBlock(0xC1, OPEN, rq.Block(1, False, b"x"))
        assert self.ask(loopback, first) == rs.ActionResponseNext(0xC1, 1)
        wrong = rq.ActionRequestBlock(0xC1, rq.Block(7, True, b"y"))
        aborted = AccessResult.LONG_GET_ABORTED  # 15: long-action-aborted
        assert self.ask(loopback, wrong) == rs.ActionResponse(0xC1, aborted)
        none = AccessResult.NO_LONG_GET_IN_PROGRESS  # 16: no-long-action-in-progress
        assert self.ask(loopback, wrong) == rs.ActionResponse(0xC1, none)
        assert self.ask(loopback, rq.ActionRequestNext(0xC1, 1)) == rs.ActionResponse(0xC1, none)
        assert objects.invoked == []

    def test_another_request_ends_it(self, make_loopback: MAKE, objects: TableObjects) -> None:
        before = dict(objects.attributes)
        loopback = ready(make_loopback, "lls")
        self.ask(loopback, self.FIRST)
        self.ask(loopback, rq.GetRequest(0xC1, NAME))
        rest = rq.SetRequestBlock(0xC1, rq.Block(2, True, LONG[50:]))
        assert self.ask(loopback, rest) == rs.SetResponseLastBlock(
            0xC1, AccessResult.NO_LONG_SET_IN_PROGRESS, 2
        )
        assert objects.attributes == before

    def test_a_block_of_the_other_service_ends_it(self, make_loopback: MAKE) -> None:
        loopback = ready(make_loopback, "lls")
        self.ask(loopback, self.FIRST)
        foreign = rq.ActionRequestBlock(0xC1, rq.Block(2, True, b"x"))
        assert isinstance(self.ask(loopback, foreign), rs.ActionResponse)
        rest = rq.SetRequestBlock(0xC1, rq.Block(2, True, b"x"))
        answer = self.ask(loopback, rest)
        assert isinstance(answer, rs.SetResponseLastBlock)
        assert answer.result is AccessResult.NO_LONG_SET_IN_PROGRESS

    def test_a_value_without_end_is_stopped(
        self, make_loopback: MAKE, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(serving, "MAX_LONG_REQUEST", 80)
        loopback = ready(make_loopback, "lls")
        self.ask(loopback, self.FIRST)
        more = rq.SetRequestBlock(0xC1, rq.Block(2, False, bytes(50)))
        answer = self.ask(loopback, more)
        assert answer == rs.SetResponseLastBlock(0xC1, AccessResult.LONG_SET_ABORTED, 2)

    @pytest.mark.parametrize("value", [b"\x01\x11", b"\x02\x11\x05", b"", b"\x01\x11\x05\x00"])
    def test_a_list_that_does_not_fit_writes_nothing(
        self, value: bytes, make_loopback: MAKE, objects: TableObjects
    ) -> None:
        before = dict(objects.attributes)
        loopback = ready(make_loopback, "lls")
        items: rq.Targets = ((NAME, None),)
        request = rq.SetRequestListFirstBlock(0xC1, items, rq.Block(1, True, value))
        answer = self.ask(loopback, request)
        assert answer == rs.SetResponseLastBlock(0xC1, AccessResult.TYPE_UNMATCHED, 1)
        assert objects.attributes == before


class TestWhatAMeterGetsWrong:
    """The client's flows, fed with answers."""

    @staticmethod
    def feed(flow: client.Flow, *responses: rs.Response) -> object:
        next(flow)
        try:
            for response in responses:
                flow.send(response)
        except StopIteration as end:
            return end.value
        raise AssertionError("the flow asks on")

    def write(self, *responses: rs.Response) -> object:
        return self.feed(client.set_attribute(NAME, LONG, lambda: 0xC1, limit=2000), *responses)

    def act(self, *responses: rs.Response) -> object:
        return self.feed(client.action(OPEN, SHORT, lambda: 0xC1), *responses)

    def test_an_acknowledgement_of_another_block(self) -> None:
        with pytest.raises(MeterMisbehaved, match="block 2 acknowledged"):
            self.write(rs.SetResponseBlock(0xC1, 2))

    def test_an_acknowledgement_behind_the_last_block(self) -> None:
        with pytest.raises(MeterMisbehaved):
            self.write(rs.SetResponseBlock(0xC1, 1), rs.SetResponseBlock(0xC1, 2))

    @pytest.mark.parametrize(
        ("result", "fault"),
        [
            (AccessResult.LONG_SET_ABORTED, MeterBusy),
            (AccessResult.DATA_BLOCK_NUMBER_INVALID, MeterBusy),
            (AccessResult.TYPE_UNMATCHED, MeterRefused),
        ],
    )
    def test_a_transfer_broken_off(self, result: AccessResult, fault: type) -> None:
        with pytest.raises(fault, match=result.text):
            self.write(rs.SetResponseBlock(0xC1, 1), rs.SetResponseLastBlock(0xC1, result, 2))

    def test_one_result_for_a_list(self) -> None:
        flow = client.set_list([(NAME, SHORT), (NAME, SHORT)], lambda: 0xC1)
        with pytest.raises(MeterMisbehaved):
            self.feed(flow, rs.SetResponseList(0xC1, (AccessResult.SUCCESS,)))  # type: ignore[arg-type]

    def test_an_answer_whose_blocks_are_a_short_answer(self) -> None:
        """Some meters put result and flags before the data."""
        for prefix in (b"", b"\x00\x01\x00"):
            content = prefix + LONG
            blocks = [
                rs.ActionResponseBlock(0xC1, rq.Block(1, False, content[:100])),
                rs.ActionResponseBlock(0xC1, rq.Block(2, True, content[100:])),
            ]
            assert self.act(*blocks) == LONG

    def test_an_action_aborted_is_named_by_its_own_name(self) -> None:
        aborted = AccessResult.LONG_GET_ABORTED
        with pytest.raises(MeterBusy, match="long-action-aborted"):
            self.act(rs.ActionResponse(0xC1, aborted))

    def test_a_method_that_ran_but_tells_nothing(self) -> None:
        refused = rs.ActionResponse(0xC1, AccessResult.SUCCESS, AccessResult.DATA_BLOCK_UNAVAILABLE)
        with pytest.raises(MeterRefused, match="data-block-unavailable"):
            self.act(refused)


def test_a_meter_that_takes_no_request_at_all_is_told_at_once() -> None:
    with pytest.raises(LocalProtocolError, match="the meter takes 15"):
        next(client.set_attribute(NAME, LONG, lambda: 0xC1, limit=15))
