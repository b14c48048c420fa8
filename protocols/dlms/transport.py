"""The part of an endpoint URL that says how to reach its link, and the opening of that link.

WRAPPER over TCP or UDP, straight or through a gateway; HDLC over TCP or a serial line. What a
meter's address means depends on it: a wPort, a physical address behind a gateway, or one part of an
HDLC address.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast, get_args
from urllib.parse import SplitResult

from headend.domain.errors import BadInput, LocalProtocolError
from protocols.dlms.conversation import Timeouts
from protocols.dlms.hdlc_client import Patience
from protocols.dlms.hdlc_frame import MAX_ADDRESS_PART, HdlcAddress
from protocols.dlms.hdlc_parameters import MAX_INFORMATION, MAX_WINDOW, LinkParameters
from protocols.dlms.hdlc_wire import HdlcTiming, HdlcWire
from protocols.dlms.link import Wire, connect_tcp
from protocols.dlms.serial_line import Parity, open_serial
from protocols.dlms.wrapper_route import DirectRoute, GatewayRoute, WrapperRoute
from protocols.dlms.wrapper_wire import connect_udp, connect_wrapper

DEFAULT_PORT = 4059  # IANA: DLMS/COSEM
WRAPPER_TCP, WRAPPER_UDP = "dlms+tcp", "dlms+udp"
HDLC_TCP, HDLC_SERIAL = "dlms+hdlc+tcp", "dlms+hdlc+serial"
SCHEMES = (WRAPPER_TCP, WRAPPER_UDP, HDLC_TCP, HDLC_SERIAL)
DEFAULT_BAUD = 9600
# Proposed when connecting, the meter may lower it. The standard's own default is what every meter
# can do; some agree to more and then send frames of a wrong length.
DEFAULT_HDLC_INFORMATION = 128  # octets
# Two of them and a rest within the time that an answer may take: a lost frame is asked for twice.
RESPONSE_SHARE = 0.4
_HDLC_PARAMETERS = frozenset(
    ("server_lower", "address_size", "meter_address", "info", "window", "frame_timeout")
)
_PARAMETERS = {
    WRAPPER_TCP: frozenset(("gateway",)),
    WRAPPER_UDP: frozenset(("gateway",)),
    HDLC_TCP: _HDLC_PARAMETERS,
    HDLC_SERIAL: _HDLC_PARAMETERS | {"baud", "parity"},
}
_MAX_OCTET = 255
_MAX_GATEWAY_SIZE = 8


@dataclass(frozen=True, slots=True)
class HdlcAddressing:
    """What a meter's address means on an HDLC link.

    It is the upper one (logical device) before a common ``lower``, unless ``by_lower``: then it is
    the lower one (physical device) and all have the logical device ``upper``. ``size`` 0 takes the
    shortest form.
    """

    upper: int = 1
    lower: int | None = None
    size: int = 0
    by_lower: bool = False

    def address(self, meter: int) -> HdlcAddress:
        """Return a meter's HDLC address; raises `BadInput` for one that cannot be."""
        upper, lower = (self.upper, meter) if self.by_lower else (meter, self.lower)
        try:
            return HdlcAddress(upper, lower, self.size)
        except LocalProtocolError as fault:
            hint = "; beyond 127 it needs server_lower=" if lower is None else ""
            raise BadInput(f"{fault}{hint}", field="server") from None


@dataclass(frozen=True, slots=True)
class HdlcOptions:
    """How to speak HDLC; ``response_s`` None takes a share of the time an answer may take."""

    addressing: HdlcAddressing
    limits: LinkParameters
    response_s: float | None = None


@dataclass(frozen=True, slots=True)
class WrapperTransport:
    """WRAPPER frames to a host and port."""

    host: str
    port: int
    udp: bool
    route: WrapperRoute

    async def open(self, timeouts: Timeouts) -> Wire:
        """Connect; raises `MeterUnreachable`."""
        if self.udp:
            return await connect_udp(self.host, self.port, self.route)
        return await connect_wrapper(
            self.host, self.port, timeout_s=timeouts.connect_s, route=self.route
        )


@dataclass(frozen=True, slots=True)
class HdlcTcpTransport:
    """HDLC frames to a host and port."""

    host: str
    port: int
    options: HdlcOptions

    async def open(self, timeouts: Timeouts) -> Wire:
        """Connect; raises `MeterUnreachable`."""
        wire = _make_wire(f"{self.host}:{self.port}", self.options, timeouts, None)
        await connect_tcp(lambda: wire, self.host, self.port, timeout_s=timeouts.connect_s)
        return wire


@dataclass(frozen=True, slots=True)
class HdlcSerialTransport:
    """HDLC frames over a serial device."""

    device: str
    baud: int
    parity: Parity
    options: HdlcOptions

    async def open(self, timeouts: Timeouts) -> Wire:
        """Open the device; raises `MeterUnreachable`, `BadInput`."""
        wire = _make_wire(self.device, self.options, timeouts, self.baud)
        open_serial(lambda: wire, self.device, baud=self.baud, parity=self.parity)
        return wire


