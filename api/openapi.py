"""The OpenAPI 3.1 document: what the framework derives, with our problems and security scheme."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.problems import MEDIA_TYPE
from api.schemas.problems import Problem

TITLE = "AMI head-end"
API_VERSION = "1.0.0"
DESCRIPTION = (
    "Prepaid metering with remote disconnection and reconnection. Money is decimal yuan in strings,"
    " energy integer Wh, instants are UTC with Z. Errors are problem+json with a stable code."
    " Writes take Idempotency-Key."
)
_FRAMEWORK_SCHEMAS = ("HTTPValidationError", "ValidationError")


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the specification, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            openapi_version="3.1.0",
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for name in _FRAMEWORK_SCHEMAS:
            schemas.pop(name, None)
        _add_problem(schemas)
        for methods in document["paths"].values():
            for operation in methods.values():
                _drop_framework_errors(operation)
        app.openapi_schema = document
    return app.openapi_schema


def _add_problem(schemas: dict[str, Any]) -> None:
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem


def _drop_framework_errors(operation: dict[str, Any]) -> None:
    """Routes say themselves which problems they answer; the framework's own 422 is never sent."""
    answers = operation["responses"]
    for status in list(answers):
        content = answers[status].get("content", {})
        if MEDIA_TYPE in content:
            answers[status]["content"] = {MEDIA_TYPE: content[MEDIA_TYPE]}
        elif status == "422":
            del answers[status]
