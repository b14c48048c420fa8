"""One endpoint, many meters: what a client gets from good and from faulty ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from headend.domain import obis as codes
from headend.domain.errors import ConfigurationError
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms import xdr
from protocols.dlms.association import ClientAssociation, ClientSettings
from protocols.dlms.requests import Attribute
from protocols.dlms.wrapper import WrapperSplitter, encode_frame
from protocols.simulator.faults import Fault
from protocols.simulator.fleet import ConcentratorSpec, FleetSpec, make_fleet
from protocols.simulator.simulator import Simulator

PUBLIC = 16
DEADLINE_S = 10.0
FLEET = make_fleet(9, 1, 3, relay_delay_ms=0)
METERS = [meter.meter_no for meter in FLEET.meters]
AARQ = ClientAssociation(ClientSettings()).open()
GET_NAME = rq.GetRequest(0xC1, Attribute(1, codes.LOGICAL_DEVICE_NAME, 2), None).encode()


class Wire:
    """A TCP connection that speaks WRAPPER frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._splitter = WrapperSplitter()
        self._frames: list[tuple[int, bytes]] = []

    def send(self, address: int, *apdus: bytes, client: int = PUBLIC) -> None:
        self.writer.write(b"".join(encode_frame(client, address, apdu) for apdu in apdus))

    async def receive(self) -> tuple[int, bytes]:
        """Return (meter address, APDU) of the next frame; raises EOFError at the end."""
        async with asyncio.timeout(DEADLINE_S):
            while not self._frames:
                octets = await self._reader.read(4096)
                if not octets:
                    raise EOFError(self._splitter.pending)
                frames = self._splitter.feed(octets)
                self._frames += [(frame.source, frame.apdu) for frame in frames]
        return self._frames.pop(0)

    async def end(self) -> int:
        """Return how many octets of a broken frame came before the end of the stream."""
        try:
            await self.receive()
        except EOFError as end:
            return int(end.args[0])
        except ConnectionResetError:
            return 0
        raise AssertionError("a whole frame came")


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    simulator = Simulator(FLEET)
    await simulator.start()
    yield simulator
    await simulator.stop()


@pytest.fixture
async def wire(simulator: Simulator) -> AsyncIterator[Wire]:
    wire = await connect(simulator)
    yield wire
    wire.writer.close()


async def connect(simulator: Simulator) -> Wire:
    group = simulator.concentrators["DC001"]
    return Wire(*await asyncio.open_connection(group.host, group.port))


def fault(simulator: Simulator, target: str, kind: str, **parameters: Any) -> None:
    simulator.set_fault(target, Fault.from_json({"fault": kind, **parameters}))


def name_in(apdu: bytes) -> str:
    response = rs.decode_response(apdu)
    assert isinstance(response, rs.GetResponse)
    assert isinstance(response.data, bytes)
    return str(xdr.decode(response.data).decode())


async def read_name(wire: Wire, address: int) -> str:
    wire.send(address, AARQ, GET_NAME)
    assert (await wire.receive())[0] == address
    return name_in((await wire.receive())[1])


async def test_meters_behind_one_endpoint_are_told_apart_by_address(wire: Wire) -> None:
    for meter in FLEET.meters:
        assert await read_name(wire, meter.address) == meter.logical_device_name


async def test_requests_may_come_cut_anywhere(wire: Wire) -> None:
    octets = encode_frame(PUBLIC, 1, AARQ) + encode_frame(PUBLIC, 1, GET_NAME)
    for octet in octets:
        wire.writer.write(bytes((octet,)))
        await wire.writer.drain()
    await wire.receive()
    assert name_in((await wire.receive())[1]) == FLEET.meters[0].logical_device_name


async def test_a_silent_meter_does_not_block_its_neighbour(
    simulator: Simulator, wire: Wire
) -> None:
    fault(simulator, METERS[0], "silent")
    wire.send(1, AARQ, GET_NAME)
    wire.send(2, AARQ, GET_NAME)
    answers = [await wire.receive(), await wire.receive()]
    assert [address for address, _ in answers] == [2, 2]
    simulator.clear_fault(METERS[0], None)
    assert await read_name(wire, 1) == FLEET.meters[0].logical_device_name


