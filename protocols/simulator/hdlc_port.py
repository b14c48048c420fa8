"""A concentrator's HDLC connection over TCP: meters told apart by HDLC address, faults on demand.

A meter is its upper address where the frame has one part, else its lower (physical) one behind
logical device 1. Each pair of client and meter has a link-layer connection of its own; a new one
begins a new conversation, whose predecessor's late answers are lost. Link faults strike a share of
the frames that the meter sends, the same ones at each run of a seed.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass

from headend.domain.errors import HeadEndError
from protocols.dlms.hdlc_events import Connected, Disconnected, Received
from protocols.dlms.hdlc_frame import FLAG_OCTET, HdlcAddress, HdlcFrame
from protocols.dlms.hdlc_parameters import LinkParameters
from protocols.dlms.hdlc_server import HdlcServer, ServerEvent
from protocols.dlms.hdlc_splitter import HdlcSplitter
from protocols.simulator.conversations import Conversation, Host, open_conversation
from protocols.simulator.device import Device
from protocols.simulator.faults import FaultKind

MAX_STATIONS = 8192  # on one connection
LOGICAL_DEVICE = 1  # the only one of each simulated meter


@dataclass(slots=True, eq=False)
class _Station:
    """One client's link-layer connection with one meter."""

    device: Device
    link: HdlcServer
    conversation: Conversation | None = None
    refusals: int = 0

    def end(self) -> None:
        """Stop what is under way."""
        if self.conversation is not None:
            self.conversation.end()
            self.conversation = None


@dataclass(slots=True)
class _Outlet:
    """Where one conversation's answers go, as long as its connection is the present one."""

    port: HdlcPort
    station: _Station

    def send(self, apdu: bytes | None) -> None:
        if self._is_present:
            if apdu is None:
                self.station.link.decline()
            else:
                self.station.link.reply(apdu)
            self.port.flush(self.station)

    def break_off(self, apdu: bytes) -> None:
        if self._is_present:
            self.station.link.reply(apdu)
            self.port.break_off(self.station)

    def released(self) -> None:
        """Keep it: only the link layer's own end closes the conversation."""

    @property
    def _is_present(self) -> bool:
        present = self.station.conversation
        return present is not None and present.outlet is self and self.station.link.is_connected


class HdlcPort(asyncio.Protocol):
    """One client's TCP connection."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._splitter = HdlcSplitter()
        self._stations: dict[tuple[HdlcAddress, HdlcAddress], _Station] = {}
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  (create_server's promise)
        self._transport = transport
        self._host.joined(self)
        if self._host.is_down:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._host.left(self)
        for station in self._stations.values():
            station.end()
        self._stations.clear()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        if self._host.is_down:
            self.abort()
            return
        damaged = self._splitter.damaged
        frames = self._splitter.feed(data)
        self._host.stats.malformed += self._splitter.damaged - damaged
        for frame in frames:
            if self._transport is None or self._transport.is_closing():
                return
            self._take(frame)

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once, unsent answers lost."""
        if self._transport is not None:
            self._transport.abort()

    def describe(self) -> dict[str, object]:
        """Return peer and connected stations."""
        peer = self._transport.get_extra_info("peername") if self._transport else None
        return {
            "peer": f"{peer[0]}:{peer[1]}" if peer else "",
            "conversations": [
                {"client": client.upper, "address": station.device.spec.address}
                for (_, client), station in self._stations.items()
                if station.link.is_connected
            ],
        }

    def flush(self, station: _Station) -> None:
        """Write what the station has to say, as far as its faults let it pass."""
        device = station.device
        for octets in station.link.take_output():
            device.link_frames_sent += 1
            if self._strikes(device, FaultKind.LOST_FRAME):
                continue
            damaged = self._strikes(device, FaultKind.WRONG_FCS)
            self._write(_damage(octets) if damaged else octets)

    def break_off(self, station: _Station) -> None:
        """Write half of what the station has to say and close."""
        octets = b"".join(station.link.take_output())
        self._write(octets[: len(octets) // 2])
        if self._transport is not None:
            self._transport.close()

    def _strikes(self, device: Device, kind: FaultKind) -> bool:
        """Tell whether a fault strikes the frame that is being sent."""
        fault = device.fault(kind)
        if fault is None:
            return False
        text = f"{kind} {self._host.seed} {device.meter_no} {device.link_frames_sent}"
        draw = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
        return bool(draw < fault.parameters["probability"])

    def _write(self, octets: bytes) -> None:
        if self._transport is not None:
            self._transport.write(octets)

    def _take(self, frame: HdlcFrame) -> None:
        self._host.stats.frames_received += 1
        station = self._find(frame)
        if station is None or station.device.fault(FaultKind.SILENT) is not None:
            return
        station.link.is_busy = self._is_busy(station, frame)
        try:
            events = station.link.receive(frame)
        except HeadEndError:
            self._host.stats.malformed += 1
            return
        for event in events:
            self._serve(station, event)
        self.flush(station)

    def _find(self, frame: HdlcFrame) -> _Station | None:
        pair = (frame.destination, frame.source)
        station = self._stations.get(pair)
        device = _device_at(self._host, frame.destination)
        if device is None:
            self._host.stats.unknown_address += 1
            return None
        if station is None or not station.link.is_connected:
            # Not connected: the limits may have been changed by a fault meanwhile.
            if station is None and len(self._stations) >= MAX_STATIONS:
                self.abort()
                return None
            link = HdlcServer(frame.destination, frame.source, limits=_limits(device))
            station = self._stations[pair] = _Station(device, link)
        return station

    def _serve(self, station: _Station, event: ServerEvent) -> None:
        if isinstance(event, Connected):
            station.end()
            outlet = _Outlet(self, station)
            station.conversation = open_conversation(
                self._host, outlet, station.device, station.link.client.upper
            )
        elif isinstance(event, Disconnected):
            station.end()
        elif isinstance(event, Received) and station.conversation is not None:
            station.conversation.take(event.apdu)

    def _is_busy(self, station: _Station, frame: HdlcFrame) -> bool:
        fault = station.device.fault(FaultKind.LINK_BUSY)
        if fault is None:
            return False
        if not frame.final:
            return station.link.is_busy
        station.refusals += 1
        polls = fault.parameters["polls"]
        return not polls or station.refusals <= polls


def _device_at(host: Host, address: HdlcAddress) -> Device | None:
    if address.lower is None:
        return host.devices.get(address.upper)
    return host.devices.get(address.lower) if address.upper == LOGICAL_DEVICE else None


def _limits(device: Device) -> LinkParameters:
    """Return what the meter agrees to at most."""
    window, information = device.spec.hdlc_window, device.spec.hdlc_information
    small = device.fault(FaultKind.SMALL_WINDOW)
    if small is not None:
        window = max(1, min(window, small.parameters["frames"]))
    short = device.fault(FaultKind.SMALL_INFORMATION)
    if short is not None:
        information = max(8, min(information, short.parameters["octets"]))
    return LinkParameters(information, information, window, window)


def _damage(octets: bytes) -> bytes:
    """Return a frame with a wrong check sequence; the flag at its end stays."""
    return octets[:-2] + bytes((octets[-2] ^ 0x5A,)) + FLAG_OCTET
