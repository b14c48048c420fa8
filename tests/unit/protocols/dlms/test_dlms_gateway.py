"""The gateway header, and how frames are routed by it."""

from __future__ import annotations

import pytest

from headend.domain.errors import BadInput, LocalProtocolError
from protocols.dlms.errors import MalformedData
from protocols.dlms.gateway import (
    GATEWAY_REQUEST,
    GATEWAY_RESPONSE,
    GatewayHeader,
    split_gateway,
)
from protocols.dlms.wrapper import WrapperFrame, WrapperSplitter
from protocols.dlms.wrapper_route import DirectRoute, GatewayRoute, WrapperRoute

APDU = b"\xc0\x01\xc1"


def frame_of(octets: bytes) -> WrapperFrame:
    (frame,) = WrapperSplitter().feed(octets)
    return frame


def test_the_header_holds_network_and_device() -> None:
    header = GatewayHeader(7, b"\x01\x02")
    assert header.request(APDU) == bytes.fromhex("e6 07 02 0102") + APDU
    assert header.response(APDU) == bytes.fromhex("e7 07 02 0102") + APDU
    assert split_gateway(header.request(APDU), GATEWAY_REQUEST) == (header, APDU)
    assert split_gateway(header.response(APDU), GATEWAY_RESPONSE) == (header, APDU)


@pytest.mark.parametrize(
    "octets", ["", "e7", "e70002", "e6000101c4", "e70000c4", "e7000201c4", "e7000101", "c40142"]
)
def test_what_is_no_whole_header_is_malformed(octets: str) -> None:
    with pytest.raises(MalformedData):
        split_gateway(bytes.fromhex(octets), GATEWAY_RESPONSE)


@pytest.mark.parametrize(
    ("network", "device"), [(-1, b"a"), (256, b"a"), (0, b""), (0, bytes(256))]
)
def test_a_header_that_cannot_be_is_a_defect_of_ours(network: int, device: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        GatewayHeader(network, device)


@pytest.mark.parametrize(
    ("route", "source", "destination", "sent"),
    [
        (DirectRoute(), 16, 300, APDU.hex()),
        (GatewayRoute(0, b"12345678"), 16, 300, "e60008" + b"12345678".hex() + APDU.hex()),
        (GatewayRoute(3, size=2, wport=1), 16, 1, "e60302012c" + APDU.hex()),
    ],
)
def test_an_answer_comes_back_from_the_meter_that_was_asked(
    route: WrapperRoute, source: int, destination: int, sent: str
) -> None:
    frame = frame_of(route.wrap(300, 16, APDU))
    assert (frame.source, frame.destination, frame.apdu.hex()) == (source, destination, sent)
    reply = frame.apdu.replace(b"\xe6", b"\xe7", 1) if sent.startswith("e6") else frame.apdu
    assert route.unwrap(WrapperFrame(frame.destination, frame.source, reply)) == (300, 16, APDU)


@pytest.mark.parametrize(
    ("route", "octets"),
    [
        (GatewayRoute(0, b"12"), APDU),
        (GatewayRoute(0, b"12"), GatewayHeader(0, b"12").request(APDU)),
        (GatewayRoute(0, b"12"), GatewayHeader(1, b"12").response(APDU)),
        (GatewayRoute(0, b"12"), GatewayHeader(0, b"13").response(APDU)),
        (GatewayRoute(0, size=2, wport=5), GatewayHeader(0, b"12").response(APDU)),
        (GatewayRoute(0, size=2), GatewayHeader(0, b"123").response(APDU)),
    ],
)
def test_a_foreign_frame_belongs_to_nobody(route: WrapperRoute, octets: bytes) -> None:
    assert route.unwrap(WrapperFrame(1, 16, octets)) is None


@pytest.mark.parametrize(
    ("route", "server", "client"),
    [
        (DirectRoute(), 65_536, 1),
        (DirectRoute(), 1, -1),
        (GatewayRoute(0, size=1), 256, 1),
        (GatewayRoute(0, b"1"), 65_536, 1),
    ],
)
def test_an_address_that_does_not_fit_is_bad_input(
    route: WrapperRoute, server: int, client: int
) -> None:
    with pytest.raises(BadInput):
        route.wrap(server, client, APDU)
