"""What follows a failed attempt, and by when power must be back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from headend.domain.errors import (
    AuthenticationFailed,
    CounterRejected,
    HeadEndError,
    IdentityMismatch,
    LocalProtocolError,
    MeterBusy,
    MeterMisbehaved,
    MeterRefused,
    MeterUnreachable,
    OutcomeUnknown,
    Preempted,
)
from headend.domain.supply import SupplyAction
from rules.reasons import RefusalReason
from rules.service_levels import (
    DEFAULT_RETRY_POLICY,
    AttemptDecision,
    NextStep,
    field_handover_at,
    next_attempt,
    reconnect_deadline,
)

NOW = datetime(2026, 3, 11, 2, 0, tzinfo=UTC)
ON, OFF = SupplyAction.RECONNECT, SupplyAction.DISCONNECT
SILENT = MeterUnreachable("no answer")


def after(
    error: HeadEndError,
    action: SupplyAction = ON,
    attempt: int = 1,
    waited: timedelta = timedelta(0),
    not_after: datetime | None = None,
) -> AttemptDecision:
    return next_attempt(
        error,
        attempt=attempt,
        now=NOW,
        due_at=NOW - waited,
        action=action,
        not_after=not_after,
    )


@pytest.mark.parametrize("action", [ON, OFF])
def test_a_silent_meter_is_tried_at_once_then_on_the_ladder(action: SupplyAction) -> None:
    waits = [after(SILENT, action, attempt).at for attempt in range(1, 11)]
    ladder = [*DEFAULT_RETRY_POLICY.ladder, *DEFAULT_RETRY_POLICY.ladder[-1:] * 2]
    assert waits == [NOW + wait for wait in ladder]
    assert [wait.total_seconds() for wait in ladder] == [0, 2, 5, 15, 30, 60, 120, 300, 300, 300]


def test_after_thirty_minutes_a_reconnect_goes_to_the_field_and_a_disconnect_waits() -> None:
    half_an_hour = timedelta(minutes=30)
    assert after(SILENT, ON, 9, half_an_hour).step is NextStep.TO_FIELD
    assert after(SILENT, OFF, 9, half_an_hour).step is NextStep.RETRY
    assert field_handover_at(NOW) == NOW + half_an_hour


def test_the_last_try_of_a_reconnect_comes_when_the_thirty_minutes_end() -> None:
    decision = after(SILENT, ON, 9, timedelta(minutes=28))
    assert decision == AttemptDecision(NextStep.RETRY, NOW + timedelta(minutes=2))


def test_an_order_expires_rather_than_being_tried_after_its_time() -> None:
    assert after(SILENT, OFF, 8, not_after=NOW + timedelta(minutes=4)).step is NextStep.EXPIRE
    assert after(SILENT, OFF, 8, not_after=NOW + timedelta(minutes=5)).step is NextStep.RETRY


def test_a_busy_meter_is_tried_again_soon_and_a_preempted_order_at_once() -> None:
    assert after(MeterBusy("busy"), attempt=9).at == NOW + timedelta(seconds=1)
    assert after(Preempted("gave way"), attempt=9) == AttemptDecision(NextStep.RETRY, NOW)


def test_an_unknown_outcome_is_only_ever_read_back_and_in_the_end_looked_at() -> None:
    unknown = OutcomeUnknown("sent, no answer")
    for action in (ON, OFF):
        for attempt in range(1, 13):
            decision = after(unknown, action, attempt)
            assert decision.step is NextStep.READ_BACK
            assert decision.at == NOW + DEFAULT_RETRY_POLICY.wait_after(attempt)
        assert after(unknown, action, 13).step is NextStep.TO_FIELD
    # Not even its expiry, nor the thirty minutes, lets it be sent again unread.
    late = after(unknown, OFF, 2, timedelta(days=1), not_after=NOW - timedelta(days=1))
    assert late.step is NextStep.READ_BACK


@pytest.mark.parametrize("action", [ON, OFF])
def test_the_wrong_device_is_refused_at_once(action: SupplyAction) -> None:
    error = IdentityMismatch("another meter", expected="A", found="B")
    assert after(error, action) == AttemptDecision(
        NextStep.REFUSE, reason=RefusalReason.IDENTITY_MISMATCH
    )


def test_a_rejected_key_is_final_but_a_payer_gets_a_crew() -> None:
    error = AuthenticationFailed("wrong key", code="authentication-failure")
    assert after(error, OFF).step is NextStep.REFUSE
    assert after(error, ON).step is NextStep.TO_FIELD
    assert after(error, ON).reason is RefusalReason.METER_KEY_REJECTED


def test_a_rejected_counter_is_recovered_once() -> None:
    error = CounterRejected("counter", code="invocation-counter-error")
    assert after(error, ON, 1) == AttemptDecision(NextStep.RETRY, NOW)
    assert after(error, ON, 2).step is NextStep.TO_FIELD
    assert after(error, OFF, 2).step is NextStep.FAIL


@pytest.mark.parametrize(
    "error",
    [
        MeterRefused("no", code="read-write-denied"),
        LocalProtocolError("our defect"),
        HeadEndError("anything else declared"),
    ],
)
def test_final_errors_fail_a_disconnect_and_send_a_crew_to_a_payer(error: HeadEndError) -> None:
    assert after(error, OFF).step is NextStep.FAIL
    assert after(error, ON).step is NextStep.TO_FIELD


def test_a_meter_that_breaks_its_protocol_is_tried_three_times() -> None:
    error = MeterMisbehaved("garbage")
    steps = [after(error, ON, attempt).step for attempt in (1, 2, 3)]
    assert steps == [NextStep.RETRY, NextStep.RETRY, NextStep.TO_FIELD]
    assert after(error, OFF, 3).step is NextStep.FAIL


@pytest.mark.parametrize(
    ("paid_local", "deadline_local"),
    [
        ("2026-03-11T00:00", "2026-03-12T00:00"),
        ("2026-03-11T20:00", "2026-03-12T00:00"),
        ("2026-03-11T20:00:01", "2026-03-12T08:00:01"),
        ("2026-03-11T23:59", "2026-03-12T11:59"),
    ],
)
def test_paid_by_eight_in_the_evening_means_the_same_day(
    paid_local: str, deadline_local: str
) -> None:
    def instant(local: str) -> datetime:
        return datetime.fromisoformat(local + "+08:00").astimezone(UTC)

    assert reconnect_deadline(instant(paid_local), "Asia/Shanghai") == instant(deadline_local)
