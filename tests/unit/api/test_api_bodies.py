"""What is refused before any service is asked: shapes, sizes, headers, and the field is named."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

JSON = {"Content-Type": "application/json"}


def payment(**changes: Any) -> dict[str, Any]:
    """Return the body of a payment, with changes; None leaves a field out."""
    body = {
        "account_no": "3300000001",
        "channel": "wechat",
        "channel_reference": "4200001",
        "amount": "200.00",
        **changes,
    }
    return {name: value for name, value in body.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"account_no": None}, "missing", "account_no"),
        ({"account_no": "no spaces"}, "invalid", "account_no"),
        ({"account_no": "a\u0000b"}, "invalid", "account_no"),
        ({"account_no": "1'; drop table payment--"}, "invalid", "account_no"),
        ({"account_no": "a\r\nSet-Cookie: x"}, "invalid", "account_no"),
        ({"account_no": 3301}, "invalid", "account_no"),
        ({"channel": "WeChat"}, "invalid", "channel"),
        ({"channel_reference": "a/b"}, "invalid", "channel_reference"),
        ({"channel_reference": "x" * 65}, "invalid", "channel_reference"),
        ({"amount": 200}, "invalid", "amount"),
        ({"amount": "200.005"}, "invalid", "amount"),
        ({"amount": "-1.00"}, "invalid", "amount"),
        ({"amount": "1e3"}, "invalid", "amount"),
        ({"amount": "NaN"}, "invalid", "amount"),
        ({"amount": "1_000"}, "invalid", "amount"),
        ({"amount": " 1.00"}, "invalid", "amount"),
        ({"amount": "1.00\n"}, "invalid", "amount"),
        ({"amount": "٢٠٠"}, "invalid", "amount"),
        ({"paid_at": "2026-03-02T02:00:00"}, "invalid", "paid_at"),
        ({"paid_at": 1_700_000_000}, "invalid", "paid_at"),
        ({"paid_at": "1700000000"}, "invalid", "paid_at"),
        ({"paid_at": "2026-02-30T00:00:00Z"}, "invalid", "paid_at"),
        ({"paid_at": "9999-12-31T23:59:59Z"}, "invalid", "paid_at"),
        ({"paid_at": "0001-01-01T00:00:00+14:00"}, "invalid", "paid_at"),
        ({"ammount": "1.00"}, "unknown_field", "ammount"),
    ],
)
async def test_a_wrong_field_is_named(
    client: httpx.AsyncClient, problem: Any, changes: dict[str, Any], code: str, field: str
) -> None:
    answer = await client.post("/v1/payments", json=payment(**changes))
    assert problem(answer) == (422, code, field)


async def test_every_wrong_field_is_listed(client: httpx.AsyncClient, problem: Any) -> None:
    answer = await client.post("/v1/payments", json={"amount": "x", "tip": "1"})
    assert problem(answer) == (422, "missing", "account_no")
    assert {(each["field"], each["code"]) for each in answer.json()["errors"]} == {
        ("account_no", "missing"),
        ("channel", "missing"),
        ("channel_reference", "missing"),
        ("amount", "invalid"),
        ("tip", "unknown_field"),
    }


@pytest.mark.parametrize(
    "body", [b"", b'{"amount": ', b"\xff\xfe", b"{'a': 1}", b"[" * 20_000, b"\x1f\x8b\x08"]
)
async def test_a_body_that_is_not_json_is_refused(
    client: httpx.AsyncClient, problem: Any, body: bytes
) -> None:
    answer = await client.post("/v1/payments", content=body, headers=JSON)
    status, code, field = problem(answer)
    assert field == "body"
    assert (status, code) in {
        (400, "malformed_json"),
        (400, "malformed_body"),
        (422, "missing"),
    }


@pytest.mark.parametrize("body", ["[]", "null", '"x"', "1", "true"])
async def test_a_body_of_another_shape_is_refused(
    client: httpx.AsyncClient, problem: Any, body: str
) -> None:
    answer = await client.post("/v1/payments", content=body, headers=JSON)
    assert problem(answer)[0] == 422
    assert answer.json()["field"] == "body"


async def test_a_body_of_another_type_is_refused(client: httpx.AsyncClient, problem: Any) -> None:
    answer = await client.post("/v1/payments", data=payment())
    assert problem(answer)[0] in (415, 422)


async def test_a_body_that_is_too_large_is_refused(client: httpx.AsyncClient, problem: Any) -> None:
    large = b'{"account_no": "' + b"1" * 70_000 + b'"}'
    declared = await client.post("/v1/payments", content=large, headers=JSON)
    assert problem(declared) == (413, "body_too_large", None)

    async def pieces() -> Any:
        for start in range(0, len(large), 1_000):
            yield large[start : start + 1_000]

    streamed = await client.post("/v1/payments", content=pieces(), headers=JSON)
    assert problem(streamed) == (413, "body_too_large", None)


@pytest.mark.parametrize("key", ["", "x" * 129, "é", "a\tb"])
async def test_an_idempotency_key_that_is_none_is_refused(
    client: httpx.AsyncClient, problem: Any, key: str
) -> None:
    headers = {b"Idempotency-Key": key.encode("latin-1")}
    answer = await client.post("/v1/payments", json=payment(), headers=headers)
    assert problem(answer) == (422, "invalid", "Idempotency-Key")


@pytest.mark.parametrize("actor", ["", "a b", "-x", "x" * 65, "系统", "a/b"])
async def test_an_actor_that_is_none_is_refused(
    client: httpx.AsyncClient, problem: Any, actor: str
) -> None:
    headers = {b"X-Actor": actor.encode()}
    answer = await client.post("/v1/payments", json=payment(), headers=headers)
    assert problem(answer) == (422, "invalid", "X-Actor")


@pytest.mark.parametrize("text", ["", "  ", "a\u0000", "\u2028", "x" * 501])
async def test_text_is_bounded_and_without_control_characters(
    client: httpx.AsyncClient, problem: Any, text: str
) -> None:
    answer = await client.post("/v1/supply-orders/1/cancel", json={"reason": text})
    assert problem(answer) == (422, "invalid", "reason")


async def test_half_a_character_is_refused(client: httpx.AsyncClient, problem: Any) -> None:
    answer = await client.post(
        "/v1/supply-orders/1/cancel", content='{"reason": "\\ud800"}', headers=JSON
    )
    assert problem(answer) == (422, "invalid", "reason")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/supply-orders?limit=0", "query.limit"),
        ("/v1/supply-orders?limit=501", "query.limit"),
        ("/v1/supply-orders?state=finished", "query.state.0"),
        ("/v1/supply-orders?cursor=-1", "query.cursor"),
        ("/v1/supply-orders?page=2", "query.page"),
        ("/v1/supply-orders/0", "order_id"),
        ("/v1/supply-orders/99999999999999999999", "order_id"),
        ("/v1/supply-orders/x", "order_id"),
        ("/v1/accounts/a%00b", "account_no"),
        ("/v1/accounts/1/statement?from=2026-03-01", "query.to"),
        ("/v1/accounts/1/statement?from=2026-3-1&to=2026-03-02", "query.from"),
        ("/v1/accounts/1/usage-calendar?from=2026-02-30&to=2026-03-02", "query.from"),
        ("/v1/notices", "query.account_no"),
        ("/v1/restraints", "query.usage_point_no"),
        ("/v1/payments/wechat/a%20b", "channel_reference"),
    ],
)
async def test_a_wrong_parameter_is_named(
    client: httpx.AsyncClient, problem: Any, path: str, field: str
) -> None:
    status, code, named = problem(await client.get(path))
    assert (status, named) == (422, field)
    assert code in ("invalid", "missing", "unknown_field")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/holds", {"usage_point_no": "U", "hold": "kindness"}, "hold"),
        ("/v1/restraints", {"usage_point_no": "U", "restraint": "mood"}, "restraint"),
        ("/v1/supply-orders", {"action": "explode"}, "action"),
    ],
)
async def test_a_word_that_is_not_in_the_list_is_refused(
    client: httpx.AsyncClient, problem: Any, path: str, body: dict[str, Any], field: str
) -> None:
    answer = await client.post(path, json=body)
    assert problem(answer)[0] == 422
    assert (field, "invalid") in {(each["field"], each["code"]) for each in answer.json()["errors"]}


async def test_a_defect_is_answered_without_its_inside(
    client: httpx.AsyncClient, problem: Any
) -> None:
    answer = await client.get("/v1/stop-switch")
    assert problem(answer) == (500, "internal_error", None)
    assert "reached" not in answer.text
    assert answer.json()["incident"]
