"""The ledger on a real PostgreSQL: append-only, balanced, and found wrong when it is."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import psycopg
import pytest

from headend.domain.days import local_midnight
from headend.domain.errors import BadInput, InvariantViolated, NotFound
from headend.ports.ledger import BalanceMismatch
from headend.ports.unit_of_work import Store
from headend.services.accounts import Accounts
from headend.services.billing_run import BillingRun
from headend.services.payments import PaymentRequest, Payments
from headend.testing.clock import FakeClock
from prepaid.ledger import LedgerBatch, build_payment_batch

YUAN = 1_000_000_000
DAY = date(2026, 3, 1)


def batch(account_id: int, reference: str = "W1", yuan: int = 5) -> LedgerBatch:
    return build_payment_batch(
        business_date=DAY,
        account_key=account_id,
        channel="wechat",
        reference=reference,
        amount_nano=yuan * YUAN,
    )


async def test_a_batch_out_of_balance_is_never_written(
    town: Any, store: Store, clock: FakeClock
) -> None:
    home = town.household()
    wrong = replace(batch(home.account_id), amount_nano=np.array([4 * YUAN], dtype=np.int64))
    with pytest.raises(InvariantViolated, match="instead of zero"):
        async with store.transaction() as uow:
            await uow.ledger.post(wrong, posted_at=clock.now())
    assert town.run("select 1 from ledger_batch") == []


async def test_an_entry_is_posted_once_and_stays_as_it_is(
    town: Any, store: Store, clock: FakeClock
) -> None:
    home = town.household()
    async with store.transaction() as uow:
        batch_id = await uow.ledger.post(batch(home.account_id), posted_at=clock.now())
        entries = await uow.ledger.batch_entries(batch_id)
    assert [e.amount_nano for e in entries] == [-5 * YUAN, 5 * YUAN]
    with pytest.raises(psycopg.errors.UniqueViolation):
        async with store.transaction() as uow:
            await uow.ledger.post(batch(home.account_id), posted_at=clock.now())
    for attempt in ("update ledger_entry set amount_nano = 0", "delete from ledger_entry"):
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="append-only"):
            town.run(attempt)


async def test_a_balance_that_is_not_the_sum_of_its_entries_is_found(
    town: Any, store: Store, clock: FakeClock
) -> None:
    homes = [town.household() for _ in range(3)]
    accounts = Accounts(store)
    async with store.transaction() as uow:
        await uow.ledger.post(batch(homes[0].account_id), posted_at=clock.now())
        await uow.accounts.lock_balances([h.account_id for h in homes], changed_at=clock.now())
        await uow.accounts.add_to_balance(homes[0].account_id, 5 * YUAN, changed_at=clock.now())
    check = await accounts.check_books()
    assert check.is_right
    assert check.trial_balance_nano == {"clearing:wechat": -5 * YUAN, "customers": 5 * YUAN}
    town.run(
        "update account_balance set balance_nano = 1 where account_id = %s", [homes[1].account_id]
    )
    town.run("delete from account_balance where account_id = %s", [homes[0].account_id])
    check = await accounts.check_books()
    assert check.mismatches == [
        BalanceMismatch(homes[0].account_id, 0, 5 * YUAN),
        BalanceMismatch(homes[1].account_id, 1, 0),
    ]
    assert not check.is_right


async def test_an_imbalance_past_the_code_is_found(town: Any, store: Store) -> None:
    home = town.household()
    town.run(
        "insert into ledger_entry values"
        " (%s, '2026-03-01', 'a', 1, 'payment', 7, null, '2026-03-01'),"
        " (-1, '2026-03-01', 'b', 2, 'payment', -9, null, '2026-03-01')",
        [home.account_id],
    )
    async with store.transaction() as uow:
        imbalance = await uow.ledger.imbalance()
        assert (imbalance.worst_batch_nano, imbalance.total_nano) == (9, -2)
        assert await uow.ledger.imbalance_nano() == 9


async def test_pages_of_the_ledger_follow_each_other_without_a_gap(
    town: Any, store: Store, clock: FakeClock
) -> None:
    home = town.household()
    accounts = Accounts(store)
    async with store.transaction() as uow:
        for n in range(7):
            await uow.ledger.post(batch(home.account_id, f"W{n}"), posted_at=clock.now())
    seen, cursor = [], None
    while True:
        page = await accounts.ledger(home.account_no, cursor=cursor, limit=3)
        seen += [entry.entry_key for entry in page.entries]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == [f"payment:wechat:W{n}" for n in reversed(range(7))]
    for wrong in ("nonsense", "bm90aGluZw=="):
        with pytest.raises(BadInput, match="no cursor"):
            await accounts.ledger(home.account_no, cursor=wrong)
    with pytest.raises(BadInput, match="limit"):
        await accounts.ledger(home.account_no, limit=501)
    with pytest.raises(NotFound, match="nobody"):
        await accounts.ledger("nobody")


async def _decide_nothing(*_: Any, **__: Any) -> None:
    return None


async def test_a_statement_adds_up_and_tells_both_indications(
    town: Any, store: Store, clock: FakeClock, plainly: Any, draw: Any
) -> None:
    home = town.household(multiplier=2)
    used = [draw(n, mean_wh=60) for n in range(3)]
    payments = Payments(store, clock, _decide_nothing)
    billing = BillingRun(store, clock)
    await town.register(home.meter_id, local_midnight(DAY, "Asia/Shanghai"), 1_000)
    for n in range(3):
        await town.read(home.meter_id, date(2026, 3, 1 + n), used[n])
    clock.advance(days=2)
    for n in range(3):
        await billing.settle_day(date(2026, 3, 1 + n))
    await payments.post(PaymentRequest("bank", "B1", home.account_no, 100 * YUAN))
    accounts = Accounts(store)
    charges = plainly([[2 * wh for wh in day] for day in used])

    whole = await accounts.statement(home.account_no, date(2026, 3, 1), date(2026, 3, 31))
    assert (whole.balance_before_nano, whole.balance_after_nano) == (0, 100 * YUAN - sum(charges))
    assert whole.charge_nano == sum(charges) == -whole.posted_nano["charge"]
    assert whole.posted_nano["payment"] == 100 * YUAN
    assert sum(line.amount_nano for line in whole.lines) + whole.fixed_nano == sum(charges)
    assert sum(line.energy_wh for line in whole.lines) == whole.energy_wh == 2 * sum(map(sum, used))
    assert {(line.tier, line.period) for line in whole.lines} >= {(1, "peak"), (1, "valley")}
    assert whole.unexplained_nano == 0
    (indication,) = whole.indications
    assert (indication.multiplier, indication.first and indication.first.value_wh) == (2, 1_000)

    second = await accounts.statement(home.account_no, date(2026, 3, 2), date(2026, 3, 2))
    assert second.balance_before_nano == -charges[0]
    assert second.balance_after_nano == -charges[0] - charges[1]
    days = await accounts.usage_calendar(home.account_no, date(2026, 3, 1), date(2026, 3, 31))
    assert [day.charge_nano for day in days] == charges
    view = await accounts.view(home.account_no)
    assert view.balance_yuan_exact == f"{(100 * YUAN - sum(charges)) / YUAN:.9f}"
    assert [payment.channel_reference for payment in view.payments] == ["B1"]
    with pytest.raises(BadInput, match="before"):
        await accounts.statement(home.account_no, date(2026, 3, 2), date(2026, 3, 1))


async def test_a_statement_shows_what_was_corrected_and_why(
    town: Any, store: Store, clock: FakeClock, plainly: Any, draw: Any
) -> None:
    home = town.household()
    billing = BillingRun(store, clock)
    await town.read(home.meter_id, DAY, draw(1))
    await billing.settle_day(DAY)
    await town.read(home.meter_id, DAY, draw(2))
    await billing.correct_days(DAY)
    old, new = plainly([draw(1)])[0], plainly([draw(2)])[0]
    statement = await Accounts(store).statement(home.account_no, DAY, DAY)
    assert (statement.posted_nano["charge"], statement.posted_nano["correction"]) == (
        -old,
        old - new,
    )
    assert statement.charge_nano == new
    (correction,) = statement.corrections
    assert correction.corrects == f"2026-03-01/energy:{home.usage_point_id}"
