"""An application over services that must not be reached: what is refused before any work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app
from headend.bootstrap import Services
from headend.services.pushes import PushCounts

KEY = "a-development-key"


class Unreachable:
    """A store or service whose use fails the request with a message to look for."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(f"{name} was reached")


@pytest.fixture
def app() -> FastAPI:
    names = ("store", "clock", "policies", "supply_control", "restraints", "payments", "holds")
    services = SimpleNamespace(
        **{name: Unreachable() for name in names},
        accounts=Unreachable(),
        pushes=SimpleNamespace(counts=PushCounts()),
    )
    return create_app(cast(Services, services), api_key=KEY)


@pytest.fixture
async def stranger(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://headend") as client:
        yield client


@pytest.fixture
async def client(stranger: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client with the key."""
    stranger.headers["Authorization"] = f"Bearer {KEY}"
    return stranger


def problem_of(answer: httpx.Response) -> tuple[int, str, str | None]:
    """Return (status, code, field) of an error answer."""
    body: dict[str, Any] = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["status"] == answer.status_code
    assert body["type"] == f"urn:ami-headend:problem:{body['code']}"
    return answer.status_code, body["code"], body.get("field")


@pytest.fixture
def problem() -> Any:
    return problem_of
