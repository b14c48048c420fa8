"""Posting payments on a real PostgreSQL: once, with consequences, whatever comes beside them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from headend.domain.errors import BadInput, Conflict, HeadEndError, NotFound
from headend.ports.payments import PaymentState
from headend.ports.unit_of_work import Store
from headend.services.billing_run import BillingRun
from headend.services.payments import PaymentRequest, Payments
from headend.testing.clock import FakeClock

YUAN = 1_000_000_000
DAY = date(2026, 3, 1)


@pytest.fixture
def payments(store: Store, clock: FakeClock, decisions: Any) -> Payments:
    return Payments(store, clock, decisions)


def paying(home: Any, reference: str = "W1", yuan: int = 50, **changes: Any) -> PaymentRequest:
    return replace(PaymentRequest("wechat", reference, home.account_no, yuan * YUAN), **changes)


async def test_a_payment_becomes_balance_and_the_account_is_decided(
    town: Any, payments: Payments, decisions: Any, clock: FakeClock
) -> None:
    home = town.household()
    result = await payments.post(paying(home))
    payment = result.payment
    assert (result.replayed, result.balance_nano) == (False, 50 * YUAN)
    assert (payment.state, payment.posted_at) == (PaymentState.POSTED, clock.now())
    assert town.balance(home)["balance_nano"] == 50 * YUAN
    legs = town.run("select account_id, amount_nano from ledger_entry order by account_id")
    assert legs == [
        {"account_id": -1010, "amount_nano": -50 * YUAN},
        {"account_id": home.account_id, "amount_nano": 50 * YUAN},
    ]
    assert decisions.calls == [(home.account_id, "payment", payment.payment_id)]
    assert await payments.get(payment.payment_id) == payment
    await town.check_books()


async def test_the_same_payment_again_returns_the_first_result_and_changes_nothing(
    town: Any, payments: Payments, decisions: Any, clock: FakeClock
) -> None:
    home = town.household()
    first = await payments.post(paying(home))
    clock.advance(hours=1)
    await payments.post(paying(home, "W2"))
    again = await payments.post(paying(home))
    assert again.replayed
    assert (again.payment, again.balance_nano) == (first.payment, first.balance_nano)
    assert town.balance(home)["balance_nano"] == 100 * YUAN
    assert len(decisions.calls) == 2


async def test_the_same_reference_with_another_amount_or_account_shows_both(
    town: Any, payments: Payments
) -> None:
    home, other = town.household(), town.household()
    await payments.post(paying(home))
    with pytest.raises(Conflict, match=r"50\.00.*60\.00"):
        await payments.post(paying(home, yuan=60))
    with pytest.raises(Conflict, match=f"{home.account_no}.*{other.account_no}"):
        await payments.post(paying(other))
    assert town.balance(home)["balance_nano"] == 50 * YUAN
    await payments.post(paying(other, channel_code="alipay"))
    await town.check_books()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"channel_code": "cowries"}, NotFound, "cowries"),
        ({"account_no": "nobody"}, NotFound, "nobody"),
        ({"amount_nano": 0}, BadInput, "more than zero"),
        ({"amount_nano": 12_345_678_901}, BadInput, "two decimals"),
        ({"amount_nano": 2_000_000 * YUAN}, BadInput, "limits of wechat"),
        ({"channel_reference": "a b"}, BadInput, "printable"),
    ],
)
async def test_what_a_channel_does_not_allow_is_refused_and_leaves_nothing(
    town: Any, payments: Payments, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    home = town.household()
    with pytest.raises(error, match=message):
        await payments.post(paying(home, **changes))
    assert town.run("select 1 from payment union all select 1 from ledger_batch") == []


async def test_a_payment_from_the_future_is_refused(
    town: Any, payments: Payments, clock: FakeClock
) -> None:
    home = town.household()
    with pytest.raises(BadInput, match="future"):
        await payments.post(paying(home, paid_at=clock.now() + timedelta(seconds=1)))
    earlier = clock.now() - timedelta(hours=2)
    result = await payments.post(paying(home, paid_at=earlier))
    assert (result.payment.paid_at, result.payment.posted_at) == (earlier, clock.now())


async def test_a_payment_whose_decision_fails_is_not_posted_and_may_be_retried(
    town: Any, payments: Payments, decisions: Any
) -> None:
    home = town.household()
    decisions.fail = True
    with pytest.raises(RuntimeError):
        await payments.post(paying(home))
    assert town.run("select 1 from payment union all select 1 from ledger_entry") == []
    decisions.fail = False
    assert (await payments.post(paying(home))).balance_nano == 50 * YUAN


async def test_an_announced_payment_is_no_money_until_it_is_posted(
    town: Any, payments: Payments, store: Store, decisions: Any
) -> None:
    home = town.household()
    announced = await payments.announce(paying(home))
    assert (announced.payment.state, announced.balance_nano) == (PaymentState.PENDING, None)
    assert (await payments.announce(paying(home))).replayed
    async with store.transaction() as uow:
        assert await uow.payments.pending(home.account_id) == [announced.payment]
    assert town.balance(home)["balance_nano"] == 0
    assert decisions.calls == []
    posted = await payments.post(paying(home))
    assert (posted.replayed, posted.balance_nano) == (False, 50 * YUAN)
    with pytest.raises(Conflict, match="reversal"):
        await payments.fail("wechat", "W1")


async def test_a_payment_that_failed_is_never_posted_silently(
    town: Any, payments: Payments
) -> None:
    home = town.household()
    await payments.announce(paying(home))
    failed = await payments.fail("wechat", "W1")
    assert failed.state is PaymentState.FAILED
    assert await payments.fail("wechat", "W1") == failed
    with pytest.raises(Conflict, match="failed"):
        await payments.post(paying(home))


async def test_a_reversal_takes_the_money_back_once_and_decides_again(
    town: Any, payments: Payments, decisions: Any, clock: FakeClock
) -> None:
    home = town.household()
    posted = await payments.post(paying(home))
    clock.advance(days=2)
    reversed_ = await payments.reverse("wechat", "W1", actor="clerk", reason="wrong account")
    assert reversed_.state is PaymentState.REVERSED
    assert town.balance(home)["balance_nano"] == 0
    assert decisions.calls[-1] == (home.account_id, "reversal", posted.payment.payment_id)
    again = await payments.reverse("wechat", "W1", actor="clerk", reason="once more")
    assert again == reversed_
    assert len(decisions.calls) == 2
    entry = town.entries(home)[-1]
    assert entry["corrects"] == "2026-03-02/payment:wechat:W1"
    assert entry["amount_nano"] == -50 * YUAN
    replay = await payments.post(paying(home))
    assert (replay.replayed, replay.payment.state) == (True, PaymentState.REVERSED)
    (audit,) = town.run("select actor, detail from audit_event")
    assert (audit["actor"], audit["detail"]["reason"]) == ("clerk", "wrong account")
    await town.check_books()


async def test_what_was_never_posted_cannot_be_reversed(town: Any, payments: Payments) -> None:
    home = town.household()
    with pytest.raises(NotFound):
        await payments.reverse("wechat", "W1", actor="clerk", reason="error")
    await payments.announce(paying(home))
    with pytest.raises(Conflict, match="nothing to take back"):
        await payments.reverse("wechat", "W1", actor="clerk", reason="error")
    with pytest.raises(BadInput, match="reason"):
        await payments.reverse("wechat", "W1", actor="clerk", reason=" ")


async def test_identical_payments_at_once_are_one(
    town: Any, payments: Payments, decisions: Any
) -> None:
    home = town.household()
    results = await asyncio.gather(*(payments.post(paying(home)) for _ in range(8)))
    assert sorted(r.replayed for r in results) == [False] + [True] * 7
    assert {r.payment.payment_id for r in results} == {results[0].payment.payment_id}
    assert town.balance(home)["balance_nano"] == 50 * YUAN
    assert len(decisions.calls) == 1
    await town.check_books()


async def test_different_payments_at_once_are_all_kept(town: Any, payments: Payments) -> None:
    home = town.household()
    requests = [paying(home, f"W{n}", n + 1) for n in range(20)]
    results = await asyncio.gather(*(payments.post(request) for request in requests))
    assert not any(result.replayed for result in results)
    assert town.balance(home)["balance_nano"] == sum(range(1, 21)) * YUAN
    assert sorted(r.balance_nano or 0 for r in results)[-1] == sum(range(1, 21)) * YUAN
    await town.check_books()


async def test_one_reference_for_two_accounts_at_once_pays_one_of_them(
    town: Any, payments: Payments
) -> None:
    homes = [town.household() for _ in range(4)]
    results = await asyncio.gather(
        *(payments.post(paying(home)) for home in homes), return_exceptions=True
    )
    refused = [r for r in results if isinstance(r, HeadEndError)]
    assert [type(r) for r in refused] == [Conflict] * 3
    total = town.one("select sum(balance_nano) as nano from account_balance")
    assert total == {"nano": 50 * YUAN}
    await town.check_books()


async def test_payments_beside_a_settlement_are_never_lost(
    town: Any, payments: Payments, store: Store, clock: FakeClock, plainly: Any, draw: Any
) -> None:
    homes = [town.household() for _ in range(12)]
    for n, home in enumerate(homes):
        await town.read(home.meter_id, DAY, draw(n))
    billing = BillingRun(store, clock, chunk_accounts=2)
    stream = [
        payments.post(paying(home, f"{home.account_no}-{n}", n + 1))
        for n in range(4)
        for home in homes
    ]
    settled, again, *_ = await asyncio.gather(
        billing.settle_day(DAY), billing.settle_day(DAY), *stream
    )
    assert settled.chunks_settled + again.chunks_settled == 6
    for n, home in enumerate(homes):
        assert town.balance(home)["balance_nano"] == 10 * YUAN - plainly([draw(n)])[0]
    await town.check_books()
