"""Holds and restraints over HTTP: placed with evidence, shown with who lifts them, ended."""

from __future__ import annotations

from typing import Any

import httpx

from headend.testing.clock import FakeClock


async def test_a_hold_is_placed_listed_and_ended(
    client: httpx.AsyncClient, village: Any, is_problem: Any
) -> None:
    household = village.household()
    body = {
        "usage_point_no": household.usage_point_no,
        "hold": "life_support",
        "owner": "supervisor Li",
        "evidence": "hospital certificate 118",
    }
    key = {"Idempotency-Key": "hold-1"}
    placed = await client.post("/v1/holds", json=body, headers=key)
    hold = placed.json()
    assert (placed.status_code, hold["hold"], hold["is_active"]) == (201, "life_support", True)
    assert hold["sentence"]["zh"] == "该户登记有生命维持设备，不得停电。"
    assert (hold["valid_from"], hold["valid_to"]) == ("2026-03-02T02:00:00Z", None)
    # A hold has no key of its own: only the client's keeps it from being placed twice.
    again = await client.post("/v1/holds", json=body, headers=key)
    assert again.json() == hold
    assert village.count("hold") == 1
    listed = await client.get("/v1/holds", params={"account_no": household.account_no})
    assert listed.json() == {"items": [hold]}
    assert (await client.get("/v1/holds")).json() == {"items": [hold]}
    assert (await client.get(f"/v1/holds/{hold['hold_id']}")).json() == hold
    supply = (await client.get(f"/v1/accounts/{household.account_no}/supply")).json()["points"][0]
    assert supply["holds"] == [hold]
    assert [step["code"] for step in supply["next_steps"]] == ["protected"]

    path = f"/v1/holds/{hold['hold_id']}/end"
    ended = await client.post(path, json={"reason": "equipment returned"})
    assert (ended.status_code, ended.json()["is_active"]) == (200, False)
    assert ended.json()["ended_by"] == "development/li.na"
    is_problem(await client.post(path, json={"reason": "again"}), 409, "conflict", "hold_id")
    query = {"usage_point_no": household.usage_point_no}
    assert (await client.get("/v1/holds", params=query)).json() == {"items": []}
    kept = await client.get("/v1/holds", params={**query, "include_ended": True})
    assert kept.json() == {"items": [ended.json()]}
    assert village.audited() == [
        ("development/li.na", "hold.placed"),
        ("development/li.na", "hold.ended"),
    ]


async def test_a_hold_that_protects_nobody_is_refused(
    client: httpx.AsyncClient, village: Any, is_problem: Any
) -> None:
    body = {
        "usage_point_no": "UP999999",
        "hold": "dispute",
        "owner": "accounts",
        "evidence": "letter",
    }
    is_problem(await client.post("/v1/holds", json=body), 404, "not_found", "usage_point_no")
    body["usage_point_no"] = village.household().usage_point_no
    body["valid_to"] = "2026-03-02T02:00:00Z"
    is_problem(await client.post("/v1/holds", json=body), 422, "invalid", "valid_to")
    is_problem(await client.get("/v1/holds/77"), 404, "not_found", "hold_id")
    is_problem(
        await client.post("/v1/holds/77/end", json={"reason": "x"}), 404, "not_found", "hold_id"
    )


async def test_the_last_restraint_lifted_gets_power_back(
    client: httpx.AsyncClient, village: Any, is_problem: Any
) -> None:
    household = village.household()
    village.seen(household, "disconnected")
    body = {
        "usage_point_no": household.usage_point_no,
        "restraint": "unsafe",
        "evidence": "inspector's report 88",
    }
    placed = await client.post("/v1/restraints", json=body)
    again = await client.post("/v1/restraints", json={**body, "evidence": "another report"})
    assert (placed.status_code, again.status_code) == (201, 200)
    assert again.json() == placed.json()
    assert placed.json()["lifted_by"]["zh"] == "现场人员确认安全后解除"
    village.restrain(household, "works")

    query = {"usage_point_no": household.usage_point_no}
    listed = (await client.get("/v1/restraints", params=query)).json()
    assert [each["restraint"] for each in listed["items"]] == ["unsafe", "works"]
    one = await client.post("/v1/restraints/lift", json={**body, "restraint": "works"})
    assert one.json()["supply_order"] is None
    assert [each["restraint"] for each in one.json()["remaining"]] == ["unsafe"]
    last = await client.post("/v1/restraints/lift", json=body)
    assert (last.status_code, last.json()["remaining"]) == (200, [])
    order = last.json()["supply_order"]
    assert (order["action"], order["purpose"], order["state"]) == (
        "reconnect",
        "safety_isolation",
        "scheduled",
    )
    is_problem(await client.post("/v1/restraints/lift", json=body), 404, "not_found", "restraint")


async def test_arrears_is_neither_placed_nor_lifted_by_hand(
    client: httpx.AsyncClient, village: Any, is_problem: Any
) -> None:
    household = village.cut_for_arrears()
    body = {
        "usage_point_no": household.usage_point_no,
        "restraint": "arrears",
        "evidence": "I say so",
    }
    for path in ("/v1/restraints", "/v1/restraints/lift"):
        is_problem(await client.post(path, json=body), 422, "invalid", "restraint")
        unknown = {**body, "usage_point_no": "UP999999"}
        is_problem(await client.post(path, json=unknown), 404, "not_found", "usage_point_no")


async def test_a_wrong_cut_shows_who_may_lift_it(
    client: httpx.AsyncClient, village: Any, clock: FakeClock
) -> None:
    household = village.cut_for_arrears(owed_yuan=20)
    village.restrain(household, "theft")
    answer = await client.get(f"/v1/accounts/{household.account_no}/supply")
    (point,) = answer.json()["points"]
    assert (point["state"], point["source"]) == ("disconnected", "reading")
    assert [step["code"] for step in point["next_steps"]] == [
        "pay_to_reconnect",
        "restraint_remains",
    ]
    assert "yuan" in point["next_steps"][0]["sentence"]["en"]
    assert [each["lifted_by"]["en"] for each in point["restraints"]] == [
        "the system, when the payment posts",
        "the inspection team, when its case is closed",
    ]
