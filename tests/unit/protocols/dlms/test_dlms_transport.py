"""Transports as endpoint URLs spell them."""

from __future__ import annotations

import pytest

from headend.domain.errors import BadInput
from protocols.dlms.endpoint import SCHEMES, parse_endpoint
from protocols.dlms.hdlc_frame import HdlcAddress
from protocols.dlms.transport import (
    HdlcAddressing,
    HdlcOptions,
    HdlcSerialTransport,
    HdlcTcpTransport,
    WrapperTransport,
)
from protocols.dlms.wrapper_route import DirectRoute, GatewayRoute


def hdlc_of(query: str) -> HdlcOptions:
    transport = parse_endpoint(f"dlms+hdlc+tcp://h?{query}").transport
    assert isinstance(transport, HdlcTcpTransport)
    return transport.options


def test_each_scheme_is_served() -> None:
    assert SCHEMES == ("dlms+tcp", "dlms+udp", "dlms+hdlc+tcp", "dlms+hdlc+serial")


def test_wrapper_over_tcp_and_udp() -> None:
    tcp = parse_endpoint("dlms+tcp://h").transport
    udp = parse_endpoint("dlms+udp://h").transport
    assert isinstance(tcp, WrapperTransport)
    assert isinstance(udp, WrapperTransport)
    assert (tcp.udp, udp.udp, udp.port) == (False, True, 4059)
    assert isinstance(tcp.route, DirectRoute)


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("0:3132", GatewayRoute(0, b"12")),
        ("7/2", GatewayRoute(7, None, 2, wport=3)),
    ],
)
def test_a_gateway_is_a_network_with_a_device_or_addresses(text: str, route: GatewayRoute) -> None:
    transport = parse_endpoint(f"dlms+tcp://h?server=3&gateway={text}").transport
    assert isinstance(transport, WrapperTransport)
    assert transport.route == route


def test_a_serial_line_has_a_device_a_rate_and_a_parity() -> None:
    endpoint = parse_endpoint("dlms+hdlc+serial:///dev/ttyUSB0?baud=2400&parity=even&client=16")
    transport = endpoint.transport
    assert isinstance(transport, HdlcSerialTransport)
    assert (transport.device, transport.baud, transport.parity) == ("/dev/ttyUSB0", 2400, "even")
    assert (endpoint.host, endpoint.port) == ("/dev/ttyUSB0", 0)
    plain = parse_endpoint("dlms+hdlc+serial:///dev/ttyS1").transport
    assert isinstance(plain, HdlcSerialTransport)
    assert (plain.baud, plain.parity) == (9600, "none")


def test_the_limits_of_hdlc_are_careful_unless_told_otherwise() -> None:
    options = hdlc_of("")
    limits = options.limits
    assert (limits.transmit_information, limits.receive_window) == (128, 1)
    assert options.response_s is None
    options = hdlc_of("info=2030&window=7&frame_timeout=0.5")
    limits = options.limits
    assert (limits.receive_information, limits.transmit_window) == (2030, 7)
    assert options.response_s == 0.5


@pytest.mark.parametrize(
    ("query", "meter", "address", "octets"),
    [
        ("server=17", 17, HdlcAddress(17), "23"),
        ("server=1&server_lower=17", 1, HdlcAddress(1, 17), "0223"),
        ("server=1&server_lower=17&address_size=4", 1, HdlcAddress(1, 17), "00020023"),
        ("server=1&server_lower=200", 1, HdlcAddress(1, 200), "00020291"),
        ("meter_address=lower&server_lower=17", 17, HdlcAddress(1, 17), "0223"),
        ("meter_address=lower&server=3&server_lower=200", 200, HdlcAddress(3, 200), "00060291"),
    ],
)
def test_a_meter_has_an_address_of_one_part_or_two(
    query: str, meter: int, address: HdlcAddress, octets: str
) -> None:
    endpoint = parse_endpoint(f"dlms+hdlc+tcp://h?{query}")
    assert endpoint.access().address == meter
    transport = endpoint.transport
    assert isinstance(transport, HdlcTcpTransport)
    found = transport.options.addressing.address(meter)
    assert found == address
    assert found.encode().hex() == octets


def test_a_link_to_many_meters_tells_them_apart_by_their_lower_address() -> None:
    addressing = hdlc_of("meter_address=lower").addressing
    assert [addressing.address(meter) for meter in (5, 300)] == [
        HdlcAddress(1, 5),
        HdlcAddress(1, 300),
    ]
    with pytest.raises(BadInput, match="server_lower"):
        HdlcAddressing().address(128)


@pytest.mark.parametrize(
    ("url", "field"),
    [
        ("dlms+hdlc+serial://host/dev/tty", "endpoint"),
        ("dlms+hdlc+serial:", "endpoint"),
        ("dlms+hdlc+serial:///dev/x?parity=mark", "parity"),
        ("dlms+hdlc+serial:///dev/x?baud=fast", "baud"),
        ("dlms+hdlc+tcp://h?baud=9600", "baud"),
        ("dlms+hdlc+tcp://", "endpoint"),
        ("dlms+hdlc+tcp://h?server=128", "server"),
        ("dlms+hdlc+tcp://h?server=1&server_lower=16384", "server_lower"),
        ("dlms+hdlc+tcp://h?server_lower=200&address_size=2", "server"),
        ("dlms+hdlc+tcp://h?address_size=3", "address_size"),
        ("dlms+hdlc+tcp://h?meter_address=both", "meter_address"),
        ("dlms+hdlc+tcp://h?info=31", "info"),
        ("dlms+hdlc+tcp://h?info=2031", "info"),
        ("dlms+hdlc+tcp://h?window=8", "window"),
        ("dlms+hdlc+tcp://h?frame_timeout=0", "frame_timeout"),
        ("dlms+hdlc+tcp://h?frame_timeout=nan", "frame_timeout"),
        ("dlms+hdlc+tcp://h?gateway=0:01", "gateway"),
        ("dlms+tcp://h?window=3", "window"),
        ("dlms+tcp://h?gateway=1", "gateway"),
        ("dlms+tcp://h?gateway=256:01", "gateway"),
        ("dlms+tcp://h?gateway=0:", "gateway"),
        ("dlms+tcp://h?gateway=0:zz", "gateway"),
        ("dlms+udp://h?gateway=0/9", "gateway"),
        ("dlms+udp://h?gateway=0/0", "gateway"),
    ],
)
def test_a_wrong_transport_names_its_parameter(url: str, field: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_endpoint(url)
    assert caught.value.field == field
