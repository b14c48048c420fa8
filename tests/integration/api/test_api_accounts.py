"""Accounts over HTTP: balance, supply, what happens next, postings, days, statements, notices."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx

from headend.testing.clock import FakeClock

CALENDAR_DAY = (
    "insert into account_day (account_id, usage_point_id, business_date, meter_id, multiplier,"
    " tariff_id, tariff_effective, profile_revision, energy_wh, estimated_wh, cycle_before_wh,"
    " cycle_before_estimated_wh, cell_wh, charge_nano, estimated_nano, fixed_nano, worst_quality,"
    " unrated_intervals, actual_until, rating_no, entry_key)"
    " values (%(account)s, %(point)s, %(day)s::date, %(meter)s, 1, 1, '2025-01-01', 0, 8120, 1000,"
    " 0, 0, '{{8120}}', 4368560000, 538000000, 0, 2, 0, %(day)s::date, 0, 'charge:1')"
)


async def test_an_account_shows_money_and_supply(
    client: httpx.AsyncClient, village: Any, clock: FakeClock, is_problem: Any
) -> None:
    household = village.household(balance_yuan=0)
    village.run("update account_balance set balance_nano = -1234567891, estimated_nano = 500000000")
    village.run(
        "insert into notice_cycle (account_id, usage_point_id, opened_at, planned_disconnect_at,"
        " expires_at) values (%s, %s, %s, %s, %s)",
        (
            household.account_id,
            household.usage_point_id,
            clock.now(),
            clock.now() + timedelta(days=7),
            clock.now() + timedelta(days=7, hours=2),
        ),
    )
    answer = await client.get(f"/v1/accounts/{household.account_no}")
    account = answer.json()
    assert answer.status_code == 200
    assert (account["balance"], account["balance_nano"]) == ("-1.23", -1_234_567_891)
    assert (account["estimated"], account["emergency_credit"]) == ("0.50", "0.00")
    assert account["phone"] == "138****5678"
    assert (account["settled_through"], account["actual_through"]) == (
        "2026-03-02",
        "2026-03-02T02:00:00Z",
    )
    (point,) = account["supply"]
    assert (point["usage_point_no"], point["meter_no"], point["state"]) == (
        household.usage_point_no,
        household.meter_no,
        "connected",
    )
    assert point["notice_cycle"]["planned_disconnect_at"] == "2026-03-09T02:00:00Z"
    (step,) = point["next_steps"]
    assert (step["code"], step["by"]) == ("disconnect_planned", "2026-03-09T02:00:00Z")
    assert step["sentence"]["zh"]
    assert "account_id" not in answer.text
    assert "usage_point_id" not in answer.text
    unknown = await client.get("/v1/accounts/3399999999")
    is_problem(unknown, 404, "not_found", "account_no")


async def test_a_supply_shows_the_switching_that_was_seen(
    client: httpx.AsyncClient, village: Any
) -> None:
    household = village.cut_for_arrears()
    village.run(
        "insert into supply_order (usage_point_id, account_id, meter_id, link_id, action, purpose,"
        " state, priority, reason, requested_by, idempotency_key, next_attempt_at, evidence_grade,"
        " evidence, created_at, created_real_at, finished_at, finished_real_at)"
        " select usage_point_id, %s, meter_id, 1, 'disconnect', 'arrears', 'completed', 50,"
        " 'arrears', 'system', 'k', observed_at, 2, '{\"contact\": {\"output_state\": false}}',"
        " observed_at, observed_at, observed_at, observed_at from supply_state",
        (household.account_id,),
    )
    answer = await client.get(f"/v1/accounts/{household.account_no}/supply")
    (point,) = answer.json()["points"]
    assert point["contact"]["output_state"] is False
    last = point["last_switching"]
    assert (last["action"], last["requested_by"], last["evidence_grade"]) == (
        "disconnect",
        "system",
        "contact_reported",
    )
    assert last["evidence"] == {"contact": {"output_state": False}}
    assert point["open_orders"] == []


async def test_the_ledger_is_paged(
    client: httpx.AsyncClient, village: Any, is_problem: Any
) -> None:
    household = village.household(balance_yuan=0)
    for number in range(5):
        body = {
            "account_no": household.account_no,
            "channel": "alipay",
            "channel_reference": f"r{number}",
            "amount": f"{number + 1}.05",
        }
        await client.post("/v1/payments", json=body)
    path, query = f"/v1/accounts/{household.account_no}/ledger", {"limit": "2"}
    amounts: list[str] = []
    while True:
        page = (await client.get(path, params=query)).json()
        amounts += [entry["amount_exact"] for entry in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert sorted(amounts) == [f"{number}.050000000" for number in range(1, 6)]
    assert page["items"][-1]["kind"] == "payment"
    shown = (await client.get(f"/v1/accounts/{household.account_no}")).json()
    assert shown["balance"] == "15.25"
    assert len(shown["payments"]) == 5
    for cursor in ("!", "bm90IGEgZGF5"):
        is_problem(await client.get(path, params={"cursor": cursor}), 422, "invalid", "cursor")
    unknown = await client.get("/v1/accounts/3399999999/ledger")
    is_problem(unknown, 404, "not_found", "account_no")


async def test_days_and_statement_show_energy_and_charge(
    client: httpx.AsyncClient, village: Any, is_problem: Any
) -> None:
    household = village.household()
    village.run(
        CALENDAR_DAY,
        {
            "account": household.account_id,
            "point": household.usage_point_id,
            "meter": household.meter_id,
            "day": "2026-03-01",
        },
    )
    path = f"/v1/accounts/{household.account_no}"
    march = {"from": "2026-03-01", "to": "2026-03-31"}
    calendar = (await client.get(f"{path}/usage-calendar", params=march)).json()
    assert calendar["days"] == [
        {
            "day": "2026-03-01",
            "usage_point_no": household.usage_point_no,
            "energy_wh": 8120,
            "estimated_wh": 1000,
            "charge": "4.37",
            "charge_exact": "4.368560000",
            "quality": "estimated",
            "unrated_reason": None,
        }
    ]
    statement = (await client.get(f"{path}/statement", params=march)).json()
    assert (statement["energy_wh"], statement["charge_exact"]) == (8120, "4.368560000")
    (line,) = statement["lines"]
    assert (line["tariff"], line["tier"], line["period"]) == ("flat", 1, "flat")
    assert line["price_micro_yuan_per_kwh"] == 538_000
    assert statement["unexplained_exact"] == "0.000000000"
    assert [meter["meter_no"] for meter in statement["meters"]] == [household.meter_no]
    for wrong in (
        {"from": "2026-03-02", "to": "2026-03-01"},
        {"from": "2024-01-01", "to": "2026-03-01"},
    ):
        for part in ("usage-calendar", "statement"):
            is_problem(await client.get(f"{path}/{part}", params=wrong), 422, "invalid", "to")


async def test_notices_are_shown_with_the_recipient_masked(
    client: httpx.AsyncClient, village: Any, clock: FakeClock, is_problem: Any
) -> None:
    household = village.household()
    village.run(
        "insert into notice (account_id, usage_point_id, stage, state, due_at, next_attempt_at,"
        " text_zh, text_en, recipient, delivered_at, evidence) values"
        " (%s, %s, 'arrears', 'delivered', %s, %s, '请缴费', 'please pay', '13812345678', %s,"
        ' \'{"channel": "sms"}\')',
        (household.account_id, household.usage_point_id, *[clock.now()] * 3),
    )
    answer = await client.get("/v1/notices", params={"account_no": household.account_no})
    (notice,) = answer.json()["items"]
    assert notice["text"] == {"zh": "请缴费", "en": "please pay"}
    assert (notice["recipient"], notice["state"]) == ("138****5678", "delivered")
    assert notice["evidence"] == {"channel": "sms"}
    unknown = await client.get("/v1/notices", params={"account_no": "3399999999"})
    is_problem(unknown, 404, "not_found", "account_no")


async def test_open_cases_are_listed(
    client: httpx.AsyncClient, village: Any, clock: FakeClock
) -> None:
    household, other = village.household(), village.household()
    village.run(
        'insert into "case" (kind, subject_key, usage_point_id, account_id, meter_id, owner,'
        " detail, opened_at, closed_at) values"
        " ('identity_mismatch', 'a', %s, %s, %s, 'engineers', '{\"found\": \"X\"}', %s, null),"
        " ('run_failed', 'b', null, null, null, 'operations', '{}', %s, null),"
        " ('not_reached', 'c', %s, null, null, 'field', '{}', %s, %s)",
        (
            household.usage_point_id,
            household.account_id,
            household.meter_id,
            clock.now(),
            clock.now(),
            household.usage_point_id,
            clock.now(),
            clock.now(),
        ),
    )
    cases = (await client.get("/v1/cases")).json()["items"]
    assert [(case["kind"], case["meter_no"]) for case in cases] == [
        ("identity_mismatch", household.meter_no),
        ("run_failed", None),
    ]
    assert cases[0]["account_no"] == household.account_no
    of_other = await client.get("/v1/cases", params={"usage_point_no": other.usage_point_no})
    assert of_other.json() == {"items": []}


async def test_an_enclosing_transaction_is_its_own_tasks_alone(services: Any, village: Any) -> None:
    household = village.household()

    async def elsewhere() -> int:
        async with services.store.transaction() as uow:
            stop = await uow.orders.stop_switch()
        return int(stop.stopped)

    async with services.store.enclosing_transaction():
        await services.holds.list_active(usage_point_no=household.usage_point_no)
        async with services.store.transaction() as uow:
            await services.supply_control.set_stop_switch(
                uow, stopped=True, changed_by="test", reason="storm"
            )
        assert await asyncio.create_task(elsewhere()) == 0
    assert await elsewhere() == 1
