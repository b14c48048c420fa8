"""Whether an attempt to read a meter is repeated within the same run, and after what pause.

A pure decision by the type of the fault: retryability belongs to the type. What stays unread is
found again by the next run, which reads what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from headend.domain.errors import HeadEndError, IdentityMismatch, MeterMisbehaved, Preempted


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """``pauses_s`` come between attempts, so there is one attempt more than there are pauses."""

    pauses_s: tuple[float, ...] = (0.5, 3.0)
    # A meter silent for this many runs is asked once a run: each try costs a time-out, and the
    # whole run waits for the last of them.
    patient_runs: int = 2
    # Giving way to an order costs nothing and says nothing about the meter; the limit only keeps a
    # usage point with endless orders from holding up the run.
    preemptions: int = 20

    def for_meter(self, failures_in_row: int) -> RetryPolicy:
        """Return the policy for a meter that failed in so many runs before this one."""
        return self if failures_in_row < self.patient_runs else replace(self, pauses_s=())


def decide_retry(
    error: HeadEndError, *, attempt: int, preemptions: int, policy: RetryPolicy
) -> float | None:
    """Return the pause before the next attempt [s], or None to leave it at that.

    ``attempt`` counts from 1 the attempts that failed for another reason than pre-emption;
    ``preemptions`` counts those. A malformed answer is worth one more try: bytes get damaged.
    """
    if isinstance(error, Preempted):
        return 0.0 if preemptions <= policy.preemptions else None
    if isinstance(error, MeterMisbehaved) and not isinstance(error, IdentityMismatch):
        return policy.pauses_s[0] if attempt == 1 and policy.pauses_s else None
    if error.retryable and attempt <= len(policy.pauses_s):
        return policy.pauses_s[attempt - 1]
    return None
