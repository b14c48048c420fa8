"""A small district in a real database: accounts, meters that were just heard, and a moved clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from headend.domain.days import local_day
from headend.ports.policies import DecisionRecord
from headend.ports.unit_of_work import Store
from headend.services.decisions import DecisionRunResult, Decisions
from headend.services.guard import Guard
from headend.services.holds import Holds
from headend.services.notices import Notices
from headend.services.policies import Policies
from headend.services.supply_control import SupplyControl
from headend.store.database import open_pool
from headend.store.unit_of_work import PostgresStore
from headend.testing.clock import FakeClock
from headend.testing.notifier import FakeNotifier
from rules.governor import GovernorLimits

# A Monday, 08:30 in Shanghai: the hour of the daily decision.
START = datetime(2026, 3, 2, 0, 30, tzinfo=UTC)
YUAN = 1_000_000_000


@dataclass(frozen=True)
class Household:
    """The ids of one account and where it lives."""

    account_id: int
    account_no: str
    usage_point_id: int
    usage_point_no: str
    meter_id: int


class District:
    """Writes what other parts of the head-end would have written, and reads what was stored."""

    def __init__(self, url: str, clock: FakeClock) -> None:
        self._connection = psycopg.connect(url, autocommit=True, row_factory=dict_row)
        self._clock = clock
        self._count = 0
        self.run(
            "insert into area (area_code, name) values ('A', 'A');"
            "insert into transformer_area (transformer_area_code, name, area_id)"
            " values ('T', 'T', 1);"
            "insert into link (endpoint) values ('dlms+tcp://127.0.0.1:1');"
            "insert into tariff (tariff_code, document) values ('t', '{}')"
        )
        self._connection.execute(
            "select ensure_partitions(%s, %s)", (date(2026, 2, 1), date(2026, 6, 30))
        )

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

    def household(
        self,
        *,
        balance_yuan: float | None = 100,
        customer_class: str = "residential",
        phone: str | None = "13812345678",
        signed: bool = True,
        estimated_yuan: float = 0,
    ) -> Household:
        """Settle one account with its meter; everything about it is known and well."""
        self._count += 1
        n, now = self._count, self._clock.now()
        account = self.one(
            "insert into account (account_no, name, phone, customer_class, tariff_id,"
            " agreement_signed_at, standing_close_consent_at, created_at)"
            " values (%s, '张三', %s, %s, 1, %s, %s, %s) returning account_id",
            (f"31{n:08}", phone, customer_class, now if signed else None, now, now),
        )["account_id"]
        point = self.one(
            "insert into usage_point (usage_point_no, transformer_area_id, address)"
            " values (%s, 1, '人民路1号') returning usage_point_id",
            (f"UP{n:06}",),
        )["usage_point_id"]
        meter = self.one(
            "insert into meter (meter_no, link_id, link_address, model, logical_device_name,"
            " serial) values (%s, 1, %s, 'generic', %s, %s) returning meter_id",
            (f"M{n:06}", n, f"LDN{n}", f"S{n}"),
        )["meter_id"]
        self.run(
            "insert into meter_installation (meter_id, usage_point_id, valid_from,"
            " link_confirmed_at) values (%s, %s, %s, %s)",
            (meter, point, now - timedelta(days=300), now - timedelta(days=300)),
        )
        self.run(
            "insert into occupancy (account_id, usage_point_id, valid_from) values (%s, %s, %s)",
            (account, point, date(2025, 1, 1)),
        )
        if balance_yuan is not None:
            self.run(
                "insert into account_balance (account_id, balance_nano, estimated_nano,"
                " settled_through, actual_through, changed_at) values (%s, %s, %s, %s, %s, %s)",
                (
                    account,
                    round(balance_yuan * YUAN),
                    round(estimated_yuan * YUAN),
                    now.date(),
                    now,
                    now,
                ),
            )
        household = Household(account, f"31{n:08}", point, f"UP{n:06}", meter)
        self.heard(household)
        return household

    def heard(self, *households: Household, state: str = "connected") -> None:
        """Let the meters answer now: contact seen, readings actual up to now."""
        now = self._clock.now()
        for each in households:
            self.run(
                "insert into meter_contact (meter_id, last_heard_at) values (%s, %s)"
                " on conflict (meter_id) do update set last_heard_at = excluded.last_heard_at",
                (each.meter_id, now),
            )
            self.run(
                "insert into supply_state (usage_point_id, meter_id, state, source, observed_at)"
                " values (%s, %s, %s, 'test', %s) on conflict (usage_point_id) do update"
                " set state = excluded.state, observed_at = excluded.observed_at",
                (each.usage_point_id, each.meter_id, state, now),
            )
            self.run(
                "update account_balance set actual_through = %s where account_id = %s",
                (now, each.account_id),
            )

    def set_balance(self, household: Household, yuan: float) -> None:
        """Set what the account has left."""
        self.run(
            "update account_balance set balance_nano = %s where account_id = %s",
            (round(yuan * YUAN), household.account_id),
        )

    def notices(self, household: Household) -> list[dict[str, Any]]:
        """Return the account's notices, oldest first."""
        return self.run(
            "select * from notice where account_id = %s order by notice_id", (household.account_id,)
        )

    def stages(self, household: Household) -> list[tuple[str, str]]:
        """Return (stage, state) of the account's notices, oldest first."""
        return [(row["stage"], row["state"]) for row in self.notices(household)]

    def cycles(self, household: Household) -> list[dict[str, Any]]:
        """Return the account's notice cycles, oldest first."""
        return self.run(
            "select * from notice_cycle where account_id = %s order by cycle_id",
            (household.account_id,),
        )

    def orders(self, household: Household) -> list[dict[str, Any]]:
        """Return the usage point's supply orders, oldest first."""
        return self.run(
            "select * from supply_order where usage_point_id = %s order by order_id",
            (household.usage_point_id,),
        )

    def decisions(self, household: Household) -> list[dict[str, Any]]:
        """Return the account's stored decisions, oldest first."""
        return self.run(
            "select * from decision where account_id = %s order by decision_id",
            (household.account_id,),
        )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture
