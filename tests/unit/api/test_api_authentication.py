"""Nothing under /v1 answers without the key; what operators need does."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api.authentication import DevelopmentKey, Principal, actor_of
from headend.domain.errors import BadInput, ConfigurationError

KEYED = [
    ("POST", "/v1/payments"),
    ("GET", "/v1/payments/wechat/1"),
    ("GET", "/v1/accounts/1"),
    ("PUT", "/v1/stop-switch"),
    ("GET", "/v1/no-such-thing"),
    ("GET", "/v1"),
    ("DELETE", "/v1/holds/1"),
]


@pytest.mark.parametrize(("method", "path"), KEYED)
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        b"Bearer wrong-key",
        b"Bearer",
        b"Bearer ",
        b"Basic a-development-key",
        b"a-development-key",
        b"Bearer a-development-key-and-more",
        "Bearer ключ".encode(),
        b"Bearer \xff\xfe",
    ],
)
async def test_without_the_key_everything_is_refused(
    stranger: httpx.AsyncClient,
    problem: Any,
    method: str,
    path: str,
    authorization: bytes | None,
) -> None:
    headers = {} if authorization is None else {b"Authorization": authorization}
    answer = await stranger.request(method, path, headers=headers, content=b"{")
    assert problem(answer) == (401, "unauthenticated", None)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_with_the_key_a_path_that_is_not_there_is_named(
    client: httpx.AsyncClient, problem: Any
) -> None:
    answer = await client.get("/v1/no-such-thing")
    assert problem(answer) == (404, "no_such_path", None)
    assert "/v1/no-such-thing" in answer.json()["detail"]


async def test_a_method_that_is_not_there_is_refused(
    client: httpx.AsyncClient, problem: Any
) -> None:
    answer = await client.delete("/v1/payments")
    assert problem(answer) == (405, "method_not_allowed", None)
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize("path", ["/healthz", "/openapi.json", "/docs"])
async def test_what_needs_no_key_answers(stranger: httpx.AsyncClient, path: str) -> None:
    assert (await stranger.get(path)).status_code == 200


async def test_the_documentation_loads_nothing_from_elsewhere(stranger: httpx.AsyncClient) -> None:
    page = await stranger.get("/docs")
    assert "/v1/supply-orders" in page.text
    assert "://" not in page.text
    assert "<script" not in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")


async def test_the_scheme_may_be_written_in_any_case(
    stranger: httpx.AsyncClient, problem: Any
) -> None:
    answer = await stranger.get("/v1/x", headers={"Authorization": "bearer  a-development-key"})
    assert problem(answer)[1] == "no_such_path"


def test_a_key_that_is_too_short_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least 8 characters"):
        DevelopmentKey("short")


def test_an_actor_always_begins_with_the_key() -> None:
    principal = Principal("development")
    assert actor_of(principal, None) == "development"
    assert actor_of(principal, "system") == "development/system"
    with pytest.raises(BadInput):
        actor_of(principal, "../system")


async def test_requests_are_timed_by_route(client: httpx.AsyncClient) -> None:
    await client.get("/healthz")
    await client.get("/v1/supply-orders/x")
    await client.get("/nowhere/1234")
    registry = client._transport.app.state.application.metrics.registry  # type: ignore[attr-defined]

    def seen(route: str, status: str) -> float | None:
        labels = {"method": "GET", "route": route, "status": status}
        return registry.get_sample_value("headend_http_request_seconds_count", labels)

    assert seen("/healthz", "200") == 1
    assert seen("/v1/supply-orders/{order_id}", "422") == 1
    assert seen("unmatched", "404") == 1
