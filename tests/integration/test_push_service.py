"""Simulated meters push to the running service: stored, heard, orders hastened, or refused."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headend.bootstrap import Services, open_services
from headend.configuration import Settings
from headend.domain.errors import ConfigurationError
from headend.domain.obis import ACTIVE_ENERGY_IMPORT
from headend.ports.registry import (
    NewArea,
    NewConcentrator,
    NewInstallation,
    NewMeter,
    NewTransformerArea,
    NewUsagePoint,
)
from headend.roles import Role, run_roles
from headend.services.registry_import import (
    ImportRefused,
    NewMeterKey,
    RegistryBundle,
    RegistryImport,
)
from protocols.dlms.notification import DataNotification
from protocols.dlms.wrapper import encode_frame
from protocols.simulator.business_time import US_PER_S, to_us
from protocols.simulator.device import Device
from protocols.simulator.faults import Fault
from protocols.simulator.fleet import FleetSpec, MeterSpec, make_fleet
from protocols.simulator.push import push_body
from protocols.simulator.simulator import Simulator

EVERY_S = 900
WAIT_S = 10.0
INSTALLED = datetime(2025, 6, 1, tzinfo=UTC)
# Nobody listens there: the waiting order's meter is never reached.
DEAD_ENDPOINT = "dlms+tcp://127.0.0.1:1"


def bundle_of(fleet: FleetSpec) -> RegistryBundle:
    return RegistryBundle(
        areas=[NewArea("A", "city")],
        transformer_areas=[NewTransformerArea("T", "transformer", "A")],
        usage_points=[NewUsagePoint(f"U-{m.meter_no}", "T", "street") for m in fleet.meters],
        concentrators=[NewConcentrator("DC001", DEAD_ENDPOINT)],
        meters=[new_meter(m) for m in fleet.meters],
        installations=[
            NewInstallation(m.meter_no, f"U-{m.meter_no}", INSTALLED) for m in fleet.meters
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


def new_meter(spec: MeterSpec, **values: Any) -> NewMeter:
    given: dict[str, Any] = {
        "meter_no": spec.meter_no,
        "endpoint": DEAD_ENDPOINT,
        "link_address": spec.address,
        "model": spec.model,
        "logical_device_name": spec.logical_device_name,
        "serial": spec.serial,
        "concentrator_no": "DC001",
        "system_title": spec.system_title,
    }
    return NewMeter(**{**given, **values})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Site:
    """The service with its listener, and the meters that push to it."""

    services: Services
    simulator: Simulator
    port: int
    meter_ids: dict[str, int]

    @property
    def meters(self) -> list[Device]:
        return list(self.simulator.devices.values())

    async def rows(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        async with self.services.pool.connection() as connection:
            cursor = await connection.execute(statement.encode(), parameters)
            return await cursor.fetchall()

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not await condition():
                # The listener wakes nobody; its next event, or 10 ms, is soon enough.
                await self.services.wake.wait(0.01)

    async def until_counted(self, condition: Callable[[], bool]) -> None:
        async def holds() -> bool:
            return condition()

        await self.until(holds)

    async def send(self, *apdus: bytes) -> None:
        _reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for apdu in apdus:
            writer.write(encode_frame(1, 1, apdu))
        await writer.drain()
        writer.close()

    async def push_on_schedule(self, device: Device, scheme: str = "tcp") -> datetime:
        """Let one meter push at its next due instant; return that instant."""
        target = f"{scheme}://127.0.0.1:{self.port}"
        values = {"fault": "push", "target": target, "every_s": EVERY_S}
        self.simulator.set_fault(device.meter_no, Fault.from_json(values))
        await self.simulator.pusher.push_due()
        clock = self.simulator.clock
        now_us = clock.now_us()
        due_us = (now_us // (EVERY_S * US_PER_S) + 1) * EVERY_S * US_PER_S
        clock.set_offset((clock.offset_us + due_us - now_us) / US_PER_S + 1)
        due = datetime.fromtimestamp(due_us // US_PER_S, UTC)
        await self.services.clock.jump_to(due + timedelta(seconds=1))
        assert await self.simulator.pusher.push_due() == 1
        return due


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    fleet = make_fleet(5, 1, 3)
    simulator = Simulator(fleet)
    settings = Settings(state_dir=tmp_path, push_port=free_port())
    async with open_services(settings, database_url, demo=True, adapters=()) as services:
        await RegistryImport(services.store, services.vault).put(bundle_of(fleet))
        async with services.store.transaction() as uow:
            meter_ids = await uow.registry.meter_ids([m.meter_no for m in fleet.meters])
        async with run_roles(services, {Role.COLLECTOR}, follow_clock=False):
            yield Site(services, simulator, settings.push_port or 0, meter_ids)


def seal(device: Device, at: datetime) -> bytes:
    """Cipher a push that tells its time only by the clock among its values."""
    return device.seal_push(DataNotification(1, None, push_body(device, to_us(at))).encode())


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
async def test_scheduled_push_is_stored_as_the_meter_measured(site: Site, scheme: str) -> None:
    device = site.meters[0]
    meter_id = site.meter_ids[device.meter_no]
    due = await site.push_on_schedule(device, scheme)
    await site.until_counted(lambda: site.services.pushes.counts.taken == 1)
    (register,) = await site.rows(
        "select * from register_reading where meter_id = %s and obis = %s",
        meter_id,
        str(ACTIVE_ENERGY_IMPORT),
    )
    assert register["measured_at"] == due
    assert register["value"] == device.meter.register_wh_at(to_us(due))
    assert (register["unit"], register["source"]) == ("Wh", "push")
    (contact,) = await site.rows("select * from meter_contact where meter_id = %s", meter_id)
    assert contact["last_heard_at"] >= due
    (supply,) = await site.rows("select * from supply_state where meter_id = %s", meter_id)
    assert (supply["state"], supply["source"]) == ("connected", "push")
    assert supply["observed_at"] == due
    assert supply["control_mode"] == device.contact.control_mode


async def test_replay_and_stranger_are_refused_and_audited_once(site: Site) -> None:
    first, second, _ = site.meters
    await site.rows("update meter set system_title = null where meter_no = %s returning 1",
                    second.meter_no)  # fmt: skip
    sealed = seal(first, site.services.clock.now())
    stranger = seal(second, site.services.clock.now())
    await site.send(sealed, sealed, sealed, stranger, stranger, stranger)
    counts = site.services.pushes.counts
    await site.until_counted(lambda: counts.refused.total() == 5)
    assert counts.taken == 1
    assert counts.refused == {"replayed": 2, "unknown_sender": 3}
    audited = await site.rows(
        "select subject, detail ->> 'reason' as reason from audit_event"
        " where action = 'push.refused' order by audit_id"
    )
    assert [(row["subject"], row["reason"]) for row in audited] == [
        (f"system_title:{first.spec.system_title.hex()}", "replayed"),
        ("peer:127.0.0.1", "unknown_sender"),
    ]
    heard = await site.rows("select meter_id from meter_contact")
    assert [row["meter_id"] for row in heard] == [site.meter_ids[first.meter_no]]


async def test_replay_is_refused_after_a_restart(site: Site) -> None:
    sealed = seal(site.meters[0], site.services.clock.now())
    await site.send(sealed)
    await site.until_counted(lambda: site.services.pushes.counts.taken == 1)
    settings = Settings(state_dir=site.services.settings.state_dir, push_port=free_port())
    async with (
        open_services(settings, site.services.database_url, demo=True, adapters=()) as again,
        run_roles(again, {Role.COLLECTOR}, follow_clock=False),
    ):
        other = Site(again, site.simulator, settings.push_port or 0, site.meter_ids)
        await other.send(sealed)
        await other.until_counted(lambda: again.pushes.counts.refused["replayed"] == 1)
        assert again.pushes.counts.taken == 0


async def test_waiting_orders_of_the_meter_become_due(site: Site) -> None:
    first, second, third = site.meters
    now = site.services.clock.now()
    later, tomorrow = now + timedelta(hours=6), now + timedelta(days=1)
    order = (
        "insert into supply_order (usage_point_id, meter_id, link_id, action, purpose, state,"
        " priority, reason, requested_by, idempotency_key, not_before, next_attempt_at,"
        " created_at, created_real_at) select i.usage_point_id, i.meter_id, m.link_id,"
        " 'reconnect', 'arrears', 'queued', 0, 'paid', 'test', m.meter_no, %s, %s, %s, now()"
        " from meter m join meter_installation i using (meter_id) where m.meter_no = %s"
        " returning order_id"
    )
    (mine,) = await site.rows(order, None, later, now, first.meter_no)
    (others,) = await site.rows(order, None, later, now, second.meter_no)
    (planned,) = await site.rows(order, tomorrow, tomorrow, now, third.meter_no)
    await site.send(seal(first, now), seal(third, now))
    counts = site.services.pushes.counts
    await site.until_counted(lambda: counts.taken == 2)
    assert counts.hastened_orders == 1

    async def tried() -> bool:
        events = await site.rows("select distinct order_id from supply_order_event")
        return [row["order_id"] for row in events] == [mine["order_id"]]

    await site.until(tried)
    rows = await site.rows("select order_id, next_attempt_at from supply_order where attempts = 0")
    due = {row["order_id"]: row["next_attempt_at"] for row in rows}
    assert due[others["order_id"]] == later
    assert due[planned["order_id"]] == tomorrow


async def test_push_from_the_future_is_heard_but_not_believed(site: Site) -> None:
    device = site.meters[0]
    ahead = site.services.clock.now() + timedelta(hours=3)
    site.simulator.clock.set_offset(3 * 3600 + 10)
    await site.send(seal(device, ahead))
    await site.until_counted(lambda: site.services.pushes.counts.taken == 1)
    assert site.services.pushes.counts.without_time == 1
    assert await site.rows("select 1 as one from register_reading") == []
    assert await site.rows("select 1 as one from supply_state") == []
    (event,) = await site.rows("select event_code, detail from meter_event")
    assert event["event_code"] == "clock_drift"
    assert event["detail"]["drift_s"] > 3 * 3600 - 60


async def test_port_in_use_is_one_sentence(site: Site) -> None:
    settings = Settings(state_dir=site.services.settings.state_dir, push_port=site.port)
    async with open_services(settings, site.services.database_url, demo=True, adapters=()) as again:
        with pytest.raises(ConfigurationError, match=f"TCP 127.0.0.1:{site.port}"):
            async with run_roles(again, {Role.COLLECTOR}, follow_clock=False):
                pass


async def test_title_is_unique_and_may_come_later(site: Site) -> None:
    first, second, third = (device.spec for device in site.meters)
    await site.rows("update meter set system_title = null returning 1")
    importer = RegistryImport(site.services.store, site.services.vault)
    await importer.put(RegistryBundle(meters=[new_meter(first)]))
    taken = new_meter(second, system_title=first.system_title)
    with pytest.raises(ImportRefused, match=f"system_title: '{first.system_title.hex()}' is taken"):
        await importer.put(RegistryBundle(meters=[taken]))
    with pytest.raises(ImportRefused, match="a system title of 8 octets"):
        await importer.put(RegistryBundle(meters=[new_meter(third, system_title=b"short")]))
    rows = await site.rows(
        "select meter_no, system_title from meter where system_title is not null"
    )
    assert [(row["meter_no"], bytes(row["system_title"])) for row in rows] == [
        (first.meter_no, first.system_title)
    ]
