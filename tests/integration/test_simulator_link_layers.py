"""A simulated concentrator over HDLC and UDP: addresses, strangers, faults of the link."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from headend.domain.errors import BadInput
from protocols.dlms.association import ClientAssociation, ClientSettings
from protocols.dlms.hdlc_client import HdlcClient
from protocols.dlms.hdlc_events import Connected, Lost, Received
from protocols.dlms.hdlc_frame import HdlcAddress, HdlcFrame
from protocols.dlms.hdlc_parameters import LinkParameters
from protocols.dlms.hdlc_splitter import HdlcSplitter
from protocols.dlms.wrapper import WrapperSplitter, encode_frame
from protocols.simulator.concentrator import Concentrator
from protocols.simulator.faults import Fault
from protocols.simulator.fleet import ConcentratorSpec, FleetSpec, make_fleet
from protocols.simulator.simulator import Simulator

PUBLIC = 16
DEADLINE_S = 10.0
AARQ = ClientAssociation(ClientSettings()).open()
AARE, EXCEPTION_RESPONSE = 0x61, 0xD8
LIMITS = LinkParameters(512, 512, 7, 7)


async def start(transport: Any) -> Simulator:
    simulator = Simulator(make_fleet(9, 1, 3, transport=transport))
    await simulator.start()
    return simulator


@pytest.fixture
async def hdlc() -> AsyncIterator[Simulator]:
    simulator = await start("hdlc")
    yield simulator
    await simulator.stop()


@pytest.fixture
async def udp() -> AsyncIterator[Simulator]:
    simulator = await start("udp")
    yield simulator
    await simulator.stop()


def group_of(simulator: Simulator) -> Concentrator:
    return simulator.concentrators["DC001"]


def fault(simulator: Simulator, kind: str, **parameters: Any) -> None:
    meter_no = simulator.fleet.meters[0].meter_no
    simulator.set_fault(meter_no, Fault.from_json({"fault": kind, **parameters}))


class Station:
    """An HDLC client over TCP, one frame at a time."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: HdlcAddress
    ) -> None:
        self.link = HdlcClient(HdlcAddress(PUBLIC), server, limits=LIMITS)
        self.reader = reader
        self.writer = writer
        self._splitter = HdlcSplitter()
        self._frames: list[HdlcFrame] = []

    @classmethod
    async def open(cls, simulator: Simulator, server: HdlcAddress | None = None) -> Station:
        group = group_of(simulator)
        streams = await asyncio.open_connection(group.host, group.port)
        return cls(*streams, server or HdlcAddress(1))

    async def event(self) -> Connected | Received | Lost | Any:
        """Carry frames until something happened."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                self.writer.write(self.link.take_output())
                for event in self.link.receive(await self.frame()):
                    return event

    async def frame(self) -> HdlcFrame:
        while not self._frames:
            octets = await self.reader.read(4096)
            if not octets:
                raise EOFError
            self._frames += self._splitter.feed(octets)
        return self._frames.pop(0)

    async def connect(self) -> LinkParameters:
        self.link.connect()
        event = await self.event()
        assert isinstance(event, Connected)
        return event.parameters

    async def ask(self, apdu: bytes = AARQ) -> bytes:
        self.link.send(apdu)
        event = await self.event()
        assert isinstance(event, Received)
        return event.apdu


@pytest.mark.parametrize(
    ("server", "index"),
    [(HdlcAddress(2), 1), (HdlcAddress(1, 3), 2), (HdlcAddress(1, 3, 4), 2)],
)
async def test_a_meter_is_found_by_either_part_of_its_address(
    hdlc: Simulator, server: HdlcAddress, index: int
) -> None:
    station = await Station.open(hdlc, server)
    assert await station.connect() == LinkParameters(512, 512, 7, 7)
    assert (await station.ask())[0] == AARE
    assert hdlc.device(hdlc.fleet.meters[index].meter_no).sessions_opened == 1
    station.writer.close()


async def test_where_no_meter_is_nothing_answers(hdlc: Simulator) -> None:
    station = await Station.open(hdlc)
    for stranger in (HdlcAddress(9), HdlcAddress(2, 1), HdlcAddress(1, 9)):
        link = HdlcClient(HdlcAddress(PUBLIC), stranger)
        link.connect()
        station.writer.write(link.take_output())
    await station.connect()
    assert group_of(hdlc).stats.unknown_address == 3
    station.writer.close()


async def test_garbage_is_counted_and_costs_nobody_the_connection(hdlc: Simulator) -> None:
    station = await Station.open(hdlc)
    station.writer.write(b"GET / HTTP/1.1\r\n\x7e\x7e\xa0\x55\x7e\x55\x7e")
    await station.connect()
    assert group_of(hdlc).stats.malformed > 0
    station.writer.close()


async def test_a_new_connection_begins_without_association(hdlc: Simulator) -> None:
    station = await Station.open(hdlc)
    await station.connect()
    assert (await station.ask())[0] == AARE
    station.link.disconnect()
    await station.event()
    await station.connect()
    assert (await station.ask(b"\xc0\x01\xc1"))[0] == EXCEPTION_RESPONSE
    station.writer.close()


async def test_an_answer_of_an_ended_connection_never_comes(hdlc: Simulator) -> None:
    fault(hdlc, "slow", delay_ms=30)
    station = await Station.open(hdlc)
    await station.connect()
    station.link.send(AARQ)
    station.writer.write(station.link.take_output())
    station.link.disconnect()
    await station.event()
    hdlc.clear_fault(hdlc.fleet.meters[0].meter_no, None)
    await station.connect()
    assert (await station.ask(b"\xc0\x01\xc1"))[0] == EXCEPTION_RESPONSE
    station.writer.close()


async def test_small_limits_hold_from_the_next_connection_on(hdlc: Simulator) -> None:
    fault(hdlc, "small_window", frames=2)
    fault(hdlc, "small_information", octets=20)
    station = await Station.open(hdlc)
    assert await station.connect() == LinkParameters(20, 20, 2, 2)
    assert (await station.ask())[0] == AARE
    station.writer.close()


async def test_a_fault_strikes_the_same_frames_at_each_run_of_a_seed() -> None:
    async def pattern() -> list[bool]:
        simulator = await start("hdlc")
        fault(simulator, "wrong_fcs", probability=0.5)
        station = await Station.open(simulator)
        came = []
        for _ in range(12):
            station.link.connect()
            station.writer.write(station.link.take_output())
            station.link.abandon()
            octets = await station.reader.readexactly(34)  # a UA
            came.append(HdlcSplitter().feed(octets) != [])
        station.writer.close()
        await simulator.stop()
        return came

    first = await pattern()
    assert first == await pattern()
    assert set(first) == {True, False}


async def test_a_concentrator_that_is_down_hangs_up(hdlc: Simulator) -> None:
    station = await Station.open(hdlc)
    await station.connect()
    hdlc.set_fault("DC001", Fault.from_json({"fault": "down"}))
    with pytest.raises((EOFError, ConnectionResetError)):
        await station.frame()
    again = await Station.open(hdlc)
    with pytest.raises((EOFError, ConnectionResetError)):
        await again.frame()


class Datagrams(asyncio.DatagramProtocol):
    """A UDP client that keeps what comes."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.came.put_nowait(data)

    async def answer(self) -> tuple[int, int, bytes]:
        async with asyncio.timeout(DEADLINE_S):
            (frame,) = WrapperSplitter().feed(await self.came.get())
        return frame.source, frame.destination, frame.apdu


