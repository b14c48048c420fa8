"""A street on a real database: fake meters behind one link, and what switches them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from headend.domain.reading import MeterIdentity
from headend.domain.supply import OrderPurpose, SupplyAction
from headend.ports import MeterAccess
from headend.ports.orders import OrderRecord
from headend.ports.unit_of_work import Store, UnitOfWork
from headend.services.dispatcher import Dispatcher, DispatcherParts
from headend.services.guard import Guard, PolicyTerms
from headend.services.links import LinkPool
from headend.services.order_outcomes import OrderOutcomes
from headend.services.power_watch import PowerWatch
from headend.services.supply_control import OrderRequest, SupplyControl
from headend.store.database import open_pool
from headend.store.unit_of_work import PostgresStore
from headend.testing.clock import FakeClock
from headend.testing.meters import FakeMeter, FakeMeterAdapter
from rules.floors import Floors
from rules.governor import GovernorLimits
from rules.moratorium import DailyWindow, DisconnectCalendar
from rules.service_levels import DEFAULT_RETRY_POLICY

# Monday 10:00 in Shanghai, inside the window.
NOW = datetime(2026, 3, 9, 2, tzinfo=UTC)
ENDPOINT = "fake+tcp://street:1"
YUAN = 1_000_000_000


class FakeKeys:
    """Every meter opens without a key."""

    def __init__(self, street: Street) -> None:
        self._street = street

    async def access_for(self, meter_id: int) -> MeterAccess:
        return MeterAccess(meter_id=meter_id, address=self._street.address_of(meter_id))


class FixedTerms:
    """A policy that cuts below zero, in the default window, on any day."""

    async def terms(
        self,
        uow: UnitOfWork,
        *,
        at: datetime,
        customer_class: str | None,
        emergency_credit_nano: int | None,
    ) -> PolicyTerms:
        calendar = DisconnectCalendar(
            window=DailyWindow(Floors().window.opens, Floors().window.closes)
        )
        return PolicyTerms(floors=Floors(), threshold_nano=0, calendar=calendar)


class NeverWakes:
    """A wake signal that nobody gives; tests pump by hand."""

    async def wait(self, timeout_s: float) -> bool:
        return False


@dataclass
class Aftermath:
    """Notes what followed; ``on_switched`` may do more, in the same transaction."""

    switched_orders: list[OrderRecord] = field(default_factory=list)
    field_orders: list[OrderRecord] = field(default_factory=list)
    on_switched: Any = None

    async def switched(self, uow: UnitOfWork, order: OrderRecord) -> None:
        self.switched_orders.append(order)
        if self.on_switched is not None:
            await self.on_switched(uow, order)

    async def handed_to_field(self, uow: UnitOfWork, order: OrderRecord) -> None:
        self.field_orders.append(order)


@dataclass(frozen=True)
class Home:
    """The ids of one household."""

    number: int
    account_id: int
    usage_point_id: int
    meter_id: int
    meter: FakeMeter


class Street:
    """Homes that may be cut: in debt, noticed, reminded, their meters just heard."""

    def __init__(self, url: str, clock: FakeClock, adapter: FakeMeterAdapter) -> None:
        self._connection = psycopg.connect(url, autocommit=True, row_factory=dict_row)
        self._clock = clock
        self._adapter = adapter
        self._addresses: dict[int, int] = {}
        self.run(
            "insert into area (area_code, name) values ('A', 'A');"
            "insert into transformer_area (transformer_area_code, name, area_id)"
            " values ('T', 'T', 1);"
            f"insert into link (endpoint) values ('{ENDPOINT}');"
            "insert into tariff (tariff_code, document) values ('t', '{}');"
            f"select ensure_partitions('{NOW.date() - timedelta(days=40)}', '{NOW.date()}')"
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

    def address_of(self, meter_id: int) -> int:
        return self._addresses[meter_id]

    def home(self, *, balance_yuan: float = -20, closes_directly: bool = True) -> Home:
        """Settle one household."""
        number, now = len(self._addresses) + 1, self._clock.now()
        account = self.one(
            "insert into account (account_no, name, tariff_id, agreement_signed_at,"
            " standing_close_consent_at, created_at) values (%s, '张三', 1, %s, %s, %s)"
            " returning account_id",
            (f"H{number}", now, now, now),
        )["account_id"]
        point = self.one(
            "insert into usage_point (usage_point_no, transformer_area_id, address)"
            " values (%s, 1, '人民路1号') returning usage_point_id",
            (f"P{number}",),
        )["usage_point_id"]
        meter = self.one(
            "insert into meter (meter_no, link_id, link_address, model, logical_device_name,"
            " serial, closes_directly) values (%s, 1, %s, 'generic', %s, %s, %s)"
            " returning meter_id",
            (f"M{number}", number, f"LDN{number}", f"S{number}", closes_directly),
        )["meter_id"]
        self.run(
            "insert into meter_installation (meter_id, usage_point_id, valid_from,"
            " link_confirmed_at) values (%s, %s, %s, %s)",
            (meter, point, now - timedelta(days=300), now - timedelta(days=300)),
        )
        self.run(
            "insert into occupancy (account_id, usage_point_id, valid_from)"
            " values (%s, %s, '2025-01-01')",
            (account, point),
        )
        self.run(
            "insert into account_balance (account_id, balance_nano, actual_through, changed_at)"
            " values (%s, %s, %s, %s)",
            (account, round(balance_yuan * YUAN), now, now),
        )
        self.run(
            "insert into meter_contact (meter_id, last_heard_at) values (%s, %s)", (meter, now)
        )
        self.run(
            "insert into supply_state (usage_point_id, meter_id, state, source, observed_at)"
            " values (%s, %s, 'connected', 'test', %s)",
            (point, meter, now),
        )
        self._give_notice(account, point)
        fake = FakeMeter(
            address=number,
            identity=MeterIdentity(f"LDN{number}", f"S{number}"),
            since=now - timedelta(days=1),
        )
        self._adapter.place(ENDPOINT, fake)
        self._addresses[meter] = number
        return Home(number, account, point, meter, fake)

    def _give_notice(self, account: int, point: int) -> None:
        now = self._clock.now()
        cycle = self.one(
            "insert into notice_cycle (account_id, usage_point_id, opened_at,"
            " planned_disconnect_at, expires_at) values (%s, %s, %s, %s, %s) returning cycle_id",
            (account, point, now - timedelta(days=9), now, now + timedelta(hours=6)),
        )["cycle_id"]
        for stage, delivered in (
            ("disconnect_notice", now - timedelta(days=8)),
            ("reminder", now - timedelta(minutes=40)),
        ):
            self.run(
                "insert into notice (cycle_id, account_id, usage_point_id, stage, state, due_at,"
                " next_attempt_at, planned_disconnect_at, text_zh, text_en, recipient,"
                " delivered_at) values (%s, %s, %s, %s, 'delivered', %s, %s, %s, '', '', '', %s)",
                (cycle, account, point, stage, delivered, delivered, now, delivered),
            )

    def someone_waits_for_a_lock(self) -> bool:
        """Whether a session of this database waits for a lock of another."""
        row = self.one(
            "select count(*) as waiting from pg_stat_activity"
            " where datname = current_database() and wait_event_type = 'Lock'"
        )
        return int(row["waiting"]) > 0

    def set_balance(self, home: Home, yuan: float) -> None:
        """Set what the account has left."""
        self.run(
            "update account_balance set balance_nano = %s where account_id = %s",
            (round(yuan * YUAN), home.account_id),
        )

    def order(self, order_id: int) -> dict[str, Any]:
        """Return a stored order."""
        return self.one("select * from supply_order where order_id = %s", (order_id,))

    def moves(self, order_id: int) -> list[str]:
        """Return the states an order went through."""
        rows = self.run(
            "select to_state from supply_order_event where order_id = %s order by event_no",
            (order_id,),
        )
        return [row["to_state"] for row in rows]

    def cases(self) -> list[str]:
        """Return the kinds of the open cases."""
        rows = self.run('select kind from "case" where closed_at is null order by case_id')
        return [row["kind"] for row in rows]

    def restraints(self, home: Home) -> list[str]:
        """Return the standing restraints."""
        rows = self.run(
            "select kind from restraint where usage_point_id = %s and lifted_at is null"
            " order by kind",
            (home.usage_point_id,),
        )
        return [row["kind"] for row in rows]

    def state(self, home: Home) -> str:
        """Return the believed supply state."""
        row = self.one(
            "select state from supply_state where usage_point_id = %s", (home.usage_point_id,)
        )
        return str(row["state"])


@dataclass
class Desk:
    """The parts under test."""

    store: Store
    control: SupplyControl
    dispatcher: Dispatcher
    aftermath: Aftermath
    links: LinkPool
    clock: FakeClock
    watch: PowerWatch

    async def ask(
        self,
        home: Home,
        action: SupplyAction,
        *,
        key: str | None = None,
        purpose: OrderPurpose = OrderPurpose.ARREARS,
        **values: Any,
    ) -> OrderRecord:
        """Ask for a switching of a home."""
        request = OrderRequest(
            usage_point_id=home.usage_point_id,
            account_id=home.account_id,
            action=action,
            purpose=purpose,
            reason="test",
            requested_by=values.pop("requested_by", "system"),
            idempotency_key=key or f"{action}-{home.number}-{self.clock.now().isoformat()}",
            **values,
        )
        async with self.store.transaction() as uow:
            return await self.control.request(uow, request)

    async def work(self) -> int:
        """Carry out what is due now; return how many orders were claimed."""
        claimed = await self.dispatcher.pump()
        await self.dispatcher.drain()
        return claimed


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def adapter(clock: FakeClock) -> FakeMeterAdapter:
    return FakeMeterAdapter(clock)


@pytest.fixture
def street(database_url: str, clock: FakeClock, adapter: FakeMeterAdapter) -> Any:
    street = Street(database_url, clock, adapter)
    yield street
    street.close()


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with open_pool(database_url) as pool:
        yield PostgresStore(pool)


@pytest.fixture
def make_desk(store: Store, clock: FakeClock, adapter: FakeMeterAdapter, street: Street) -> Any:
    """Make a desk as one process has it; several are several processes."""

    def make(
        holder: str = "one", *, limits: GovernorLimits | None = None, settle_s: float = 0.0
    ) -> Desk:
        guard = Guard(FixedTerms())
        control = SupplyControl(clock=clock, guard=guard, limits=limits or GovernorLimits())
        aftermath = Aftermath()
        links = LinkPool(store, {"fake+tcp": adapter}, holder=holder)
        outcomes = OrderOutcomes(
            store=store, clock=clock, aftermath=aftermath, retry_policy=DEFAULT_RETRY_POLICY
        )
        dispatcher = Dispatcher(
            DispatcherParts(
                store=store,
                clock=clock,
                guard=guard,
                links=links,
                keys=FakeKeys(street),
                outcomes=outcomes,
                wake=NeverWakes(),
                settle_s=settle_s,
            )
        )
        watch = PowerWatch(store=store, clock=clock, guard=guard, supply_control=control)
        return Desk(store, control, dispatcher, aftermath, links, clock, watch)

    return make


@pytest.fixture
def desk(make_desk: Any) -> Desk:
    made: Desk = make_desk()
    return made
