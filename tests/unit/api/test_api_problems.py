"""Which fault becomes which answer."""

from __future__ import annotations

import pytest

from api.problems import status_of
from headend.domain.errors import (
    AuthenticationFailed,
    BadInput,
    ConfigurationError,
    Conflict,
    HeadEndError,
    IdentityMismatch,
    InvariantViolated,
    LocalProtocolError,
    MeterBusy,
    MeterUnreachable,
    NotFound,
    OutcomeUnknown,
    Preempted,
    StorageUnavailable,
)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (BadInput("x", field="f", code="outside_limits"), 422, "outside_limits"),
        (NotFound("x", field="f"), 404, "not_found"),
        (Conflict("x", field="f", code="order_sent"), 409, "order_sent"),
        (MeterUnreachable("x"), 503, "unavailable"),
        (MeterBusy("x"), 503, "unavailable"),
        (Preempted("x"), 503, "unavailable"),
        (StorageUnavailable("x"), 503, "unavailable"),
        (OutcomeUnknown("x"), 503, "outcome_unknown"),
        (ConfigurationError("x"), 503, "not_configured"),
        (AuthenticationFailed("x", code="rejected"), 502, "meter_refused"),
        (IdentityMismatch("x", expected="a", found="b"), 502, "meter_misbehaved"),
        (InvariantViolated("x"), 500, "internal_error"),
        (LocalProtocolError("x"), 500, "internal_error"),
        (HeadEndError("x"), 500, "internal_error"),
    ],
)
def test_every_fault_has_its_answer(error: HeadEndError, status: int, code: str) -> None:
    assert status_of(error) == (status, code)


def test_every_declared_fault_has_an_answer() -> None:
    # An answer for a fault that nobody thought of is 500, never a success.
    assert status_of(type("New", (HeadEndError,), {})("x"))[0] == 500
