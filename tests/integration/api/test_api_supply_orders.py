"""Supply orders over HTTP: asked, judged, followed, listed, cancelled, released, all stopped."""

from __future__ import annotations

from typing import Any

import httpx

from headend.testing.clock import FakeClock

ORDERS = "/v1/supply-orders"


def reconnect(**where: Any) -> dict[str, Any]:
    """Return the body of a reconnection on the customer's request."""
    return {
        "action": "reconnect",
        "purpose": "customer_request",
        "reason": "customer is back",
        **where,
    }


def disconnect(purpose: str = "customer_request", **where: Any) -> dict[str, Any]:
    """Return the body of a disconnection."""
    return {"action": "disconnect", "purpose": purpose, "reason": "asked for", **where}


async def test_a_disconnect_against_the_rules_is_answered_with_its_reasons(
    client: httpx.AsyncClient, village: Any
) -> None:
    household = village.household(balance_yuan=100)
    body = disconnect("arrears", account_no=household.account_no)
    answer = await client.post(ORDERS, json=body, headers={"Idempotency-Key": "cut-1"})
    order = answer.json()
    assert answer.status_code == 201
    assert (order["state"], order["is_open"]) == ("refused", False)
    first = order["refusals"][0]
    assert first["code"] == "balance_not_below_threshold"
    assert first["sentence"]["zh"] == "账户余额未低于停电限额，不停电。"
    assert "not below" in first["sentence"]["en"]
    assert first["cleared_by"]["en"]
    assert {"notice_not_delivered"} <= {each["code"] for each in order["refusals"]}
    assert order["evidence"]["facts"]["balance_nano"] == 100_000_000_000
    assert [event["to_state"] for event in order["events"]] == ["requested", "refused"]
    assert order["requested_by"] == "development/li.na"
    assert (order["usage_point_no"], order["account_no"], order["meter_no"]) == (
        household.usage_point_no,
        household.account_no,
        household.meter_no,
    )
    assert village.audited() == [("development/li.na", "supply_order.disconnect.requested")]
    again = await client.post(ORDERS, json=body, headers={"Idempotency-Key": "cut-1"})
    assert again.json() == order
    assert village.count("supply_order") == 1


async def test_a_reconnect_is_asked_followed_and_listed(
    client: httpx.AsyncClient, village: Any
) -> None:
    household = village.household()
    village.seen(household, "disconnected")
    asked = await client.post(ORDERS, json=reconnect(usage_point_no=household.usage_point_no))
    order = asked.json()
    assert (asked.status_code, order["state"], order["is_open"]) == (201, "scheduled", True)
    assert order["deadline_at"].startswith("2026-03-02T")  # paid before 20:00: the same day
    followed = await client.get(f"{ORDERS}/{order['order_id']}")
    assert followed.json() == order
    waiting = await client.post(ORDERS, json=reconnect(account_no=household.account_no))
    assert (waiting.status_code, waiting.json()["order_id"]) == (200, order["order_id"])
    listed = await client.get(ORDERS, params={"account_no": household.account_no, "open": True})
    assert [each["order_id"] for each in listed.json()["items"]] == [order["order_id"]]
    supply = (await client.get(f"/v1/accounts/{household.account_no}/supply")).json()
    assert [step["code"] for step in supply["points"][0]["next_steps"]] == ["reconnecting"]


async def test_a_disconnect_never_supersedes_a_waiting_reconnect(
    client: httpx.AsyncClient, village: Any, is_problem: Any
) -> None:
    household = village.household()
    village.seen(household, "disconnected")
    asked = await client.post(ORDERS, json=reconnect(usage_point_no=household.usage_point_no))
    refused = await client.post(ORDERS, json=disconnect(account_no=household.account_no))
    body = is_problem(refused, 409, "order_waiting", "usage_point_no")
    assert str(asked.json()["order_id"]) in body["detail"]


async def test_the_usage_point_must_be_clear(
    client: httpx.AsyncClient, village: Any, is_problem: Any
) -> None:
    household = village.household()
    second = village.household(account=household.account_id)
    neither = await client.post(ORDERS, json=reconnect())
    is_problem(neither, 422, "invalid", "usage_point_no")
    both = await client.post(ORDERS, json=reconnect(account_no=household.account_no))
    body = is_problem(both, 422, "ambiguous_usage_point", "usage_point_no")
    assert household.usage_point_no in body["detail"]
    assert second.usage_point_no in body["detail"]
    village.run("update occupancy set valid_to = '2026-03-01'")
    none = await client.post(ORDERS, json=reconnect(account_no=household.account_no))
    is_problem(none, 422, "no_usage_point", "usage_point_no")
    unknown = await client.post(ORDERS, json=reconnect(usage_point_no="UP999999"))
    is_problem(unknown, 404, "not_found", "usage_point_no")
    stranger = await client.post(ORDERS, json=reconnect(account_no="3399999999"))
    is_problem(stranger, 404, "not_found", "account_no")
    village.run("delete from meter_installation")
    meterless = await client.post(ORDERS, json=reconnect(usage_point_no=second.usage_point_no))
    is_problem(meterless, 422, "no_meter", "usage_point_no")
    backwards = reconnect(
        usage_point_no=second.usage_point_no,
        not_before="2026-03-03T02:00:00Z",
        not_after="2026-03-03T02:00:00Z",
    )
    is_problem(await client.post(ORDERS, json=backwards), 422, "invalid", "not_after")
    assert village.count("supply_order") == 0


