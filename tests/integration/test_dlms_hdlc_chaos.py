"""Sessions over HDLC through a line that loses, doubles, damages and pollutes both ways."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from headend.domain import obis as codes
from headend.domain.supply import SupplyAction
from headend.ports import MeterAccess
from protocols.dlms.conversation import Timeouts
from protocols.dlms.driver import DlmsAdapter
from protocols.dlms.hdlc_splitter import HdlcSplitter
from protocols.dlms.testing import MemoryCounterStore
from protocols.simulator.business_time import US_PER_S, BusinessClock, to_us
from protocols.simulator.fleet import make_fleet
from protocols.simulator.simulator import Simulator

NOON = datetime(2025, 3, 10, 4, 0, tzinfo=UTC)
MIDNIGHT = datetime(2025, 3, 8, 16, 0, tzinfo=UTC)
PATIENT = Timeouts(connect_s=5.0, answer_s=2.0, release_s=1.0, probe_s=1.0)


class BadLine:
    """A TCP relay that mistreats HDLC frames, by seed."""

    def __init__(self, seed: int, port: int, share: float) -> None:
        self.mistreated = 0
        self.ended = asyncio.Event()
        self._chance = random.Random(seed)
        self._port = port
        self._share = share

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(self._carry(reader, back_writer), self._carry(back_reader, writer))
        self.ended.set()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        splitter = HdlcSplitter()
        while octets := await reader.read(4096):
            for frame in splitter.feed(octets):
                writer.write(self._mistreat(frame.encode()))
        writer.close()

    def _mistreat(self, octets: bytes) -> bytes:
        if self._chance.random() >= self._share:
            return octets
        self.mistreated += 1
        kind = self._chance.randrange(5)
        if kind == 0:
            return b""
        if kind == 1:
            return octets + octets
        position = self._chance.randrange(len(octets))
        if kind == 2:
            changed = octets[position] ^ self._chance.randrange(1, 256)
            return octets[:position] + bytes((changed,)) + octets[position + 1 :]
        if kind == 3:
            return octets[:position] + octets[position + 1 :]
        return self._chance.randbytes(position) + octets


@asynccontextmanager
async def turn() -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("seed", range(7))
async def test_sessions_succeed_and_a_command_is_executed_once(seed: int) -> None:
    now_us = [to_us(NOON)]
    fleet = make_fleet(
        seed, 1, 1, commissioned_at="2025-03-01T00:00:00+08:00", relay_delay_ms=0, transport="hdlc"
    )
    simulator = Simulator(fleet, clock=BusinessClock(real_us=lambda: now_us[0]))
    await simulator.start()
    line = BadLine(seed, simulator.concentrators["DC001"].port, share=0.2)
    listener = await asyncio.start_server(line.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    adapter = DlmsAdapter(
        MemoryCounterStore(), simulator.clock, system_title=b"HES00001", timeouts=PATIENT
    )
    spec, device = fleet.meters[0], simulator.device(fleet.meters[0].meter_no)
    access = MeterAccess(
        1,
        address=spec.address,
        model=spec.model,
        encryption_key=bytes.fromhex(spec.encryption_key),
        authentication_key=bytes.fromhex(spec.authentication_key),
    )
    link = await adapter.open_link(
        f"dlms+hdlc+tcp://127.0.0.1:{port}?info=64&window={1 + seed % 7}&frame_timeout=0.02"
    )
    try:
        async with link.session(access, turn) as session:
            rows = await session.read_profile(
                codes.LOAD_PROFILE_1, MIDNIGHT, MIDNIGHT + timedelta(days=1)
            )
            for _ in range(5):
                assert (await session.read_identity()).serial == spec.serial
            await session.switch_relay(SupplyAction.DISCONNECT)
            now_us[0] += US_PER_S
            assert not (await session.read_relay()).output_state
    finally:
        await link.close()
        await line.ended.wait()
        listener.close()
        await simulator.stop()
    start_s = int(MIDNIGHT.timestamp())
    assert (
        rows.energy_wh.tolist() == device.meter.rows(start_s, start_s + 86_400).energy_wh.tolist()
    )
    assert len(device.contact.movements) == 1
    assert line.mistreated > 10
