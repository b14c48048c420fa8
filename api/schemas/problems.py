"""The body of every error answer: problem+json (RFC 9457) with a stable code."""

from __future__ import annotations

from pydantic import Field

from api.schemas.common import Answer


class FieldProblem(Answer):
    """What is wrong with one field."""

    field: str = Field(description="Path of the field, e.g. `amount` or `query.limit`.")
    code: str
    detail: str


class Problem(Answer):
    """An error: ``code`` is stable for programs, ``detail`` is for people."""

    type: str = Field(
        description="URN of the kind of problem.", examples=["urn:ami-headend:problem:not_found"]
    )
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    code: str = Field(description="Stable code; see docs/api.md.", examples=["not_found"])
    detail: str = Field(examples=["there is no account '3301999999'"])
    field: str | None = Field(
        default=None, description="The field at fault.", examples=["account_no"]
    )
    errors: list[FieldProblem] | None = Field(
        default=None, description="Every field at fault, where several were checked."
    )
    incident: str | None = Field(
        default=None, description="What to tell the operator: it is in the log beside the cause."
    )