async def peer(simulator: Simulator) -> tuple[asyncio.DatagramTransport, Datagrams]:
    group = group_of(simulator)
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        Datagrams, remote_addr=(group.host, group.port)
    )
    return transport, protocol


async def test_datagrams_of_two_peers_are_two_conversations(udp: Simulator) -> None:
    first, first_answers = await peer(udp)
    second, second_answers = await peer(udp)
    first.sendto(encode_frame(PUBLIC, 1, AARQ))
    assert (await first_answers.answer())[:2] == (1, PUBLIC)
    second.sendto(encode_frame(PUBLIC, 1, b"\xc0\x01\xc1"))
    assert (await second_answers.answer())[2][0] == EXCEPTION_RESPONSE
    (described,) = group_of(udp).open_sessions()
    assert described["conversations"] == [{"client": PUBLIC, "address": 1}] * 2
    first.close()
    second.close()


async def test_a_datagram_that_is_no_whole_frame_is_dropped(udp: Simulator) -> None:
    transport, answers = await peer(udp)
    whole = encode_frame(PUBLIC, 1, AARQ)
    for octets in (b"hello", whole[:-1], whole + whole, whole + b"\x00"):
        transport.sendto(octets)
    transport.sendto(whole)
    assert (await answers.answer())[2][0] == AARE
    assert answers.came.empty()
    assert group_of(udp).stats.malformed == 4
    transport.close()


def test_a_fleet_tells_its_transports_and_refuses_others() -> None:
    fleet = make_fleet(1, 1, 1, transport="hdlc")
    assert FleetSpec.from_json(fleet.to_json()) == fleet
    meters = fleet.concentrators[0].meters
    with pytest.raises(BadInput, match="none of wrapper, hdlc, udp"):
        ConcentratorSpec("A", meters, transport="plc")  # type: ignore[arg-type]
    for name, value in (("max_pdu", 63), ("hdlc_window", 8), ("hdlc_information", 7)):
        with pytest.raises(BadInput) as caught:
            replace(meters[0], **{name: value})
        assert caught.value.field == name
