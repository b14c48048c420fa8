"""Service levels: what happens after a failed attempt, and by when power must be back.

Pure decisions. Retryability belongs to the error's type; how long to wait belongs here. A
disconnect is tried until its own time has passed; a reconnect that has not reached its meter for
30 minutes goes to a field crew. Nothing whose outcome is unknown is ever sent again before it was
read back. Source: "Service levels" of the design document.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum

from headend.domain.days import day_span, local_day, local_instant
from headend.domain.errors import (
    AuthenticationFailed,
    CounterRejected,
    HeadEndError,
    IdentityMismatch,
    MeterBusy,
    MeterMisbehaved,
    MeterRefused,
    OutcomeUnknown,
    Preempted,
)
from headend.domain.supply import SupplyAction
from rules.reasons import RefusalReason


class NextStep(StrEnum):
    """What to do with an order after an attempt failed."""

    RETRY = "retry"  # back to the queue, not before `at`
    READ_BACK = "read_back"  # the command may have acted: read the contact, at `at`
    TO_FIELD = "to_field"  # hand over to a crew, and tell the customer
    REFUSE = "refuse"  # final, with `reason`; a case is opened
    FAIL = "fail"  # final, a case is opened
    EXPIRE = "expire"  # its time has passed


@dataclass(frozen=True, slots=True)
class AttemptDecision:
    """The next step; ``at`` is set for `RETRY` and `READ_BACK`, ``reason`` for `REFUSE`."""

    step: NextStep
    at: datetime | None = None
    reason: RefusalReason | None = None


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The ladder: at once, then spaced; the last rung repeats. Deployment data.

    ``misbehaved_attempts`` bounds how often a meter that breaks its protocol is tried, and
    ``read_back_attempts`` how often an unknown outcome is asked for before a crew looks at it.
    """

    ladder: tuple[timedelta, ...] = (
        timedelta(0),
        timedelta(seconds=2),
        timedelta(seconds=5),
        timedelta(seconds=15),
        timedelta(seconds=30),
        timedelta(minutes=1),
        timedelta(minutes=2),
        timedelta(minutes=5),
    )
    busy_wait: timedelta = timedelta(seconds=1)
    field_after: timedelta = timedelta(minutes=30)
    misbehaved_attempts: int = 3
    read_back_attempts: int = 12

    def wait_after(self, attempt: int) -> timedelta:
        """Return the wait after the ``attempt``-th failure (1 is the first)."""
        return self.ladder[min(max(attempt, 1), len(self.ladder)) - 1]


DEFAULT_RETRY_POLICY = RetryPolicy()


def next_attempt(
    error: HeadEndError,
    *,
    attempt: int,
    now: datetime,
    due_at: datetime,
    action: SupplyAction,
    not_after: datetime | None = None,
    policy: RetryPolicy = DEFAULT_RETRY_POLICY,
) -> AttemptDecision:
    """Decide what follows after the ``attempt``-th try (1 is the first) ended in ``error``.

    ``due_at`` is when the order could first be sent; the 30 minutes count from it.
    """
    if isinstance(error, OutcomeUnknown):
        if attempt > policy.read_back_attempts:
            return AttemptDecision(NextStep.TO_FIELD)
        return AttemptDecision(NextStep.READ_BACK, now + policy.wait_after(attempt))
    if isinstance(error, IdentityMismatch):
        return AttemptDecision(NextStep.REFUSE, reason=RefusalReason.IDENTITY_MISMATCH)
    if isinstance(error, Preempted):
        return AttemptDecision(NextStep.RETRY, now)
    if isinstance(error, CounterRejected):
        # The driver recovers the counter before the next try; a second rejection is a defect.
        if attempt <= 1:
            return AttemptDecision(NextStep.RETRY, now)
        return _final(action)
    if isinstance(error, AuthenticationFailed):
        if action is SupplyAction.RECONNECT:
            return AttemptDecision(NextStep.TO_FIELD, reason=RefusalReason.METER_KEY_REJECTED)
        return AttemptDecision(NextStep.REFUSE, reason=RefusalReason.METER_KEY_REJECTED)
    if isinstance(error, MeterRefused):
        return _final(action)
    if isinstance(error, MeterMisbehaved) and attempt >= policy.misbehaved_attempts:
        return _final(action)
    if not isinstance(error, MeterMisbehaved) and not error.retryable:
        # A defect of ours is no work for a crew, unless a paying customer sits in the dark.
        return _final(action)
    wait = policy.busy_wait if isinstance(error, MeterBusy) else policy.wait_after(attempt)
    return _spaced(now, now + wait, due_at, action, not_after, policy)


def _final(action: SupplyAction) -> AttemptDecision:
    if action is SupplyAction.RECONNECT:
        return AttemptDecision(NextStep.TO_FIELD)
    return AttemptDecision(NextStep.FAIL)


def _spaced(
    now: datetime,
    at: datetime,
    due_at: datetime,
    action: SupplyAction,
    not_after: datetime | None,
    policy: RetryPolicy,
) -> AttemptDecision:
    if not_after is not None and at > not_after:
        return AttemptDecision(NextStep.EXPIRE)
    if action is SupplyAction.DISCONNECT:
        return AttemptDecision(NextStep.RETRY, at)
    hand_over = due_at + policy.field_after
    if now >= hand_over:
        return AttemptDecision(NextStep.TO_FIELD)
    # The last try comes exactly when the 30 minutes end, not up to five minutes later.
    return AttemptDecision(NextStep.RETRY, min(at, hand_over))


@dataclass(frozen=True, slots=True)
class ReconnectPromise:
    """By when a paid supply must be back. ``same_day_until`` is local wall-clock time."""

    same_day_until: time = time(20)
    otherwise_within: timedelta = timedelta(hours=12)


DEFAULT_RECONNECT_PROMISE = ReconnectPromise()


def reconnect_deadline(
    paid_at: datetime, zone: str, promise: ReconnectPromise = DEFAULT_RECONNECT_PROMISE
) -> datetime:
    """Return the instant by which power must be back, as aware UTC.

    Paid by 20:00 local time: before that local day ends. Later: within 12 hours.
    """
    day = local_day(paid_at, zone)
    if paid_at <= local_instant(day, promise.same_day_until, zone):
        return day_span(day, zone)[1]
    return paid_at + promise.otherwise_within


def field_handover_at(due_at: datetime, policy: RetryPolicy = DEFAULT_RETRY_POLICY) -> datetime:
    """Return when an unreached reconnect becomes field work and the customer is told."""
    return due_at + policy.field_after
