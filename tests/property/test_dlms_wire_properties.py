"""Any octets from the network reach a wire: only the true answer is ever delivered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headend.domain.errors import BadInput, HeadEndError
from protocols.dlms.endpoint import parse_endpoint
from protocols.dlms.errors import MalformedData
from protocols.dlms.gateway import GATEWAY_RESPONSE, GatewayHeader, split_gateway
from protocols.dlms.hdlc_flow import RESPONSE_HEADER
from protocols.dlms.hdlc_frame import FrameKind, HdlcAddress, HdlcFrame
from protocols.dlms.hdlc_parameters import LinkParameters
from protocols.dlms.hdlc_wire import HdlcTiming, HdlcWire
from protocols.dlms.wrapper import encode_frame
from protocols.dlms.wrapper_route import DirectRoute, GatewayRoute
from protocols.dlms.wrapper_wire import UdpWire

METER, CLIENT = 1, 16
ANSWER = b"\xc4answer"
NEVER_S = 3600.0


class Hole(asyncio.Transport):
    """Takes everything, gives nothing."""

    def write(self, data: Any) -> None:
        del data

    def sendto(self, data: Any, addr: Any = None) -> None:
        del data, addr

    def is_closing(self) -> bool:
        return False


def run(use: Callable[[list[bytes], list[HeadEndError]], None]) -> list[bytes]:
    """Run with a loop; return what was delivered, having checked that nobody was told a fault."""
    delivered: list[bytes] = []
    faults: list[HeadEndError] = []

    async def inside() -> None:
        use(delivered, faults)

    asyncio.run(inside())
    assert faults == []
    return delivered


def hdlc_answer() -> bytes:
    return HdlcFrame(
        FrameKind.INFORMATION, HdlcAddress(CLIENT), HdlcAddress(METER), receive_number=1,
        information=RESPONSE_HEADER + ANSWER,
    ).encode()  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=6), st.data())
def test_garbage_on_an_hdlc_line_neither_answers_nor_hides_the_answer(
    garbage: list[bytes], data: st.DataObject
) -> None:
    mutated = bytearray(hdlc_answer())
    mutated[data.draw(st.integers(1, len(mutated) - 2))] ^= data.draw(st.integers(1, 255))

    def use(delivered: list[bytes], faults: list[HeadEndError]) -> None:
        wire = HdlcWire("line", HdlcAddress, limits=LinkParameters(), timing=HdlcTiming(NEVER_S))
        wire.connection_made(Hole())
        wire.listen(METER, CLIENT, delivered.append, faults.append)
        wire.send(METER, CLIENT, b"\xc0request")
        acknowledge = HdlcFrame(FrameKind.ACKNOWLEDGE, HdlcAddress(CLIENT), HdlcAddress(METER))
        wire.data_received(acknowledge.encode())
        for octets in garbage:
            wire.data_received(octets)
        wire.data_received(bytes(mutated))
        assert delivered == []
        wire.data_received(hdlc_answer() * 60)  # outlasts any length that garbage can claim
        wire.unlisten(METER, CLIENT)

    assert run(use) == [ANSWER]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=6), st.booleans())
def test_garbage_in_datagrams_neither_answers_nor_hides_the_answer(
    garbage: list[bytes], gateway: bool
) -> None:
    header = GatewayHeader(0, b"12345")
    apdu = header.response(ANSWER) if gateway else ANSWER
    answer = encode_frame(METER, CLIENT, apdu)

    def use(delivered: list[bytes], faults: list[HeadEndError]) -> None:
        route = GatewayRoute(0, header.device) if gateway else DirectRoute()
        wire = UdpWire("peer", route)
        wire.connection_made(Hole())
        wire.listen(METER, CLIENT, delivered.append, faults.append)
        wire.send(METER, CLIENT, b"\xc0request")
        for octets in [*garbage, answer[:-1], answer + b"\x00"]:
            wire.datagram_received(octets, None)
        assert delivered == []
        wire.datagram_received(answer, None)

    assert run(use) == [ANSWER]


@given(st.binary(max_size=40))
def test_any_octets_have_a_gateway_header_or_are_malformed(octets: bytes) -> None:
    try:
        header, apdu = split_gateway(octets, GATEWAY_RESPONSE)
    except MalformedData:
        return
    assert header.response(apdu) == octets


QUERIES = st.lists(
    st.tuples(
        st.sampled_from(
            ["server", "server_lower", "address_size", "meter_address", "info", "window",
             "frame_timeout", "baud", "parity", "gateway", "client"]
        ),
        st.one_of(
            st.text(max_size=6),
            st.integers(-1, 70_000).map(str),
            st.sampled_from(["lower", "even", "0:31", "1/2", "0.5"]),
        ),
    ),
    max_size=4,
)  # fmt: skip


@given(
    st.sampled_from(["dlms+tcp://h", "dlms+udp://h", "dlms+hdlc+tcp://h", "dlms+hdlc+serial:///d"]),
    QUERIES,
)
def test_any_query_makes_an_endpoint_or_is_bad_input(
    start: str, query: list[tuple[str, str]]
) -> None:
    url = start + "?" + "&".join(f"{name}={value}" for name, value in query)
    try:
        endpoint = parse_endpoint(url)
    except BadInput:
        return
    assert endpoint.access().address >= 0
