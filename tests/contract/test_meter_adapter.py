"""What every meter adapter promises, tried on the fake and on DLMS against simulated meters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from headend.domain.errors import (
    AuthenticationFailed,
    MeterBusy,
    MeterRefused,
    MeterUnreachable,
    OutcomeUnknown,
    Preempted,
)
from headend.domain.obis import ACTIVE_ENERGY_IMPORT, LOAD_PROFILE_1, Obis
from headend.domain.reading import MeterIdentity, Quality
from headend.domain.supply import SupplyAction, SupplyState
from headend.ports import MeterAccess, MeterAdapter, MeterLink
from headend.testing.clock import FakeClock
from headend.testing.meters import FakeMeter, FakeMeterAdapter, MeterFault
from protocols.dlms.conversation import Timeouts
from protocols.dlms.driver import DlmsAdapter
from protocols.dlms.testing import MemoryCounterStore
from protocols.simulator.business_time import US_PER_S, BusinessClock, to_us
from protocols.simulator.control import ControlServer
from protocols.simulator.control_client import SimulatorControl
from protocols.simulator.fleet import Transport, make_fleet
from protocols.simulator.simulator import Simulator

NOON = datetime(2025, 3, 10, 4, 0, tzinfo=UTC)
DAY_START = datetime(2025, 3, 8, 16, tzinfo=UTC)
DAY_END = DAY_START + timedelta(days=1)


class Bench(Protocol):
    """One adapter with two meters behind one endpoint, and the truth about them."""

    adapter: MeterAdapter
    endpoint: str
    accesses: list[MeterAccess]
    identities: list[MeterIdentity]

    def advance(self, seconds: float) -> None: ...

    async def break_meter(self, fault: str) -> None:
        """Put a fault on the first meter, by the name it has in `MeterFault`."""

    async def energy_wh(self, start: datetime, end: datetime) -> list[int]:
        """What the first meter really measured."""

    async def is_closed(self) -> bool: ...


class FakeBench:
    """The adapter in memory."""

    endpoint = "fake+tcp://bench"

    def __init__(self) -> None:
        self.clock = FakeClock(NOON)
        self.adapter = FakeMeterAdapter(self.clock)
        self.identities = [MeterIdentity(f"LDN{n}", f"{n}") for n in range(2)]
        self.accesses = [
            MeterAccess(n + 1, address=n + 1, encryption_key=bytes([n]) * 16) for n in range(2)
        ]
        self.meters = [
            FakeMeter(
                address=n + 1,
                identity=self.identities[n],
                since=DAY_START - timedelta(days=3),
                load_wh=lambda start: 50 + start // 900 % 7,
                encryption_key=bytes([n]) * 16,
            )
            for n in range(2)
        ]
        for meter in self.meters:
            self.adapter.place(self.endpoint, meter)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds=seconds)

    async def break_meter(self, fault: str) -> None:
        self.meters[0].faults.add(MeterFault(fault))

    async def energy_wh(self, start: datetime, end: datetime) -> list[int]:
        meter = self.meters[0]
        return [meter.energy_wh(second) for second in meter.starts(start, end)]

    async def is_closed(self) -> bool:
        return self.meters[0].output_state


class DlmsBench:
    """DLMS over a real socket to simulated meters, whose truth the control socket tells."""

    NAMES = {"switch_unanswered": "action_unanswered", "contact_stuck": "relay_stuck"}  # noqa: RUF012

    def __init__(self, transport: Transport) -> None:
        self.us = to_us(NOON)
        fleet = make_fleet(
            2, 1, 3, commissioned_at="2025-03-01T00:00:00+08:00", relay_delay_ms=200,
            transport=transport,
        )  # fmt: skip
        self.meters = fleet.meters
        self.simulator = Simulator(fleet, clock=BusinessClock(real_us=lambda: self.us))
        self.server = ControlServer(self.simulator, on_shutdown=lambda: None)
        self.adapter = DlmsAdapter(
            MemoryCounterStore(),
            self.simulator.clock,
            system_title=b"HES00001",
            timeouts=Timeouts(connect_s=5.0, answer_s=0.3, release_s=0.2, probe_s=0.3),
        )
        self.identities = [
            MeterIdentity(meter.logical_device_name, meter.serial) for meter in fleet.meters
        ]
        self.accesses = [
            MeterAccess(
                n + 1,
                address=meter.address,
                model=meter.model,
                encryption_key=bytes.fromhex(meter.encryption_key),
                authentication_key=bytes.fromhex(meter.authentication_key),
            )
            for n, meter in enumerate(fleet.meters)
        ]
        self.control: SimulatorControl
        self.endpoint = ""

    async def start(self) -> None:
        await self.simulator.start()
        await self.server.start()
        self.control = await SimulatorControl.connect(port=self.server.port)
        self.endpoint = self.simulator.concentrators["DC001"].endpoint

    async def stop(self) -> None:
        await self.control.close()
        await self.server.stop()
        await self.simulator.stop()

    def advance(self, seconds: float) -> None:
        self.us += round(seconds * US_PER_S)

    async def break_meter(self, fault: str) -> None:
        await self.control.set_fault(self.meters[0].meter_no, self.NAMES.get(fault, fault))

    async def energy_wh(self, start: datetime, end: datetime) -> list[int]:
        rows = await self.control.rows(self.meters[0].meter_no, start, end)
        found: list[int] = rows.energy_wh.tolist()
        return found

    async def is_closed(self) -> bool:
        return (await self.control.truth(self.meters[0].meter_no)).closed


@pytest.fixture(params=["fake", "wrapper", "hdlc", "udp"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "fake":
        yield FakeBench()
        return
    bench = DlmsBench(request.param)
    await bench.start()
    yield bench
    await bench.stop()


@pytest.fixture
async def link(bench: Bench) -> AsyncIterator[MeterLink]:
    link = await bench.adapter.open_link(bench.endpoint)
    yield link
    await link.close()


@asynccontextmanager
async def turn() -> AsyncIterator[None]:
    yield


async def relay_after(bench: Bench, link: MeterLink) -> SupplyState:
    bench.advance(2)
    async with link.session(bench.accesses[0], turn) as session:
        return (await session.read_relay()).supply_state


async def test_the_adapter_serves_the_scheme_of_its_endpoint(bench: Bench) -> None:
    assert bench.endpoint.split(":")[0] in bench.adapter.schemes


async def test_each_meter_behind_the_link_says_who_it_is(bench: Bench, link: MeterLink) -> None:
    assert link.is_open
    assert link.parallel_exchanges >= 1
    for access, identity in zip(bench.accesses, bench.identities, strict=True):
        async with link.session(access, turn) as session:
            assert await session.read_identity() == identity
            assert abs(await session.read_clock() - NOON) <= timedelta(seconds=1)


async def test_profile_rows_start_in_the_span_and_are_what_was_measured(
    bench: Bench, link: MeterLink
) -> None:
    async with link.session(bench.accesses[0], turn) as session:
        rows = await session.read_profile(LOAD_PROFILE_1, DAY_START, DAY_END)
    start, end = int(DAY_START.timestamp()), int(DAY_END.timestamp())
    assert sorted(rows.start.tolist()) == list(range(start, end, rows.interval_s))
    assert rows.energy_wh.tolist() == await bench.energy_wh(DAY_START, DAY_END)
    assert set(rows.quality.tolist()) == {Quality.ACTUAL}


async def test_a_span_without_finished_intervals_has_no_rows(bench: Bench, link: MeterLink) -> None:
    later = NOON + timedelta(days=2)
    async with link.session(bench.accesses[0], turn) as session:
        rows = await session.read_profile(LOAD_PROFILE_1, later, later + timedelta(hours=1))
    assert rows.start.shape == rows.energy_wh.shape == rows.quality.shape == (0,)


async def test_the_register_grows_by_what_the_profile_says(bench: Bench, link: MeterLink) -> None:
    async with link.session(bench.accesses[0], turn) as session:
        (before,) = await session.read_registers([ACTIVE_ENERGY_IMPORT])
    bench.advance(3600)
    async with link.session(bench.accesses[0], turn) as session:
        (after,) = await session.read_registers([ACTIVE_ENERGY_IMPORT])
    assert (before.obis, before.unit, before.quality) == (ACTIVE_ENERGY_IMPORT, "Wh", 0)
    assert before.measured_at.utcoffset() == timedelta()
    measured = sum(await bench.energy_wh(NOON, NOON + timedelta(hours=1)))
    assert after.value - before.value == measured > 0


async def test_an_unknown_register_is_refused_by_name(bench: Bench, link: MeterLink) -> None:
    unknown = Obis.parse("1.0.99.99.99.255")
    async with link.session(bench.accesses[0], turn) as session:
        with pytest.raises(MeterRefused, match=r"1\.0\.99\.99\.99\.255"):
            await session.read_registers([unknown])
        assert await session.read_identity() == bench.identities[0]


async def test_switching_moves_the_contact_and_stops_the_load(
    bench: Bench, link: MeterLink
) -> None:
    async with link.session(bench.accesses[0], turn) as session:
        assert (await session.read_relay()).supply_state is SupplyState.CONNECTED
        await session.switch_relay(SupplyAction.DISCONNECT)
    assert await relay_after(bench, link) is SupplyState.DISCONNECTED
    assert not await bench.is_closed()
    bench.advance(1800)
    quiet = NOON + timedelta(minutes=15)
    assert await bench.energy_wh(quiet, quiet + timedelta(minutes=15)) == [0]
    async with link.session(bench.accesses[0], turn) as session:
        await session.switch_relay(SupplyAction.RECONNECT)
    assert await relay_after(bench, link) is SupplyState.CONNECTED
    assert await bench.is_closed()


async def test_an_unanswered_command_is_an_unknown_outcome_and_can_be_read_back(
    bench: Bench, link: MeterLink
) -> None:
    await bench.break_meter("switch_unanswered")
    async with link.session(bench.accesses[0], turn) as session:
        with pytest.raises(OutcomeUnknown):
            await session.switch_relay(SupplyAction.DISCONNECT)
    assert await relay_after(bench, link) is SupplyState.DISCONNECTED


async def test_an_acknowledgement_is_not_evidence(bench: Bench, link: MeterLink) -> None:
    await bench.break_meter("contact_stuck")
    async with link.session(bench.accesses[0], turn) as session:
        await session.switch_relay(SupplyAction.DISCONNECT)
    assert await relay_after(bench, link) is not SupplyState.DISCONNECTED
    assert await bench.is_closed()


async def test_a_silent_meter_is_unreachable_and_its_neighbour_answers(
    bench: Bench, link: MeterLink
) -> None:
    await bench.break_meter("silent")
    with pytest.raises(MeterUnreachable):
        async with link.session(bench.accesses[0], turn) as session:
            await session.read_identity()
    async with link.session(bench.accesses[1], turn) as session:
        assert await session.read_identity() == bench.identities[1]


async def test_a_busy_meter_says_so_and_nothing_moves(bench: Bench, link: MeterLink) -> None:
    await bench.break_meter("busy")
    with pytest.raises(MeterBusy):
        async with link.session(bench.accesses[0], turn) as session:
            await session.switch_relay(SupplyAction.DISCONNECT)
    assert await bench.is_closed()


async def test_a_wrong_key_is_final(bench: Bench, link: MeterLink) -> None:
    wrong = replace(bench.accesses[0], encryption_key=bytes(range(16)))
    with pytest.raises(AuthenticationFailed):
        async with link.session(wrong, turn) as session:
            await session.read_identity()


async def test_giving_way_reaches_the_caller_and_the_next_session_works(
    bench: Bench, link: MeterLink
) -> None:
    turns = 0

    @asynccontextmanager
    async def interrupted() -> AsyncIterator[None]:
        nonlocal turns
        turns += 1
        if turns == 4:
            raise Preempted("an order came")
        yield

    async def read_on_and_on() -> None:
        async with link.session(bench.accesses[0], interrupted) as session:
            for _ in range(9):
                await session.read_relay()

    with pytest.raises(Preempted):
        await read_on_and_on()
    async with link.session(bench.accesses[0], turn) as session:
        assert await session.read_identity() == bench.identities[0]


async def test_a_closed_link_is_not_open(bench: Bench) -> None:
    link = await bench.adapter.open_link(bench.endpoint)
    await link.close()
    assert not link.is_open
