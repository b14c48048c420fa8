"""How the specification shows error answers: problem+json, and which a route may give."""

from __future__ import annotations

from typing import Any

from api.problems import MEDIA_TYPE

PROBLEM_REFERENCE = "#/components/schemas/Problem"

_DESCRIPTIONS = {
    400: "The body is not JSON.",
    401: "The key is missing or wrong.",
    404: "What is named does not exist.",
    409: "It contradicts what is recorded; both sides are in `detail`.",
    413: "The body is too large.",
    422: "A field is wrong; `field` and `errors` name it.",
    500: "A fault of the head-end; `incident` leads to its log.",
    503: "Not possible now; asking again is safe.",
}
_READ = (401, 422, 500, 503)
_WRITE = (400, 401, 413, 422, 500, 503)


def read_errors(*more: int) -> dict[int | str, dict[str, Any]]:
    """Return the error answers of a route that reads."""
    return _described(*_READ, *more)


def write_errors(*more: int) -> dict[int | str, dict[str, Any]]:
    """Return the error answers of a route that writes."""
    return _described(*_WRITE, *more)


def open_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the error answers of a route that needs no key."""
    return _described(*statuses)


def _described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {
            "description": _DESCRIPTIONS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": PROBLEM_REFERENCE}}},
        }
        for status in sorted(statuses)
    }
