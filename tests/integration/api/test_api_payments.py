"""Payments over HTTP: once by reference, once by key, all or nothing, refused by name."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from headend.domain.errors import InvariantViolated
from headend.testing.clock import FakeClock


def payment(account_no: str, /, **changes: Any) -> dict[str, Any]:
    """Return the body of a payment of 200 yuan, with changes; None leaves a field out."""
    body = {
        "account_no": account_no,
        "channel": "wechat",
        "channel_reference": "4200001",
        "amount": "200.00",
        **changes,
    }
    return {name: value for name, value in body.items() if value is not None}


async def test_a_payment_becomes_balance(client: httpx.AsyncClient, village: Any) -> None:
    household = village.household(balance_yuan=100)
    answer = await client.post("/v1/payments", json=payment(household.account_no))
    assert answer.status_code == 201
    assert answer.json() == {
        "payment": {
            "channel": "wechat",
            "channel_reference": "4200001",
            "account_no": household.account_no,
            "amount": "200.00",
            "state": "posted",
            "paid_at": "2026-03-02T02:00:00Z",
            "posted_at": "2026-03-02T02:00:00Z",
            "balance_after": "300.00",
        },
        "balance": "300.00",
        "balance_nano": 300_000_000_000,
        "supply_orders": [],
    }


async def test_a_payment_that_clears_arrears_names_the_reconnect(
    client: httpx.AsyncClient, village: Any
) -> None:
    household = village.cut_for_arrears(owed_yuan=20)
    answer = await client.post("/v1/payments", json=payment(household.account_no))
    (order,) = answer.json()["supply_orders"]
    assert answer.json()["balance"] == "180.00"
    assert order["usage_point_no"] == household.usage_point_no
    assert (order["action"], order["state"], order["refusal_codes"]) == (
        "reconnect",
        "scheduled",
        [],
    )
    shown = await client.get("/v1/payments/wechat/4200001")
    assert shown.json() == answer.json()


async def test_a_payment_under_another_restraint_says_that_it_stays_off(
    client: httpx.AsyncClient, village: Any
) -> None:
    household = village.cut_for_arrears()
    village.restrain(household, "unsafe")
    answer = await client.post("/v1/payments", json=payment(household.account_no))
    (order,) = answer.json()["supply_orders"]
    assert (order["state"], order["refusal_codes"]) == ("refused", ["restraint_remains"])
    followed = (await client.get(f"/v1/supply-orders/{order['order_id']}")).json()
    (remaining,) = followed["remaining_restraints"]
    assert remaining["restraint"] == "unsafe"
    assert "inspector" in remaining["lifted_by"]["en"]
    assert remaining["lifted_by"]["zh"]


async def test_the_same_reference_again_answers_with_the_first_result(
    client: httpx.AsyncClient, village: Any
) -> None:
    household = village.cut_for_arrears()
    first = await client.post("/v1/payments", json=payment(household.account_no))
    again = await client.post("/v1/payments", json=payment(household.account_no))
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert (village.count("payment"), village.count("supply_order")) == (1, 1)


async def test_the_same_key_again_gets_the_stored_answer(
    client: httpx.AsyncClient, village: Any
) -> None:
    household = village.household()
    body, key = payment(household.account_no), {"Idempotency-Key": "k-1"}
    first = await client.post("/v1/payments", json=body, headers=key)
    later = payment(household.account_no, channel_reference="4200002")
    await client.post("/v1/payments", json=later)
    again = await client.post("/v1/payments", json=body, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"


async def test_a_key_belongs_to_one_body_and_one_path(
    client: httpx.AsyncClient, village: Any, is_problem: Any
) -> None:
    household, key = village.household(), {"Idempotency-Key": "k-1"}
    await client.post("/v1/payments", json=payment(household.account_no), headers=key)
    other_body = payment(household.account_no, channel_reference="4200002")
    refused = await client.post("/v1/payments", json=other_body, headers=key)
    is_problem(refused, 422, "idempotency_key_reused", "Idempotency-Key")
    other_path = await client.post(
        "/v1/payments/wechat/4200001/reversal", json={"reason": "x"}, headers=key
    )
    is_problem(other_path, 422, "idempotency_key_reused", "Idempotency-Key")
    assert village.one("select state from payment")["state"] == "posted"


async def test_many_at_once_with_one_key_post_once(client: httpx.AsyncClient, village: Any) -> None:
    household = village.household(balance_yuan=0)
    body, key = payment(household.account_no), {"Idempotency-Key": "k-1"}
    answers = await asyncio.gather(
        *(client.post("/v1/payments", json=body, headers=key) for _ in range(8))
    )
    assert [answer.status_code for answer in answers] == [201] * 8
    assert len({answer.text for answer in answers}) >= 1
    assert {answer.json()["balance"] for answer in answers} == {"200.00"}
    assert sum("Idempotency-Replayed" in answer.headers for answer in answers) == 7
    assert village.count("payment") == 1


async def test_a_death_before_the_answer_is_kept_undoes_the_work(
    app: FastAPI,
    client: httpx.AsyncClient,
    village: Any,
    is_problem: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    household = village.cut_for_arrears()
    body, key = payment(household.account_no), {"Idempotency-Key": "k-1"}

    async def dies(self: Any, payment: Any) -> None:
        raise InvariantViolated("the process dies here: secret inside")

    with monkeypatch.context() as broken:
        broken.setattr(type(app.state.application.views), "led_to", dies)
        failed = await client.post("/v1/payments", json=body, headers=key)
    problem = is_problem(failed, 500, "internal_error")
    assert problem["incident"]
    assert "secret" not in failed.text
    assert [village.count(t) for t in ("payment", "ledger_entry", "supply_order")] == [0, 0, 0]
    assert village.count("idempotency_key") == 0
    answer = await client.post("/v1/payments", json=body, headers=key)
    assert (answer.status_code, answer.json()["balance"]) == (201, "180.00")
    assert village.count("payment") == 1


async def test_a_refused_key_may_carry_a_corrected_request(
    client: httpx.AsyncClient, village: Any, is_problem: Any
) -> None:
    household, key = village.household(), {"Idempotency-Key": "k-1"}
    wrong = await client.post("/v1/payments", json=payment("3399999999"), headers=key)
    is_problem(wrong, 404, "not_found", "account_no")
    right = await client.post("/v1/payments", json=payment(household.account_no), headers=key)
    assert right.status_code == 201


async def test_a_reference_used_otherwise_conflicts(
    client: httpx.AsyncClient, village: Any, is_problem: Any
) -> None:
    household, other = village.household(), village.household()
    await client.post("/v1/payments", json=payment(household.account_no))
    amount = payment(household.account_no, amount="199.00")
    body = is_problem(
        await client.post("/v1/payments", json=amount), 409, "payment_differs", "amount"
    )
    assert "200.00" in body["detail"]
    assert "199.00" in body["detail"]
    account = payment(other.account_no)
    body = is_problem(
        await client.post("/v1/payments", json=account), 409, "payment_differs", "account_no"
    )
    assert household.account_no in body["detail"]
    assert other.account_no in body["detail"]
    assert village.count("payment") == 1


async def test_what_a_channel_does_not_allow_is_refused(
    client: httpx.AsyncClient, village: Any, is_problem: Any
) -> None:
    account_no = village.household().account_no
    for changes, status, code, field in (
        ({"channel": "cash_in_hand"}, 404, "not_found", "channel"),
        ({"amount": "0.00"}, 422, "not_positive", "amount"),
        ({"amount": "100000000"}, 422, "outside_limits", "amount"),
        ({"paid_at": "2026-03-02T02:00:01Z"}, 422, "invalid", "paid_at"),
    ):
        body = payment(account_no, **changes)
        is_problem(await client.post("/v1/payments", json=body), status, code, field)
    assert village.count("payment") == 0


async def test_a_payment_is_taken_back_once(client: httpx.AsyncClient, village: Any) -> None:
    household = village.household(balance_yuan=100)
    await client.post("/v1/payments", json=payment(household.account_no))
    path, body = "/v1/payments/wechat/4200001/reversal", {"reason": "paid twice"}
    first, again = await client.post(path, json=body), await client.post(path, json=body)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["payment"]["state"] == again.json()["payment"]["state"] == "reversed"
    account = (await client.get(f"/v1/accounts/{household.account_no}")).json()
    assert account["balance"] == "100.00"
    assert village.audited() == [("development/li.na", "payment.reverse")]


async def test_what_cannot_be_taken_back_is_refused(
    client: httpx.AsyncClient, village: Any, clock: FakeClock, is_problem: Any
) -> None:
    household = village.household()
    path = "/v1/payments/wechat/4200001/reversal"
    unknown = await client.post(path, json={"reason": "x"})
    is_problem(unknown, 404, "not_found", "channel_reference")
    village.run(
        "insert into payment (channel_code, channel_reference, account_id, amount_nano, state,"
        " paid_at) values ('wechat', '4200001', %s, 1000000000, 'pending', %s)",
        (household.account_id, clock.now()),
    )
    is_problem(
        await client.post(path, json={"reason": "x"}), 409, "not_posted", "channel_reference"
    )
    is_problem(await client.post(path, json={"reason": "  "}), 422, "invalid", "reason")


async def test_an_unknown_payment_is_not_found(client: httpx.AsyncClient, is_problem: Any) -> None:
    answer = await client.get("/v1/payments/wechat/none")
    is_problem(answer, 404, "not_found", "channel_reference")


async def test_posted_payments_are_counted_without_repetitions(
    client: httpx.AsyncClient, village: Any
) -> None:
    body = payment(village.household().account_no)
    for _ in range(3):
        await client.post("/v1/payments", json=body, headers={"Idempotency-Key": "k"})
    await client.post("/v1/payments", json=body)
    figures = (await client.get("/metrics")).text
    assert 'headend_payments_posted_total{channel="wechat"} 1.0' in figures
