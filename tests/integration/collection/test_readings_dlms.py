"""Collection over real DLMS (sockets, ciphering, counters) against the truth of the simulator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pytest

from headend.domain.days import day_span
from headend.domain.obis import ACTIVE_ENERGY_IMPORT
from headend.domain.reading import Quality
from headend.ports.registry import (
    NewArea,
    NewConcentrator,
    NewInstallation,
    NewMeter,
    NewTransformerArea,
    NewUsagePoint,
)
from headend.services.collection import Collection, CollectionSettings
from headend.services.links import LinkPool
from headend.services.meter_keys import unlock
from headend.services.reading_retry import RetryPolicy
from headend.services.registry_import import NewMeterKey, RegistryBundle, RegistryImport
from headend.services.turnstile import Priority
from headend.store.counters import PostgresCounterStore
from headend.store.database import Pool
from headend.store.keys import KeyVault
from headend.store.unit_of_work import PostgresStore
from protocols.dlms.conversation import Timeouts
from protocols.dlms.driver import DlmsAdapter
from protocols.dlms.meter_model import load_model
from protocols.dlms.services.clock import set_clock
from protocols.dlms.services.wall_clock import WallClock
from protocols.dlms.session import DlmsSession
from protocols.simulator.business_time import BusinessClock, to_us
from protocols.simulator.control import ControlServer
from protocols.simulator.control_client import SimulatorControl
from protocols.simulator.fleet import FleetSpec, make_fleet
from protocols.simulator.simulator import Simulator

# 2026-03-05 00:05 in Shanghai.
NOW = datetime(2026, 3, 4, 16, 5, tzinfo=UTC)
TODAY = date(2026, 3, 5)
COMMISSIONED = "2026-02-20T00:00:00+08:00"
QUICK = Timeouts(connect_s=5.0, answer_s=0.3, release_s=0.2, probe_s=0.2)


@dataclass
class Field:
    """Simulated meters in the field and the collection that reads them."""

    store: PostgresStore
    collection: Collection
    control: SimulatorControl
    links: LinkPool
    vault: KeyVault
    fleet: FleetSpec
    meter_ids: dict[str, int]
    concentrator_id: int

    async def differences(self, number: int) -> list[date]:
        """Return the days of one meter that are not stored exactly as it measured them."""
        meter_no = self.fleet.meters[number].meter_no
        async with self.store.transaction() as uow:
            stored = await uow.readings.profile_days(
                [self.meter_ids[meter_no]],
                ACTIVE_ENERGY_IMPORT,
                TODAY - timedelta(days=3),
                TODAY,
            )
        wrong = {TODAY - timedelta(days=n) for n in (3, 2, 1)}
        for day in stored:
            rows = await self.control.rows(meter_no, *day_span(day.profile.day, "Asia/Shanghai"))
            same = rows.energy_wh.tolist() == day.profile.energy_wh.tolist()
            if same and not (day.profile.quality != Quality.ACTUAL).any():
                wrong.discard(day.profile.day)
        return sorted(wrong)


def bundle_of(fleet: FleetSpec, endpoint: str) -> RegistryBundle:
    commissioned = datetime.fromisoformat(COMMISSIONED)
    return RegistryBundle(
        areas=[NewArea("A", "city")],
        transformer_areas=[NewTransformerArea("T", "transformer", "A")],
        usage_points=[NewUsagePoint(f"U-{m.meter_no}", "T", "street") for m in fleet.meters],
        concentrators=[NewConcentrator("DC001", endpoint)],
        meters=[
            NewMeter(
                meter_no=m.meter_no,
                endpoint=endpoint,
                link_address=m.address,
                model=m.model,
                logical_device_name=m.logical_device_name,
                serial=m.serial,
                concentrator_no="DC001",
            )
            for m in fleet.meters
        ],
        installations=[
            NewInstallation(m.meter_no, f"U-{m.meter_no}", commissioned) for m in fleet.meters
        ],
        meter_keys=[
            NewMeterKey(m.meter_no, kind, bytes.fromhex(value))
            for m in fleet.meters
            for kind, value in (
                ("encryption", m.encryption_key),
                ("authentication", m.authentication_key),
            )
        ],
    )


@pytest.fixture
async def field(pool: Pool, store: PostgresStore) -> AsyncIterator[Field]:
    fleet = make_fleet(11, 1, 4, commissioned_at=COMMISSIONED)
    simulator = Simulator(fleet, clock=BusinessClock(real_us=lambda: to_us(NOW)))
    server = ControlServer(simulator, on_shutdown=lambda: None)
    await simulator.start()
    await server.start()
    control = await SimulatorControl.connect(port=server.port)
    group = simulator.concentrators["DC001"]
    vault = KeyVault(bytes(range(32)))
    await RegistryImport(store, vault).put(
        bundle_of(fleet, f"dlms+tcp://{group.host}:{group.port}")
    )
    adapter = DlmsAdapter(
        PostgresCounterStore(pool), simulator.clock, system_title=b"HES00001", timeouts=QUICK
    )
    links = LinkPool(store, dict.fromkeys(adapter.schemes, adapter), holder="test")
    settings = CollectionSettings(retry=RetryPolicy(pauses_s=(0.0,)))
    async with store.transaction() as uow:
        meter_ids = await uow.registry.meter_ids([m.meter_no for m in fleet.meters])
        (concentrator_id,) = await uow.registry.concentrator_ids()
    collection = Collection(store, simulator.clock, links, vault, settings=settings)
    yield Field(store, collection, control, links, vault, fleet, meter_ids, concentrator_id)
    await links.close()
    await control.close()
    await server.stop()
    await simulator.stop()


async def test_what_is_stored_is_what_the_meters_measured(field: Field) -> None:
    result = await field.collection.collect_concentrator(field.concentrator_id, TODAY)
    assert result.causes == {}
    assert (result.heard, result.intervals, result.registers) == (4, 4 * 3 * 96, 4)
    for number in range(4):
        assert await field.differences(number) == []


async def test_faults_leave_their_causes_and_the_next_run_fills_the_gaps(field: Field) -> None:
    faults = {0: "silent", 1: "wrong_identity", 2: "wrong_key"}
    for number, fault in faults.items():
        await field.control.set_fault(field.fleet.meters[number].meter_no, fault)
    result = await field.collection.collect_concentrator(field.concentrator_id, TODAY)
    assert result.causes == {"no_route": 3, "identity_mismatch": 3, "wrong_key": 3}
    assert await field.differences(3) == []
    assert len(await field.differences(1)) == 3, "nothing of a foreign device is kept"
    for number in faults:
        await field.control.clear_fault(field.fleet.meters[number].meter_no)
    healed = await field.collection.collect_concentrator(field.concentrator_id, TODAY)
    assert healed.causes == {}
    for number in range(4):
        assert await field.differences(number) == []


async def test_a_clock_that_is_off_is_seen_and_gone_after_it_was_set(field: Field) -> None:
    spec = field.fleet.meters[0]
    truth = await field.control.truth(spec.meter_no)
    await field.control.set_fault(spec.meter_no, "clock_drift", offset_s=-600)
    result = await field.collection.collect_concentrator(field.concentrator_id, TODAY)
    assert result.clocks_off == 1
    after = await field.control.truth(spec.meter_no)
    assert (after.business_time, after.register_wh) == (truth.business_time, truth.register_wh)
    async with field.store.transaction() as uow:
        record = await uow.registry.meter_access(field.meter_ids[spec.meter_no])
    access = unlock(record, field.vault)
    async with field.links.session(record.link_id, access, Priority.ON_DEMAND) as session:
        assert isinstance(session, DlmsSession)
        await set_clock(session, WallClock(load_model(spec.model)), NOW)
        assert abs((await session.read_clock() - NOW).total_seconds()) < 1
    again = await field.collection.collect_concentrator(
        field.concentrator_id, TODAY + timedelta(days=1)
    )
    assert again.clocks_off == 0
