"""A small fleet of fake meters on a real PostgreSQL, registered as a deployment would be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from headend.domain.reading import MeterIdentity
from headend.ports.registry import (
    NewAccount,
    NewArea,
    NewConcentrator,
    NewInstallation,
    NewMeter,
    NewOccupancy,
    NewTransformerArea,
    NewUsagePoint,
)
from headend.services.collection import Collection, CollectionSettings
from headend.services.links import LinkPool
from headend.services.reading_retry import RetryPolicy
from headend.services.registry_import import NewMeterKey, RegistryBundle, RegistryImport
from headend.store.database import Pool, open_pool
from headend.store.keys import KeyVault
from headend.store.unit_of_work import PostgresStore
from headend.testing.clock import FakeClock
from headend.testing.meters import FakeMeter, FakeMeterAdapter

# 2026-03-05 00:05 in Shanghai.
NOW = datetime(2026, 3, 4, 16, 5, tzinfo=UTC)
TODAY = date(2026, 3, 5)
INSTALLED = datetime(2026, 2, 1, tzinfo=UTC)
ENDPOINTS = ("fake+tcp://one", "fake+tcp://two")
METERS_EACH = 6


@dataclass
class Fleet:
    """What a test of collection needs."""

    pool: Pool
    store: PostgresStore
    clock: FakeClock
    adapter: FakeMeterAdapter
    links: LinkPool
    vault: KeyVault
    collection: Collection
    meter_ids: dict[str, int]
    concentrator_ids: list[int]
    pauses: list[float]

    def meter(self, number: int) -> FakeMeter:
        """Return the fake behind the n-th meter, from 0."""
        endpoint = ENDPOINTS[number // METERS_EACH]
        return self.adapter.meters[endpoint, number % METERS_EACH + 1]

    def meter_id(self, number: int) -> int:
        return self.meter_ids[meter_no(number)]

    async def rows(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        """Return what a SQL user would see."""
        async with self.pool.connection() as connection:
            cursor = await connection.execute(statement.encode(), parameters)
            return await cursor.fetchall()


def meter_no(number: int) -> str:
    return f"M{number:03d}"


def key_of(number: int) -> bytes:
    return bytes([number + 1]) * 16


def registry_bundle() -> RegistryBundle:
    """Return two concentrators with their meters, installed and inhabited."""
    numbers = range(len(ENDPOINTS) * METERS_EACH)
    return RegistryBundle(
        areas=[NewArea("A", "city"), NewArea("A1", "district", "A")],
        transformer_areas=[NewTransformerArea("T1", "transformer", "A1")],
        usage_points=[NewUsagePoint(f"U{n:03d}", "T1", f"{n} Street") for n in numbers],
        concentrators=[NewConcentrator(f"C{n}", url) for n, url in enumerate(ENDPOINTS)],
        meters=[
            NewMeter(
                meter_no=meter_no(n),
                endpoint=ENDPOINTS[n // METERS_EACH],
                link_address=n % METERS_EACH + 1,
                model="generic",
                logical_device_name=f"LDN{n:03d}",
                serial=f"{n:08d}",
                concentrator_no=f"C{n // METERS_EACH}",
            )
            for n in numbers
        ],
        installations=[
            NewInstallation(meter_no(n), f"U{n:03d}", INSTALLED, link_confirmed_at=INSTALLED)
            for n in numbers
        ],
        accounts=[NewAccount(f"ACC{n:03d}", f"客户{n}", "RES", INSTALLED) for n in numbers],
        occupancies=[NewOccupancy(f"ACC{n:03d}", f"U{n:03d}", INSTALLED.date()) for n in numbers],
        meter_keys=[NewMeterKey(meter_no(n), "encryption", key_of(n)) for n in numbers],
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, max_size=12) as pool:
        yield pool


@pytest.fixture
async def store(pool: Pool) -> PostgresStore:
    store = PostgresStore(pool)
    async with store.transaction() as uow:
        await uow.readings.ensure_partitions(date(2026, 2, 26), date(2026, 3, 12))
    async with pool.connection() as connection:
        await connection.execute("insert into tariff (tariff_code, document) values ('RES', '{}')")
    return store


@pytest.fixture
async def fleet(pool: Pool, store: PostgresStore, clock: FakeClock) -> AsyncIterator[Fleet]:
    vault = KeyVault(bytes(range(32)))
    await RegistryImport(store, vault).put(registry_bundle())
    adapter = FakeMeterAdapter(clock)
    numbers = range(len(ENDPOINTS) * METERS_EACH)
    for n in numbers:
        meter = FakeMeter(
            address=n % METERS_EACH + 1,
            identity=MeterIdentity(f"LDN{n:03d}", f"{n:08d}"),
            since=INSTALLED,
            load_wh=lambda start, n=n: 10 * (n + 1) + start // 900 % 4,
            encryption_key=key_of(n),
        )
        adapter.place(ENDPOINTS[n // METERS_EACH], meter)
    async with store.transaction() as uow:
        meter_ids = await uow.registry.meter_ids([meter_no(n) for n in numbers])
        concentrator_ids = await uow.registry.concentrator_ids()
    links = LinkPool(store, dict.fromkeys(adapter.schemes, adapter), holder="test")
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    collection = Collection(
        store,
        clock,
        links,
        vault,
        settings=CollectionSettings(batch_meters=4, retry=RetryPolicy(pauses_s=(1.0, 2.0))),
        pause=pause,
    )
    yield Fleet(
        pool, store, clock, adapter, links, vault, collection, meter_ids, concentrator_ids, pauses
    )
    await links.close()


def day_before(days: int) -> date:
    return TODAY - timedelta(days=days)