async def test_a_list_is_paged_and_filtered(
    client: httpx.AsyncClient, village: Any, is_problem: Any
) -> None:
    household, other = village.household(), village.household()
    for _ in range(5):
        await client.post(ORDERS, json=disconnect("arrears", account_no=household.account_no))
    await client.post(ORDERS, json=disconnect("arrears", account_no=other.account_no))
    numbers: list[int] = []
    cursor: dict[str, Any] = {}
    for size in (2, 2, 1):
        query = {"usage_point_no": household.usage_point_no, "limit": 2, **cursor}
        page = (await client.get(ORDERS, params=query)).json()
        assert len(page["items"]) == size
        numbers += [each["order_id"] for each in page["items"]]
        cursor = {"cursor": page["next_cursor"]}
    assert cursor["cursor"] is None
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == 5
    refused = await client.get(ORDERS, params={"state": ["refused", "failed"], "limit": 500})
    assert len(refused.json()["items"]) == 6
    is_open = await client.get(ORDERS, params={"open": True})
    assert is_open.json() == {"items": [], "next_cursor": None}
    unknown = await client.get(ORDERS, params={"account_no": "3399999999"})
    is_problem(unknown, 404, "not_found", "account_no")


async def test_an_unsent_order_is_cancelled_a_sent_one_is_not(
    client: httpx.AsyncClient, village: Any, is_problem: Any
) -> None:
    household = village.household()
    village.seen(household, "disconnected")
    asked = await client.post(ORDERS, json=reconnect(usage_point_no=household.usage_point_no))
    path = f"{ORDERS}/{asked.json()['order_id']}"
    key = {"Idempotency-Key": "cancel-1"}
    cancelled = await client.post(f"{path}/cancel", json={"reason": "by mistake"}, headers=key)
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert cancelled.json()["events"][-1]["actor"] == "development/li.na"
    again = await client.post(f"{path}/cancel", json={"reason": "by mistake"}, headers=key)
    assert again.json() == cancelled.json()
    keyless = await client.post(f"{path}/cancel", json={"reason": "by mistake"})
    is_problem(keyless, 409, "order_sent", "order_id")
    unknown = await client.post(f"{ORDERS}/999999/cancel", json={"reason": "x"})
    is_problem(unknown, 404, "not_found", "order_id")
    is_problem(await client.get(f"{ORDERS}/999999"), 404, "not_found", "order_id")


async def test_a_quarantined_order_needs_two_people(
    client: httpx.AsyncClient, village: Any, is_problem: Any
) -> None:
    asked = []
    for _ in range(2):  # the governor of these tests lets one through in an hour
        household = village.household()
        answer = await client.post(ORDERS, json=disconnect(account_no=household.account_no))
        asked.append(answer.json())
    assert asked[0]["state"] == "scheduled", asked[0]["refusals"]
    assert asked[1]["state"] == "quarantined"
    codes = [each["code"] for each in asked[1]["refusals"]]
    assert "system_rate_exceeded" in codes
    path = f"{ORDERS}/{asked[1]['order_id']}/release"
    first = await client.post(path)
    same = await client.post(path)
    second = await client.post(path, headers={"X-Actor": "wang.wei"})
    states = [answer.json()["state"] for answer in (first, same, second)]
    assert states == ["quarantined", "quarantined", "scheduled"]
    is_problem(await client.post(path), 409, "not_quarantined", "order_id")


async def test_the_stop_switch_stops_disconnects(
    client: httpx.AsyncClient, village: Any, clock: FakeClock, is_problem: Any
) -> None:
    household = village.household()
    assert (await client.get("/v1/stop-switch")).json()["stopped"] is False
    stop = {"stopped": True, "reason": "storm"}
    stopped = await client.put("/v1/stop-switch", json=stop)
    assert stopped.json() == {
        "stopped": True,
        "changed_by": "development/li.na",
        "reason": "storm",
        "changed_at": "2026-03-02T02:00:00Z",
    }
    assert (await client.get("/v1/stop-switch")).json() == stopped.json()
    refused = await client.post(ORDERS, json=disconnect(account_no=household.account_no))
    assert refused.json()["refusals"][0]["code"] == "stop_switch_on"
    village.seen(household, "disconnected")
    allowed = await client.post(ORDERS, json=reconnect(account_no=household.account_no))
    assert allowed.json()["state"] == "scheduled"
    is_problem(
        await client.put("/v1/stop-switch", json={"stopped": False}), 422, "missing", "reason"
    )


async def test_orders_are_counted_by_state_for_operators(
    client: httpx.AsyncClient, stranger: httpx.AsyncClient, village: Any
) -> None:
    assert (await stranger.get("/readyz")).json() == {"status": "ready"}
    household = village.household()
    await client.post(ORDERS, json=disconnect("arrears", account_no=household.account_no))
    figures = (await stranger.get("/metrics")).text
    assert 'headend_supply_orders{action="disconnect",state="refused"} 1.0' in figures
