"""A meter behind a serial line: a pseudo-terminal whose other end is a simulated meter."""

from __future__ import annotations

import asyncio
import os
import pty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from headend.domain import obis as codes
from headend.domain.errors import BadInput, MeterUnreachable
from headend.ports import MeterAccess
from protocols.dlms.conversation import Timeouts
from protocols.dlms.driver import DlmsAdapter
from protocols.dlms.serial_line import MAX_UNWRITTEN, SerialTransport, open_serial
from protocols.dlms.testing import MemoryCounterStore
from protocols.simulator.business_time import BusinessClock, to_us
from protocols.simulator.fleet import MeterSpec, make_fleet
from protocols.simulator.simulator import Simulator

NOON = datetime(2025, 3, 10, 4, 0, tzinfo=UTC)
EVERY_OCTET = bytes(range(256))
DEADLINE_S = 10.0


@dataclass
class Line:
    """A device file, and a simulated concentrator on its other end."""

    device: str
    simulator: Simulator
    adapter: DlmsAdapter

    def access(self, number: int) -> MeterAccess:
        meter: MeterSpec = self.simulator.fleet.meters[number]
        return MeterAccess(
            meter_id=number + 1,
            address=meter.address,
            model=meter.model,
            encryption_key=bytes.fromhex(meter.encryption_key),
            authentication_key=bytes.fromhex(meter.authentication_key),
        )


@asynccontextmanager
async def turn() -> AsyncIterator[None]:
    yield


async def carry(master: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry octets between the terminal's other end and a TCP connection."""
    loop = asyncio.get_running_loop()
    loop.add_reader(master, lambda: writer.write(os.read(master, 4096)))
    try:
        while octets := await reader.read(4096):
            os.write(master, octets)
    finally:
        loop.remove_reader(master)
        writer.close()


@pytest.fixture
def terminal() -> tuple[int, str]:
    master, slave = pty.openpty()
    name = os.ttyname(slave)
    os.set_blocking(master, False)
    os.close(slave)
    return master, name


@pytest.fixture
async def line(terminal: tuple[int, str]) -> AsyncIterator[Line]:
    simulator = Simulator(
        make_fleet(5, 1, 2, transport="hdlc"), clock=BusinessClock(real_us=lambda: to_us(NOON))
    )
    await simulator.start()
    adapter = DlmsAdapter(
        MemoryCounterStore(), simulator.clock, system_title=b"HES00001",
        timeouts=Timeouts(answer_s=2.0),
    )  # fmt: skip
    group = simulator.concentrators["DC001"]
    carrier = asyncio.create_task(
        carry(terminal[0], *await asyncio.open_connection(group.host, group.port))
    )
    yield Line(terminal[1], simulator, adapter)
    carrier.cancel()
    await asyncio.wait([carrier])
    await simulator.stop()
    os.close(terminal[0])


async def test_meters_on_one_line_are_read(line: Line) -> None:
    url = f"dlms+hdlc+serial://{line.device}?baud=115200&meter_address=lower"
    link = await line.adapter.open_link(url)
    assert link.parallel_exchanges == 1
    for number in (0, 1):
        async with link.session(line.access(number), turn) as session:
            identity = await session.read_identity()
            assert identity.serial == line.simulator.fleet.meters[number].serial
            await session.read_registers([codes.ACTIVE_ENERGY_IMPORT])
    await link.close()
    assert not link.is_open


async def test_a_line_belongs_to_one_program(line: Line) -> None:
    url = f"dlms+hdlc+serial://{line.device}"
    link = await line.adapter.open_link(url)
    with pytest.raises(MeterUnreachable, match="in use"):
        await line.adapter.open_link(url)
    await link.close()
    again = await line.adapter.open_link(url)
    await again.close()


async def test_a_device_that_is_not_there_is_unreachable_and_a_wrong_rate_is_named(
    line: Line,
) -> None:
    with pytest.raises(MeterUnreachable, match="/dev/none"):
        await line.adapter.open_link("dlms+hdlc+serial:///dev/none")
    with pytest.raises(BadInput, match="baud"):
        await line.adapter.open_link(f"dlms+hdlc+serial://{line.device}?baud=1234")
    with pytest.raises(MeterUnreachable, match="cannot use"):
        await line.adapter.open_link("dlms+hdlc+serial:///dev/null")


class Collector(asyncio.Protocol):
    """Keeps what came, and how it ended."""

    def __init__(self, wanted: int = 0) -> None:
        self.octets = b""
        self.came = asyncio.Event()
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.transport: SerialTransport
        self._wanted = wanted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, SerialTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.octets += data
        if len(self.octets) >= self._wanted:
            self.came.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(exc)


async def test_every_octet_passes_unchanged_both_ways(terminal: tuple[int, str]) -> None:
    master, device = terminal
    collector = Collector(wanted=256)
    open_serial(lambda: collector, device, baud=9600, parity="even")
    os.write(master, EVERY_OCTET)
    async with asyncio.timeout(DEADLINE_S):
        await collector.came.wait()
    assert collector.octets == EVERY_OCTET
    collector.transport.write(EVERY_OCTET)
    assert os.read(master, 512) == EVERY_OCTET
    collector.transport.close()
    async with asyncio.timeout(DEADLINE_S):
        assert await collector.ended is None
    os.close(master)


async def test_a_line_that_takes_nothing_more_is_broken(terminal: tuple[int, str]) -> None:
    master, device = terminal
    collector = Collector()
    open_serial(lambda: collector, device, baud=9600, parity="none")
    for _ in range(40):
        collector.transport.write(bytes(MAX_UNWRITTEN // 16))
    async with asyncio.timeout(DEADLINE_S):
        assert isinstance(await collector.ended, OSError)
    assert collector.transport.is_closing()
    os.close(master)


async def test_a_device_that_goes_away_ends_the_line(terminal: tuple[int, str]) -> None:
    master, device = terminal
    collector = Collector()
    open_serial(lambda: collector, device, baud=9600, parity="none")
    os.close(master)
    async with asyncio.timeout(DEADLINE_S):
        assert isinstance(await collector.ended, OSError)