Transport: TypeAlias = WrapperTransport | HdlcTcpTransport | HdlcSerialTransport


def transport_parameters(scheme: str) -> frozenset[str]:
    """Return the query parameters that `read_transport` reads for a scheme; raises `BadInput`."""
    if scheme not in _PARAMETERS:
        raise BadInput(f"scheme {scheme!r} is none of {', '.join(SCHEMES)}", field="endpoint")
    return _PARAMETERS[scheme]


def read_transport(parts: SplitResult, query: Mapping[str, str], *, server: int) -> Transport:
    """Read the transport of an endpoint URL; raises `BadInput` naming the parameter.

    ``server`` is the address that the URL names.
    """
    if parts.scheme == HDLC_SERIAL:
        if not parts.path.startswith("/") or parts.netloc:
            raise BadInput("the endpoint names no device: dlms+hdlc+serial:///dev/ttyUSB0",
                           field="endpoint")  # fmt: skip
        return HdlcSerialTransport(
            parts.path,
            read_number(query, "baud", DEFAULT_BAUD, range(1, 1_000_000)),
            cast(Parity, _choice(query, "parity", get_args(Parity))),
            _read_hdlc(query, server),
        )
    host, port = parts.hostname, DEFAULT_PORT if parts.port is None else parts.port
    if not host:
        raise BadInput("the endpoint names no host", field="endpoint")
    if parts.scheme == HDLC_TCP:
        return HdlcTcpTransport(host, port, _read_hdlc(query, server))
    return WrapperTransport(host, port, parts.scheme == WRAPPER_UDP, _read_route(query, server))


def meter_address(transport: Transport, server: int) -> int:
    """Return the address by which the one meter that a URL names is known on its link."""
    if isinstance(transport, WrapperTransport):
        return server
    addressing = transport.options.addressing
    lower = addressing.lower
    return lower if addressing.by_lower and lower is not None else server


def read_number(query: Mapping[str, str], name: str, default: int, allowed: range) -> int:
    """Read a decimal parameter; raises `BadInput`."""
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or int(text) not in allowed:
        raise BadInput(
            f"{name}={text!r} is not a number from {allowed[0]} to {allowed[-1]}", field=name
        )
    return int(text)


def _make_wire(name: str, options: HdlcOptions, timeouts: Timeouts, baud: int | None) -> HdlcWire:
    response_s = options.response_s
    if response_s is None:
        response_s = timeouts.answer_s * RESPONSE_SHARE
    # The link layer tries for as long as the conversation waits, whatever a frame's time is.
    tries = max(Patience().tries, math.ceil(timeouts.answer_s / response_s))
    patience = Patience(tries, max(Patience().polls, 2 * tries))
    timing = HdlcTiming(response_s, baud, patience)
    return HdlcWire(name, options.addressing.address, limits=options.limits, timing=timing)


def _read_hdlc(query: Mapping[str, str], server: int) -> HdlcOptions:
    lower = None
    if "server_lower" in query:
        lower = read_number(query, "server_lower", 0, range(MAX_ADDRESS_PART + 1))
    by_lower = _choice(query, "meter_address", ("upper", "lower")) == "lower"
    size = int(_choice(query, "address_size", ("0", "1", "2", "4")))
    addressing = HdlcAddressing(server, lower, size, by_lower)
    if not by_lower or lower is not None:
        addressing.address(lower if by_lower and lower is not None else server)
    information = read_number(
        query, "info", DEFAULT_HDLC_INFORMATION, range(32, MAX_INFORMATION + 1)
    )
    window = read_number(query, "window", 1, range(1, MAX_WINDOW + 1))
    limits = LinkParameters(information, information, window, window)
    return HdlcOptions(addressing, limits, _seconds(query, "frame_timeout"))


def _read_route(query: Mapping[str, str], server: int) -> WrapperRoute:
    """Read ``gateway=NETWORK:HEX`` (one device) or ``gateway=NETWORK/OCTETS`` (by address)."""
    text = query.get("gateway")
    if text is None:
        return DirectRoute()
    network, colon, device = text.partition(":")
    if colon:
        number = _octet(network)
        try:
            octets = bytes.fromhex(device)
        except ValueError:
            octets = b""
        if number is not None and 0 < len(octets) <= _MAX_OCTET:
            return GatewayRoute(number, octets)
    network, slash, size = text.partition("/")
    number, count = _octet(network), _octet(size)
    if slash and number is not None and count is not None and 0 < count <= _MAX_GATEWAY_SIZE:
        return GatewayRoute(number, None, count, wport=server)
    raise BadInput(
        f"gateway={text!r} is neither NETWORK:HEX (the device's address) nor NETWORK/OCTETS",
        field="gateway",
    )


def _octet(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()) or int(text) > _MAX_OCTET:
        return None
    return int(text)


def _choice(query: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = query.get(name, allowed[0])
    if value not in allowed:
        raise BadInput(f"{name}={value!r} is none of {', '.join(allowed)}", field=name)
    return value


def _seconds(query: Mapping[str, str], name: str) -> float | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 3600:
        raise BadInput(f"{name}={text!r} is no time in seconds", field=name)
    return value
