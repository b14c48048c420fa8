"""The contract: a snapshot of the specification, and what holds for all of it.

When a change of the contract is meant, write the snapshot anew:
``python tests/unit/api/test_api_specification.py``; reviewers then see what clients will notice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from api.app import create_app
from headend.bootstrap import Services
from headend.services.pushes import PushCounts

SNAPSHOT = Path(__file__).parent / "openapi.json"


def specification() -> dict[str, Any]:
    names = ("store", "clock", "policies", "supply_control", "restraints")
    pushes = SimpleNamespace(counts=PushCounts())
    services = cast(Services, SimpleNamespace(**dict.fromkeys(names), pushes=pushes))
    return create_app(services, api_key="a-development-key").openapi()


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return specification()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_the_contract_is_the_one_that_was_agreed(document: dict[str, Any]) -> None:
    assert document == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    references = json.dumps(document).split('"$ref": "')[1:]
    for reference in references:
        name = reference.partition('"')[0]
        assert name.startswith("#/components/schemas/")
        assert name.rsplit("/", 1)[1] in schemas


def test_every_operation_is_described_and_says_how_it_fails(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        assert operation["summary"], path
        assert operation["description"], path
        assert operation["operationId"].isidentifier()
        for status, answer in operation["responses"].items():
            media = list(answer.get("content", {}))
            if int(status) >= 400:
                assert media == ["application/problem+json"], (path, status)
        if path.startswith("/v1"):
            assert operation["security"] == [{"key": []}], (path, method)
            assert {"401", "422", "500", "503"} <= set(operation["responses"]), (path, method)
        else:
            assert "security" not in operation
        if method in ("post", "put"):
            headers = {each["name"] for each in operation["parameters"] if each["in"] == "header"}
            assert {"Idempotency-Key", "X-Actor"} <= headers


def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)


def test_bodies_refuse_unknown_fields_and_money_is_a_string(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    sent = {
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
        for _, _, operation in operations(document)
        if "requestBody" in operation
    }
    assert len(sent) >= 7
    for name in sent:
        assert schemas[name]["additionalProperties"] is False, name
    for name, schema in schemas.items():
        for field, described in schema.get("properties", {}).items():
            if field in ("amount", "balance", "charge"):
                kinds = {each.get("type") for each in described.get("anyOf", [described])}
                assert "string" in kinds, (name, field)
            assert not field.endswith(("account_id", "usage_point_id", "meter_id")), (name, field)


if __name__ == "__main__":
    SNAPSHOT.write_text(
        json.dumps(specification(), indent=1, ensure_ascii=False, sort_keys=True) + "\n",
        encoding="utf-8",
    )
