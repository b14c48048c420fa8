"""Errors as problem+json (RFC 9457): a stable code, the field at fault, a sentence for people.

Faults of ours are answered without their inside: an incident number leads to the log line.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from headend.domain.errors import (
    BadInput,
    ConfigurationError,
    Conflict,
    HeadEndError,
    InvariantViolated,
    LocalProtocolError,
    MeterMisbehaved,
    MeterRefused,
    NotFound,
    OutcomeUnknown,
)

MEDIA_TYPE = "application/problem+json"
URN = "urn:ami-headend:problem:"
RETRY_AFTER_S = 1
# Faults at most that are listed one by one.
MAXIMUM_ERRORS = 20

_LOG = structlog.get_logger(__name__)
# Words of the framework's validation errors that are clearer in ours.
_CODES = {
    "missing": "missing",
    "extra_forbidden": "unknown_field",
    "json_invalid": "malformed_json",
}
# What services call a field, and what clients call it.
_CLIENT_NAMES = {
    "account": "account_no",
    "channel_code": "channel",
    "reference": "channel_reference",
    "usage_point": "usage_point_no",
    "usage_point_id": "usage_point_no",
}
_HTTP_CODES = {
    400: "bad_request",
    401: "unauthenticated",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}


class ProblemResponse(JSONResponse):
    """An error answer."""

    media_type = MEDIA_TYPE


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    field: str | None = None,
    errors: Sequence[Mapping[str, str]] | None = None,
    incident: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> ProblemResponse:
    """Return an error answer; fields that are None are left out."""
    body: dict[str, Any] = {
        "type": URN + code,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "field": field,
        "errors": errors,
        "incident": incident,
    }
    return ProblemResponse(
        {name: value for name, value in body.items() if value is not None},
        status_code=status,
        headers=dict(headers) if headers else None,
    )


def add_problem_handlers(app: FastAPI) -> None:
    """Let the application answer every error as problem+json."""
    app.add_exception_handler(HeadEndError, _on_declared)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_defect)


def status_of(error: HeadEndError) -> tuple[int, str]:
    """Return the HTTP status and the code of a declared fault."""
    match error:
        case NotFound():
            return 404, error.code
        case Conflict():
            return 409, error.code
        case BadInput():
            return 422, error.code
        case InvariantViolated() | LocalProtocolError():
            return 500, "internal_error"
        case ConfigurationError():
            return 503, "not_configured"
        case OutcomeUnknown():
            return 503, "outcome_unknown"
        case MeterRefused():
            return 502, "meter_refused"
        case MeterMisbehaved():
            return 502, "meter_misbehaved"
        case _ if error.retryable:
            return 503, "unavailable"
        case _:
            return 500, "internal_error"


async def _on_declared(request: Request, error: Exception) -> ProblemResponse:
    if not isinstance(error, HeadEndError):
        return await _on_defect(request, error)
    status, code = status_of(error)
    if status == 500:
        return await _on_defect(request, error)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if error.retryable else None
    field = _CLIENT_NAMES.get(error.field, error.field) if isinstance(error, BadInput) else None
    if status >= 500:
        _LOG.warning("request failed", path=request.url.path, code=code, error=str(error))
    return problem(status, code, str(error), field=field, headers=headers)


async def _on_validation(request: Request, error: Exception) -> ProblemResponse:
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    if any(fault["type"] == "json_invalid" for fault in faults):
        return problem(400, "malformed_json", "the body is not JSON", field="body")
    listed = [_listed(fault) for fault in faults[:MAXIMUM_ERRORS]]
    first = listed[0] if listed else {"field": "body", "code": "invalid", "detail": "not valid"}
    return problem(
        422,
        first["code"],
        f"{first['field']}: {first['detail']}",
        field=first["field"],
        errors=listed,
    )


async def _on_http(request: Request, error: Exception) -> ProblemResponse:
    if not isinstance(error, HTTPException):
        return await _on_defect(request, error)
    if error.status_code == 404:
        return problem(404, "no_such_path", f"there is no {request.url.path} here")
    if error.status_code == 400:
        return problem(400, "malformed_body", "the body cannot be read", field="body")
    code = _HTTP_CODES.get(error.status_code, "http_error")
    return problem(error.status_code, code, str(error.detail), headers=error.headers)


async def _on_defect(request: Request, error: Exception) -> ProblemResponse:
    incident = secrets.token_hex(4)
    _LOG.error(
        "request met a defect",
        incident=incident,
        method=request.method,
        path=request.url.path,
        exc_info=error,
    )
    return problem(
        500,
        "internal_error",
        "this is a fault of the head-end; nothing was changed",
        incident=incident,
    )


def _listed(fault: Mapping[str, Any]) -> dict[str, str]:
    message = str(fault["msg"]).removeprefix("Value error, ")
    return {
        "field": _field(fault["loc"]),
        "code": _CODES.get(fault["type"], "invalid"),
        "detail": message[:1].lower() + message[1:],
    }


def _field(location: Iterable[Any]) -> str:
    """Name a field as the client wrote it: the body's own by name, others with their place."""
    place, *path = [str(part) for part in location]
    name = ".".join(path)
    if place == "body" or not name:
        return name or place
    return name if place == "path" else f"{place}.{name}"
