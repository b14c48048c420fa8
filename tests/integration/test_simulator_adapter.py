"""The head-end's own DLMS adapter against simulated meters over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headend.domain import obis as codes
from headend.domain.errors import (
    AuthenticationFailed,
    MeterBusy,
    MeterMisbehaved,
    MeterRefused,
    MeterUnreachable,
    OutcomeUnknown,
)
from headend.domain.supply import ControlState, SupplyAction, SupplyState
from headend.ports import MeterAccess, MeterLink, MeterSession
from protocols.dlms.conversation import Timeouts
from protocols.dlms.driver import DlmsAdapter
from protocols.simulator.business_time import US_PER_S, BusinessClock, to_us
from protocols.simulator.control import ControlServer
from protocols.simulator.control_client import SimulatorControl
from protocols.simulator.fleet import MeterSpec, make_fleet
from protocols.simulator.simulator import Simulator

NOON = datetime(2025, 3, 10, 4, 0, tzinfo=UTC)
FLEET = make_fleet(2, 1, 3, commissioned_at="2025-03-01T00:00:00+08:00", relay_delay_ms=200)
METERS = FLEET.meters
QUICK = Timeouts(connect_s=5.0, answer_s=0.3, release_s=0.2, probe_s=0.3)


class MemoryCounters:
    """`CounterStore` in memory."""

    def __init__(self) -> None:
        self._next: dict[tuple[int, int, str], int] = {}
        self._received: dict[tuple[int, int, str], int] = {}

    async def reserve(self, meter_id: int, client_address: int, key_id: str, count: int) -> int:
        first = self._next.get((meter_id, client_address, key_id), 0)
        self._next[meter_id, client_address, key_id] = first + count
        return first

    async def raise_to(self, meter_id: int, client_address: int, key_id: str, counter: int) -> None:
        key = (meter_id, client_address, key_id)
        self._next[key] = max(self._next.get(key, 0), counter)

    async def check_received(
        self, meter_id: int, client_address: int, key_id: str, counter: int
    ) -> bool:
        key = (meter_id, client_address, key_id)
        grew = counter > self._received.get(key, -1)
        self._received[key] = max(counter, self._received.get(key, -1))
        return grew


class Rig:
    """A simulator with a hand-moved wall clock, its control socket, and the adapter."""

    def __init__(self) -> None:
        self.us = to_us(NOON)
        self.simulator = Simulator(FLEET, clock=BusinessClock(real_us=lambda: self.us))
        self.server = ControlServer(self.simulator, on_shutdown=lambda: None)
        self.adapter = DlmsAdapter(
            MemoryCounters(), self.simulator.clock, system_title=b"HES00001", timeouts=QUICK
        )
        self.control: SimulatorControl
        self.link: MeterLink

    def advance(self, seconds: float) -> None:
        self.us += round(seconds * US_PER_S)

    async def start(self) -> None:
        await self.simulator.start()
        await self.server.start()
        self.control = await SimulatorControl.connect(port=self.server.port)
        group = self.simulator.concentrators["DC001"]
        self.link = await self.adapter.open_link(f"dlms+tcp://{group.host}:{group.port}")

    async def stop(self) -> None:
        await self.link.close()
        await self.control.close()
        await self.server.stop()
        await self.simulator.stop()

    def session(self, number: int, **changes: Any) -> AbstractAsyncContextManager[MeterSession]:
        return self.link.session(access(METERS[number], number, **changes), turn)


def access(meter: MeterSpec, number: int, **changes: Any) -> MeterAccess:
    values: dict[str, Any] = {
        "meter_id": number + 1,
        "address": meter.address,
        "model": meter.model,
        "encryption_key": bytes.fromhex(meter.encryption_key),
        "authentication_key": bytes.fromhex(meter.authentication_key),
    }
    return MeterAccess(**{**values, **changes})


@asynccontextmanager
async def turn() -> AsyncIterator[None]:
    yield


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    await rig.start()
    yield rig
    await rig.stop()


async def test_identity_clock_and_register_are_the_meter_s_truth(rig: Rig) -> None:
    async with rig.session(0) as session:
        identity = await session.read_identity()
        clock = await session.read_clock()
        (energy,) = await session.read_registers([codes.ACTIVE_ENERGY_IMPORT])
    truth = await rig.control.truth(METERS[0].meter_no)
    assert identity.logical_device_name == METERS[0].logical_device_name
    assert identity.serial == METERS[0].serial
    assert clock == NOON
    assert (energy.value, energy.unit) == (truth.register_wh, "Wh")


async def test_a_day_of_the_profile_is_row_for_row_the_truth(rig: Rig) -> None:
    start = datetime(2025, 3, 8, 16, tzinfo=UTC)
    end = start + timedelta(days=1)
    async with rig.session(1) as session:
        rows = await session.read_profile(codes.LOAD_PROFILE_1, start, end)
    truth = await rig.control.rows(METERS[1].meter_no, start, end)
    assert rows.interval_s == 900
    assert rows.start.tolist() == truth.start_s.tolist()
    assert rows.energy_wh.tolist() == truth.energy_wh.tolist()
    assert rows.start.size == 96
    assert set(rows.quality.tolist()) == {0}


async def test_the_rows_of_a_disconnected_time_are_zero_and_reconcile(rig: Rig) -> None:
    async with rig.session(0) as session:
        await session.switch_relay(SupplyAction.DISCONNECT)
        rig.advance(1)
        (opened,) = await session.read_registers([codes.ACTIVE_ENERGY_IMPORT])
        await rig.control.set_offset(86_400)
        (later,) = await session.read_registers([codes.ACTIVE_ENERGY_IMPORT])
        rows = await session.read_profile(codes.LOAD_PROFILE_1, NOON, NOON + timedelta(days=1))
    assert later.value == opened.value
    assert int(rows.energy_wh.sum()) == 0
    assert rows.start.size == 96


async def test_open_and_close_are_seen_on_the_wire_and_on_the_control_socket(rig: Rig) -> None:
    meter_no = METERS[0].meter_no
    async with rig.session(0) as session:
        await session.switch_relay(SupplyAction.DISCONNECT)
        moving = await session.read_relay()
        assert moving.output_state is True
        assert moving.supply_state is SupplyState.UNKNOWN
        assert (await rig.control.truth(meter_no)).closed
        rig.advance(0.2)
        opened = await session.read_relay()
        assert opened.supply_state is SupplyState.DISCONNECTED
        assert opened.power_w == 0
        truth = await rig.control.truth(meter_no)
        assert (truth.closed, truth.openings, truth.since) == (
            False, 1, NOON + timedelta(milliseconds=200),
        )  # fmt: skip
        await session.switch_relay(SupplyAction.RECONNECT)
        rig.advance(0.2)
        closed = await session.read_relay()
        assert closed.supply_state is SupplyState.CONNECTED
        assert closed.power_w is not None
        assert closed.power_w > 0
    assert (await rig.control.truth(meter_no)).switch_count == 2
    assert (await rig.control.truth(METERS[1].meter_no)).switch_count == 0


async def test_armed_is_ready_for_reconnection_until_the_button_is_pressed(rig: Rig) -> None:
    meter_no = METERS[0].meter_no
    await rig.control.set_fault(meter_no, "button_required")
    async with rig.session(0) as session:
        await session.switch_relay(SupplyAction.DISCONNECT)
        rig.advance(0.2)
        await session.switch_relay(SupplyAction.RECONNECT)
        rig.advance(0.2)
        armed = await session.read_relay()
        assert armed.control_state is ControlState.READY_FOR_RECONNECTION
        assert not armed.output_state
        assert await rig.control.press_button(meter_no)
        rig.advance(0.2)
        assert (await session.read_relay()).supply_state is SupplyState.CONNECTED


async def test_a_stuck_relay_is_acknowledged_and_never_confirmed(rig: Rig) -> None:
    meter_no = METERS[0].meter_no
    await rig.control.set_fault(meter_no, "relay_stuck")
    async with rig.session(0) as session:
        await session.switch_relay(SupplyAction.DISCONNECT)
        rig.advance(60)
        assert (await session.read_relay()).supply_state is SupplyState.UNKNOWN
    assert (await rig.control.truth(meter_no)).closed


async def test_a_silent_meter_is_unreachable_and_its_neighbour_is_read(rig: Rig) -> None:
    await rig.control.set_fault(METERS[0].meter_no, "silent")
    with pytest.raises(MeterUnreachable):
        async with rig.session(0):
            pass
    async with rig.session(1) as session:
        assert (await session.read_identity()).serial == METERS[1].serial
    await rig.control.clear_fault(METERS[0].meter_no)
    async with rig.session(0) as session:
        assert (await session.read_identity()).serial == METERS[0].serial


async def test_an_unanswered_command_is_an_unknown_outcome_that_can_be_read_back(rig: Rig) -> None:
    meter_no = METERS[0].meter_no
    await rig.control.set_fault(meter_no, "action_unanswered")
    async with rig.session(0) as session:
        with pytest.raises(OutcomeUnknown):
            await session.switch_relay(SupplyAction.DISCONNECT)
    rig.advance(1)
    async with rig.session(0) as session:
        assert (await session.read_relay()).supply_state is SupplyState.DISCONNECTED


async def test_wrong_identity_wrong_key_and_busy_are_told_apart(rig: Rig) -> None:
    meter_no = METERS[2].meter_no
    await rig.control.set_fault(meter_no, "wrong_identity")
    async with rig.session(2) as session:
        assert (await session.read_identity()).serial != METERS[2].serial
    await rig.control.clear_fault(meter_no)

    await rig.control.set_fault(meter_no, "wrong_key")
    with pytest.raises(AuthenticationFailed):
        async with rig.session(2):
            pass
    await rig.control.clear_fault(meter_no)

    await rig.control.set_fault(meter_no, "busy")
    async with rig.session(2) as session:
        with pytest.raises(MeterBusy):
            await session.read_registers([codes.ACTIVE_ENERGY_IMPORT])
        with pytest.raises(MeterBusy):
            await session.switch_relay(SupplyAction.DISCONNECT)
    assert (await rig.control.truth(meter_no)).switch_count == 0


async def test_a_meter_without_rows_denies_its_registers_and_still_tells_its_relay(
    rig: Rig,
) -> None:
    meter_no = METERS[0].meter_no
    await rig.control.set_fault(meter_no, "missing_rows", from_=NOON)
    await rig.control.set_offset(86_400)
    async with rig.session(0) as session:
        rows = await session.read_profile(
            codes.LOAD_PROFILE_1, NOON - timedelta(hours=1), NOON + timedelta(hours=1)
        )
        assert rows.start.size == 4
        with pytest.raises(MeterRefused):
            await session.read_registers([codes.ACTIVE_ENERGY_IMPORT])
        relay = await session.read_relay()
        assert relay.supply_state is SupplyState.CONNECTED
        assert relay.power_w is None


async def test_a_reader_by_password_reads_and_cannot_switch(rig: Rig) -> None:
    changes = {
        "client_address": 2,
        "authentication": "lls",
        "password": METERS[0].password.encode(),
        "encryption_key": None,
        "authentication_key": None,
    }
    async with rig.session(0, **changes) as session:
        (energy,) = await session.read_registers([codes.ACTIVE_ENERGY_IMPORT])
        assert energy.value > 0
        with pytest.raises(MeterRefused):
            await session.switch_relay(SupplyAction.DISCONNECT)
    with pytest.raises(AuthenticationFailed):
        async with rig.session(0, **{**changes, "password": b"wrong"}):
            pass
    assert (await rig.control.truth(METERS[0].meter_no)).closed


async def test_a_counter_ahead_is_recovered_within_the_session(rig: Rig) -> None:
    async with rig.session(0) as session:
        await session.read_identity()
    await rig.control.set_fault(METERS[0].meter_no, "counter_ahead", by=70_000)
    async with rig.session(0) as session:
        assert (await session.read_identity()).serial == METERS[0].serial
    async with rig.session(0) as session:
        assert (await session.read_relay()).output_state


async def test_lost_counters_are_told_from_a_wrong_key(rig: Rig) -> None:
    for _ in range(3):
        async with rig.session(0) as session:
            await session.read_identity()
    await rig.control.set_fault(METERS[0].meter_no, "counter_behind", by=1_000_000)
    with pytest.raises(MeterMisbehaved, match="counters were reset") as caught:
        async with rig.session(0) as session:
            await session.read_identity()
    assert not caught.value.retryable
    async with rig.session(1) as session:
        await session.read_identity()


async def test_a_day_comes_through_general_blocks(rig: Rig) -> None:
    await rig.control.set_fault(METERS[0].meter_no, "general_blocks", window=3)
    start = NOON - timedelta(days=1)
    async with rig.session(0) as session:
        rows = await session.read_profile(codes.LOAD_PROFILE_1, start, NOON)
    truth = await rig.control.rows(METERS[0].meter_no, start, NOON)
    assert rows.energy_wh.tolist() == truth.energy_wh.tolist()
