"""Pushes of simulated meters: a DataNotification at each multiple of ``every_s`` in business time.

The fault (a feature, switched like one) ``push`` of a meter says where to, how often and in which
form. A push holds what the meter is, its clock, the register and the last interval as they stood at
the instant that was due, with their units, and the contact; everything comes from the truth. When
business time jumps over several due instants, a meter pushes the last one only, as one that was
switched off meanwhile would.

A target that does not answer costs that push: it is counted, and the next one is tried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from headend.domain.obis import (
    ACTIVE_ENERGY_IMPORT,
    CLOCK,
    DISCONNECT_CONTROL,
    LOGICAL_DEVICE_NAME,
    Obis,
)
from protocols.dlms import data as d
from protocols.dlms import gbt, xdr
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.errors import MalformedData
from protocols.dlms.hdlc_flow import RESPONSE_HEADER
from protocols.dlms.hdlc_frame import FrameKind, HdlcAddress, HdlcFrame
from protocols.dlms.notification import DataNotification
from protocols.dlms.wrapper import WrapperSplitter, encode_frame
from protocols.simulator.business_time import US_PER_S, BusinessClock, to_instant
from protocols.simulator.device import Device
from protocols.simulator.faults import Fault, FaultKind
from protocols.simulator.profile_buffer import INTERVAL_ENERGY
from protocols.simulator.push_target import PushTarget, parse_push_target

PUSH_SETUP = Obis.parse("0.0.25.9.0.255")
HEAD_END_WPORT = 1
POLL_S = 0.25  # real time between two looks at the clock, which may jump
EXCHANGE_TIMEOUT_S = 5.0
MAX_PARALLEL = 64
HDLC_INFORMATION = 512  # octets of one UI frame's segment
_HEAD_END_ADDRESS = HdlcAddress(16)
_HDLC_ADDRESS_LIMIT = 0x3FFF
_CLASS_DATA, _CLASS_REGISTER, _CLASS_CLOCK, _CLASS_PUSH, _CLASS_DISCONNECT = 1, 3, 8, 40, 70
_WH = d.Structure((d.Integer(0), d.Enum(30)))
_OBJECTS = (
    (_CLASS_PUSH, PUSH_SETUP, 2),
    (_CLASS_DATA, LOGICAL_DEVICE_NAME, 2),
    (_CLASS_CLOCK, CLOCK, 2),
    (_CLASS_REGISTER, ACTIVE_ENERGY_IMPORT, 2),
    (_CLASS_REGISTER, ACTIVE_ENERGY_IMPORT, 3),
    (_CLASS_REGISTER, INTERVAL_ENERGY, 2),
    (_CLASS_REGISTER, INTERVAL_ENERGY, 3),
    (_CLASS_DISCONNECT, DISCONNECT_CONTROL, 2),
    (_CLASS_DISCONNECT, DISCONNECT_CONTROL, 3),
    (_CLASS_DISCONNECT, DISCONNECT_CONTROL, 4),
)
_OBJECT_LIST = d.Array(
    d.Structure((d.LongUnsigned(class_id), obis.octets, d.Integer(attribute), d.LongUnsigned(0)))
    for class_id, obis, attribute in _OBJECTS
)


@dataclass(slots=True)
class PushStats:
    """What has been pushed since the process began."""

    sent: int = 0
    failed: int = 0


class Pusher:
    """Pushes for all devices of one simulator."""

    def __init__(self, devices: Mapping[str, Device], clock: BusinessClock) -> None:
        self.stats = PushStats()
        self._devices = devices
        self._clock = clock
        # The due instant that each pushing meter has done, in multiples of its period.
        self._done: dict[str, int] = {}
        self._invoke: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to push what falls due."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Stop; a push under way is broken off."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def push_due(self) -> int:
        """Push for every meter whose instant has come; return how many pushes were sent."""
        due = list(self._take_due())
        limit = asyncio.Semaphore(MAX_PARALLEL)

        async def push(device: Device, fault: Fault, due_us: int) -> bool:
            async with limit:
                return await self._push(device, fault, due_us)

        results = await asyncio.gather(*(push(*entry) for entry in due))
        return sum(results)

    async def _run(self) -> None:
        while True:
            await self.push_due()
            await asyncio.sleep(POLL_S)

    def _take_due(self) -> Iterable[tuple[Device, Fault, int]]:
        now_us = self._clock.now_us()
        for meter_no, device in self._devices.items():
            fault = device.fault(FaultKind.PUSH)
            if fault is None:
                self._done.pop(meter_no, None)
                continue
            period_us = fault.parameters["every_s"] * US_PER_S
            slot = now_us // period_us
            # The instant at which a push was switched on is not due: the next multiple is.
            if slot > self._done.setdefault(meter_no, slot):
                self._done[meter_no] = slot
                if device.fault(FaultKind.SILENT) is None:
                    yield device, fault, slot * period_us

    async def _push(self, device: Device, fault: Fault, due_us: int) -> bool:
        target = parse_push_target(fault.parameters["target"])
        apdu = self._notification(device, due_us)
        if fault.parameters["form"] == "ciphered":
            apdu = device.seal_push(apdu)
        try:
            async with asyncio.timeout(EXCHANGE_TIMEOUT_S):
                await _send(target, device.spec.address, apdu, fault)
        except (OSError, TimeoutError, MalformedData, asyncio.IncompleteReadError):
            self.stats.failed += 1
            return False
        self.stats.sent += 1
        return True

    def _notification(self, device: Device, due_us: int) -> bytes:
        invoke = self._invoke[device.meter_no] = self._invoke.get(device.meter_no, 0) + 1
        deviation_min = device.objects.deviation_min
        shown = to_instant(due_us + device.clock.error_us(due_us))
        time = CosemDateTime.from_instant(shown, deviation_min=deviation_min)
        return DataNotification(invoke & 0xFFFFFF, time, push_body(device, due_us)).encode()


def push_body(device: Device, due_us: int) -> bytes:
    """Return the encoded data of one push: the list of its objects, and then their values."""
    meter, objects = device.meter, device.objects
    shown = to_instant(due_us + device.clock.error_us(due_us))
    time = CosemDateTime.from_instant(shown, deviation_min=objects.deviation_min)
    due_s = due_us // US_PER_S
    interval_end_s = due_s // meter.interval_s * meter.interval_s
    interval_wh = int(meter.rows(interval_end_s - meter.interval_s, interval_end_s).energy_wh.sum())
    values = (
        objects.shown_identity().logical_device_name.encode(),
        time.octets,
        d.DoubleLongUnsigned(meter.register_wh_at(due_us)),
        _WH,
        d.DoubleLongUnsigned(interval_wh),
        _WH,
        meter.contact.closed,
        d.Enum(int(meter.contact.control_state)),
        d.Enum(objects.control_mode()),
    )
    return xdr.encode(d.Structure((_OBJECT_LIST, *values)))


async def _send(target: PushTarget, address: int, apdu: bytes, fault: Fault) -> None:
    block_octets, window = fault.parameters["block_octets"], fault.parameters["window"]
    if target.udp:
        parts = _blocks(apdu, block_octets)
        await _send_datagrams(target, [_framed(part, address, hdlc=target.hdlc) for part in parts])
        return
    reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        if block_octets and window and not target.hdlc:
            await _send_confirmed(reader, writer, address, apdu, block_octets, window)
        else:
            for part in _blocks(apdu, block_octets):
                writer.write(_framed(part, address, hdlc=target.hdlc))
            await writer.drain()
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def _blocks(apdu: bytes, block_octets: int) -> list[bytes]:
    return gbt.split_unconfirmed(apdu, block_size=block_octets) if block_octets else [apdu]


def _framed(apdu: bytes, address: int, *, hdlc: bool) -> bytes:
    if not hdlc:
        return encode_frame(address, HEAD_END_WPORT, apdu)
    source = HdlcAddress(1, min(address, _HDLC_ADDRESS_LIMIT))
    octets = RESPONSE_HEADER + apdu
    parts = [octets[at : at + HDLC_INFORMATION] for at in range(0, len(octets), HDLC_INFORMATION)]
    return b"".join(
        HdlcFrame(
            FrameKind.UNNUMBERED,
            _HEAD_END_ADDRESS,
            source,
            information=part,
            segmented=number < len(parts),
        ).encode()
        for number, part in enumerate(parts, start=1)
    )


async def _send_datagrams(target: PushTarget, datagrams: list[bytes]) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=(target.host, target.port)
    )
    try:
        for datagram in datagrams:
            transport.sendto(datagram)
    finally:
        transport.close()


async def _send_confirmed(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    address: int,
    apdu: bytes,
    block_octets: int,
    window: int,
) -> None:
    """Send in blocks that the head-end acknowledges, repeating what it has not got."""
    transfer = gbt.BlockTransfer(block_size=block_octets, window=min(window, gbt.MAX_WINDOW))
    splitter = WrapperSplitter()
    replies: tuple[bytes, ...] = transfer.send(apdu)
    while True:
        for block in replies:
            writer.write(encode_frame(address, HEAD_END_WPORT, block))
        await writer.drain()
        if not transfer.sending:
            return
        octets = await reader.read(4096)
        if not octets:
            raise asyncio.IncompleteReadError(b"", None)
        replies = ()
        for frame in splitter.feed(octets):
            replies += transfer.receive(frame.apdu).replies
