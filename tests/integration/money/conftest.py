"""A small town in a real database: households with meters, readings, and a plain reference."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from headend.domain.days import local_midnight
from headend.domain.obis import ACTIVE_ENERGY_IMPORT
from headend.domain.reading import ProfileDay, Quality, RegisterReading
from headend.ports.readings import MeterRegister
from headend.ports.unit_of_work import Store, UnitOfWork
from headend.store.database import open_pool
from headend.store.unit_of_work import PostgresStore
from headend.testing.clock import FakeClock

ZONE = "Asia/Shanghai"
# A Sunday; tiers start again on the 1st of the month.
FIRST_DAY = date(2026, 3, 1)
INTERVALS = 96
# 10^-6 yuan/kWh, i.e. nano-yuan per Wh: valley until 08:00 and from 22:00, peak between.
VALLEY, PEAK = 358_800, 558_123
SURCHARGES = (0, 50_000, 300_000)
LIMITS_WH = (20_000, 45_000)
FIXED_NANO = 120_000_000

TARIFF: dict[str, Any] = {
    "code": "town",
    "name": {"zh": "测试", "en": "Test"},
    "source": "example, made for this test",
    "versions": [
        {
            "effective_from": "2025-01-01",
            "seasons": [
                {
                    "from": "01-01",
                    "to": "12-31",
                    "day_types": {
                        "every_day": [
                            ["00:00", "08:00", "valley"],
                            ["08:00", "22:00", "peak"],
                            ["22:00", "24:00", "valley"],
                        ]
                    },
                }
            ],
            "prices_micro_yuan_per_kwh": {"peak": PEAK, "valley": VALLEY},
            "tiers": {
                "cycle": "month",
                "steps": [
                    {"up_to_kwh": 20},
                    {"up_to_kwh": 45, "surcharge_micro_yuan_per_kwh": 50_000},
                    {"up_to_kwh": None, "surcharge_micro_yuan_per_kwh": 300_000},
                ],
            },
            "fixed_charges": [
                {
                    "code": "service",
                    "name": {"zh": "服务费", "en": "Service"},
                    "per": "day",
                    "yuan": "0.12",
                }
            ],
        }
    ],
}


def rate_plainly(days: Sequence[Sequence[int]]) -> list[int]:
    """Charge days of one tier cycle by rational yuan and kWh, interval by interval [nano]."""
    used, charges = Fraction(0), []
    limits = [Fraction(limit, 1000) for limit in LIMITS_WH]
    for day in days:
        charge = Fraction(FIXED_NANO, 10**9)
        for interval, wh in enumerate(day):
            hour = Fraction(interval * 24, len(day))
            price = PEAK if 8 <= hour < 22 else VALLEY
            left = Fraction(wh, 1000)
            for tier, surcharge in enumerate(SURCHARGES):
                room = limits[tier] - used if tier < len(limits) else left
                part = max(min(left, room), Fraction(0))
                charge += part * Fraction(price + surcharge, 10**6)
                used, left = used + part, left - part
        assert (charge * 10**9).denominator == 1
        charges.append(int(charge * 10**9))
    return charges


def usage(seed: int, *, mean_wh: int = 60, intervals: int = INTERVALS) -> list[int]:
    """Draw a day's energy: (interval,) [Wh]."""
    return [int(wh) for wh in np.random.default_rng(seed).integers(0, 2 * mean_wh, intervals)]


@dataclass(frozen=True)
class Household:
    """The ids of one account and where it lives."""

    account_id: int
    account_no: str
    usage_point_id: int
    meter_id: int


