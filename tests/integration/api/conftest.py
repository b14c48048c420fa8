"""A village in a real database behind the API, with a clock that the tests move."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from api.app import create_app
from headend.bootstrap import Services
from headend.services.accounts import Accounts
from headend.services.decisions import Decisions
from headend.services.guard import Guard
from headend.services.holds import Holds
from headend.services.notices import Notices
from headend.services.payments import Payments
from headend.services.policies import Policies
from headend.services.pushes import PushIntake
from headend.services.restraints import Restraints
from headend.services.supply_control import SupplyControl
from headend.store.database import open_pool
from headend.store.unit_of_work import PostgresStore
from headend.testing.clock import FakeClock
from headend.testing.notifier import FakeNotifier
from rules.governor import GovernorLimits

# A Monday, 10:00 in Shanghai: within the hours in which a supply may be cut.
START = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
KEY = "a-development-key"
YUAN = 1_000_000_000

TARIFF: dict[str, Any] = {
    "code": "flat",
    "name": {"zh": "测试", "en": "Test"},
    "source": "example, made for this test",
    "versions": [
        {
            "effective_from": "2025-01-01",
            "seasons": [
                {
                    "from": "01-01",
                    "to": "12-31",
                    "day_types": {"every_day": [["00:00", "24:00", "flat"]]},
                }
            ],
            "prices_micro_yuan_per_kwh": {"flat": 538_000},
        }
    ],
}


@dataclass(frozen=True)
class Household:
    """One account, the usage point it occupies and the meter there."""

    account_id: int
    account_no: str
    usage_point_id: int
    usage_point_no: str
    meter_id: int
    meter_no: str


class Village:
    """Writes what other parts of the head-end would have written, and reads what was stored."""

    def __init__(self, url: str, clock: FakeClock) -> None:
        self._connection = psycopg.connect(url, autocommit=True, row_factory=dict_row)
        self._clock = clock
        self._count = 0
        self.run(
            "insert into area (area_code, name) values ('A', 'A');"
            "insert into transformer_area (transformer_area_code, name, area_id)"
            " values ('T', 'T', 1);"
            "insert into link (endpoint) values ('dlms+tcp://127.0.0.1:1')"
        )
        self.run("insert into tariff (tariff_code, document) values ('flat', %s)", [Jsonb(TARIFF)])
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

    def count(self, table: str) -> int:
        """Count the rows of a table."""
        return int(self.one(f"select count(*) as n from {table}")["n"])

    def household(self, *, balance_yuan: int = 100, account: int | None = None) -> Household:
        """Settle a meter at a usage point, for a new account or one that is there."""
        self._count += 1
        n, now = self._count, self._clock.now()
        if account is None:
            account = self.one(
                "insert into account (account_no, name, phone, tariff_id, agreement_signed_at,"
                " standing_close_consent_at, created_at)"
                " values (%s, '张三', '13812345678', 1, %s, %s, %s) returning account_id",
                (f"33{n:08}", now, now, now),
            )["account_id"]
            self.run(
                "insert into account_balance (account_id, balance_nano, settled_through,"
                " actual_through, changed_at) values (%s, %s, %s, %s, %s)",
                (account, balance_yuan * YUAN, now.date(), now, now),
            )
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
        number = self.one("select account_no from account where account_id = %s", (account,))
        household = Household(account, number["account_no"], point, f"UP{n:06}", meter, f"M{n:06}")
        self.seen(household, "connected")
        return household

    def seen(self, household: Household, state: str) -> None:
        """Let the meter answer now: the contact is seen in this state."""
        now = self._clock.now()
        self.run(
            "insert into meter_contact (meter_id, last_heard_at) values (%s, %s)"
            " on conflict (meter_id) do update set last_heard_at = excluded.last_heard_at",
            (household.meter_id, now),
        )
        self.run(
            "insert into supply_state (usage_point_id, meter_id, state, output_state, source,"
            " observed_at) values (%s, %s, %s, %s, 'reading', %s)"
            " on conflict (usage_point_id) do update set state = excluded.state,"
            " output_state = excluded.output_state, observed_at = excluded.observed_at",
            (household.usage_point_id, household.meter_id, state, state == "connected", now),
        )

    def cut_for_arrears(self, *, owed_yuan: int = 20) -> Household:
        """Settle a household whose supply is off for arrears."""
        household = self.household(balance_yuan=-owed_yuan)
        self.seen(household, "disconnected")
        self.restrain(household, "arrears")
        return household

    def restrain(self, household: Household, kind: str) -> None:
        """Let a restraint stand."""
        self.run(
            "insert into restraint (usage_point_id, kind, placed_at, placed_by, evidence)"
            " values (%s, %s, %s, 'test', 'as the test says')",
            (household.usage_point_id, kind, self._clock.now()),
        )

    def audited(self) -> list[tuple[str, str]]:
        """Return (actor, action) of every audit event of a client, oldest first."""
        rows = self.run(
            "select actor, action from audit_event where actor like 'development%'"
            " order by audit_id"
        )
        return [(row["actor"], row["action"]) for row in rows]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture
def village(database_url: str, clock: FakeClock) -> Iterator[Village]:
    village = Village(database_url, clock)
    yield village
    village.close()


@dataclass
class WiredServices:
    """The services that the API uses, wired as `headend.bootstrap` wires them."""

    store: PostgresStore
    clock: FakeClock
    policies: Policies
    supply_control: SupplyControl
    restraints: Restraints
    holds: Holds
    payments: Payments
    accounts: Accounts
    pushes: PushIntake


# No more than one disconnect in an hour: the second is quarantined.
LIMITS = GovernorLimits(system=1, caller=1, area=1, power_w=1_000_000, safety=1)


@pytest.fixture
async def services(
    database_url: str, clock: FakeClock, village: Village
) -> AsyncIterator[WiredServices]:
    async with open_pool(database_url, max_size=6) as pool:
        store = PostgresStore(pool)
        policies = Policies(store=store, clock=clock)
        await policies.ensure_default_policy()
        notices = Notices(store=store, notifier=FakeNotifier(clock), clock=clock, policies=policies)
        control = SupplyControl(clock=clock, guard=Guard(policies), limits=LIMITS)
        decisions = Decisions(
            store=store, clock=clock, policies=policies, notices=notices, supply_control=control
        )
        yield WiredServices(
            store=store,
            clock=clock,
            policies=policies,
            supply_control=control,
            restraints=Restraints(store=store, clock=clock, supply_control=control),
            holds=Holds(store, clock, decisions),
            payments=Payments(store, clock, decisions.decide_account),
            accounts=Accounts(store),
            pushes=PushIntake(store, clock),
        )


@pytest.fixture
def app(services: WiredServices) -> FastAPI:
    return create_app(cast(Services, services), api_key=KEY)


@pytest.fixture
async def stranger(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://headend") as client:
        yield client


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the key."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport,
        base_url="http://headend",
        headers={"Authorization": f"Bearer {KEY}", "X-Actor": "li.na"},
    ) as client:
        yield client


class Problems:
    """Checks error answers."""

    def __call__(
        self, answer: httpx.Response, status: int, code: str, field: str | None = None
    ) -> dict[str, Any]:
        """Assert that the answer is this problem, in its media type; return its body."""
        body: dict[str, Any] = answer.json()
        assert (answer.status_code, body["code"], body.get("field")) == (status, code, field), body
        assert answer.headers["content-type"] == "application/problem+json"
        assert body["status"] == status
        assert body["type"] == f"urn:ami-headend:problem:{code}"
        assert body["title"]
        assert body["detail"]
        return body


@pytest.fixture
def is_problem() -> Problems:
    return Problems()