async def test_a_slow_meter_answers_in_order_after_its_neighbour(
    simulator: Simulator, wire: Wire
) -> None:
    fault(simulator, METERS[0], "slow", delay_ms=50)
    wire.send(1, AARQ, GET_NAME)
    wire.send(2, AARQ, GET_NAME)
    answers = [await wire.receive() for _ in range(4)]
    assert [address for address, _ in answers] == [2, 2, 1, 1]
    assert name_in(answers[3][1]) == FLEET.meters[0].logical_device_name


async def test_a_drop_ends_the_connection_in_the_middle_of_an_answer(
    simulator: Simulator, wire: Wire
) -> None:
    fault(simulator, METERS[0], "drop", after_answers=1)
    wire.send(1, AARQ, GET_NAME)
    await wire.receive()
    assert await wire.end() > 0
    assert simulator.concentrators["DC001"].stats.dropped == 1


async def test_drops_strike_the_same_sessions_at_each_run_of_a_seed(simulator: Simulator) -> None:
    fault(simulator, METERS[0], "drop", probability=0.5, after_answers=0)

    async def pattern(of: Simulator) -> list[bool]:
        dropped = []
        for _ in range(12):
            wire = await connect(of)
            wire.send(1, AARQ)
            try:
                await wire.receive()
                dropped.append(False)
            except EOFError:
                dropped.append(True)
            wire.writer.close()
        return dropped

    again = Simulator(FLEET)
    fault(again, METERS[0], "drop", probability=0.5, after_answers=0)
    await again.start()
    first, second = await pattern(simulator), await pattern(again)
    await again.stop()
    assert first == second
    assert {True, False} == set(first)


async def test_a_concentrator_that_is_down_hangs_up_and_comes_back(
    simulator: Simulator, wire: Wire
) -> None:
    assert await read_name(wire, 1)
    fault(simulator, "DC001", "down")
    assert await wire.end() == 0
    refused = await connect(simulator)
    assert await refused.end() == 0
    simulator.clear_fault("DC001", None)
    assert await read_name(await connect(simulator), 1)


async def test_where_no_meter_is_nothing_answers(simulator: Simulator, wire: Wire) -> None:
    wire.send(99, AARQ)
    wire.send(1, AARQ)
    assert (await wire.receive())[0] == 1
    assert simulator.concentrators["DC001"].stats.unknown_address == 1


async def test_what_is_not_dlms_loses_its_connection_and_nobody_else(
    simulator: Simulator, wire: Wire
) -> None:
    stranger = await connect(simulator)
    stranger.writer.write(b"GET / HTTP/1.1\r\nHost: meter\r\n\r\n")
    assert await stranger.end() == 0
    assert simulator.concentrators["DC001"].stats.malformed == 1
    assert await read_name(wire, 1)


async def test_conversations_of_two_clients_do_not_mix(simulator: Simulator, wire: Wire) -> None:
    wire.send(1, AARQ)
    await wire.receive()
    wire.send(1, GET_NAME, client=77)
    assert isinstance(rs.decode_response((await wire.receive())[1]), rs.ExceptionResponse)
    wire.send(1, GET_NAME)
    assert name_in((await wire.receive())[1])
    (described,) = simulator.concentrators["DC001"].open_sessions()
    assert described["conversations"] == [
        {"client": PUBLIC, "address": 1},
        {"client": 77, "address": 1},
    ]


async def test_a_port_in_use_is_named_and_nothing_stays_open(simulator: Simulator) -> None:
    taken = simulator.concentrators["DC001"].port
    meters = make_fleet(8, 2, 2).concentrators
    fleet = FleetSpec(
        8,
        (
            ConcentratorSpec("A", meters[0].meters),
            ConcentratorSpec("B", meters[1].meters, port=taken),
        ),
    )
    second = Simulator(fleet)
    with pytest.raises(ConfigurationError, match=f"B cannot listen on 127.0.0.1:{taken}"):
        await second.start()
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection("127.0.0.1", second.concentrators["A"].port)


async def test_a_released_conversation_is_forgotten(simulator: Simulator, wire: Wire) -> None:
    association = ClientAssociation(ClientSettings())
    wire.send(1, association.open())
    association.receive((await wire.receive())[1])
    wire.send(1, association.release())
    association.receive((await wire.receive())[1])
    (described,) = simulator.concentrators["DC001"].open_sessions()
    assert described["conversations"] == []