def notifier(clock: FakeClock) -> FakeNotifier:
    return FakeNotifier(clock)


@pytest.fixture
def district(database_url: str, clock: FakeClock) -> Any:
    district = District(database_url, clock)
    yield district
    district.close()


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with open_pool(database_url) as pool:
        yield PostgresStore(pool)


@dataclass
class Services:
    """The decision services, wired as `headend.bootstrap` wires them."""

    store: Store
    clock: FakeClock
    notifier: FakeNotifier
    policies: Policies
    notices: Notices
    decisions: Decisions
    holds: Holds
    supply_control: SupplyControl

    async def decide_day(self, *, shards: int = 1) -> list[DecisionRunResult]:
        """Run the daily decision for the local day of the clock."""
        day = local_day(self.clock.now(), "Asia/Shanghai")
        return [
            await self.decisions.decide_shard(day, shard=shard, shards=shards)
            for shard in range(shards)
        ]

    async def decide(self, household: Household, trigger: str) -> list[DecisionRecord]:
        """Decide one account in a transaction of its own."""
        async with self.store.transaction() as uow:
            return await self.decisions.decide_account(uow, household.account_id, trigger=trigger)

    async def next_due(self) -> datetime | None:
        """Return the earliest instant at which a notice or a planned decision is due."""
        async with self.store.transaction() as uow:
            dues = [await self.notices.next_due(uow), await self.decisions.next_due(uow)]
        return min((due for due in dues if due is not None), default=None)


@pytest.fixture
async def services(
    store: Store, clock: FakeClock, notifier: FakeNotifier, district: District
) -> Services:
    policies = Policies(store=store, clock=clock)
    await policies.ensure_default_policy()
    notices = Notices(store=store, notifier=notifier, clock=clock, policies=policies)
    supply_control = SupplyControl(clock=clock, guard=Guard(policies), limits=GovernorLimits())
    decisions = Decisions(
        store=store,
        clock=clock,
        policies=policies,
        notices=notices,
        supply_control=supply_control,
    )
    return Services(
        store,
        clock,
        notifier,
        policies,
        notices,
        decisions,
        Holds(store, clock, decisions),
        supply_control,
    )
