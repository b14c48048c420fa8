"""Settlement killed anywhere and begun again, in any order, ends the same to the nano."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headend.domain.days import local_midnight
from headend.domain.reading import Quality
from headend.ports.unit_of_work import Store, UnitOfWork
from headend.services.billing_run import BillingRun
from headend.services.payments import PaymentRequest, Payments
from headend.store.database import open_pool
from headend.store.unit_of_work import PostgresStore
from headend.testing.clock import FakeClock

FIRST = date(2026, 3, 1)
ZONE = "Asia/Shanghai"
YUAN = 1_000_000_000


class Killed(Exception):
    """The process died."""


class DyingStore:
    """Dies at the end of one of its transactions, before or after that commits."""

    def __init__(self, store: Store, *, at: int, before_commit: bool) -> None:
        self._store = store
        self._left = at
        self._before_commit = before_commit

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[UnitOfWork]:
        async with self._store.transaction() as uow:
            yield uow
            self._left -= 1
            if self._left == 0 and self._before_commit:
                raise Killed
        if self._left == 0:
            raise Killed


@pytest.mark.parametrize("before_commit", [True, False])
async def test_killed_at_any_transaction_and_resumed(
    town: Any, store: Store, clock: FakeClock, plainly: Any, draw: Any, before_commit: bool
) -> None:
    homes = [town.household() for _ in range(5)]
    used: dict[Any, list[list[int]]] = {home: [] for home in homes}
    survived = False
    for number in range(12):
        day = FIRST + timedelta(days=number)
        clock.instant = local_midnight(day + timedelta(days=1), ZONE) + timedelta(hours=1)
        for i, home in enumerate(homes):
            used[home].append(draw(20 * i + number))
            await town.read(home.meter_id, day, used[home][-1])
        dying = DyingStore(store, at=number + 1, before_commit=before_commit)
        try:
            await BillingRun(dying, clock, chunk_accounts=2).settle_day(day)
            survived = True
        except Killed:
            await BillingRun(store, clock, chunk_accounts=2).settle_day(day)
        for home in homes:
            assert town.balance(home)["balance_nano"] == -sum(plainly(used[home]))
    assert survived, "the run has more transactions than were killed"
    unfinished = town.run("select 1 from settlement_run where finished_at is null")
    assert unfinished == []
    await town.check_books()


async def test_killed_in_the_middle_of_a_correction_and_resumed(
    town: Any, store: Store, clock: FakeClock, plainly: Any, draw: Any
) -> None:
    homes = [town.household() for _ in range(4)]
    clock.instant = local_midnight(FIRST + timedelta(days=1), ZONE)
    for i, home in enumerate(homes):
        await town.read(home.meter_id, FIRST, draw(i))
    await BillingRun(store, clock).settle_day(FIRST)
    for i, home in enumerate(homes):
        await town.read(home.meter_id, FIRST, draw(100 + i))
    # Transactions: what changed, then one for each account; the third is rolled back.
    dying = DyingStore(store, at=3, before_commit=True)
    with pytest.raises(Killed):
        await BillingRun(dying, clock, chunk_accounts=1).correct_days(FIRST)
    left = await BillingRun(store, clock, chunk_accounts=1).correct_days(FIRST)
    assert left.days_rerated == 3
    for i, home in enumerate(homes):
        assert town.balance(home)["balance_nano"] == -plainly([draw(100 + i)])[0]
    await town.check_books()


@dataclass(frozen=True)
class Step:
    """One thing that happens: a reading (whole, partial, revised), a payment, a settlement."""

    kind: str
    day: int
    number: int


DAYS = 4
steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(("whole", "partial", "other", "pay", "settle")),
        st.integers(0, DAYS - 1),
        st.integers(0, 99),
    ),
    max_size=14,
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=steps)
def test_any_order_of_readings_payments_and_runs_ends_in_the_same_balance(
    order: list[Step], database_url: str, town_of: Any, plainly: Any, draw: Any
) -> None:
    asyncio.run(_play(order, database_url, town_of, plainly, draw))


async def _play(
    order: list[Step], database_url: str, town_of: Any, plainly: Any, draw: Any
) -> None:
    clock = FakeClock(local_midnight(FIRST + timedelta(days=DAYS), ZONE))
    async with open_pool(database_url, max_size=2) as pool:
        store = PostgresStore(pool)
        with closing(town_of(database_url, store)) as town:
            # A run fixes its accounts; the household of the next example needs runs of its own.
            town.run("truncate settlement_run, settlement_chunk")
            home = town.household()
            billing = BillingRun(store, clock)
            paid = await _take_steps(order, town, home, billing, draw)
            final = [draw(500 + n, mean_wh=150) for n in range(DAYS)]
            for number in reversed(range(DAYS)):
                await town.read(home.meter_id, FIRST + timedelta(days=number), final[number])
                await billing.settle_day(FIRST + timedelta(days=number))
            await billing.settle_day(FIRST + timedelta(days=DAYS - 1))
            balance = town.balance(home)
            assert balance["balance_nano"] == paid - sum(plainly(final))
            assert balance["estimated_nano"] == 0
            assert balance["actual_through"] == clock.now()
            await town.check_books()


async def _take_steps(
    order: list[Step], town: Any, home: Any, billing: BillingRun, draw: Any
) -> int:
    """Let things happen in this order; return what was paid."""
    clock = FakeClock(local_midnight(FIRST + timedelta(days=DAYS), ZONE))
    payments = Payments(town.store, clock, _decide_nothing)
    paid = 0
    for step in order:
        day = FIRST + timedelta(days=step.day)
        if step.kind == "settle":
            await billing.settle_day(day)
        elif step.kind == "pay":
            reference = f"{home.account_no}-{step.number}"
            request = PaymentRequest("bank", reference, home.account_no, (1 + step.number) * YUAN)
            paid += 0 if (await payments.post(request)).replayed else request.amount_nano
        elif step.kind == "partial":
            quality = [Quality.MISSING if i < step.number else Quality.ACTUAL for i in range(96)]
            await town.read(home.meter_id, day, draw(step.day, mean_wh=150), quality=quality)
        else:
            seed = step.day if step.kind == "whole" else 1000 + step.number
            await town.read(home.meter_id, day, draw(seed, mean_wh=150))
    return paid


async def _decide_nothing(
    uow: UnitOfWork, account_id: int, *, trigger: str, payment_id: int | None = None
) -> None:
    return None
