"""Coverage: why a meter's readings of a day are not there, and what is being done about it.

The causes are a closed list, so that gap reports can be counted and compared between days.
"""

from __future__ import annotations

from enum import StrEnum

from headend.domain.errors import (
    AuthenticationFailed,
    CounterRejected,
    HeadEndError,
    IdentityMismatch,
    MeterBusy,
    MeterRefused,
    MeterUnreachable,
    Preempted,
)


class CoverageCause(StrEnum):
    """Why intervals of a day are missing."""

    NO_ROUTE = "no_route"  # no connection or no answer
    BUSY = "busy"  # the meter, the concentrator or another process's lease said: later
    REFUSED = "refused"  # the meter understood and said no
    WRONG_KEY = "wrong_key"  # association rejected, or a counter out of step
    IDENTITY_MISMATCH = "identity_mismatch"  # another device answered: nothing of it is kept
    PROTOCOL_FAULT = "protocol_fault"  # malformed or unauthenticated answer, or a defect of ours
    MISSING_IN_METER = "missing_in_meter"  # the meter answered and has no such rows
    PREEMPTED = "preempted"  # gave way to supply orders for the whole run
    NOT_YET_DUE = "not_yet_due"  # the day is not over


class CoverageState(StrEnum):
    """What becomes of a gap."""

    COMPLETE = "complete"
    RETRYING = "retrying"
    GIVEN_UP = "given_up"


def classify_fault(error: HeadEndError) -> CoverageCause:
    """Name the cause that an operating fault leaves behind in the gap report."""
    match error:
        case Preempted():
            return CoverageCause.PREEMPTED
        case MeterBusy():
            return CoverageCause.BUSY
        case MeterUnreachable():
            return CoverageCause.NO_ROUTE
        case AuthenticationFailed() | CounterRejected():
            return CoverageCause.WRONG_KEY
        case MeterRefused():
            return CoverageCause.REFUSED
        case IdentityMismatch():
            return CoverageCause.IDENTITY_MISMATCH
        case _:
            return CoverageCause.PROTOCOL_FAULT