class Town:
    """Writes what other parts of the head-end write, and reads what was stored."""

    def __init__(self, url: str, store: Store) -> None:
        self._connection = psycopg.connect(url, autocommit=True, row_factory=dict_row)
        self.store = store
        # A database may be shared by the examples of a property.
        self._count: int = self.one("select count(*) as n from account")["n"]
        self.run(
            "insert into area (area_code, name) values ('A', 'A') on conflict do nothing;"
            "insert into transformer_area (transformer_area_code, name, area_id)"
            " values ('T', 'T', 1) on conflict do nothing;"
            "insert into link (endpoint) values ('dlms+tcp://127.0.0.1:1') on conflict do nothing"
        )
        self.tariff_id: int = self.one(
            "insert into tariff (tariff_code, document) values ('town', %s)"
            " on conflict (tariff_code) do update set document = excluded.document"
            " returning tariff_id",
            [Jsonb(TARIFF)],
        )["tariff_id"]
        self.run("select ensure_partitions(%s, %s)", (date(2026, 1, 1), date(2026, 6, 30)))

    def close(self) -> None:
        self._connection.close()

    def run(self, statement: str, values: Any = None) -> list[dict[str, Any]]:
        """Execute SQL; return its rows."""
        cursor = self._connection.execute(statement, values)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []

    def one(self, statement: str, values: Any = None) -> dict[str, Any]:
        """Execute SQL; return its only row."""
        (row,) = self.run(statement, values)
        return row

    def household(self, *, multiplier: int = 1, since: date = date(2026, 1, 1)) -> Household:
        """Settle one account at a usage point with a meter."""
        self._count += 1
        n, at = self._count, local_midnight(since, ZONE)
        account = self.one(
            "insert into account (account_no, name, tariff_id, created_at)"
            " values (%s, %s, %s, %s) returning account_id",
            (f"33{n:08d}", f"住户{n}", self.tariff_id, at),
        )["account_id"]
        point = self.one(
            "insert into usage_point (usage_point_no, transformer_area_id, address)"
            " values (%s, 1, 'somewhere') returning usage_point_id",
            (f"P{n}",),
        )["usage_point_id"]
        self.run("insert into occupancy values (default, %s, %s, %s)", (account, point, since))
        meter = self.meter(point, at, multiplier=multiplier)
        return Household(account, f"33{n:08d}", point, meter)

    def meter(self, usage_point_id: int, at: datetime, *, multiplier: int = 1) -> int:
        """Install a new meter at a usage point, in place of the one that is there."""
        number = self.one("select count(*) + 1 as n from meter")["n"]
        meter: int = self.one(
            "insert into meter"
            " (meter_no, link_id, link_address, model, logical_device_name, serial)"
            " values (%s, 1, %s, 'm', 'L', 'S') returning meter_id",
            (f"M{number}", number),
        )["meter_id"]
        self.run(
            "update meter_installation set valid_to = %s"
            " where usage_point_id = %s and valid_to is null",
            (at, usage_point_id),
        )
        self.run(
            "insert into meter_installation (meter_id, usage_point_id, valid_from, multiplier)"
            " values (%s, %s, %s, %s)",
            (meter, usage_point_id, at, multiplier),
        )
        return meter

    async def read(
        self,
        meter_id: int,
        day: date,
        energy: Sequence[int],
        *,
        quality: Sequence[int] | None = None,
    ) -> None:
        """Store a day as collection does."""
        values = np.array(energy, dtype=np.int64)
        codes = np.array(quality or [Quality.ACTUAL] * len(energy), dtype=np.int16)
        values[codes == Quality.MISSING] = 0
        profile = ProfileDay(
            meter_id, ACTIVE_ENERGY_IMPORT, day, 86400 // len(energy), values, codes
        )
        at = local_midnight(day + timedelta(days=1), ZONE) + timedelta(minutes=5)
        async with self.store.transaction() as uow:
            await uow.readings.store_profile_days([profile], source="test", at=at)

    async def register(self, meter_id: int, at: datetime, value_wh: int) -> None:
        """Store a reading of the import register."""
        reading = RegisterReading(ACTIVE_ENERGY_IMPORT, value_wh, "Wh", at)
        async with self.store.transaction() as uow:
            await uow.readings.store_registers([MeterRegister(meter_id, reading)], source="test")

    def balance(self, home: Household) -> dict[str, Any]:
        """Return the stored balance row."""
        return self.one("select * from account_balance where account_id = %s", [home.account_id])

    def entries(self, home: Household) -> list[dict[str, Any]]:
        """Return the account's postings in the order of posting."""
        return self.run(
            "select * from ledger_entry where account_id = %s"
            " order by business_date, batch_id, entry_key",
            [home.account_id],
        )

    def rated(self, home: Household, day: date) -> dict[str, Any]:
        """Return what is stored for a day."""
        return self.one(
            "select * from account_day where account_id = %s and business_date = %s",
            (home.account_id, day),
        )

    async def check_books(self) -> None:
        """Assert that the ledger is balanced and that balances are the sums of their entries."""
        async with self.store.transaction() as uow:
            assert (await uow.ledger.imbalance()).nano == 0
            assert await uow.ledger.mismatches() == []


class DecisionsSeen:
    """Records what was decided, and may fail instead."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, str, int | None]] = []
        self.fail = False

    async def __call__(
        self, uow: UnitOfWork, account_id: int, *, trigger: str, payment_id: int | None = None
    ) -> None:
        if self.fail:
            raise RuntimeError("the decision failed")
        self.calls.append((account_id, trigger, payment_id))


@pytest.fixture
def clock() -> FakeClock:
    """01:00 in Shanghai on the day after the first one."""
    return FakeClock(datetime(2026, 3, 1, 17, 0, tzinfo=UTC))


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with open_pool(database_url) as pool:
        yield PostgresStore(pool)


@pytest.fixture
async def town(database_url: str, store: Store) -> AsyncIterator[Town]:
    town = Town(database_url, store)
    yield town
    town.close()


@pytest.fixture
def town_of() -> type[Town]:
    """Makes a town in a given database."""
    return Town


@pytest.fixture
def decisions() -> DecisionsSeen:
    return DecisionsSeen()


@pytest.fixture
def plainly() -> Any:
    """The plain reference and the usage it is fed with."""
    return rate_plainly


@pytest.fixture
def draw() -> Any:
    return usage
